"""The Pareto front of models: those that no other beats at every cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["Range", "exact", "find_front"]

Range = tuple[float, float]
"""Lowest and highest usual value of a cost."""


def find_front(costs: Mapping[str, Sequence[Range | None]]) -> tuple[tuple[str, ...], list[bool]]:
    """The axes that every model has a value on, and whether each model is on the front.

    Ranges that overlap count as equal: a cost that was measured then draws the same front each time.

    Args:
        costs: axis to the range of each model, less is better; None: not known.
    """
    known = {axis: ranges for axis, ranges in costs.items() if None not in ranges}
    table = np.array(list(known.values()), dtype=np.float64)  # (axes, models, 2)
    low, high = table[..., 0].T, table[..., 1].T  # (models, axes)
    front = [not ((low <= high[i]).all(axis=1) & (high < low[i]).any(axis=1)).any() for i in range(len(low))]
    return tuple(known), front


def exact(value: float | None) -> Range | None:
    """A cost without a spread."""
    return None if value is None else (value, value)
