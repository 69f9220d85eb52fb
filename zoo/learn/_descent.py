"""One step of training: a batch of raw rows to the network's input, then down the gradient of its loss.

What this module does not know: epochs, validation, which image is where.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from zoo.learn._augment import augment
from zoo.learn._batches import generator, seed_of, standardize, to_unit
from zoo.learn._beside import Beside
from zoo.learn._mixing import Mixture, erase, mix
from zoo.learn._objective import Objective
from zoo.learn._precision import Numerics, autocast, layout
from zoo.learn._refusals import check_classes
from zoo.learn._sharded import add_up
from zoo.learn._sharpness import climb
from zoo.spec import PreprocessSpec, TrainConfig

__all__ = ["Descent"]

_MIX, _ERASE = 1, 2
"""Ends of a place, so that what is drawn there has nothing in common with augmentation."""


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """What every step of one training does.

    Attributes:
        model: its parameters move.
        optimizer: of `model`; its rates are the caller's.
        objective: loss of a batch.
        spec: from raw image to input.
        config: the recipe.
        numerics: number format and layout.
        labels: K class names.
        beside: columns of the training images.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Objective
    spec: PreprocessSpec
    config: TrainConfig
    numerics: Numerics
    labels: tuple[str, ...]
    beside: Beside

    def step(
        self,
        network: nn.Module,
        raw: Tensor,
        index: Tensor,
        *,
        place: tuple[int, ...],
        factor: float,
        show: Callable[[Tensor, Tensor], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Move the parameters once; all that is random hangs on the seed and `place` alone.

        Args:
            network: `model`, or what averages its gradients over processes.
            raw: (B, h, w, c) as `Feed.batches` gives them.
            index: (B,) int64, which training images they are.
            place: epoch, step and rank.
            factor: on the loss, before its gradient is taken.
            show: is given the batch as the network gets it, (B, C, H, W), and `index`.

        Returns:
            () the mean loss of the batch, without its gradient, and () the length of the gradient before it is clipped.
        """
        config = self.config
        x, mixture = self.prepare(raw, place)
        columns = self.beside(index)
        if mixture is not None:
            columns = tuple(mixture.blend(one) for one in columns)
        if show is not None:
            show(x, index)

        def descend() -> Tensor:
            """The loss; its gradient, times `factor`, is then in the parameters."""
            torch.manual_seed(seed_of(config.seed, *place))  # dropout and its kin
            with autocast(self.numerics):
                logits = network(x, *columns)  # (B, K)
                check_classes(logits, self.labels)
            logits = logits.float()
            error = mixture.loss(self.objective, logits, index) if mixture else self.objective(logits, index)
            (error * factor).backward()  # type: ignore[no-untyped-call]
            return error.detach()

        error = descend()
        if config.sam:
            with climb(self.model, config.sam):
                descend()
        norm = add_up(nn.utils.clip_grad_norm_(self.model.parameters(), config.clip or math.inf))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return error, norm

    def prepare(self, raw: Tensor, place: tuple[int, ...]) -> tuple[Tensor, Mixture | None]:
        """(B, h, w, c) raw rows as the network gets them at a place, (B, C, H, W) float32, and how they were mixed."""
        config, drawn = self.config, np.random.default_rng(seed_of(self.config.seed, *place, _MIX))
        x = to_unit(raw, self.spec)  # in [0, 1]
        x = standardize(augment(x, config, generator(config.seed, *place)), self.spec)
        x = erase(x, config.erase, generator(config.seed, *place, _ERASE))
        x, mixture = mix(x, mixup=config.mixup, cutmix=config.cutmix, random=drawn)
        return x.contiguous(memory_format=layout(self.numerics)), mixture
