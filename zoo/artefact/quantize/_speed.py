"""How much faster one file is than another on this machine: in turn, on the same raw images.

A machine that does other work slows both files of a pair alike, so the ratio within pairs is steadier than either
time. What other work there is changes slowly, so neighbouring pairs are not independent: the bootstrap draws whole
blocks of them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from zoo._support.machine import cores, processor
from zoo.spec import Interval, Speed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["measure"]

_WARM_UP = 3
_PAIRS = (40, 200)
_SECONDS = 6.0
"""Pairs are run for about this long, within _PAIRS."""
_RESAMPLES = 1000
_BLOCKS = 10


class Timed(Protocol):
    """A `zoo.edge.Runtime`, or a network without the nodes around it."""

    def logits(self, images: NDArray[Any], /) -> NDArray[np.float32]:
        """Answer a batch."""


def measure(float32: Timed, quantised: Timed, images: Sequence[NDArray[Any]]) -> Speed:
    """Time both files on raw images, one at a time, preprocessing included; or two networks on preprocessed ones.

    Args:
        float32: the file that was quantised.
        quantised: what became of it.
        images: raw (H, W, C) images, or (C, h, w) as networks take them, at least one; pairs take them in turn.

    Returns:
        The median ratio of pairs with its bootstrap interval.
    """
    for _ in range(_WARM_UP):
        _milliseconds(float32, images[0])
        _milliseconds(quantised, images[0])
    once = _milliseconds(float32, images[0]) + _milliseconds(quantised, images[0])
    count = int(np.clip(_SECONDS * 1e3 / max(once, 1e-3), *_PAIRS))
    times = np.empty((count, 2))
    for pair in range(count):
        image = images[pair % len(images)]
        order = (0, 1) if pair % 2 == 0 else (1, 0)  # neither file always finds the other's caches
        for which in order:
            times[pair, which] = _milliseconds((float32, quantised)[which], image)
    ratios = times[:, 0] / times[:, 1]
    blocks = np.array_split(ratios, _BLOCKS)
    drawn = np.random.default_rng(0).integers(0, _BLOCKS, (_RESAMPLES, _BLOCKS))
    medians = [float(np.median(np.concatenate([blocks[block] for block in row]))) for row in drawn]
    low, high = np.quantile(medians, (0.025, 0.975))
    middle = float(np.median(ratios))
    return Speed(
        ratio=Interval(value=middle, low=min(float(low), middle), high=max(float(high), middle)),
        float32_ms=float(np.median(times[:, 0])),
        ms=float(np.median(times[:, 1])),
        pairs=count,
        threads=cores(),
        machine=f"{processor().name}, {cores()} cores",
    )


def _milliseconds(runtime: Timed, image: NDArray[Any]) -> float:
    start = time.perf_counter()
    runtime.logits(image[None])
    return (time.perf_counter() - start) * 1e3
