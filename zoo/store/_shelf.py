"""Files of a store that are fetched when they are wanted, and dropped when others need the room.

Each is called by its sha256 in the cache, so it is checked once, when it comes, and the same file of two sets is kept
once. Those that follow each other are fetched ahead. What this module does not know: what the files hold.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, TYPE_CHECKING

from zoo._support.files import hold_lock
from zoo._support.interrupts import end_is_asked
from zoo.errors import DataError, OutputError, ZooError
from zoo.store._cachedir import limit, mark_used, open_cached, sweep
from zoo.store._mirror import Remote, get, refuse_size
from zoo.store._places import cache_folder
from zoo.store._urls import insist

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Shelf"]

_RECENT = 8
"""Files that were opened last: one that follows one of them is taken for the next of a run."""
_TRIES = 8
"""How often a file is fetched again that another process dropped before it was opened."""
PATIENCE = 300.0
"""Seconds for which a store that does not answer is asked again: a third of what processes that train together wait."""
_LOOK = 0.5
"""Seconds between two looks at whether anybody still wants the answer."""

log = logging.getLogger("zoo")


class Shelf:
    """Files of a store, by number; safe in any number of threads."""

    def __init__(self, files: Sequence[Remote]) -> None:
        """What there is; each has a size and a sha256."""
        self._files = files
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._after = {number: number + 1 for number in range(len(files) - 1)}
        self._ahead: set[int] = set()
        self._guard = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._away: float | None = None  # when the store ceased to answer, which was said
        self._lost: DataError | None = None  # it did not come back in time
        self._unwanted = threading.Event()

    def open(self, number: int) -> IO[bytes]:
        """One file, to be read.

        Raises:
            DataError: it cannot be had, also after some minutes where the store does not answer; or has another sha256.
            OutputError: it is larger than the cache may get, or the disk is full.
        """
        self._look_ahead(number)
        path = self._place(number)
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                return _open(path)
            with contextlib.suppress(FileNotFoundError):
                return self._insist(number)
        raise OutputError(
            f"{self._files[number].url}: shards are dropped as fast as they come; raise ZOO_CACHE_GB",
            code="remote-too-large",
            url=self._files[number].url,
        )

    def expect(self, order: Sequence[int]) -> None:
        """Say in which order files will be opened first, so that the next are fetched ahead."""
        with self._guard:
            self._after = dict(itertools.pairwise(order))
            self._away = self._lost = None
        self._unwanted.clear()

    def give_up(self) -> None:
        """Wait no longer for a store that does not answer: whoever asks is about to end."""
        self._unwanted.set()

    def forget(self, number: int) -> None:
        """Drop the copy of one file, which is damaged."""
        self._place(number).unlink(missing_ok=True)

    def _insist(self, number: int) -> IO[bytes]:
        """As `_fetch`, again and again; all threads share one patience."""
        if self._lost is not None:
            raise self._lost
        spent = 0.0 if self._away is None else time.monotonic() - self._away
        url = self._files[number].url
        try:
            return insist(partial(self._fetch, number), url, patience=PATIENCE - spent, say=self._say, wait=self._wait)
        except DataError as problem:
            if end_is_asked():
                raise KeyboardInterrupt from None
            if problem.code == "remote-unreachable":
                self._lost = problem
            raise

    def _wait(self, seconds: float) -> bool:
        """Wait so long, or until nobody wants the answer any more, which is then true."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if end_is_asked() or self._unwanted.wait(min(left, _LOOK)):
                return True
        return end_is_asked() or self._unwanted.is_set()

    def _place(self, number: int) -> Path:
        return cache_folder("shards") / f"{self._files[number].sha256}.shard"

    def _fetch(self, number: int) -> IO[bytes]:
        """The file, fetched and opened before another one can push it out; raises FileNotFoundError where one did."""
        remote, path = self._files[number], self._place(number)
        refuse_size(remote.url, remote.size or 0)
        with hold_lock(path.parent / f"{remote.sha256[:2]}.lock", lenient=True):
            if not path.exists():
                sweep(remote.size or 0)
                get(remote, path.parent, path, remote.path.rpartition("/")[2])
            stream = _open(path)
        sweep()  # others may have come meanwhile
        self._away = None
        return stream

    def _say(self, problem: ZooError) -> None:
        """Once for each time that the store goes away, whatever the number of threads."""
        with self._guard:
            told, self._away = self._away, self._away or time.monotonic()
        if told is None:
            log.warning("%s; asked again for %.0f minutes", problem, PATIENCE / 60)

    def _look_ahead(self, number: int) -> None:
        with self._guard:
            if number in self._recent:
                return
            follows = any(self._after.get(one) == number for one in self._recent)
            self._recent.append(number)
            following = self._after.get(number)
            if not follows or following is None or following in self._ahead or self._place(following).exists():
                return
            if sum(self._files[one].size or 0 for one in (number, following)) * 2 > limit():
                return  # what is fetched ahead must not push out what is read
            self._ahead.add(following)
            self._pool = self._pool or ThreadPoolExecutor(1, "zoo-shards")
            self._pool.submit(self._fetch_ahead, following)

    def _fetch_ahead(self, number: int) -> None:
        with contextlib.suppress(ZooError, OSError):  # whoever opens it says so
            self._fetch(number).close()
        with self._guard:
            self._ahead.discard(number)


def _open(path: Path) -> IO[bytes]:
    stream = open_cached(path)
    mark_used(path)
    return stream
