"""What is done to a batch after mean and std: rectangles that are blanked, and images of which each is two.

0 is then the mean of the data set, so a blank says nothing. Everything drawn is a function of the generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zoo.learn._objective import Objective

__all__ = ["Mixture", "erase", "mix"]

_AREA = (0.02, 1 / 3)
_RATIO = (0.3, 1 / 0.3)
"""Share of an image that is blanked, and ratio of the sides of the rectangle, from and to: Zhong et al. 2020, "Random
Erasing Data Augmentation", as in timm and torchvision."""


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Of what the images of a batch are made.

    Attributes:
        share: of the image itself, in [0, 1]; the rest is of its partner.
        partner: (B,) int64 on the CPU, places in the batch.
    """

    share: float
    partner: Tensor

    def blend(self, rows: Tensor) -> Tensor:
        """(B, D) float32 of the images, mixed as their labels are: of a rectangle, too, by its share of the image."""
        return torch.lerp(rows[self.partner.to(rows.device)], rows, self.share)

    def loss(self, objective: Objective, logits: Tensor, index: Tensor) -> Tensor:
        """Mean loss of the batch: either image's, by its share; arguments as those of `Objective`."""
        own, other = objective(logits, index), objective(logits, index[self.partner])
        return self.share * own + (1 - self.share) * other


def mix(x: Tensor, *, mixup: float, cutmix: float, random: np.random.Generator) -> tuple[Tensor, Mixture | None]:
    """Images of the batch with another of it in them, and how much; the whole batch by one draw.

    Args:
        x: (B, C, H, W) float32.
        mixup: alpha of Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization": all of either image; 0: not so.
        cutmix: alpha of Yun et al. 2019, "CutMix": a rectangle of the other image; 0: not so. With both, one is drawn.
        random: what is drawn from.
    """
    if not mixup and not cutmix:
        return x, None
    whole = random.random() < 0.5 if mixup and cutmix else bool(mixup)
    alpha = mixup if whole else cutmix
    share = float(random.beta(alpha, alpha))
    partner = torch.from_numpy(random.permutation(len(x)))
    other = x[partner.to(x.device)]
    if whole:
        return torch.lerp(other, x, share), Mixture(share, partner)
    height, width = x.shape[2:]
    side = math.sqrt(1 - share)
    top, bottom = _stretch(random.random(), side, height)
    left, right = _stretch(random.random(), side, width)
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    return mixed, Mixture(1 - (bottom - top) * (right - left) / (height * width), partner)


def erase(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Some images of (B, C, H, W) with a rectangle of zeros, each with that probability."""
    if not probability:
        return x
    n, (height, width) = len(x), x.shape[2:]
    draw = torch.rand(5, n, generator=generator)
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * draw[1]) * height * width
    low, high = map(math.log, _RATIO)
    ratio = torch.exp(low + (high - low) * draw[2])
    blank = torch.ones(n, 1, 1, dtype=torch.bool)
    for axis, (side, length) in enumerate(((height, (area * ratio).sqrt()), (width, (area / ratio).sqrt()))):
        length = length.round().clamp(1, side)  # noqa: PLW2901 - in whole pixels
        start = (draw[3 + axis] * (side - length + 1)).floor()
        place = torch.arange(side).expand(n, side)
        inside = (place >= start[:, None]) & (place < (start + length)[:, None])  # (n, side)
        blank = blank & (inside[:, :, None] if axis == 0 else inside[:, None, :])  # (n, H, W) in the end
    blank &= (draw[0] < probability).view(-1, 1, 1)
    return x.masked_fill(blank.unsqueeze(1).to(x.device), 0.0)


def _stretch(middle: float, share: float, side: int) -> tuple[int, int]:
    """First and last + 1 pixel of a stretch of `share` of a side around a point, cut off at the borders."""
    half, centre = side * share / 2, middle * side
    return max(0, round(centre - half)), min(side, round(centre + half))
