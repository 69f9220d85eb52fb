"""run.json and the folder that it describes: opening one, finding the last one."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from zoo._support.files import atomic_write, sha256_bytes, sha256_file
from zoo._support.text import file_name, quote_path
from zoo._support.versions import find_version
from zoo.errors import TrainingError, WeightsError
from zoo.spec import (
    SCHEMA,
    Abstention,
    Fingerprint,
    Licence,
    ModelCard,
    OperatingPoint,
    PixelKind,
    PluginOrigin,
    Task,
    Teacher,
    TrainConfig,
    decode,
    encode,
)

if TYPE_CHECKING:
    from zoo.runs._callbacks import Callback

__all__ = [
    "LATEST",
    "RECORD",
    "STATE",
    "TAUGHT",
    "Best",
    "Diverged",
    "RunFolder",
    "RunRecord",
    "TrainContext",
    "Trainer",
    "check_learnt",
    "hash_learnt",
    "new_id",
    "open_run",
    "versions",
    "weights_licence",
]

LATEST = "latest"
RECORD = "run.json"
STATE = "state.safetensors"
"""What the training loop needs to continue an unfinished run; it goes when the run is done."""

TAUGHT = "teacher.npz"
"""What a teacher answers on the training images: `logits` (n, K) float32, calibrated, in the order of the images; a row
of NaN for an image that it could not read."""

_LEARNT = ("core.onnx", "weights.safetensors", "member*.onnx", "novelty.npz")
"""Where the ready-made halves of a plugin and ensembles keep what was learnt; a plugin with a format of its own is not
followed."""


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The epoch whose weights were kept, and why."""

    epoch: int
    metric: str
    value: float | None
    """None: the metric could not be computed on the validation images (one class only, say)."""


class Diverged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a number of training became nan or infinite."""

    epoch: int
    step: int
    """Of the epoch, counted from 1."""
    lr: float
    """`TrainConfig.lr` of then; a run continues with a lower one only."""


class Trainer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The process that began or resumed a run."""

    pid: int
    host: str
    job: str | None = None
    """Of torchrun, the same after each of its restarts; None: it was started otherwise."""


class RunRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """run.json: all that is needed to load, judge or repeat the run."""

    schema: int = SCHEMA
    id: str
    status: Literal["training", "interrupted", "trained", "done"]
    """trained: weights are final. done: exported and evaluated too."""
    started: str
    card: ModelCard
    """The card as resolved for this run: size, channels and, as `card.train`, the recipe as used."""
    labels: tuple[str, ...]
    task: Task = "multiclass"
    kind: PixelKind
    """Pixel type of the raw images, and so of the exported file's input."""
    source: str
    """What --data was; a path here stays on this machine and is never exported."""
    data: Fingerprint
    plugin: PluginOrigin
    versions: dict[str, str]
    """Of the process that trained last."""
    earlier_versions: tuple[dict[str, str], ...] = ()
    """Of the processes before it, where they differ: the run was resumed with other packages."""
    threads: int | None = None
    """Threads that torch computed with, on which the bytes of the weights depend; None: not trained with torch."""
    trainer: Trainer | None = None
    """Who trains it; None: the run is done. Whether this process lives still, `is_live` says."""
    learnt: dict[str, str] = {}
    """Name to sha256 of the files that hold what was learnt, once training is over."""
    seen: str | None = None
    """sha256 of trained_on.npz, once the run is done; None: an older release wrote the run, or it is not done."""
    weights: str | None = None
    """Source and sha256 of pretrained weights."""
    fresh: tuple[str, ...] = ()
    """First convolutions that those weights left new, because their kernels have another size."""
    start_licence: Licence = "unknown"
    """Licence of `weights`; of a run's file that of its model."""
    continues: str | None = None
    """Folder of the run whose weights and head it began with (--from). It stays on this machine and is never
    exported."""
    loss: Literal["cross_entropy", "logit_adjusted"] | None = None
    """What was taken where the recipe says "auto"; None: the recipe says it, or nothing was chosen yet."""
    shift: tuple[float, ...] = ()
    """What is added to the logits of the network, one number for each label; empty: nothing."""
    teacher: Teacher | None = None
    """Whose answers it learns from beside the labels."""
    taught: str | None = None
    """sha256 of teacher.npz, which holds those answers; null: it has none, or none was asked yet."""
    best: Best | None = None
    epochs_done: int = 0
    steps_done: int = 0
    """Of the epoch after those, as far as the state holds them."""
    diverged: Diverged | None = None
    """Where it stopped so last; it may have continued since, at a lower rate."""
    temperature: float = 1.0
    operating: tuple[OperatingPoint, ...] = ()
    """Labels that are called from a probability of their own on; chosen on validation images."""
    abstention: Abstention | None = None
    """When the answer is that it is not known; chosen on validation images. Null: never."""
    images_per_second: float | None = None
    seconds: float | None = None
    precision: str | None = None
    """Device, number format and memory layout that training really used."""
    proven: str | None = None
    """sha256 of model.onnx, which passed the gate; null: there is none, or an older release wrote it."""
    skipped: tuple[str, ...] = ()
    """Images left out because they could not be read (--skip-bad)."""
    notes: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    """Of a run over folds: the folders in it, one run each; empty: one training."""

    @property
    def recipe(self) -> TrainConfig:
        """`card.train` with the loss that was taken in the place of "auto"."""
        config = self.card.train
        return config if config.loss != "auto" else msgspec.structs.replace(config, loss=self.loss or "cross_entropy")

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}, expected {SCHEMA}")
        if datetime.datetime.fromisoformat(self.started).tzinfo is None:
            raise ValueError(f"started is {self.started}, expected a time with its zone, such as 2026-01-02T03:04:05Z")
        if self.epochs_done < 0:
            raise ValueError(f"epochs_done is {self.epochs_done}, expected 0 or more")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}, expected a number above 0")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label occurs twice")


