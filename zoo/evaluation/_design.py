"""Images of one patient, or of another group, are alike: the design effect, and one image of each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["count_units", "draw_independent", "find_effect"]


def find_effect(groups: NDArray[np.int64], ratio: float, speaking: float) -> float:
    """The design effect 1 + (m - 1) r, at least 1 (Kish 1965, Survey Sampling, chapter 5).

    m is the number of images in the group of an image, on average over images. r, the correlation within groups, is
    what `ratio` says of it, drawn toward 1 as if one more group had shown that. Where the spread comes from two or
    three groups it says little of r, and intervals that believe it are too narrow.

    Args:
        groups: (n,) int in [0, g), equal for images of one patient.
        ratio: the variance over groups, divided by that of as many independent images.
        speaking: number of groups that the variance over groups comes from, 0 or more.
    """
    size = np.bincount(groups)
    more = float((size**2).sum() / size.sum()) - 1
    if more == 0:
        return 1.0
    correlation = min(1.0, max(0.0, (ratio - 1) / more))
    return 1 + more * (speaking * correlation + 1) / (speaking + 1)


def count_units(n: int, groups: NDArray[np.int64] | None) -> int:
    """How many independent units n images are: as many as images or, where they are known, (n,), as groups."""
    return n if groups is None else len(np.unique(groups))


def draw_independent(n: int, groups: NDArray[np.int64] | None, seed: int) -> NDArray[np.int64]:
    """Places of n images in a drawn order, (m,); where groups are known, (n,), one image of each."""
    order = np.random.default_rng(seed).permutation(n)
    return order if groups is None else order[np.sort(np.unique(groups[order], return_index=True)[1])]
