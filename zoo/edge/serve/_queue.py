"""A few threads that work, a bounded line before them, and a time limit."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Full", "Late", "WorkQueue"]

T = TypeVar("T")


class Full(Exception):  # noqa: N818 - a state, which the caller answers with 503
    """Every worker is busy and every place in the line is taken."""


class Late(Exception):  # noqa: N818 - a state, which the caller answers with 503 or 504
    """The time was over; `begun` says whether a worker had taken it up."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__()
        self.begun = begun


class WorkQueue:
    """Runs calls in `workers` threads; at most `waiting` more may wait.

    To be used from one event loop. A call that has begun cannot be stopped: it keeps its worker until it
    returns, also when nobody waits for it any more.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="zoo-serve")
        self._workers = workers
        self._most = workers + waiting
        self._held = 0

    @property
    def full(self) -> bool:
        """Whether the next call would be refused."""
        return self._held >= self._most

    @property
    def depth(self) -> int:
        """Calls that wait for a worker."""
        return max(0, self._held - self._workers)

    async def run(self, call: Callable[[], T], seconds: float) -> T:
        """What `call` returns or raises.

        A caller that is cancelled, or whose time is over, leaves the line.

        Raises:
            Full: at once.
            Late: after `seconds`.
        """
        if self.full:
            raise Full
        loop = asyncio.get_running_loop()
        self._held += 1
        # The pool keeps what was cancelled until a worker comes by; it must not keep an image with it.
        held = [call]

        def begin() -> T:
            return held.pop()()

        work: Future[T] = self._pool.submit(begin)
        work.add_done_callback(lambda _: held.clear())
        work.add_done_callback(lambda _: self._release(loop))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), seconds)
        except TimeoutError:
            raise Late(begun=not work.cancel()) from None

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _release(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the place back, in the loop's thread; a worker may outlive the loop."""
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._give_back)

    def _give_back(self) -> None:
        self._held -= 1
