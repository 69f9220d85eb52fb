"""What a batch goes through: seeds of what is random, and the arithmetic from raw values to the network's input.

Everything random is a function of the seed and of where in the training it happens, never of what happened
before; so a resumed run sees the batches that an unbroken one would have seen.

What this module does not know: files, models, labels, which images are in which batch (`zoo.learn._order`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from zoo.preprocess import NO_CONTRAST, place_window
from zoo.spec import Percentile, PreprocessSpec, Scale, Voi

__all__ = ["generator", "seed_of", "standardize", "to_unit"]


def seed_of(seed: int, *position: int) -> int:
    """A seed for one place in the training, such as (epoch, step); other places give unrelated numbers."""
    return int(np.random.SeedSequence((seed, *position)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, *position: int) -> torch.Generator:
    """A generator on the CPU, seeded by `seed_of`."""
    return torch.Generator().manual_seed(seed_of(seed, *position))


def to_unit(raw: Tensor, spec: PreprocessSpec) -> Tensor:
    """Raw values to [0, 1] by the spec's intensity; the first part of `zoo.preprocess.normalize_batch`.

    Args:
        raw: (N, h, w, c) uint8 or float32, as `zoo.preprocess.resize_image` gives it.
        spec: what to do.

    Returns:
        (N, c, h, w) float32, a view with the channels last in memory.
    """
    x = raw.permute(0, 3, 1, 2).float()
    intensity = spec.intensity
    if isinstance(intensity, Scale):
        return x / intensity.maximum
    if isinstance(intensity, Voi):
        return x
    if isinstance(intensity, Percentile):
        padded = _find_padding(x, intensity)
        ends = (intensity.low, intensity.high)
        depth = 2 if intensity.per == "channel" else 1  # sides that tell apart what has percentiles of its own
        if padded is None:
            low, high = (_percentile(x, q, depth) for q in ends)
        else:
            low, high = _percentiles_of_rest(x, padded, ends, depth)
        flat = high - low <= float(NO_CONTRAST) * torch.maximum(low.abs(), high.abs())
        unit = ((x - low) / (high - low).masked_fill(flat, torch.finfo(x.dtype).max)).clamp(0, 1)
        return unit if padded is None else unit.masked_fill(padded, 0)
    middle, span = (torch.from_numpy(ends).to(x.device) for ends in place_window(intensity))
    return ((x - middle) / span + 0.5).clamp(0, 1)


def standardize(unit: Tensor, spec: PreprocessSpec) -> Tensor:
    """(x - mean) / std for each channel of (N, c, h, w); the last part of `zoo.preprocess.normalize_batch`."""
    mean = torch.tensor(spec.mean, device=unit.device).view(1, -1, 1, 1)
    std = torch.tensor(spec.std, device=unit.device).view(1, -1, 1, 1)
    return (unit - mean) / std


def _find_padding(x: Tensor, intensity: Percentile) -> Tensor | None:
    """`zoo.preprocess.find_padding` on the device; None where the images have none."""
    found = None
    for low, high in np.asarray(intensity.padding, np.float32).tolist():
        inside = (x >= low) & (x <= high)
        found = inside if found is None else found | inside
    return found


def _percentile(x: Tensor, q: float, depth: int) -> Tensor:
    """The percentile of each image, (N, 1, 1, 1), or of depth 2 of each channel, (N, c, 1, 1); linear between ranks.

    Not torch.quantile, which refuses tensors above 16 million values.
    """
    flat = x.flatten(depth)
    position = q / 100 * (flat.shape[-1] - 1)
    rank = math.floor(position)
    below = flat.kthvalue(rank + 1, dim=-1, keepdim=True).values
    above = flat.kthvalue(min(rank + 2, flat.shape[-1]), dim=-1, keepdim=True).values
    return _beside_pictures(torch.lerp(below, above, position - rank))


def _beside_pictures(ends: Tensor) -> Tensor:
    """(N, 1) to (N, 1, 1, 1), and (N, c, 1) to (N, c, 1, 1)."""
    return ends.view(len(ends), -1, 1, 1)


def _percentiles_of_rest(x: Tensor, padded: Tensor, ends: tuple[float, float], depth: int) -> list[Tensor]:
    """As `_percentile`, of the values that are not padding; each image has another number of them."""
    ascending = x.masked_fill(padded, torch.finfo(x.dtype).max).flatten(depth).sort(dim=-1).values
    last = ((~padded).flatten(depth).sum(dim=-1, keepdim=True) - 1).clamp(min=0)
    found = []
    for q in ends:
        place = last.float() * (q / 100)
        below, above = (ascending.gather(-1, rank.long().minimum(last)) for rank in (place.floor(), place.ceil()))
        found.append(_beside_pictures(torch.lerp(below, above, place.frac())))
    return found
