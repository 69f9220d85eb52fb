"""Holm's correction of tests that are read together, and the level below which a corrected p shows something."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALPHA", "correct"]

ALPHA = 0.05

_Key = TypeVar("_Key")


def correct(ps: Mapping[_Key, float]) -> dict[_Key, float]:
    """Each p corrected for all of them, the smallest first (Holm 1979, Scand. J. Stat. 6:65)."""
    largest = 0.0
    corrected: dict[_Key, float] = {}
    for rank, (key, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(ps) - rank)))
        corrected[key] = largest
    return corrected
