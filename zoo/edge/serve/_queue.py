"""A few threads that work, a bounded line before them, and a time limit."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Full", "Gone", "Late", "WorkQueue"]

T = TypeVar("T")


class Full(Exception):  # noqa: N818 - a state, which the caller answers with 503
    """Every worker is busy and every place in the line is taken."""


class Gone(Exception):  # noqa: N818 - a state
    """Nobody waits for it any more."""


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

    async def run(self, call: Callable[[], T], seconds: float, gone: asyncio.Future[None] | None = None) -> T:
        """What `call` returns or raises.

        A caller that is cancelled, or whose time is over, leaves the line.

        Args:
            call: what a worker does.
            seconds: longest time until it returns.
            gone: done when nobody waits any more.

        Raises:
            Full: at once.
            Gone: when `gone` is done.
            Late: after `seconds`.
        """
        if self.full:
            raise Full
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._held += 1
        # The pool keeps what was cancelled until a worker comes by; it must not keep an image with it.
        held = [call]

        def begin() -> None:
            try:
                tell(done.set_result, held.pop()())
            except BaseException as problem:
                tell(done.set_exception, problem)

        def tell(settle: Callable[[Any], None], what: Any) -> None:
            with contextlib.suppress(RuntimeError):  # a worker may outlive the loop
                loop.call_soon_threadsafe(give_back, settle, what)  # once: each is a write to a pipe

        def give_back(settle: Callable[[Any], None], what: Any) -> None:
            self._held -= 1
            if not done.done():  # else nobody waits any more
                settle(what)

        work = self._pool.submit(begin)
        begun = True
        try:
            waited: set[asyncio.Future[Any]] = {done} if gone is None else {done, gone}
            await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if done.done():
                return done.result()
        finally:
            done.cancel()
            if work.cancel():  # no worker had taken it up
                begun = False
                held.clear()
                self._held -= 1
        if gone is not None and gone.done():
            raise Gone
        raise Late(begun=begun)

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
