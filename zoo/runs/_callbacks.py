"""Who watches a training: one protocol of four moments, for progress, files, loggers and a third party's own.

What this module does not know: how training works, and what a watcher does with what it hears.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec

from zoo._support.entries import describe_cause, foreign_code
from zoo.errors import PluginError, ZooError

if TYPE_CHECKING:
    from zoo.runs._folder import RunFolder
    from zoo.spec import EvalReport

__all__ = ["Callback", "Step", "guard"]

T = TypeVar("T")

log = logging.getLogger("zoo")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of training, as a callback hears of it."""

    epoch: int
    """Counted from 1."""
    step: int
    """Of the epoch, counted from 1."""
    steps: int
    """Of each epoch."""
    images: int
    """In the batch of this step, over all processes."""
    lr: float
    loss: float | None = None
    """Mean over the steps since the last one that told it, of several processes over the share of the first; None:
    nobody looked, because a look makes a GPU wait."""

    @property
    def place(self) -> int:
        """Number of the step in the whole training, counted from 1."""
        return (self.epoch - 1) * self.steps + self.step


class Callback:
    """What hears of a training. Subclass it and define what you want to hear; the rest does nothing.

    Only the first process of a training calls it. A `ZooError` or KeyboardInterrupt that it raises ends the training,
    whose state is whole then. Anything else that it raises switches it off with a warning, and training continues; in
    `start`, before anything is lost, it is a PluginError (code callback-failed).
    """

    def start(self, run: RunFolder) -> None:
        """Training begins or continues: `run.record` says of what, and `epochs_done` from where."""

    def step(self, step: Step) -> None:
        """A step is done; of networks only."""

    def epoch(self, row: Mapping[str, float | None]) -> None:
        """An epoch is validated and its state is on the disk: its row of history.csv, column to value."""

    def end(self, report: EvalReport | None) -> None:
        """It is over: what the exported file did on the test images; None: training was stopped or refused."""


class _Guarded(Callback):
    """A callback of somebody else, whose defects do not cost a training."""

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self.name = type(callback).__name__
        self.run: RunFolder | None = None

    def start(self, run: RunFolder) -> None:
        self.run = run
        self._call("start", self.callback.start, run)

    def step(self, step: Step) -> None:
        self._call("step", self.callback.step, step)

    def epoch(self, row: Mapping[str, float | None]) -> None:
        self._call("epoch", self.callback.epoch, row)

    def end(self, report: EvalReport | None) -> None:
        self._call("end", self.callback.end, report)

    def _call(self, moment: str, told: Callable[[T], None], what: T) -> None:
        run = self.run
        if run is None:  # it was switched off, or never began
            return
        wanted: ZooError | None = None
        try:
            with foreign_code(lambda problem: self._describe(problem, moment)):
                try:
                    told(what)
                except ZooError as problem:  # it ends the training, and means to
                    wanted = problem
        except PluginError as problem:
            self.run = None
            if moment == "start":
                raise
            note = f"{problem}; it hears nothing more of this training"
            log.warning("%s", note)
            if moment != "end":  # the run may be gone then
                run.add_notes([note])
        if wanted is not None:
            raise wanted

    def _describe(self, problem: BaseException, moment: str) -> PluginError:
        return PluginError(
            f"callback {self.name} failed in {moment}: {describe_cause(problem)}",
            code="callback-failed",
            callback=self.name,
            moment=moment,
        )


def guard(callback: Callback) -> Callback:
    """`callback`, with what it raises turned into what `Callback` says.

    Raises:
        PluginError: it lacks one of the four methods.
    """
    name = getattr(callback, "__name__", type(callback).__name__)
    missing = [method for method in ("start", "step", "epoch", "end") if not callable(getattr(callback, method, None))]
    what = "is a class, expected an object of it" if isinstance(callback, type) else ""
    if missing:
        what = f"does not define {', '.join(missing)}"
    if what:
        raise PluginError(f"callback {name} {what}; subclass zoo.runs.Callback", code="callback-broken", callback=name)
    return _Guarded(callback)
