"""When the state of an unfinished epoch is written, and that no bad one takes the place of a good one.

What this module does not know: batches, losses, and what a state is for.
"""

from __future__ import annotations

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

__all__ = ["Checkpoints"]

EVERY = 45.0
"""Seconds of training between two states: with a long step and the write itself, a crash costs a minute."""
SHARE = 0.05
"""Most of the time that may go into writing; a state that takes longer than 2.25 s is written less often."""


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

    def due(self, *, asked: bool = False) -> bool:
        """Whether it is time to write, or the first process is `asked` to end; False in others, unless they take part.

        Where they do, each calls it after the same step and hears what the first one found.
        """
        now = time.perf_counter() - self._last >= max(EVERY, self._cost / SHARE)
        due = self.peers.first and self.run.writes and (asked or now)
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
