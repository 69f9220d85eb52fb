"""The verb `watch` of a device: it parses nothing, calls one function and prints what it found."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from zoo._support.interrupts import hold_interrupts, sigterm_as_interrupt
from zoo._support.text import printable
from zoo.edge._options import AllowFallback, Argument, Frame, Key, Option, Provider, Threads
from zoo.edge._print import Pace, format_count, put, say
from zoo.edge._watch import INTERVAL, SETTLE
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo._support.interrupts import Interrupt
    from zoo.edge._watch import Pass

__all__ = ["watch"]

log = logging.getLogger("zoo")


def _take_named(model: Path | None) -> Path:
    """The file that was named; a device has no runs, so no last one."""
    if model is None:
        raise UsageError(
            "no model to answer with; expected --model with an .onnx file or a bundle",
            code="option-missing",
            options=["--model"],
        )
    return model


def watch(
    folder: Annotated[Path, Argument("IN", "The folder that images come into; searched at any depth.")],
    out: Annotated[Path, Argument("OUT", "The folder of the answers, made where it is not there.")],
    *,
    model: Annotated[
        Path | None, Option("--model", "An .onnx file or a bundle; zoo also takes a run, by default the last.", "MODEL")
    ] = None,
    move_to: Annotated[
        Path | None, Option("--move-to", "Move each file here once it is answered; else it stays.", "DONE")
    ] = None,
    interval: Annotated[float, Option("--interval", "Between two looks at IN.", "SECONDS", least=0)] = INTERVAL,
    settle: Annotated[
        float,
        Option("--settle", "A file is read when its size and times stayed for so long.", "SECONDS", least=0),
    ] = SETTLE,
    once: Annotated[bool, Option("--once", "Answer what is there, then end.")] = False,
    frame: Frame = None,
    workers: Annotated[int, Option("--workers", "Processes that decode; 0: threads do.", "N", least=0)] = 0,
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    threads: Threads = None,
    key: Key = None,
    as_json: Annotated[bool, Option("--json", "Print a line of JSON for each answer.")] = False,
    find: Callable[[Path | None], Path] = _take_named,
) -> int:
    """Answer every image that comes into a folder.

    Each is answered once, whatever ends the program between; OUT/NAME.json is the answer to IN/NAME. Ends on SIGTERM or
    Ctrl-C, after the image in work. One that cannot be read gets its error as its answer. With --once, exit 1 where a
    folder, an answer or a move was in trouble.
    """
    from zoo.edge._document import as_line
    from zoo.edge._results import Failure
    from zoo.edge._runtime import Runtime
    from zoo.edge._tables import describe_answer
    from zoo.edge._watch import watch as answer_arrivals

    runtime = Runtime.open(find(model), provider=provider, threads=threads, key=key, allow_fallback=allow_fallback)
    say(f"{runtime.manifest.name} answers, sha256 {runtime.mark}…")
    statistics = _Statistics()
    try:
        with sigterm_as_interrupt(), hold_interrupts() as interrupt:
            for result in answer_arrivals(
                runtime,
                folder,
                out,
                move_to=move_to,
                interval=interval,
                settle=settle,
                once=once,
                frame=frame,
                workers=workers,
                tell=statistics.add,
                pause=lambda seconds: _pause(interrupt, seconds),
                stopped=lambda: interrupt.asked,
            ):
                if as_json:
                    put(as_line(result.row()))
                elif isinstance(result, Failure):
                    put(f"{printable(result.image)}\t{result.error}")
                else:
                    words = describe_answer(result, abstention=runtime.manifest.abstention)
                    put("\t".join((printable(result.image), *words)))
    except KeyboardInterrupt:  # the way to end it
        statistics.say_all()
        return 0
    statistics.say_all()
    return int(once and statistics.in_trouble)


def _pause(interrupt: Interrupt, seconds: float) -> None:
    with interrupt.at_once():
        time.sleep(seconds)


class _Statistics:
    """A line after passes that answered something, not more often than every ten seconds, and one at the end."""

    def __init__(self) -> None:
        self._answered = self._failed = 0
        self._last: Pass | None = None
        self._pace = Pace()

    def add(self, done: Pass) -> None:
        self._answered += done.answered
        self._failed += done.failed
        before = () if self._last is None else self._last.troubles
        self._last = done
        for trouble in done.troubles:
            if trouble not in before:  # it began, perhaps not for the first time
                log.warning("%s", trouble, extra={"again_after": 0.0})
        if (done.answered or done.moved) and self._pace.is_due():
            say(done.headline())

    @property
    def in_trouble(self) -> bool:
        """Whether the last look was."""
        return self._last is not None and bool(self._last.troubles)

    def say_all(self) -> None:
        last = "" if self._last is None else f"; last look: {self._last.headline()}"
        said = f"{format_count(self._answered, 'image')} answered since the start, {self._failed} of them with an error"
        say(f"{said}{last}")