class RunFolder:
    """An open run folder: where its files are, and run.json, which `update` alone writes.

    Args:
        path: the directory.
        record: run.json as last written.
        writes: whether this process writes; under torchrun only rank 0 does, the others keep changes in memory.
    """

    def __init__(self, path: Path, record: RunRecord, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self._record = record

    @property
    def record(self) -> RunRecord:
        """run.json as last written."""
        return self._record

    def file(self, name: str) -> Path:
        """Where the file `name` of this run is."""
        return self.path / name

    def in_memory(self) -> RunFolder:
        """The same run, whose record may be changed without a change to run.json."""
        return RunFolder(self.path, self._record, writes=False)

    def write(self, name: str, content: bytes) -> str:
        """Write a file, whole or not at all, and return its sha256 in hexadecimal.

        Raises:
            OutputError: it cannot be written; what was there before is still whole.
        """
        atomic_write(self.file(name), content)
        return sha256_bytes(content)

    def update(self, **changes: Any) -> None:
        """Change fields of the record and write run.json, atomically."""
        changed = msgspec.structs.replace(self._record, **changes)
        if self.writes:
            atomic_write(self.file(RECORD), encode(changed))
        self._record = changed

    def reload(self) -> None:
        """Read run.json again: a stop between the two last lines of `update` leaves the record behind it."""
        if self.writes:
            with contextlib.suppress(TrainingError):
                self._record = open_run(self.path).record

    def add_notes(self, notes: Iterable[str], **changes: Any) -> None:
        """Add to the notes of the record, each once, together with other changes."""
        self.update(notes=tuple(dict.fromkeys((*self._record.notes, *notes))), **changes)


def _is_first() -> bool:
    """Whether this process is the first of those that torchrun started, or the only one."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainContext:
    """What a plugin is told for one training beside card, data, recipe and folder.

    Attributes:
        pretrained: local safetensors file to start from, its hash checked; None: start from random weights.
        head_rows: for each class the row of the head in `pretrained` that it begins with, None for a new class; empty:
            the classes of that file are not known to be these.
        resuming: training continues from the state in the run folder.
        skip_bad: leave out and record images that cannot be read, instead of refusing the set.
        first: this process writes files and speaks; under torchrun only rank 0 does.
        deadline: when the report is to be there, on the clock of `time.monotonic`; None: a budget begins with
            `ModelPlugin.train`.
        callbacks: who hears of steps and epochs, in the first process; `zoo.train` itself tells them start and end.
    """

    pretrained: Path | None = None
    head_rows: tuple[int | None, ...] = ()
    resuming: bool = False
    skip_bad: bool = False
    first: bool = field(default_factory=_is_first)
    deadline: float | None = None
    callbacks: tuple[Callback, ...] = ()


def open_run(path: Path) -> RunFolder:
    """Open an existing run folder.

    Raises:
        TrainingError: run.json is missing, or is not a valid record.
    """
    try:
        data = (path / RECORD).read_bytes()
    except OSError:
        raise TrainingError(
            f"{quote_path(path)} is not a run: it has no {RECORD}; expected a directory made by 'zoo train'",
            code="run-unknown",
            run=str(path),
        ) from None
    return RunFolder(path, decode(data, RunRecord, str(path / RECORD), TrainingError))


def new_id(model: str) -> str:
    """A run's id: the model's name and the time in UTC, such as resnet18-20260102-030405."""
    return f"{file_name(model)}-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"


def versions() -> dict[str, str]:
    """Versions of what can change a result."""
    found = {"python": platform.python_version()}
    for name in (
        "edgezoo",
        "msgspec",
        "numpy",
        "pillow",
        "onnxruntime",
        "onnx",
        "onnxscript",
        "torch",
        "torchvision",
        "timm",
        "scikit-learn",
        "skl2onnx",
    ):
        if (here := find_version(name)) is not None:
            found[name] = here
    return found


def aside_of(path: Path) -> Path:
    """Where the run that was in `path` waits until the new one is done."""
    path = path if path.name else path.resolve()
    return path.parent / f".{path.name}.replaced"  # with_name refuses "/"


def hash_learnt(run: RunFolder) -> dict[str, str]:
    """Name to sha256 of the files that hold what was learnt: which weights an exported file is made of."""
    found = sorted(path for pattern in _LEARNT for path in run.path.glob(pattern) if path.is_file())
    return {path.name: sha256_file(path) for path in found}


def check_learnt(run: RunFolder) -> None:
    """Compare the files that hold what was learnt with the hashes that run.json has of them.

    Raises:
        WeightsError: one is missing, or was changed or damaged since.
    """
    if run.record.card.members:  # the plugin of ensembles keeps a list of its own, and says more
        return
    found = hash_learnt(run)
    for name, expected in run.record.learnt.items():
        if found.get(name) != expected:
            place = quote_path(run.file(name))
            now = f"has sha256 {found[name][:12]}…" if name in found else "is missing"
            raise WeightsError(
                f"{place} {now}, {RECORD} says {expected[:12]}…: it was changed or damaged; bring a good copy back, or "
                "train again",
                code="weights-hash",
                path=str(run.file(name)),
                found=found.get(name),
                expected=expected,
            )


def weights_licence(record: RunRecord) -> str | None:
    """Of the pretrained weights that a run began with; None: it began with none."""
    if record.weights is None:
        return None
    if record.weights.startswith("file:"):  # the user's own, of which the card knows nothing
        return record.start_licence
    return record.card.weights.licence if record.card.weights is not None else "unknown"
