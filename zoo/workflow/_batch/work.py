"""The parts of one call, handed out until they are done or have failed three times; and what is said meanwhile.

What this module does not know: what a part holds, where it is answered.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from msgspec import structs

from zoo._support.interrupts import sigterm_as_interrupt
from zoo._support.text import format_count, join_lines
from zoo.edge._print import Pace
from zoo.workflow._batch.failures import TRIES, PartFailure, lose
from zoo.workflow._tasks import rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zoo.store.place import Place
    from zoo.workflow._batch.engines import Outcome, Run
    from zoo.workflow._batch.listing import Listing, Part
    from zoo.workflow._batch.part import Record

__all__ = ["Work"]

_WINDOW = 4096
"""Parts that an engine is given at a time, so that its own books stay small."""
_IN_A_ROW = 20
"""Failures without a success between them after which no further part is tried: the network is gone, say."""

log = logging.getLogger("zoo")


class Work:
    """What one call has to do.

    Attributes:
        pending: parts that are not done, and those with rows that are asked again.
        answered: images that this call answered.
    """

    def __init__(self, place: Place, listing: Listing, done: Mapping[int, Record]) -> None:
        settled = {number for number, record in done.items() if not record.again}
        self.pending = [
            structs.replace(part, tries=done[part.number].tries if part.number in done else 0)
            for part in listing.parts
            if part.number not in settled
        ]
        self.answered = 0
        self._place, self._listing = place, listing
        self._images = sum(part.rows for part in self.pending)
        self._done = len(settled)
        self._failures: dict[int, PartFailure] = {}
        self._first: tuple[float, int] | None = None  # when the first part was done: an engine takes time to start
        if done:
            log.info("resumed: %s", self._count())

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Say what is kept when the block is broken off."""
        try:
            with sigterm_as_interrupt():
                yield
        except BaseException:
            log.warning("%s keeps %s; continue with --resume", self._place, self._count())
            raise

    def carry_out(self, run: Run) -> None:
        """Hand out what is pending; what fails thrice stays pending.

        Raises:
            ZooError: a part failed for a reason for which every part would fail.
        """
        pace = Pace()
        pace.is_due()  # it says nothing at once
        for _ in range(TRIES):
            asked, self.pending = self.pending, []
            for start in range(0, len(asked), _WINDOW):
                window = {part.number: part for part in asked[start : start + _WINDOW]}
                with contextlib.closing(run(list(window.values()))) as outcomes:
                    hopeless = self._take(outcomes, window, pace)
                self.pending += window.values()
                if hopeless:
                    self.pending += asked[start + _WINDOW :]
                    return
            if not self.pending:
                return

    def name_failures(self, done: Mapping[int, Record]) -> tuple[PartFailure, ...]:
        """Why each part that is not done is not, or was not answered again."""
        return tuple(
            self._failures.get(part.number)
            or PartFailure(part=part.number, code="part-lost", message=str(lose(part.number)))
            for part in self._listing.parts
            if part.number not in done or part.number in self._failures
        )

    def _take(self, outcomes: Iterator[Outcome], window: dict[int, Part], pace: Pace) -> bool:
        """Take parts off the window as they are done; True: too many failed in a row to try another."""
        in_a_row = 0
        for outcome in outcomes:
            if outcome.record is not None:
                in_a_row = 0
                if window.pop(outcome.part, None) is not None:
                    self._done += 1
                    self.answered += outcome.record.rows
                self._failures.pop(outcome.part, None)
                self._first = self._first or (time.monotonic(), self.answered)
                if pace.is_due():
                    self._say()
            elif outcome.error is not None:
                if outcome.final:
                    raise rebuild(outcome.error)
                said = join_lines(outcome.error["message"], 500)
                self._failures[outcome.part] = PartFailure(part=outcome.part, code=outcome.error["code"], message=said)
                in_a_row += 1
                if in_a_row == _IN_A_ROW:
                    return True
        return False

    def _count(self) -> str:
        return f"{self._done} of {format_count(len(self._listing.parts), 'part')}"

    def _say(self) -> None:
        since, answered = self._first or (time.monotonic(), 0)
        rate = (self.answered - answered) / max(time.monotonic() - since, 1e-9)
        left = f", {rate:.0f} images/s, {_spell_time((self._images - self.answered) / rate)} left" if rate else ""
        log.info("%s%s", self._count(), left)


def _spell_time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.0f} h"
    )
