"""A share of independent trials, and its interval; shared by evaluation and by devices, which have no scipy."""

from __future__ import annotations

import math

__all__ = ["Z95", "wilson"]

Z95 = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution


def wilson(value: float, trials: float) -> tuple[float, float]:
    """95 % score interval of a proportion in [0, 1] (Wilson 1927, J. Am. Stat. Assoc. 22:209)."""
    spread = Z95**2 / trials
    middle = (value + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(max(0.0, value * (1 - value)) / trials + spread / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
