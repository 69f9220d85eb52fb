"""`zoo runs`: what training left below runs/, what state each run is in, and what to do with it.

A run is named by its folder or by its id below runs/. A folder whose run.json cannot be read is one row of the list,
and is never changed or removed. `zoo.runs` is imported inside the functions: `import zoo` is felt in every listing.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from zoo._support.text import format_count, quote_path, show_path
from zoo.errors import UsageError, ZooError
from zoo.spec import Display, EvalReport, Interval, Rows, Table, to_builtins
from zoo.workflow._find import MODEL_FILE, REPORT_FILE, is_run, last_of, read_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.runs import Best, RunFolder, RunRecord

__all__ = [
    "RunComparison",
    "RunDetails",
    "RunSummary",
    "compare_runs",
    "describe_state",
    "list_runs",
    "show_run",
    "summarise",
]

State = Literal["training", "interrupted", "trained", "finished", "damaged"]
"""training: a process is at it. trained: not exported yet, or its file is gone. damaged: run.json cannot be read."""


class RunSummary(Display, msgspec.Struct, frozen=True, kw_only=True):
    """One row of `zoo runs`; its fields are the keys of `--json`."""

    id: str
    """Name of its folder."""
    path: str
    state: State
    moved: tuple[Literal["data", "folder"], ...] = ()
    """data: its images have gone from where they were. folder: it was made under another name."""
    latest: bool
    """runs/latest points to it."""
    model: str | None
    data: str | None
    """Name of the data set, never a path."""
    started: str | None
    """UTC, ISO 8601."""
    best: Best | None
    test: dict[str, Interval]
    """Metrics of its file on the test images; empty: not evaluated."""
    test_images: int | None
    size_bytes: int
    why: str | None = None
    """Why the run is damaged."""

    def headline(self) -> str:
        """The run, its state, and what its file did on the test images."""
        known = [f"{self.model} on {self.data}"] if self.model else [self.why or ""]
        known += [f"macro AUROC {self.test['macro_auroc']}"] if "macro_auroc" in self.test else []
        return f"{self.path}: {describe_state(self)}, {', '.join(known)}"

    def tables(self) -> dict[str, Table]:
        """One row, with the test metrics as columns."""
        row = {name: getattr(self, name) for name in ("path", "state", "moved", "latest", "model", "data")}
        row["best"] = None if self.best is None else self.best.value
        rest = {name: getattr(self, name) for name in ("test_images", "started", "size_bytes", "id", "why")}
        return {"runs": Table([row | self.test | rest])}


class RunDetails(Display, msgspec.Struct, frozen=True, kw_only=True):
    """All that `zoo runs show` says of a run."""

    summary: RunSummary
    record: RunRecord
    """run.json."""
    report: EvalReport | None
    files: dict[str, int]
    """Name of each file, with the folder before it, to its size in bytes."""
    next: tuple[str, ...]
    """What can be done with it now: commands, and what mends it."""

    def headline(self) -> str:
        """That of its row."""
        return self.summary.headline()

    def tables(self) -> dict[str, Table]:
        """Its row, and the tables of its report."""
        return self.summary.tables() | ({} if self.report is None else self.report.tables())

    def remarks(self) -> tuple[str, ...]:
        """The notes of the run."""
        return self.record.notes


class RunComparison(Display, msgspec.Struct, frozen=True, kw_only=True):
    """Runs side by side: results, and the settings in which they differ. No test is made; `zoo.compare` makes one."""

    runs: tuple[RunSummary, ...]
    differences: dict[str, tuple[Any, ...]]
    """Setting to its value in each run, where they are not all the same."""
    same_images: bool
    """All were trained and tested on the same images, divided alike."""

    def headline(self) -> str:
        """Which runs, and in how many settings they differ."""
        images = "the same images" if self.same_images else "different images"
        names = ", ".join(run.id for run in self.runs)
        return f"{names} on {images}; {format_count(len(self.differences), 'setting')} differ"

    def tables(self) -> dict[str, Table]:
        """results: one row for each run. settings: one row for each setting that differs, a column for each run."""
        settings = [
            {"setting": name} | {run.path: value for run, value in zip(self.runs, values, strict=True)}
            for name, values in self.differences.items()
        ]
        results = (run.tables()["runs"][0] for run in self.runs)
        return {"results": Table(results), "settings": Table(settings, ("setting", *(run.path for run in self.runs)))}


def list_runs(*places: str | Path) -> Rows[RunSummary]:
    """Every run of some places, the newest first.

    Args:
        *places: runs, and folders that hold runs; none: runs/, with the run that runs/latest points to.

    Raises:
        UsageError: a place that is neither.
    """
    found: dict[Path, Path] = {}
    for path in _named(places) if places else _below_runs():
        found.setdefault(path.resolve(), path)
    rows = []
    for path in found.values():
        with contextlib.suppress(FileNotFoundError):  # somebody removed it a moment ago
            rows.append(summarise(path))
    return Rows(sorted(rows, key=lambda row: row.started or "", reverse=True))


def show_run(run: str | Path | None = None) -> RunDetails:
    """What there is to know of a run.

    Args:
        run: a folder or an id; None: the last run.

    Raises:
        UsageError: no such run.
        TrainingError: its run.json cannot be read.
    """
    from zoo.runs import find_run, open_run

    path = find_run(run)
    opened = open_run(path)
    files = {str(file.relative_to(path)): file.stat().st_size for file in sorted(path.rglob("*")) if file.is_file()}
    summary, report = summarise(path), _read_report(opened)
    return RunDetails(summary=summary, record=opened.record, report=report, files=files, next=_next(summary, opened))


def compare_runs(*names: str | Path) -> RunComparison:
    """Put results and settings of runs side by side.

    Raises:
        UsageError: fewer than two, or no such run.
        TrainingError: a run.json cannot be read.
    """
    from zoo.runs import find_run, open_run

    if len(names) < 2:
        raise UsageError(
            f"{format_count(len(names), 'run')} to compare, expected two or more; 'zoo runs show RUN' shows one",
            code="compare-too-few",
            found=len(names),
            expected=2,
        )
    opened = [open_run(find_run(name)) for name in names]
    settings = [_flatten(_settings(run.record)) for run in opened]
    everything = dict.fromkeys(name for one in settings for name in one)
    values = {name: tuple(one.get(name) for one in settings) for name in everything}
    return RunComparison(
        runs=tuple(summarise(run.path) for run in opened),
        differences={name: row for name, row in values.items() if any(value != row[0] for value in row)},
        same_images=len({run.record.data.sha256 for run in opened}) == 1,
    )


def describe_state(run: RunSummary) -> str:
    """The state in words, with what has moved."""
    words = {"training": "being trained", "trained": "trained, not exported"}
    moved = {"data": "data moved", "folder": "renamed"}
    return ", ".join([words.get(run.state, run.state), *(moved[what] for what in run.moved)])


def _named(places: tuple[str | Path, ...]) -> Iterator[Path]:
    from zoo.runs import find_run, list_here

    for place in map(Path, places):
        inside = list_here(place)
        if is_run(place):
            yield place
        elif not inside:
            yield find_run(place)  # an id, or a refusal
        yield from inside


def _below_runs() -> Iterator[Path]:
    from zoo.runs import latest_run, list_here

    yield from list_here(Path("runs"))
    latest = latest_run()
    if latest is not None:
        yield latest


def summarise(path: Path) -> RunSummary:
    """One row of the list, also of a run that cannot be read."""
    from zoo._support.files import size_of
    from zoo.runs import latest_run, open_run

    real = path.resolve()
    known: dict[str, Any] = {
        "id": real.name,
        "path": show_path(path),
        "latest": real == latest_run(),
        "size_bytes": size_of(path),
    }
    try:
        opened = open_run(path)
        report = _read_report(opened)
    except ZooError as problem:
        return RunSummary(
            **known, state="damaged", model=None, data=None, started=None, best=None, test={}, test_images=None,
            why=str(problem),
        )  # fmt: skip
    record = opened.record
    there = {"data": _is_reached(Path(record.source)), "folder": record.id == known["id"]}
    return RunSummary(
        **known,
        state=_state(opened),
        moved=tuple(what for what in ("data", "folder") if not there[what]),
        model=record.card.name,
        data=record.data.name,
        started=record.started,
        best=record.best,
        test={} if report is None else report.metrics,
        test_images=None if report is None else report.n,
    )


def _is_reached(source: Path) -> bool:
    """Whether there are images at a source; a name has no place."""
    try:
        return not source.is_absolute() or source.exists()
    except OSError:  # a folder without rights, or a path that no system takes
        return False


def _state(run: RunFolder) -> State:
    from zoo.runs import is_live

    status = run.record.status
    if is_live(run.path):
        return "training"
    if status == "done":
        proof = REPORT_FILE if run.record.folds else MODEL_FILE  # of a run over folds each fold has a file
        return "finished" if run.file(proof).is_file() else "trained"
    return "trained" if status == "trained" else "interrupted"


def _read_report(run: RunFolder) -> EvalReport | None:
    """The report of a finished run; that of an earlier training is not this one's."""
    return read_report(run) if run.record.status == "done" else None


