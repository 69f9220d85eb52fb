"""Examine very many files with processes: reading headers is Python's own work, which threads cannot share.

Helpers are `Companions`. Where one cannot be started or dies, the calling process does its work.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from zoo._support import processes
from zoo._support.machine import cores
from zoo._support.processes import Companions, Ended
from zoo.data._scanning.examine import Part, examine

__all__ = ["over_files", "serve"]

Take = Callable[[range, Part], None]
"""Called with consecutive positions and what was found out about their files, by one thread at a time."""

WORTH = 2.0
"""Seconds of work ahead from which on helpers are started; one takes a third of a second to start, more on a busy
machine."""
MOST = 8
"""Processes at work; with more of them the disk is the limit."""

_BATCH = 128  # files a message: some 10 kB


class _Order(msgspec.Struct, array_like=True):
    """Files to examine; names as the file system spells them, each ended by a null byte."""

    root: str
    names: bytes
    settled: int


def over_files(root: str, names: Sequence[str], settled: int, take: Take) -> None:
    """Call `take` with what `examine` finds out about all of `names`, in no fixed order."""
    taking = threading.Lock()

    def work(chunk: range) -> None:
        done(chunk, examine(root, [names[i] for i in chunk], settled))

    def done(chunk: range, part: Part) -> None:
        with taking:
            take(chunk, part)

    n, chunks = len(names), _Chunks(len(names))

    def employ() -> None:
        for chunk in chunks:
            text = b"".join(os.fsencode(names[i]) + b"\0" for i in chunk)
            part = _ask(companions, _Order(root, text, settled))
            if part is None:
                work(chunk)
                return
            done(chunk, part)

    helpers = min(cores(), MOST) - 1
    companions = Companions(f"{__name__}:serve", helpers)
    start = time.perf_counter()
    with contextlib.closing(companions), ThreadPoolExecutor(MOST) as pool:
        jobs: list[Future[None]] = []
        try:
            for chunk in chunks:
                work(chunk)
                # the first files tell what one takes: 30 µs where it lies in memory, a hundred times that elsewhere
                if not jobs and (time.perf_counter() - start) / chunk.stop * (n - chunk.stop) > WORTH:
                    jobs = [pool.submit(employ) for _ in range(helpers)]
        finally:
            chunks.stop()
        for job in jobs:
            job.result()


class _Chunks:
    """Ranges that together cover 0..n, handed out to several threads until they are used up or stopped."""

    def __init__(self, n: int) -> None:
        self._starts = iter(range(0, n, _BATCH))
        self._n = n
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[range]:
        return self

    def __next__(self) -> range:
        with self._lock:
            start = next(self._starts)
        return range(start, min(start + _BATCH, self._n))

    def stop(self) -> None:
        with self._lock:
            self._starts = iter(range(0))


def _ask(companions: Companions, order: _Order) -> Part | None:
    """What a helper found; None where there is none, or none any more."""
    with contextlib.suppress(Ended, msgspec.DecodeError):
        answer = companions.ask(msgspec.msgpack.encode(order))
        return None if answer is None else msgspec.msgpack.decode(answer, type=Part)
    return None


def serve() -> None:
    """What a helper does: answer orders."""

    def answer(message: bytes) -> list[bytes]:
        order = msgspec.msgpack.decode(message, type=_Order)
        names = [os.fsdecode(name) for name in order.names.split(b"\0")[:-1]]
        return [msgspec.msgpack.encode(examine(order.root, names, order.settled))]

    processes.serve(answer)
