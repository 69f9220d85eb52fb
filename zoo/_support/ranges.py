"""Ranges of values, such as those of padding: which values lie in them, and how they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["describe_ranges", "in_ranges"]


def in_ranges(values: NDArray[Any], ranges: Iterable[tuple[float, float]]) -> NDArray[np.bool_]:
    """As `values`, True where one of the (smallest, largest) holds a value; compared as float32, both ends count."""
    found = np.zeros(values.shape, np.bool_)
    for low, high in ranges:
        found |= (values >= np.float32(low)) & (values <= np.float32(high))
    return found


def describe_ranges(ranges: Iterable[tuple[float, float]]) -> str:
    """'-2000, 3000 to 4095'."""
    return ", ".join(f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in ranges)
