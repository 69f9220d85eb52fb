"""The folder of a search and the time that it may take, over all of its calls."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.files import atomic_write
from zoo._support.text import quote_path
from zoo.errors import ResumeError, TrainingError
from zoo.runs import Callback, Step, hold_run
from zoo.spec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["REQUEST", "Clock", "TimeOver", "open_search"]

REQUEST = "request.json"
"""What a search was asked for; another question needs another folder."""

_RESERVE, _RESERVE_S, _RESERVE_MOST = 0.08, 15.0, 0.25
"""Share of the time of a search, or seconds if that is more, that is kept for its end; never more than the last share.
"""


@dataclass
class Clock:
    """The time that a search may take, over all of its calls.

    Attributes:
        path: file that remembers what was spent.
        seconds: what it may take; None: as long as it needs.
        began: when this call began, on the clock of `time.monotonic`.
        before: seconds that earlier calls spent.
    """

    path: Path
    seconds: float | None
    began: float
    before: float = 0.0

    @property
    def spent(self) -> float:
        """Seconds until now."""
        return self.before + time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds that there are still; infinite where nothing was said."""
        return float("inf") if self.seconds is None else self.seconds - self.spent

    @property
    def reserve(self) -> float:
        """Seconds that are kept for the export of the best model and its test; 0 where it has no end."""
        if self.seconds is None:
            return 0.0
        return min(max(_RESERVE * self.seconds, _RESERVE_S), _RESERVE_MOST * self.seconds)

    @property
    def until(self) -> float | None:
        """When trainings end, in seconds since 1970, which other machines know, too; None: when they are done."""
        return None if self.seconds is None else time.time() + self.left - self.reserve

    def note(self) -> None:
        """Remember what was spent; a kill forgets what came after."""
        atomic_write(self.path, encode({"seconds": round(self.spent, 3)}))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from conducting this search; Ctrl-C in the block says that the same call continues.

        Raises:
            TrainingError: another process conducts it now.
        """
        try:
            with hold_run(self.path.parent):
                yield
        except KeyboardInterrupt:
            self.note()
            place = quote_path(self.path.parent)
            raise KeyboardInterrupt(f"interrupted; the same command continues it, with what is in {place}") from None


class TimeOver(Callback):
    """Ends a training when the time of the search is over; its state is whole, and the same search continues it."""

    def __init__(self, until: float) -> None:
        # From now on by a clock that nobody sets.
        self.last = time.monotonic() + until - time.time()

    def step(self, step: Step) -> None:
        """Look at the clock."""
        if time.monotonic() > self.last:
            raise TrainingError(
                f"the time of the search was over in epoch {step.epoch}", code="search-time", epoch=step.epoch
            )


def open_search(folder: Path, request: Mapping[str, Any], minutes: float | None, began: float) -> Clock:
    """Make the folder of a search, or continue the one that is there.

    Args:
        folder: its place.
        request: what is asked for, as plain data.
        minutes: time for all calls together; None: no end.
        began: when this call began, on the clock of `time.monotonic`.

    Raises:
        ResumeError: the folder holds a search for something else, or other files.
        OutputError: it cannot be written.
    """
    place = folder / REQUEST
    if place.is_file():
        was = decode(place.read_bytes(), dict, str(place), ResumeError)
        now = msgspec.json.decode(encode(dict(request)))
        changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        if changed:
            name = changed[0]
            raise ResumeError(
                f"{folder} holds a search with {name} {was.get(name)}, and {now.get(name)} is asked for now; ask as "
                "then to continue it, or choose another --out",
                code="search-changed",
                name=name,
                was=was.get(name),
                now=now.get(name),
            )
    else:
        if folder.is_dir() and any(folder.iterdir()):
            raise ResumeError(
                f"{folder} holds files that are not a search; choose an empty folder with --out",
                code="search-occupied",
                path=str(folder),
            )
        atomic_write(place, encode(dict(request)))
    clock = Clock(folder / "time.json", None if minutes is None else 60 * minutes, began)
    if clock.path.is_file():
        clock.before = float(decode(clock.path.read_bytes(), dict, str(clock.path), ResumeError)["seconds"])
    return clock
