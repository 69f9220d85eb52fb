"""Reports that wait for whoever sent their images: a few, for a while, in memory alone."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.edge.clinical._sr import Report

__all__ = ["SECONDS", "Kept"]

SECONDS = 600.0
"""How long a report is kept."""
_MOST = 1000
_MOST_BYTES = 64_000_000


class Kept:
    """Reports by their UID, the oldest first; several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: OrderedDict[str, tuple[float, Report]] = OrderedDict()
        self._bytes = 0

    def add(self, report: Report) -> None:
        """Keep one; the oldest go where there are too many."""
        with self._lock:
            self._reports[report.instance] = (time.monotonic() + SECONDS, report)
            self._bytes += len(report.content)
            while len(self._reports) > _MOST or self._bytes > _MOST_BYTES:
                self._drop()

    def find(self, study: str, series: str | None = None, instance: str | None = None) -> list[bytes]:
        """Reports of a study, or one of them, in the order they were made."""
        self.drop_old()
        with self._lock:
            return [
                one.content
                for _, one in self._reports.values()
                if one.study == study and series in {None, one.series} and instance in {None, one.instance}
            ]

    def drop_old(self) -> None:
        """Forget those whose time is over."""
        with self._lock:
            while self._reports and next(iter(self._reports.values()))[0] <= time.monotonic():
                self._drop()

    def __len__(self) -> int:
        return len(self._reports)

    def _drop(self) -> None:
        _, (_, report) = self._reports.popitem(last=False)
        self._bytes -= len(report.content)
