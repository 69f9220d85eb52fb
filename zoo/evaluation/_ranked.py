"""Cuts of a score: between which images a threshold can lie, and what each cut calls on every resample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.evaluation._scores import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.evaluation.metrics import Weights

__all__ = ["EXACT", "Ranked"]

GAP = 2e-5
"""Scores nearer than this in log-odds tie. The threshold lies midway, 1e-5 from both, which is more than float32 and
another runtime change of most answers; so the same images are called wherever the file runs."""
SPACINGS = 4
"""Float32 numbers, at least, between two scores that do not tie: near 1 they are coarser than GAP."""
EXACT = 1e-9
"""How far a share may lie below what was asked for; 1 - 0.9 is not 0.1 to a computer."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """Images by their probability, from the highest down, in steps of those that tie.

    Attributes:
        order: (m,) places of the images.
        starts: (G,) first place in `order` of each step.
        thresholds: (G + 1,) falling; the one of place g calls the first g steps. It lies midway between the nearest
            probabilities on both sides; the first midway to 1, the last midway to 0.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    thresholds: Array

    @classmethod
    def of(cls, probabilities: Array, images: NDArray[np.int64]) -> Ranked:
        """Rank `images`, (m,) places in `probabilities`, (n,); m is at least 1."""
        order = images[np.argsort(-probabilities[images], kind="stable")]
        scores = probabilities[order]
        upper, lower = scores[:-1], scores[1:]
        least = np.maximum(GAP * upper * (1 - upper), SPACINGS * np.spacing(upper.astype(np.float32)))
        starts = np.concatenate([[0], np.flatnonzero(upper - lower >= least) + 1])
        ends = np.concatenate([[1.0], scores]) + np.concatenate([scores, [0.0]])  # (m + 1,)
        return cls(order, starts, ends[np.append(starts, len(order))] / 2)

    def sum_above(self, weights: Weights, images: NDArray[np.bool_]) -> Array:
        """(B, G + 1): weight of those of `images`, (n,), that each threshold calls; `weights` are (B, n)."""
        steps = np.add.reduceat(weights[:, self.order] * images[self.order], self.starts, axis=1)
        return np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)
