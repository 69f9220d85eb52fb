"""`zoo runs rename`: another name for a run, in every place that holds the old one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from zoo._support.text import show_path
from zoo.errors import OutputError, TrainingError, UsageError
from zoo.runs import LATEST, aside_of, find_run, hold_run, latest_run, list_here, open_run, point_latest
from zoo.workflow.runs import RunSummary, summarise

__all__ = ["rename_run"]


def rename_run(old: str | Path, new: str) -> RunSummary:
    """Give a run another name: its folder, the id in run.json, runs/latest, and ensembles beside it that name it.

    Files that were exported before keep the name under which they were made.

    Args:
        old: a folder or an id.
        new: the name, without a folder.

    Raises:
        UsageError: no such run, or not a name.
        OutputError: there is something of that name, or the folder cannot be moved.
        TrainingError: its run.json cannot be read, or a process is training the run.
    """
    path = find_run(old)
    plain = new.isprintable() and new == new.strip() == Path(new).name
    if not plain or not new or new == LATEST or new.startswith((".", "-")):
        raise UsageError(
            f"{new!a} is not a name for a run: expected printable characters without '/', that do not begin with '.' "
            f"or '-', and not '{LATEST}'",
            code="run-name",
            name=new,
        )
    target = path.with_name(new)
    for taken in filter(os.path.lexists, (target, aside_of(target))):
        raise OutputError(
            f"{show_path(taken)} is there already; choose another name", code="out-occupied", path=str(taken)
        )
    run = open_run(path)
    before = run.record.id
    was_latest = path == latest_run()
    try:
        with hold_run(path):
            run.update(id=new)  # first: a full disk refuses this, and never the rename
            try:
                path.rename(target)
            except OSError:
                run.update(id=before)
                raise
            with contextlib.suppress(FileNotFoundError):  # what an unfinished run replaces stays with it
                aside_of(path).rename(aside_of(target))
    except OSError as problem:
        raise OutputError(
            f"cannot rename {show_path(path)}: {(problem.strerror or str(problem)).lower()}",
            code="output-unwritable",
            path=str(target),
        ) from None
    if was_latest:
        point_latest(Path("runs"), target)
    for beside in list_here(target.parent):
        with contextlib.suppress(TrainingError):  # one that cannot be read is not changed
            _rename_member(beside, path, target)
    return summarise(target)


def _rename_member(ensemble: Path, old: Path, new: Path) -> None:
    """Let an ensemble beside the run know its new place."""
    run = open_run(ensemble)
    card = run.record.card
    if str(old) in card.members:
        members = tuple(str(new) if member == str(old) else member for member in card.members)
        run.update(card=msgspec.structs.replace(card, members=members))
