"""How long a training lasts: a time as it is typed, and epochs from a number of steps."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.spec._training import TrainConfig

__all__ = ["FEWEST_EPOCHS", "MOST_EPOCHS", "PRETRAINED_STEPS", "SCRATCH_STEPS", "count_epochs", "parse_duration"]

SCRATCH_STEPS = 1500
"""Steps of the optimiser that `epochs: auto` aims at where the network starts from random weights."""

PRETRAINED_STEPS = 500
"""The same where it starts from pretrained weights, which have less to learn."""

FEWEST_EPOCHS, MOST_EPOCHS = 10, 100
"""`epochs: auto` is never fewer nor more, however many or few images there are."""

_UNITS = {"s": 1, "m": 60, "h": 3600}


def count_epochs(config: TrainConfig, images: int) -> int:
    """Passes over the training images: the number that `config.epochs` is, or what auto comes to.

    Auto aims at a number of steps, because a network learns by steps: 20 epochs of 546 images are 360 steps, of 100 000
    they are 62 500. It is the nearest number of whole epochs to `config.steps`, or to what the rule says.

    Args:
        config: the recipe; whether it is pretrained, its batch size and its steps matter.
        images: number of training images.
    """
    if config.epochs != "auto":
        return config.epochs
    an_epoch = max(1, math.ceil(images / config.batch_size))
    if config.steps is not None:
        return max(1, round(config.steps / an_epoch))
    aim = PRETRAINED_STEPS if config.pretrained else SCRATCH_STEPS
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(aim / an_epoch)))


def parse_duration(text: str) -> float | None:
    """Seconds of "90s", "10m" or "2h"; a fraction such as "1.5h" too. None: it is something else, or no time at all."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    return seconds if 0 < seconds < math.inf else None
