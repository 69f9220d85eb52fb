"""How the learning rate changes in the course of a training, and for how long the head learns alone."""

from __future__ import annotations

import math

from zoo.spec import TrainConfig

__all__ = ["PROBE_RATE", "count_probe", "learning_rate", "rate_of"]

PROBE_RATE = 10.0
"""The head learns at so many times the learning rate while it learns alone: its weights are random and no other layer
can be spoilt by its steps."""


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Rate of step 0 … steps - 1: a linear rise over the warm-up, then half a cosine down towards 0.

    Goyal et al. 2017 (warm-up), Loshchilov and Hutter 2017 (cosine).
    """
    warmup = round(config.warmup * steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def count_probe(epochs: int, config: TrainConfig) -> int:
    """Epochs at the start in which the head learns alone: the share that `config.probe` says, one at least, never all.

    Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution".
    """
    return min(epochs - 1, max(1, round(config.probe * epochs))) if config.probe else 0


def rate_of(epoch: int, step: int, *, steps: int, epochs: int, config: TrainConfig) -> float:
    """Rate of a step; the epochs of the head alone have a warm-up and a cosine of their own.

    Args:
        epoch: counted from 1.
        step: in that epoch, counted from 0.
        steps: number of steps of one epoch.
        epochs: number of epochs of the whole training.
        config: the recipe.
    """
    alone = count_probe(epochs, config)
    if epoch <= alone:
        return PROBE_RATE * learning_rate((epoch - 1) * steps + step, alone * steps, config)
    return learning_rate((epoch - 1 - alone) * steps + step, (epochs - alone) * steps, config)
