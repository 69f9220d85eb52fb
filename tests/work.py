"""How much work something takes, by a count and never by a clock: a busy machine counts the same."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
import tracemalloc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    import pytest

IMPORTS = "<frozen importlib._bootstrap>"
"""The file that Python names for the functions that import."""


@dataclass
class Work:
    """What a block of code did.

    Attributes:
        calls: calls of functions, Python's and C's, in the thread of the test.
        peak: bytes of memory that Python's allocators gave out at most at one time, numpy's arrays among them.
    """

    calls: int = 0
    peak: int = 0


@contextlib.contextmanager
def counted() -> Iterator[Work]:
    """Count the calls of a block; a loop over a million of anything shows as a million calls.

    What earlier tests left for the garbage collector is taken away before: its finalizers are not work of the block.
    Nor are imports, which only the first test of a process makes.
    """
    work = Work()
    importing = 0

    def note(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal importing
        if frame.f_code.co_name == "_find_and_load" and frame.f_code.co_filename == IMPORTS:
            importing += {"call": 1, "return": -1}.get(event, 0)
        elif not importing and event in {"call", "c_call"}:
            work.calls += 1

    before, collects = sys.getprofile(), gc.isenabled()
    gc.collect()
    gc.disable()
    sys.setprofile(note)
    try:
        yield work
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()


@contextlib.contextmanager
def measured() -> Iterator[Work]:
    """Count the calls of a block and take its peak of memory."""
    tracemalloc.start()
    try:
        with counted() as work:
            yield work
    finally:
        work.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@dataclass
class Attempts:
    """How often the network was asked, and how long an answer was waited for.

    Attributes:
        places: address and port of each connection.
        patience: seconds that a socket was told to wait, each time.
    """

    places: list[Any] = field(default_factory=list)
    patience: list[float] = field(default_factory=list)


def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    """Note every connection from now on; they are made as before."""
    noted = Attempts()
    connect, settimeout = socket.socket.connect, socket.socket.settimeout

    def connected(this: socket.socket, place: Any) -> None:
        noted.places.append(place)
        connect(this, place)

    def told(this: socket.socket, seconds: float | None) -> None:
        if seconds is not None:
            noted.patience.append(seconds)
        settimeout(this, seconds)

    monkeypatch.setattr(socket.socket, "connect", connected)
    monkeypatch.setattr(socket.socket, "settimeout", told)
    return noted
