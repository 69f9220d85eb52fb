"""Which run is meant by a name, and which runs are there when it is none."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from zoo._support.text import quote_path
from zoo.errors import TrainingError, UsageError
from zoo.runs._folder import LATEST, RECORD, aside_of, open_run

__all__ = ["find_run", "latest_run", "list_here"]

_SHOWN = 8
"""Runs that one message names."""


def find_run(name: str | Path | None) -> Path:
    """The directory for `name`: a path, the id of a run below runs/, or None for the last run.

    Raises:
        UsageError: such a run does not exist; the message names those that do.
    """
    if name is None:
        latest = Path("runs") / LATEST
        if not latest.exists():
            raise _no_latest(latest)
        return latest.resolve()
    for candidate in (Path(name), Path("runs") / name):
        if (candidate / RECORD).is_file():
            return candidate.resolve()
    for candidate in (Path(name), Path("runs") / name):
        if candidate.name == LATEST and candidate.is_symlink():
            raise _no_latest(candidate)
    if aside_of(Path(name)).is_dir():
        raise _set_aside(Path(name))
    there = list_here(Path("runs"))
    here = f"; here: {_brief_names(there)}" if there else ""
    raise UsageError(
        f"'{name}' is not a run: expected a directory holding {RECORD}, or the id of a run below runs/{here}",
        code="run-unknown",
        run=str(name),
        known=[path.name for path in there],
    )


def latest_run() -> Path | None:
    """The run that runs/latest points to."""
    link = Path("runs") / LATEST
    return link.resolve() if (link / RECORD).is_file() else None


def list_here(root: Path) -> list[Path]:
    """The run folders in `root`, sorted by name; the link to the last one and hidden folders are none."""
    try:
        entries = sorted(root.iterdir())
    except OSError:
        return []
    link = root / LATEST
    return [
        path
        for path in entries
        if not path.name.startswith(".") and not (path == link and link.is_symlink()) and (path / RECORD).is_file()
    ]


def _set_aside(path: Path) -> UsageError:
    aside = aside_of(path)
    moved = f"mv {quote_path(aside)} {quote_path(path)}"
    return UsageError(
        f"'{path}' was being replaced when its training was killed; {aside} is the run that it was: '{moved}'",
        code="run-aside",
        run=str(path),
        replaced=str(aside),
    )


def _no_latest(link: Path) -> UsageError:
    """Why the last run is not there, and which others are."""
    there = list_here(link.parent)
    here = f"here: {_brief_names(there)}; name one" if there else "train one with 'zoo train simple_cnn'"
    known = [path.name for path in there]
    if not link.is_symlink():
        more = "" if there else " or name a run folder"
        return UsageError(f"no run named and no {link} here; {here}{more}", code="run-none", known=known)
    gone = link.parent / link.readlink()
    if aside_of(gone).is_dir():
        return _set_aside(gone)
    moved = [path for path in there if _was_called(path, gone.name)]
    renamed = str(moved[0]) if len(moved) == 1 else None
    made = "" if renamed is None else f"{quote_path(renamed)} was made as {shlex.quote(gone.name)}; "
    return UsageError(
        f"{link} points to {quote_path(gone)}, which is gone; {made}{here}",
        code="run-gone",
        run=str(gone),
        renamed=renamed,
        known=known,
    )


def _was_called(path: Path, name: str) -> bool:
    """Whether the run was made under this name, and its folder got another since."""
    try:
        return open_run(path).record.id == name
    except TrainingError:
        return False


def _brief_names(paths: Sequence[Path]) -> str:
    """The first few names, each as a shell takes it, and how many more there are."""
    shown = ", ".join(shlex.quote(path.name) for path in paths[:_SHOWN])
    return shown + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
