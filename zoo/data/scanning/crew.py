"""Examine very many files with processes: reading headers is Python's own work, which threads can not share.

A helper process is a bare interpreter that imports this module and nothing of the caller's: neither a script without
a main guard nor a GPU that the caller holds gets in its way. Where one can not be started or dies, the calling
process does its work.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

import msgspec

from zoo.data.scanning.examine import Part, examine
from zoo.machine import cores

__all__ = ["over_files", "serve"]

Take = Callable[[range, Part], None]
"""Called with consecutive positions and what was found out about their files, by one thread at a time."""

WORTH = 2.0
"""Seconds of work ahead from which on helpers are started; one takes a third of a second to start, more on a busy
machine."""
MOST = 8
"""Processes at work; with more of them the disk is the limit."""

_BATCH = 128  # files a message: some 10 kB
_SERVE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from zoo.data.scanning.crew import serve; serve()"


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
        with _helper() as ask:
            for chunk in chunks:
                text = b"".join(os.fsencode(names[i]) + b"\0" for i in chunk)
                part = ask(_Order(root, text, settled))
                if part is None:
                    work(chunk)
                    return
                done(chunk, part)

    # a frozen application's executable is the application, not an interpreter
    helpers = 0 if getattr(sys, "frozen", False) or not sys.executable else min(cores(), MOST) - 1
    start = time.perf_counter()
    with ThreadPoolExecutor(MOST) as pool:
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


@contextlib.contextmanager
def _helper() -> Iterator[Callable[[_Order], Part | None]]:
    """A process that examines files; asked, it answers None when it is not there or not any more."""
    # A group of its own: Ctrl-C is the caller's to answer. The helper leaves when its input ends.
    options = {"process_group": 0} if os.name == "posix" else {}
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **options,  # type: ignore[call-overload]
        )
    except OSError:
        yield lambda _: None
        return

    def ask(order: _Order) -> Part | None:
        try:
            _send(process.stdin, msgspec.msgpack.encode(order))
            answer = _received(process.stdout)
            return None if answer is None else msgspec.msgpack.decode(answer, type=Part)
        except (OSError, msgspec.DecodeError):
            return None

    try:
        yield ask
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        process.wait()


def serve() -> None:
    """Answer orders from stdin on stdout until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    with contextlib.suppress(BrokenPipeError):
        while (message := _received(sys.stdin.buffer)) is not None:
            order = msgspec.msgpack.decode(message, type=_Order)
            names = [os.fsdecode(name) for name in order.names.split(b"\0")[:-1]]
            _send(answers, msgspec.msgpack.encode(examine(order.root, names, order.settled)))


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(4, "little") + message)
    stream.flush()


def _received(stream: IO[bytes]) -> bytes | None:
    """The next message; None where the other side is gone."""
    size = stream.read(4)
    message = stream.read(int.from_bytes(size, "little")) if len(size) == 4 else b""
    return message if message and len(message) == int.from_bytes(size, "little") else None
