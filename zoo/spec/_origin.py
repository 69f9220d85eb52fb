"""Where a file came from, and where it was shown to run."""

from __future__ import annotations

from typing import Literal

import msgspec

from zoo.spec._training import TrainConfig
from zoo.spec._value import Licence, Value

__all__ = ["Fingerprint", "OldestRuntime", "PluginOrigin", "Provenance", "Teacher"]


class PluginOrigin(Value, frozen=True):
    """Which installed code made the network."""

    name: str
    distribution: str
    version: str
    record: str | None = None
    """sha256 over path and sha256 of every file that the distribution installed, so the same for the same wheel on
    every machine; null: an editable installation, whose files may change, or an older release of this tool."""
    contents: str | None = None
    """sha256 over path and sha256 of the code of the plugin's package as it was on the disk when it was loaded; null:
    not made of files, or an older release of this tool."""
    api: int | None = None
    """Version of the plugin contract that it says it was written for; null: an older release of this tool."""


class Teacher(Value, frozen=True):
    """A model whose answers another one learnt from."""

    name: str
    run: str
    """Id of its run."""
    sha256: str
    """Of its ONNX file."""
    licence: Licence
    """Of the file, so of the weights in it."""
    data: str
    """sha256 of the fingerprint of the data that it was trained on."""
    seen: Literal["known", "not known"]
    """Whether a list of the images that it has seen came with it."""
    balanced: bool = False
    """Whether its answers take classes for equally frequent; see `TrainConfig.balanced`."""


class OldestRuntime(Value, frozen=True):
    """From which ONNX Runtime on a file was shown to give its golden answers, and how that is known."""

    onnxruntime: str
    """Version, such as 1.17.3."""
    proven: Literal["operators", "file"]
    """operators: files of the same kind, format and operators gave their golden answers on it and on every newer
    version that was tried (`benchmarks/runtimes.py`). file: this file itself, when it was exported, and on no older
    version."""

    @property
    def text(self) -> str:
        """The same in words."""
        how = "by files of the same operators" if self.proven == "operators" else "older ones were not tried"
        return f"proven from {self.onnxruntime} on, {how}"


class Fingerprint(Value, frozen=True):
    """Which data this was: never a path, never a file name."""

    name: str
    sha256: str
    """Over (split, label, sha256 of the file's bytes or of the array's pixels), sorted."""
    n: int
    splits: dict[str, int]


class Provenance(Value, frozen=True):
    """How the file came to be; no path, user or host name."""

    run: str
    model: str
    created: str
    """When its training began: UTC, ISO 8601, to the second. Not when it was exported, so that exporting again gives
    the same bytes."""
    plugin: PluginOrigin
    versions: dict[str, str]
    """At the time of training."""
    data: Fingerprint
    config: TrainConfig
    weights: str | None
    """Source and sha256 of the pretrained weights; null: trained from scratch."""
    teacher: Teacher | None = None
    """Whose answers it learnt from; `config` says how much they counted. Null: labels alone."""
    notes: tuple[str, ...] = ()
    weights_licence: Licence | None = None
    """Of the pretrained weights; null: none were used, or written by an older release."""
    code_licence: Licence | None = None
    """Of the network's code, as its catalogue says; null: written by an older release."""
    trained: dict[str, str] = msgspec.field(default_factory=dict)
    """Name to sha256 of the run's files that hold what was learnt."""
    exported: dict[str, str] = msgspec.field(default_factory=dict)
    """Versions at the time of export; the answers of the golden set are theirs."""
