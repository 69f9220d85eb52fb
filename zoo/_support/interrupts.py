"""Ctrl-C, and SIGTERM, with which clusters and service managers end a job: at once, or when a block allows it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

__all__ = ["Interrupt", "end_is_asked", "hold_interrupts", "sigterm_as_interrupt"]

AGAIN = 1.0
"""Seconds after which another signal is a second wish: torchrun passes on a Ctrl-C that its children heard already."""


_ASKED = threading.Event()
"""A signal was heard in a block of this module that has not ended."""


def end_is_asked() -> bool:
    """Whether Ctrl-C or SIGTERM came in a block of this module: whoever waits in another thread need wait no longer."""
    return _ASKED.is_set()


class Interrupt:
    """Whether somebody asked the program to end while `hold_interrupts` holds that back."""

    def __init__(self) -> None:
        self.asked = False
        self._since = 0.0
        self._held = True

    def hear(self, *_: object) -> None:
        """Note the wish; raise KeyboardInterrupt where it is the second, or nothing is held back."""
        now, before = time.monotonic(), self._since if self.asked else None
        self.asked, self._since = True, now if before is None else before
        _ASKED.set()
        if not self._held or (before is not None and now - before >= AGAIN):
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A part of the block that may be broken off anywhere."""
        if self.asked:
            raise KeyboardInterrupt
        self._held = False
        try:
            yield
        finally:
            self._held = True


@contextlib.contextmanager
def hold_interrupts(*, follows: bool = False) -> Iterator[Interrupt]:
    """Ctrl-C and SIGTERM wait in the block until it looks at `Interrupt.asked`, or ends.

    They are raised as a KeyboardInterrupt at its end at the latest. A second one, a second or more after the first, is
    raised where it comes. A signal that the program ignores stays ignored, and outside the main thread nothing is
    held.

    Args:
        follows: another process decides when this one ends. What breaks here once it was asked to is the end.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    held = [one for one in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(one))]
    before = [signal.signal(one, interrupt.hear) for one in held]
    try:
        yield interrupt
    except Exception:
        if follows and interrupt.asked:
            raise KeyboardInterrupt from None
        raise
    finally:
        for one, handler in zip(held, before, strict=True):
            signal.signal(one, handler)
        _ASKED.clear()
    if interrupt.asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt in the block, as Ctrl-C does.

    Outside the main thread Python lets nobody listen, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        _ASKED.set()
        raise KeyboardInterrupt

    ours = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        ours.append(signal.SIGINT)
    before = [signal.signal(one, interrupt) for one in ours]
    try:
        yield
    finally:
        for one, handler in zip(ours, before, strict=True):
            signal.signal(one, handler)
        _ASKED.clear()
