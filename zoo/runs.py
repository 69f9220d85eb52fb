"""A run directory: what a training run leaves behind, and where to find the last one.

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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import msgspec

from zoo.errors import OutputError, TrainingError, UsageError
from zoo.files import atomic_write, sha256_file
from zoo.spec import SCHEMA, Fingerprint, ModelCard, PluginOrigin, Task, TrainConfig, decode, encode
from zoo.text import file_name

__all__ = [
    "LATEST",
    "Best",
    "Run",
    "RunRecord",
    "create_run",
    "find_run",
    "learnt",
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
    """The card as resolved for this run: size, channels and recipe as used."""
    config: TrainConfig
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
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}, expected a number above 0")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label stands twice")


class Run:
    """An open run directory.

    Attributes:
        path: the directory.
        record: run.json as last written.
        pretrained: local safetensors file to start from, already hash-checked, or None.
        resuming: whether training goes on from the state in the directory.
        skip_bad: whether unreadable images are left out (and recorded) instead of refused.
        first: whether this process writes; under torchrun only rank 0 does.
        replaced: where the run that stood here before waits until this one is finished (--overwrite), or None.
    """

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record
        self.pretrained: Path | None = None
        self.resuming = False
        self.skip_bad = False
        self.replaced: Path | None = None
        self.first = os.environ.get("RANK", "0") == "0"

    def file(self, name: str) -> Path:
        """Where the file `name` of this run stands."""
        return self.path / name

    def update(self, **changes: Any) -> None:
        """Change fields of the record and write run.json, atomically."""
        self.record = msgspec.structs.replace(self.record, **changes)
        if self.first:
            atomic_write(self.file(RECORD), encode(self.record))


def create_run(path: Path | None, record: RunRecord, *, overwrite: bool = False) -> Run:
    """Make the directory, write run.json and point runs/latest at it.

    Args:
        path: the directory, or None for runs/ID below the working directory.
        record: its id is replaced by the directory's name.
        overwrite: empty the directory first if it holds a run.

    Raises:
        TrainingError: the directory holds a run, or other files, already.
        OutputError: the directory can not be made.
    """
    root = Path("runs")
    run = Run(path or root / record.id, record)
    if not run.first:
        return run
    try:
        if path is None:
            path = _fresh_directory(root, record.id)
        elif path.exists() and any(path.iterdir()):
            run.replaced = _moved_aside(path, overwrite=overwrite)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise OutputError(
            f"cannot make the run directory {path or root}: {reason}; choose another with --out"
        ) from None
    run.path, run.record = path, msgspec.structs.replace(record, id=path.name)
    run.update()
    _point_latest(root, path)
    return run


def settle(run: Run, *, kept: bool) -> None:
    """End of a training: `kept`, the run that it replaced goes; else the new one goes and the old one is back.

    Args:
        run: as `create_run` made it.
        kept: False where training failed before anything was learnt, so that nothing half-written stays.
    """
    if not run.first:
        return
    if kept:
        if run.replaced is not None:
            shutil.rmtree(run.replaced, ignore_errors=True)
        return
    shutil.rmtree(run.path, ignore_errors=True)
    link = Path("runs") / LATEST
    if run.replaced is not None:
        run.replaced.rename(run.path)
    elif link.is_symlink() and not link.exists():
        link.unlink(missing_ok=True)
        _point_newest(link.parent)
    with contextlib.suppress(OSError):
        link.parent.rmdir()  # only if it is empty


def _point_newest(root: Path) -> None:
    """runs/latest again at the newest run that is left in `root`."""
    left = sorted(root.glob(f"*/{RECORD}"), key=lambda record: record.stat().st_mtime)
    if left:
        _point_latest(root, left[-1].parent)


def open_run(path: Path) -> Run:
    """Open an existing run directory.

    Raises:
        TrainingError: there is no run.json, or it is not one of ours.
    """
    try:
        data = (path / RECORD).read_bytes()
    except OSError:
        raise TrainingError(
            f"{path} is not a run: it has no {RECORD}; expected a directory made by 'zoo train'"
        ) from None
    return Run(path, decode(data, RunRecord, str(path / RECORD), TrainingError))


def remedy(record: RunRecord, path: Path) -> str:
    """What became of a run that has no finished file, and the command that mends it."""
    place = shlex.quote(str(path))
    if record.status == "done":
        return f"the file has gone since; 'zoo export {place} --onnx --out {place}/model.onnx' makes it again"
    name = "local-dir:FOLDER" if record.card.name.startswith("local-dir:") else record.card.name
    resume = f"'zoo train {name} --resume --out {place}'"
    if record.status == "trained":
        return f"it was trained, but its export was refused or stopped; {resume} tries again"
    return f"its training did not finish (status {record.status}); {resume} goes on with it"


def find_run(name: str | Path | None) -> Path:
    """The directory for `name`: a path, the id of a run below runs/, or None for the last run.

    Raises:
        UsageError: there is no such run.
    """
    if name is None:
        latest = Path("runs") / LATEST
        if not latest.exists():
            raise UsageError(
                "no run named and no runs/latest here; train one with 'zoo train simple_cnn' or name a run directory"
            )
        return latest.resolve()
    for candidate in (Path(name), Path("runs") / name):
        if (candidate / RECORD).is_file():
            return candidate.resolve()
    raise UsageError(f"'{name}' is no run: expected a directory holding {RECORD}, or the id of a run below runs/")


def _fresh_directory(root: Path, name: str) -> Path:
    for attempt in range(1, 1000):
        candidate = root / (name if attempt == 1 else f"{name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            candidate.mkdir(parents=True)
            return candidate
    raise OutputError(f"{root} holds a thousand runs named {name}; move some away")


def _moved_aside(path: Path, *, overwrite: bool) -> Path:
    if not (path / RECORD).is_file():
        raise TrainingError(f"{path} holds files that are not a run; choose an empty directory with --out")
    if not overwrite:
        raise TrainingError(
            f"{path} holds a run already; give --resume to go on with it, --overwrite to replace it, or another --out"
        )
    aside = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    return aside


def _point_latest(root: Path, path: Path) -> None:
    """Replace the link runs/latest in one step; a place that can not hold it does not stop a training."""
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


def learnt(run: Run) -> dict[str, str]:
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
