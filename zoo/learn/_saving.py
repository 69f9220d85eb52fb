"""When the state of an unfinished epoch is written, and that no bad one takes the place of a good one.

What this module does not know: batches, losses, and what a state is for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from zoo.errors import TrainingError
from zoo.learn._checkpoint import STATE_FILE, State, save_state
from zoo.learn._distributed import ALONE, Peers
from zoo.runs import RunFolder

__all__ = ["Checkpoints", "price_writes"]

log = logging.getLogger("zoo")

EVERY = 45.0
"""Seconds of training between two states: with a long step and the write itself, a crash costs a minute."""
SHARE = 0.25
"""Most of the time that may go into writing; a state that takes longer than 15 s is written less often."""
TOLD = 0.05
"""Share of the time from which on the log says what writing costs."""
LONG = 15.0
"""Seconds of validation from which on a state is written before it: a crash in it costs no step."""


def _wait(cost: float) -> float:
    """Seconds of training between two states of which one takes `cost` seconds to write."""
    return max(EVERY, cost * (1 / SHARE - 1))


def price_writes(cost: float, *, trained: float, judging: float) -> float:
    """Seconds that states within an epoch take, without the one at its end.

    Args:
        cost: seconds of one write.
        trained: seconds of all steps of an epoch.
        judging: seconds of a validation.
    """
    return cost * (trained / _wait(cost) + (judging >= LONG))


@dataclass(slots=True)
class Checkpoints:
    """What is written of one training, in the first process of it; those that hold parts take part.

    Attributes:
        run: where to.
        model, average, optimizer: whose state it is.
        refuse: the error of weights that are not finite, by the name of a tensor.
        peers: processes that train together.
        spent: seconds that went into writing.
    """

    run: RunFolder
    model: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    refuse: Callable[[str], TrainingError]
    peers: Peers = ALONE
    spent: float = 0.0
    _last: float = field(default_factory=time.perf_counter)
    _cost: float = 0.0
    _told: bool = False

    def due(self, *, asked: bool = False) -> bool:
        """Whether it is time to write, or the first process is `asked` to end; False in others, unless they take part.

        Where they do, each calls it after the same step and hears what the first one found.
        """
        return self._agree(asked or time.perf_counter() - self._last >= _wait(self._cost))

    def due_before(self, seconds: float) -> bool:
        """As `due`: whether to write before something that takes so long."""
        return self._agree(seconds >= LONG)

    def _agree(self, wanted: bool) -> bool:
        due = self.peers.first and self.run.writes and wanted
        return self.peers.agree(due) if self.peers.sharded else due

    def write(self, state: State) -> None:
        """Write `state` with the tensors as they are, atomically.

        Raises:
            TrainingError: a tensor is not finite; the state before it is untouched.
            OutputError: it cannot be written; the state before it is whole.
        """
        start = time.perf_counter()
        try:
            save_state(self.run.file(STATE_FILE), state, self.model, self.average, self.optimizer, self.peers)
        except FloatingPointError as problem:
            raise self.refuse(str(problem)) from None
        if state.step:
            self.run.update(steps_done=state.step)
        self._last = time.perf_counter()
        self._cost = self._last - start
        self.spent += self._cost
        if not self._told and self._cost > TOLD / (1 - TOLD) * EVERY > 0 and self.peers.first:
            self._told = True
            share = self._cost / (self._cost + _wait(self._cost))
            log.info("the state takes %.0f s to write, %.0f %% of the training", self._cost, 100 * share)