def _next(summary: RunSummary, run: RunFolder) -> tuple[str, ...]:
    from zoo.runs import remedy, replaced_run

    shown = quote_path(run.path)
    if summary.state != "finished":
        old = replaced_run(run.path)
        kept = () if old is None else (f"the run that it replaces waits in {quote_path(old)}",)
        return (remedy(run.record, run.path), *kept)
    if run.record.folds:
        ships = run.path if last_of(run.path) else run.path / run.record.folds[0]
        return (f"zoo runs list {shown}", f"zoo export {quote_path(ships)} --onnx --bundle")
    place = " --data NEW/PLACE" if "data" in summary.moved else ""
    return (f"zoo evaluate {shown}{place}", f"zoo export {shown} --onnx --bundle{place}")


def _settings(record: RunRecord) -> dict[str, Any]:
    """What decides a run's result, nested."""
    card = record.card
    return {
        "model": card.name,
        "data": record.data.name,
        "images": record.data.splits,
        "data sha256": record.data.sha256[:12],
        "labels": list(record.labels),
        "preprocess": to_builtins(card.preprocess),
        "train": to_builtins(card.train),
        "weights": record.weights,
        "teacher": None if record.teacher is None else f"{record.teacher.name} sha256:{record.teacher.sha256}",
        "precision": record.precision,
        "plugin": f"{record.plugin.distribution} {record.plugin.version}",
        "versions": record.versions,
        "epochs done": record.epochs_done,
        "skipped": len(record.skipped),
        "seconds": record.seconds,
    }


def _flatten(nested: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Dots between the names: train.lr."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= _flatten(value, f"{before}{name}.") if isinstance(value, dict) and value else {before + name: value}
    return flat
