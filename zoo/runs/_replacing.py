"""A new run where there was one: nothing removes the old run before the new one is done.

The old run is renamed to .NAME.replaced, beside the folder. It comes back when the new run leaves nothing of worth, and
goes when the new run is done, in whichever process that is. Whatever is removed is renamed first, so that a kill leaves
no half of a run in a place where a run is looked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from zoo._support.files import refuse_file
from zoo._support.text import quote_path
from zoo.errors import OutputError, TrainingError
from zoo.runs._find import list_here
from zoo.runs._folder import LATEST, RECORD, STATE, RunFolder, RunRecord, aside_of, open_run

__all__ = [
    "bring_back",
    "create_run",
    "point_latest",
    "refuse_occupied",
    "remove_leftovers",
    "repair_latest",
    "replaced_run",
    "settle",
]


def create_run(path: Path | None, record: RunRecord, *, overwrite: bool = False, first: bool = True) -> RunFolder:
    """Make the directory, write run.json and point runs/latest at it.

    Args:
        path: the directory, or None for runs/ID below the working directory.
        record: its id is replaced by the directory's name.
        overwrite: move a run that is in the directory aside; `settle` brings it back or removes it.
        first: False: only name the directory, another process makes it.

    Raises:
        TrainingError: the directory holds a run, or other files, already.
        OutputError: the directory cannot be made, or run.json not be written; what was there is there still.
    """
    root = Path("runs")
    if path is not None and path.is_symlink():
        path = path.resolve()  # the run that is meant, and not the link to it
    if not first:
        return RunFolder(path or root / record.id, record, writes=False)
    try:
        if path is None:
            path = _fresh_directory(root, record.id)
        else:
            bring_back(path)
            refuse_occupied(path, overwrite=overwrite)
            if path.is_dir() and any(path.iterdir()):
                _move_aside(path)
        path.mkdir(parents=True, exist_ok=True)
    except BaseException as problem:
        if path is not None:
            _put_back(path)
        if not isinstance(problem, OSError):
            raise
        reason = (problem.strerror or str(problem)).lower()
        raise OutputError(
            f"cannot make the run folder {quote_path(path or root)}: {reason}; choose another with --out",
            code="output-unwritable",
            path=str(path or root),
        ) from None
    run = RunFolder(path, record)
    try:
        run.update(id=path.name)
    except BaseException:
        settle(run, kept=False)
        raise
    if not (path.absolute().parent / RECORD).is_file():  # a fold is part of a run
        point_latest(root, path)
    return run


def settle(run: RunFolder, *, kept: bool) -> None:
    """End of a training: `kept`, the run that it replaced goes; else the new one goes and the old one is back.

    Args:
        run: run folder that `create_run` made.
        kept: the new run is done; False: it leaves nothing of worth.
    """
    if not run.writes:
        return
    aside = aside_of(run.path)
    if kept:
        run.file(STATE).unlink(missing_ok=True)
        remove_leftovers(run.path)
        if (aside / RECORD).is_file():  # else it is somebody else's, whatever it is called
            with contextlib.suppress(OSError):
                _discard(aside, of=run.path)
        return
    with contextlib.suppress(OSError):
        _discard(run.path, of=run.path, instead=aside)
    repair_latest()
    with contextlib.suppress(OSError):
        Path("runs").rmdir()  # only if it is empty


def remove_leftovers(path: Path) -> None:
    """Remove half-written files of a process that was killed."""
    for leftover in path.glob(".*.part"):
        leftover.unlink(missing_ok=True)


def replaced_run(path: Path) -> Path | None:
    """The run that waits beside `path` until the one in it is done; None: nothing waits."""
    aside = aside_of(path)
    if not (aside / RECORD).is_file():
        return None
    return None if _is_done(path) else aside  # of a run that is done it is the leftover of a killed process


def bring_back(path: Path) -> None:
    """Put a run back that was moved aside by a process that was killed before it made the new one; raises OSError."""
    aside = aside_of(path)
    if (path / RECORD).is_file() or not (aside / RECORD).is_file():
        return
    if path.is_dir():
        remove_leftovers(path)
        if any(path.iterdir()):
            return  # somebody else's files
        path.rmdir()
    elif os.path.lexists(path):
        return  # somebody else's file
    aside.rename(path)


def refuse_occupied(path: Path, *, overwrite: bool) -> None:
    """Before any work: what is in the folder of a new run stays, unless it is a run that is to be replaced.

    Raises:
        UsageError: it is a file.
        TrainingError: it holds a run, or other files.
    """
    refuse_file(path)
    if not path.is_dir() or not any(path.iterdir()):
        return
    place = quote_path(path)
    if not (path / RECORD).is_file():
        raise TrainingError(
            f"{place} holds files that are not a run; choose an empty directory with --out",
            code="run-occupied",
            path=str(path),
            holds="other",
        )
    if not overwrite:
        done = _is_done(path)
        ways = "--resume auto to see its result" if done else "--resume to continue it"
        raise TrainingError(
            f"{place} holds a{' finished' if done else 'n unfinished'} run; give {ways}, --overwrite to replace it, or "
            "another --out",
            code="run-occupied",
            path=str(path),
            holds="run",
        )


def _move_aside(path: Path) -> None:
    if replaced_run(path) is not None:  # a replacement was stopped: its part goes, the run that it was to replace stays
        _discard(path, of=path)
        return
    aside = aside_of(path)
    if os.path.lexists(aside) and not (aside / RECORD).is_file():
        raise TrainingError(
            f"{quote_path(aside)}, where the old run is to wait, is not a run; move it elsewhere",
            code="run-occupied",
            path=str(aside),
            holds="other",
        )
    _discard(aside, of=path)
    path.rename(aside)


def _is_done(path: Path) -> bool:
    with contextlib.suppress(TrainingError):  # a damaged record is not of a run that is done
        return open_run(path).record.status == "done"
    return False


def _put_back(path: Path) -> None:
    """Undo `_move_aside` where nothing could be made in the place of the old run."""
    with contextlib.suppress(OSError):
        bring_back(path)


def _discard(folder: Path, *, of: Path, instead: Path | None = None) -> None:
    """Remove a run in one step that a kill cannot halve; `instead`: the folder that takes its place, if it is there."""
    rubbish = of.parent / f".{of.name}.discarded"
    shutil.rmtree(rubbish, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(rubbish)
    if instead is not None and (instead / RECORD).is_file():
        instead.rename(folder)
    shutil.rmtree(rubbish, ignore_errors=True)


def _fresh_directory(root: Path, name: str) -> Path:
    for attempt in range(1, 1000):
        candidate = root / (name if attempt == 1 else f"{name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            candidate.mkdir(parents=True)
            return candidate
    raise OutputError(f"{root} holds a thousand runs named {name}; move some away", code="output-full", path=str(root))


def repair_latest() -> None:
    """Let runs/latest point to the newest run that is left, where the one that it points to is gone."""
    link = Path("runs") / LATEST
    if not link.is_symlink() or link.exists():
        return
    link.unlink(missing_ok=True)
    left = []
    for path in list_here(link.parent):
        with contextlib.suppress(TrainingError):
            left.append((open_run(path).record.started, path))
    if left:
        point_latest(link.parent, max(left)[1])


def point_latest(root: Path, path: Path) -> None:
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
