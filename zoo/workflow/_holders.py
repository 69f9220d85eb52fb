"""What knows a run by its place: the run over folds or the search around it, and runs that were made with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo._support.text import show_path
from zoo.errors import TrainingError, UsageError
from zoo.runs import list_here, open_run
from zoo.workflow._clock import REQUEST
from zoo.workflow._find import LAST
from zoo.workflow._trials import TRIALS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["depth_in", "describe_dependents", "folds_of", "refuse_inside"]


def folds_of(path: Path) -> tuple[str, ...]:
    """Names of the folds in a run; empty: it is one training, or cannot be read."""
    try:
        return open_run(path).record.folds
    except TrainingError:
        return ()


def refuse_inside(path: Path, remedy: str, *, last: bool) -> None:
    """Refuse to touch a run that its search, or the run over folds around it, knows by its name.

    Args:
        path: the run.
        remedy: the end of the line.
        last: refuse what follows the folds, too.

    Raises:
        UsageError: it is one.
    """
    above = path.parent
    if (folds := folds_of(above)) and path.name in (*folds, *(LAST if last else ())):
        holder, what = above, "the run over folds"
    elif above.name == TRIALS and (above.parent / REQUEST).is_file():
        holder, what = above.parent, "the search"
    else:
        return
    raise UsageError(
        f"{show_path(path)} is a part of {what} {show_path(holder)}, which knows it by this name; {remedy}",
        code="run-inside",
        run=str(path),
        holder=str(holder),
    )


def depth_in(named: str, run: Path) -> int | None:
    """How many folders inside `run` the place lies that these words name; None: it is not in there."""
    for place in (Path(named), Path("runs") / named):
        whole = place.absolute()  # the run may not be there any more
        if whole == run or run in whole.parents:
            return len(whole.parts) - len(run.parts)
    return None


def describe_dependents(*paths: Path) -> list[str]:
    """A line for each run that was made with one of these, and is none of them."""
    return [line for path in paths for line in _dependents(path, paths)]


def _dependents(path: Path, going: tuple[Path, ...]) -> Iterator[str]:
    own = open_run(path).record.id
    beside = dict.fromkeys(one.resolve() for root in (path.parent, Path("runs")) for one in list_here(root))
    for other in beside:
        if other in going:
            continue
        try:
            record = open_run(other).record
        except TrainingError:
            continue
        ways = {
            "is an ensemble of": any(depth_in(member, path) is not None for member in record.card.members),
            "continues": record.continues is not None and depth_in(record.continues, path) is not None,
            "has learnt from": record.teacher is not None and record.teacher.run == own,
        }
        for way, holds in ways.items():
            if holds:
                made = f"{show_path(other)} {way} {show_path(path)}"
                yield f"{made}; its file stays, and may not be made again without it"
