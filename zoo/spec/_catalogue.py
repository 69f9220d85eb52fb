"""A card of the catalogue and the recipe it is trained by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, cast, get_args

import msgspec

from zoo.errors import UsageError
from zoo.spec._display import Display, Table
from zoo.spec._preprocessing import PreprocessSpec
from zoo.spec._value import Licence, Uncertain, Value

__all__ = [
    "GRADIENT_SETTINGS",
    "Budget",
    "Latency",
    "ModelCard",
    "PackagedWeights",
    "Reading",
    "TrainConfig",
    "Weights",
    "check_budget",
    "pick_reading",
]


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


class TrainConfig(Value, frozen=True):
    """One training budget and recipe. Every field can be set by `--set NAME=VALUE`."""

    epochs: int = 20
    batch_size: int = 32
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    layer_decay: float = 1.0
    """Factor on the learning rate from each layer to the one before it, so that early layers move least; for pretrained
    weights only, and for networks that say which layer a parameter is of. 1: one rate for all."""
    weight_decay: float = 0.05
    warmup: float = 0.1
    """Fraction of all steps in which the learning rate rises linearly."""
    label_smoothing: float = 0.1
    class_weight: Literal["none", "balanced"] = "none"
    """What an image of a class counts in training: none, one like another; balanced, n / (K n_c), so that each class
    counts alike (King and Zeng 2001, and scikit-learn's "balanced"). Several labels: each label is balanced on its own,
    present against absent, over the images that it is known of."""
    ema: float = 0.998
    """Decay per step of the exponential moving average of the weights; 0 switches it off."""
    patience: int = 10
    """Epochs without a better validation AUROC before training stops; 0 never stops early."""
    clip: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""
    augment: Literal["none", "flip", "standard"] = "standard"
    seed: int = 0
    split_seed: int = 0
    """Seed of splits that the data set does not bring itself; apart from `seed`, so that runs share
    splits."""
    device: Annotated[str, msgspec.Meta(examples=["auto", "cpu", "cuda", "cuda:N"])] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of training. auto: bf16 where the processor computes it and the network gains by it, else fp32."""
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Order of the values of pictures in memory while training. auto: channels_last where convolutions do more than a
    twentieth of the work, and on a GPU."""
    pretrained: bool = False
    leaks: Literal["drop", "keep", "refuse"] = "drop"
    """Training images that are copies of validation or test images: drop leaves them out, keep trains on them,
    refuse stops; groups that are in two splits are refused unless keep."""
    fold: int | None = None
    """Of data with folds: this one is test, the next one validation, the rest training."""
    columns: Mapping[str, str] = {}
    """What the columns of a table mean: role (image, label, labels, group, split, fold, frame, site, age, sex) to
    column. Where it is silent, names and cells say it."""
    group: str | None = None
    """Which images belong together, such as those of a patient: a column of the data, "patient" for DICOM, or a regular
    expression with one group in parentheses, searched in the name of each image. Null: what the data says itself."""
    keep_na: bool = False
    """In a table, "NA", "nan", "None" and the like are names of classes and groups; else they are missing."""
    uncertain: Uncertain = "ignore"
    """Labels that a table calls uncertain (-1): ignore leaves them out of loss and metrics, positive takes them for 1,
    negative for 0."""
    features: str | None = None
    """What a classical model sees: pixels, hog, lbp, colour, several joined by +, or frozen:CARD. Null: networks, which
    learn their own."""

    def __post_init__(self) -> None:
        checks = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", 0 < self.lr < 100, "a number above 0 and below 100"),
            ("layer_decay", 0 < self.layer_decay <= 1, "a number in (0, 1]"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("warmup", 0 <= self.warmup < 1, "a fraction in [0, 1)"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "a fraction in [0, 1)"),
            ("ema", 0 <= self.ema < 1, "a fraction in [0, 1)"),
            ("patience", self.patience >= 0, "0 or more"),
            ("clip", self.clip >= 0, "0 or more"),
            ("seed", 0 <= self.seed < 2**32, "0 to 4294967295"),
            ("split_seed", 0 <= self.split_seed < 2**32, "0 to 4294967295"),
            ("fold", self.fold is None or self.fold >= 0, "0 or more"),
        )
        for name, good, expected in checks:
            if not good:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {expected}")

    @property
    def reading(self) -> Reading:
        """How the data was read."""
        return Reading(columns=self.columns, group=self.group, keep_na=self.keep_na, uncertain=self.uncertain)


class Reading(TypedDict, total=False):
    """How data is read. A field that is missing or None is left to the data, or to the run that the data belongs to.

    `zoo.evaluate(run, data, **reading)` takes these names.
    """

    columns: Mapping[str, str] | None
    """What the columns of a table mean, role to column; see `TrainConfig.columns`."""
    group: str | None
    """Which images belong together; see `TrainConfig.group`."""
    keep_na: bool | None
    """In a table, "NA" and the like are names of classes and groups."""
    uncertain: Uncertain | None
    """Labels that a table calls uncertain (-1): "ignore", "positive" or "negative"; see `TrainConfig.uncertain`."""


def pick_reading(given: Reading) -> Reading:
    """What is said of how data is read: the fields that are not None.

    Raises:
        TypeError: one of `given` is not a field, as a signature would say.
        UsageError: `uncertain` is none of the three words.
    """
    _check_names(given, Reading)
    uncertain = given.get("uncertain")
    if uncertain is not None and uncertain not in get_args(Uncertain):
        raise UsageError(
            f"uncertain is {uncertain!r}, expected {', '.join(get_args(Uncertain))}",
            code="option-value",
            option="uncertain",
            value=uncertain,
        )
    return cast("Reading", {name: value for name, value in given.items() if value is not None})


class Budget(Reading, total=False):
    """What the user says of one training. A field that is missing or None is left to the card or the data.

    The command line, `zoo.train(model, data, **budget)` and `zoo.compare(budget=...)` all take these names.
    """

    epochs: int | None
    batch_size: int | None
    lr: float | None
    size: int | None
    """Side of the network's input in pixels; None: the images' own up to 64, else the card's."""
    seed: int | None
    """Seed of the first weights, the order of images and augmentation."""
    device: str | None
    precision: Literal["auto", "fp32", "bf16"] | None
    pretrained: bool
    """Start from the card's pretrained weights."""
    weights: str | Path | None
    """Start from this safetensors file, this run, hf-hub:ORG/NAME or local-dir:PATH."""
    leaks: Literal["drop", "keep", "refuse"] | None
    """Training images that are copies of held-out ones: "drop" leaves them out, "keep" trains on them, "refuse" stops.
    Groups in two splits are refused unless "keep"."""
    fold: int | None
    """Of data with folds, the one that is test; None: the first."""
    settings: Mapping[str, Any] | None
    """Other fields of TrainConfig by name, and of PreprocessSpec as "preprocess.NAME"."""


def check_budget(given: Budget) -> None:
    """Refuse names that a budget does not have, which would else be passed over in silence.

    Raises:
        TypeError: there is one, as a signature would say.
    """
    _check_names(given, Budget)


def _check_names(given: Mapping[str, object], kind: type) -> None:
    if unknown := given.keys() - kind.__annotations__:
        raise TypeError(f"{min(unknown)} is not an argument; expected {', '.join(kind.__annotations__)}")


GRADIENT_SETTINGS = frozenset({
    "augment", "batch_size", "clip", "ema", "epochs", "label_smoothing", "layer_decay", "layout", "lr", "patience",
    "precision", "warmup", "weight_decay",
})  # fmt: skip
"""Fields of TrainConfig that are of training in many small steps; what is fitted in one step has no use for them."""


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
        """Its name, what it is, its input and its licence."""
        height, width = self.preprocess.size
        return f"{self.name}: {self.summary.rstrip('.')}; {height} x {width} px, licence {self.licence}"

    def tables(self) -> dict[str, Table]:
        """card: one row. recipe: the settings that a run starts from."""
        fields = ("name", "family", "plugin", "parameters", "macs", "licence")
        card = {name: getattr(self, name) for name in fields}
        card["weights"] = None if self.weights is None else self.weights.source
        recipe = msgspec.to_builtins(self.train).items()
        return {
            "card": Table([card]),
            "recipe": Table({"setting": name, "value": value} for name, value in recipe),
        }
