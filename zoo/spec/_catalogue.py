"""A card of the catalogue."""

from __future__ import annotations

import msgspec

from zoo.spec._columns import TableSpec
from zoo.spec._display import Display, Table
from zoo.spec._preprocessing import PreprocessSpec
from zoo.spec._training import TrainConfig
from zoo.spec._value import Licence, Value

__all__ = ["Latency", "ModelCard", "PackagedWeights", "Weights"]


class PackagedWeights(Value, frozen=True):
    """Weights that an installed package ships as a torch pickle; opened only when the hash is right."""

    distribution: str
    file: str
    """Path inside site-packages, with forward slashes."""
    sha256: str


class Weights(Value, frozen=True):
    """Where pretrained weights come from. `sha256` null: pinned in the lock at the first download."""

    source: str
    licence: Licence
    sha256: str | None = None
    package: PackagedWeights | None = None


class Latency(Value, frozen=True):
    """Median milliseconds for one image through the network alone, at the size of the card."""

    fp32_ms: float
    machine: str
    """Processor, threads and runtime, such as 'AMD EPYC 7B13, 2 threads, onnxruntime 1.31.1'."""
    int8_ms: float | None = None
    """The same network with int8 weights and activations; null where it was not measured or does not convert."""


class ModelCard(Display, Value, frozen=True):
    """One entry of a catalogue, complete: the row of `zoo list` and all that a plugin is told."""

    name: str
    plugin: str
    """Name of an entry point in the group zoo.plugins."""
    arch: str
    family: str
    summary: str
    preprocess: PreprocessSpec
    train: TrainConfig = TrainConfig()
    table: TableSpec | None = None
    """Of a run: the columns that the model is given beside the image; a catalogue names none."""
    members: tuple[str, ...] = ()
    """Of an ensemble: the folders of its runs; a catalogue has none."""
    parameters: float | None = None
    """Trained numbers of the network with a head of 1000 classes, as papers count them."""
    macs: float | None = None
    """Multiply-adds for one image at `preprocess.size`, with a head of 1000 classes."""
    latency: Latency | None = None
    weights: Weights | None = None
    needs: tuple[str, ...] = ()
    """Importable packages without which the plugin cannot run."""
    licence: Licence = "unknown"

    def headline(self) -> str:
        """Its name, what it is, its input and its licences."""
        height, width = self.preprocess.size
        other = "" if self.weights is None or self.weights.licence == self.licence else self.weights.licence
        licence = f"{self.licence} (weights {other})" if other else self.licence
        return f"{self.name}: {self.summary.rstrip('.')}; {height} x {width} px, licence {licence}"

    def tables(self) -> dict[str, Table]:
        """card: one row. recipe: the settings that a run starts from."""
        fields = ("name", "family", "plugin", "parameters", "macs", "licence")
        card = {name: getattr(self, name) for name in fields}
        card["weights"] = None if self.weights is None else self.weights.source
        card["weights_licence"] = None if self.weights is None else self.weights.licence
        recipe = msgspec.to_builtins(self.train).items()
        return {
            "card": Table([card]),
            "recipe": Table({"setting": name, "value": value} for name, value in recipe),
        }
