"""A share of images with Wilson's interval, whose trials are images or, where they are known, groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.evaluation.intervals import wilson
from zoo.spec import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bound_share", "count_units"]


def count_units(of: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> int:
    """How many independent units are among the images `of`, (n,): the images, or the groups they come from."""
    return int(of.sum()) if groups is None else len(np.unique(groups[of]))


def bound_share(right: NDArray[np.bool_], of: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> Interval | None:
    """The share of the images `of`, (n,), that are `right`, (n,); None: there is none of them."""
    if not of.any():
        return None
    value = float(right[of].mean())
    low, high = wilson(value, count_units(of, groups))
    return Interval(value=value, low=min(low, value), high=max(high, value), method="wilson")
