"""The weights that are validated and kept, made of those that the optimiser moves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo.learn._history import Epoch, best_epoch
from zoo.learn._objective import Scores
from zoo.learn._sharded import own_rows
from zoo.spec import TrainConfig

__all__ = ["INGREDIENTS", "Soup", "follow", "moving_average"]

Hold = Callable[[nn.Module], nn.Module]
"""Makes of a whole copy of the network the part that this process holds."""

INGREDIENTS = 3
"""Epochs that a soup is made of at most, as AutoGluon's multimodal default takes."""


def follow(model: nn.Module, config: TrainConfig, hold: Hold | None = None) -> AveragedModel:
    """The copy of `model`, which is whole, that is validated and kept, as `config.average` asks."""
    if config.average == "soup":
        return Soup(model, hold)
    return moving_average(model, config.ema if config.average == "ema" else 0.0, hold)


def moving_average(model: nn.Module, decay: float, hold: Hold | None = None) -> AveragedModel:
    """A copy of `model` that follows it as an exponential moving average, BatchNorm statistics included.

    The decay after t updates is min(decay, (1 + t) / (10 + t)), so that the random start is soon forgotten;
    counters (integer buffers) are copied. Decay 0 is the model itself.
    """
    average_model = AveragedModel(model, multi_avg_fn=_blend(decay, lambda: average_model), use_buffers=True)
    if hold is not None:
        average_model.module = hold(average_model.module)
    return average_model


class Soup(AveragedModel):
    """The model itself after every step, and the three best epochs so far; in the end the mean of those that help.

    Greedy soup: Wortsman et al. 2022, "Model soups", recipe 1, with epochs of one training for models. The epochs are
    held as submodules, so that a state of the run holds them too.

    Attributes:
        kept: copies of the model, of which `epochs` says what they hold.
        epochs: (3,) int64, epoch that each copy holds; 0: none yet.
    """

    epochs: Tensor

    def __init__(self, model: nn.Module, hold: Hold | None = None) -> None:
        super().__init__(model, multi_avg_fn=_blend(0.0, lambda: self), use_buffers=True)
        if hold is None:
            self._copy: Callable[[nn.Module], nn.Module] = copy.deepcopy
        else:  # a part cannot be copied; `model` is whole, and does not compute
            self._copy = lambda _: hold(copy.deepcopy(model))
            self.module = hold(self.module)
        self.kept = nn.ModuleList(self._copy(model) for _ in range(INGREDIENTS))
        self.register_buffer("epochs", torch.zeros(INGREDIENTS, dtype=torch.int64))

    def offer(self, history: Sequence[Epoch]) -> None:
        """Hold the weights of the last epoch in place of the worst that is held, where they are better."""
        held: list[int] = self.epochs.tolist()
        last = history[-1].epoch
        if 0 in held:
            place = held.index(0)
        else:
            ranked = _rank([history[epoch - 1] for epoch in (*held, last)])
            if ranked[-1] == last:
                return
            place = held.index(ranked[-1])
        self.kept[place].load_state_dict(self.module.state_dict())
        self.epochs[place] = last

    def holding(self, epoch: int) -> nn.Module:
        """The copy that holds an epoch."""
        return self.kept[self.epochs.tolist().index(epoch)]

    def blend(
        self, history: Sequence[Epoch], judge: Callable[[nn.Module], Scores], settle: Callable[[nn.Module], None]
    ) -> tuple[nn.Module, tuple[int, ...], Epoch]:
        """The mean of the best epoch and of each next one with which validation says no worse.

        Args:
            history: every epoch.
            judge: what validation says of weights.
            settle: makes the BatchNorm statistics of a mean anew, which are not the mean of statistics.

        Returns:
            The network, the epochs in it, and the best epoch's row with what validation says of the mean.
        """
        ranked = _rank([history[epoch - 1] for epoch in self.epochs.tolist() if epoch])
        chosen: tuple[int, ...] = (ranked[0],)
        row, network = history[ranked[0] - 1], self.holding(ranked[0])
        for epoch in ranked[1:]:
            mean = self._mean((*chosen, epoch))
            settle(mean)
            tried = msgspec.structs.replace(row, **judge(mean).columns())
            if best_epoch((tried, row)) is tried:
                chosen, row, network = (*chosen, epoch), tried, mean
        return network, chosen, row

    def _mean(self, epochs: Sequence[int]) -> nn.Module:
        mean = self._copy(self.holding(epochs[0]))
        states = [self.holding(epoch).state_dict() for epoch in epochs]
        with torch.no_grad():
            for name, tensor in mean.state_dict().items():
                rows = [own_rows(state[name]) for state in states]
                own_rows(tensor).copy_(torch.stack(rows).mean(dim=0) if tensor.is_floating_point() else rows[0])
        return mean


def _rank(rows: list[Epoch]) -> list[int]:
    """Numbers of epochs, the best first."""
    ranked: list[int] = []
    while rows:
        best = best_epoch(rows)
        ranked.append(best.epoch)
        rows = [row for row in rows if row is not best]
    return ranked


def _blend(decay: float, owner: Callable[[], AveragedModel]) -> Callable[[Any, Any, Tensor | int], None]:
    """What an update does to averages, given new values."""

    def blend(averages: Any, values: Any, _: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)
            return
        t = int(owner().n_averaged)  # a CPU tensor: reading it makes no GPU wait
        update: Callable[[Any, Any, Any], None] = get_ema_multi_avg_fn(  # type: ignore[no-untyped-call]
            min(decay, (1 + t) / (10 + t))
        )
        update([*map(own_rows, averages)], [*map(own_rows, values)], t)

    return blend
