"""`zoo runs rename`: another name for a run, in every place that holds the old one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from zoo._support.text import show_path
from zoo.errors import OutputError, TrainingError, UsageError
from zoo.runs import LATEST, aside_of, find_run, hold_run, latest_run, list_here, open_run, point_latest
from zoo.spec import encode
from zoo.workflow._find import LAST
from zoo.workflow._folds_request import FOLDS_REQUEST, read_request
from zoo.workflow._holders import depth_in, folds_of, refuse_inside
from zoo.workflow.runs import RunSummary, summarise

__all__ = ["rename_run"]

_NAMES_RUNS = ("teacher", "weights")
"""What of a run over folds' own words may name a run."""


def rename_run(old: str | Path, new: str) -> RunSummary:
    """Give a run another name: its folder, the id in run.json, runs/latest, and what names its folder, or one in it.

    Those are ensembles, runs that continue it, and runs over folds whose teacher or weights it is; beside it, or in it.
    Files that were exported before keep the name under which they were made.

    Args:
        old: a folder or an id.
        new: the name, without a folder.

    Raises:
        UsageError: no such run, not a name, or a run over folds or a search that knows the run by its name holds it.
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
    refuse_inside(path, "copy the run and rename the copy", last=True)
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
        for place in (beside, *(beside / name for name in (*folds_of(beside), *LAST))):
            with contextlib.suppress(TrainingError):  # one that is not there, or cannot be read, is not changed
                _follow(place, path, new)
    return summarise(target)


def _follow(place: Path, old: Path, new: str) -> None:
    """Let a run know the new place of another one that it names."""
    run = open_run(place)
    card, continues = run.record.card, run.record.continues
    members = tuple(_move(member, old, new) for member in card.members)
    moved = None if continues is None else _move(continues, old, new)
    if (members, moved) != (card.members, continues):
        run.update(card=msgspec.structs.replace(card, members=members), continues=moved)
    if run.record.folds:
        asked = read_request(run)
        named = {name: _move(asked.budget[name], old, new) for name in _NAMES_RUNS if asked.budget.get(name)}
        budget = {**asked.budget, **named}
        if budget != asked.budget:
            run.write(FOLDS_REQUEST, encode(msgspec.structs.replace(asked, budget=budget)))


def _move(named: str, old: Path, new: str) -> str:
    """The words that name a run, or something in it, as they are right after its folder `old` is called `new`."""
    depth = depth_in(named, old)
    parts = list(Path(named).parts)
    if depth is None or len(parts) <= depth:
        return named
    parts[-1 - depth] = new
    return str(Path(*parts))
