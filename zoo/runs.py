"""A run folder: what a training run leaves behind, and where to find the last one.

runs/ID/ holds run.json, weights.safetensors (or the plugin's own format), history.csv, model.onnx,
report.json, predictions.csv and plots. This module knows the names and run.json, not what is in the rest.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import msgspec

from zoo._support.files import atomic_write, sha256_bytes, sha256_file
from zoo._support.text import file_name
from zoo.errors import OutputError, TrainingError, UsageError
from zoo.spec import SCHEMA, Fingerprint, ModelCard, PluginOrigin, Task, decode, encode

__all__ = [
    "LATEST",
    "Best",
    "RunFolder",
    "RunRecord",
    "TrainContext",
    "create_run",
    "find_run",
    "hash_learnt",
    "new_id",
    "open_run",
    "remedy",
    "settle",
    "versions",
    "weights_licence",
]

LATEST = "latest"
RECORD = "run.json"

_LEARNT = ("core.onnx", "weights.safetensors", "member*.onnx")
"""Where the ready-made halves of a plugin and ensembles keep what was learnt; a plugin with a format of its own is not
followed."""


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The epoch whose weights were kept, and why."""

    epoch: int
    metric: str
    value: float | None
    """None: the metric could not be computed on the validation images (one class only, say)."""


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
    kind: Literal["uint8", "uint16", "float32"]
    """Pixel type of the raw images, and so of the exported file's input."""
    source: str
    """What --data was; a path here stays on this machine and is never exported."""
    data: Fingerprint
    plugin: PluginOrigin
    versions: dict[str, str]
    weights: str | None = None
    """Source and sha256 of pretrained weights."""
    best: Best | None = None
    epochs_done: int = 0
    temperature: float = 1.0
    images_per_second: float | None = None
    seconds: float | None = None
    precision: str | None = None
    """Device, number format and memory layout that training really used."""
    skipped: tuple[str, ...] = ()
    """Images left out because they could not be read (--skip-bad)."""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}, expected {SCHEMA}")
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
        self._record = msgspec.structs.replace(self._record, **changes)
        if self.writes:
            atomic_write(self.file(RECORD), encode(self._record))

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
        resuming: training continues from the state in the run folder.
        skip_bad: leave out and record images that cannot be read, instead of refusing the set.
        first: this process writes files and speaks; under torchrun only rank 0 does.
    """

    pretrained: Path | None = None
    resuming: bool = False
    skip_bad: bool = False
    first: bool = field(default_factory=_is_first)


def create_run(path: Path | None, record: RunRecord, *, overwrite: bool = False, first: bool = True) -> RunFolder:
    """Make the directory, write run.json and point runs/latest at it.

    Args:
        path: the directory, or None for runs/ID below the working directory.
        record: its id is replaced by the directory's name.
        overwrite: move a run that is in the directory aside; `settle` brings it back or removes it.
        first: False: only name the directory, another process makes it.

    Raises:
        TrainingError: the directory holds a run, or other files, already.
        OutputError: the directory cannot be made.
    """
    root = Path("runs")
    if path is not None and path.is_symlink():
        path = path.resolve()  # the run that is meant, and not the link to it
    if not first:
        return RunFolder(path or root / record.id, record, writes=False)
    try:
        if path is None:
            path = _fresh_directory(root, record.id)
        elif path.exists() and any(path.iterdir()):
            _move_aside(path, overwrite=overwrite)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise OutputError(
            f"cannot make the run folder {path or root}: {reason}; choose another with --out",
            code="output-unwritable",
            path=str(path or root),
        ) from None
    run = RunFolder(path, record)
    run.update(id=path.name)
    _point_latest(root, path)
    return run


def settle(run: RunFolder, *, kept: bool) -> None:
    """End of a training: `kept`, the run that it replaced goes; else the new one goes and the old one is back.

    Args:
        run: run folder that `create_run` made.
        kept: False where training failed before anything was learnt, so that nothing half-written stays.
    """
    if not run.writes:
        return
    replaced = _aside(run.path)
    if kept:
        shutil.rmtree(replaced, ignore_errors=True)
        return
    shutil.rmtree(run.path, ignore_errors=True)
    link = Path("runs") / LATEST
    if replaced.is_dir():
        replaced.rename(run.path)
    elif link.is_symlink() and not link.exists():
        link.unlink(missing_ok=True)
        _point_newest(link.parent)
    with contextlib.suppress(OSError):
        link.parent.rmdir()  # only if it is empty


def _aside(path: Path) -> Path:
    """Where the run that was in `path` waits until the new one is finished."""
    return path.with_name(f".{path.name}.replaced")


def _point_newest(root: Path) -> None:
    """runs/latest again at the newest run that is left in `root`."""
    left = sorted(root.glob(f"*/{RECORD}"), key=lambda record: record.stat().st_mtime)
    if left:
        _point_latest(root, left[-1].parent)


def open_run(path: Path) -> RunFolder:
    """Open an existing run folder.

    Raises:
        TrainingError: run.json is missing, or is not a valid record.
    """
    try:
        data = (path / RECORD).read_bytes()
    except OSError:
        raise TrainingError(
            f"{path} is not a run: it has no {RECORD}; expected a directory made by 'zoo train'",
            code="run-unknown",
            run=str(path),
        ) from None
    return RunFolder(path, decode(data, RunRecord, str(path / RECORD), TrainingError))


def remedy(record: RunRecord, path: Path) -> str:
    """What became of a run that has no finished file, and the command that mends it."""
    place = shlex.quote(str(path))
    if record.status == "done":
        return f"the file has gone since; 'zoo export {place} --onnx --out {place}/model.onnx' makes it again"
    name = "local-dir:FOLDER" if record.card.name.startswith("local-dir:") else record.card.name
    resume = f"'zoo train {name} --resume --out {place}'"
    if record.status == "trained":
        return f"it was trained, but its export was refused or stopped; {resume} tries again"
    return f"its training did not finish (status {record.status}); {resume} continues it"


def find_run(name: str | Path | None) -> Path:
    """The directory for `name`: a path, the id of a run below runs/, or None for the last run.

    Raises:
        UsageError: such a run does not exist.
    """
    if name is None:
        latest = Path("runs") / LATEST
        if not latest.exists():
            raise UsageError(
                "no run named and no runs/latest here; train one with 'zoo train simple_cnn' or name a run folder",
                code="run-none",
            )
        return latest.resolve()
    for candidate in (Path(name), Path("runs") / name):
        if (candidate / RECORD).is_file():
            return candidate.resolve()
    raise UsageError(
        f"'{name}' is not a run: expected a directory holding {RECORD}, or the id of a run below runs/",
        code="run-unknown",
        run=str(name),
    )


def _fresh_directory(root: Path, name: str) -> Path:
    for attempt in range(1, 1000):
        candidate = root / (name if attempt == 1 else f"{name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            candidate.mkdir(parents=True)
            return candidate
    raise OutputError(f"{root} holds a thousand runs named {name}; move some away", code="output-full", path=str(root))


def _move_aside(path: Path, *, overwrite: bool) -> None:
    if not (path / RECORD).is_file():
        raise TrainingError(
            f"{path} holds files that are not a run; choose an empty directory with --out",
            code="run-occupied",
            path=str(path),
            holds="other",
        )
    if not overwrite:
        raise TrainingError(
            f"{path} holds a run already; give --resume to continue it, --overwrite to replace it, or another --out",
            code="run-occupied",
            path=str(path),
            holds="run",
        )
    if _aside(path).is_dir() and open_run(path).record.status != "done":
        shutil.rmtree(path)  # a replacement was killed: its part goes, the run that it was to replace stays
        return
    shutil.rmtree(_aside(path), ignore_errors=True)
    path.rename(_aside(path))


def _point_latest(root: Path, path: Path) -> None:
    """Replace the link runs/latest in one step; a place that cannot hold it does not stop a training."""
    link = root / LATEST
    temporary = root / f".{LATEST}.{os.getpid()}"
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        stack.callback(temporary.unlink, missing_ok=True)
        root.mkdir(exist_ok=True)
        temporary.unlink(missing_ok=True)
        same_folder = path.resolve().parent == root.resolve()
        temporary.symlink_to(path.name if same_folder else path.resolve(), target_is_directory=True)
        temporary.replace(link)


def new_id(model: str, now: datetime.datetime | None = None) -> str:
    """A run's id: the model's name and the time in UTC, such as resnet18-20260102-030405."""
    moment = now or datetime.datetime.now(datetime.UTC)
    return f"{file_name(model)}-{moment:%Y%m%d-%H%M%S}"


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
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hash_learnt(run: RunFolder) -> dict[str, str]:
    """Name to sha256 of the files that hold what was learnt: which weights an exported file is made of."""
    found = sorted(path for pattern in _LEARNT for path in run.path.glob(pattern) if path.is_file())
    return {path.name: sha256_file(path) for path in found}


def weights_licence(record: RunRecord) -> str | None:
    """Of the pretrained weights that a run began with; None: it began with none."""
    if record.weights is None:
        return None
    if record.weights.startswith("file:"):  # the user's own, of which the card knows nothing
        return "unknown"
    return record.card.weights.licence if record.card.weights is not None else "unknown"
