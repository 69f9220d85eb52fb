"""Near-duplicates among very many images: which pairs are alike, without a table of all pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zoo.data.audit._spectrum import best_turn, invariants

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EXHAUSTIVE", "MOST_PAIRS", "THRESHOLD", "Pairs", "near_pairs", "threshold_for"]

Floats = NDArray[np.float32]

THRESHOLD = 0.9
"""Whitened correlation of near-duplicates. Copies re-saved as JPEG (quality 50), halved, mirrored or brightened by
20 % keep 0.90 and more even at 28 × 28 pixels; unrelated images of six medical sets stay below 0.86."""
CEILING = 0.97
"""The threshold never rises above this, however alike the images of a set are."""

EXHAUSTIVE = 100_000
"""Up to so many images every pair is compared; beyond, those that share a hash bucket."""
TABLES, CROWD = 32, 256
"""Hash tables for larger sets, and images to a bucket: multiplying a few hundred rows at once is nearly free, and the
fewer bits tell buckets apart, the fewer pairs are parted."""

MOST_PAIRS = 2_000_000
"""The search ends with so many pairs: a set of that kind needs no longer list."""

TILE = 2048
_AT_ONCE = 16_384  # pairs compared at a time: 40 MB of floats


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Images that are alike, `first` < `second`.

    Attributes:
        first: (m,) int64, positions.
        second: (m,) int64.
        correlation: (m,) float32, whitened, in the best orientation.
        turn: (m,) uint8, positions in `zoo.data.audit._spectrum.TURNS`.
        exhaustive: all pairs were compared, not only those that share a hash bucket.
        complete: the search was not ended by `MOST_PAIRS`.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    correlation: Floats
    turn: NDArray[np.uint8]
    exhaustive: bool = True
    complete: bool = True


def threshold_for(patterns: Floats) -> float:
    """The correlation from which a pair is unusual in this set.

    `THRESHOLD`, or higher where unrelated images are more alike than that: then Tukey's outer fence (upper quartile
    plus three times the interquartile range, Exploratory Data Analysis, 1977) of the correlations of random pairs.

    Args:
        patterns: (n, terms, terms), as `whiten` gives them.
    """
    rng = np.random.default_rng(0)  # the same set, the same threshold
    drawn = rng.integers(0, len(patterns), (2, min(20_000, 20 * len(patterns))))
    first, second = drawn[:, drawn[0] != drawn[1]]
    if len(first) < 100:  # too few to know what is usual
        return THRESHOLD
    low, high = np.quantile(best_turn(patterns[first], patterns[second])[0], (0.25, 0.75))
    return float(min(CEILING, max(THRESHOLD, high + 3 * (high - low))))


def near_pairs(
    patterns: Floats,
    threshold: float,
    *,
    exhaustive: int = EXHAUSTIVE,
) -> Pairs:
    """Every pair with a correlation of `threshold` or more in its best orientation.

    Args:
        patterns: (n, terms, terms), as `whiten` gives them.
        threshold: in (0, 1].
        exhaustive: up to so many images all pairs are compared. Beyond, two images are compared when they share one
            of `TABLES` buckets, which most pairs at the threshold and nearly all closer ones do.
    """
    keys = invariants(patterns)
    every = len(keys) <= exhaustive
    candidates = _all_pairs if every else _bucket_pairs
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats, NDArray[np.uint8]]] = []
    count, complete = 0, True
    for first, second in candidates(keys, threshold):
        for start in range(0, len(first), _AT_ONCE):
            a, b = first[start : start + _AT_ONCE], second[start : start + _AT_ONCE]
            correlation, turn = best_turn(patterns[a], patterns[b])
            near = correlation >= threshold
            found.append((a[near], b[near], correlation[near], turn[near]))
            count += int(near.sum())
        if count > MOST_PAIRS:
            complete = False
            break
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.uint8)
    first, second, correlation, turn = (np.concatenate(parts) for parts in zip(nothing, *found, strict=True))
    # a pair may share several buckets
    _, once = np.unique(first * len(patterns) + second, return_index=True)
    return Pairs(first[once], second[once], correlation[once], turn[once], every, complete)


Candidates = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Positions `first` < `second`."""


def _all_pairs(keys: Floats, threshold: float) -> Iterator[Candidates]:
    """Tile by tile of the table of all pairs."""
    for top in range(0, len(keys), TILE):
        for left in range(top, len(keys), TILE):
            alike = keys[top : top + TILE] @ keys[left : left + TILE].T >= threshold
            a, b = np.nonzero(np.triu(alike, 1) if top == left else alike)
            yield a + top, b + left


def _bucket_pairs(keys: Floats, threshold: float) -> Iterator[Candidates]:
    """Within the buckets of locality-sensitive hashing by random hyperplanes (Charikar, STOC 2002)."""
    rng = np.random.default_rng(0)
    width = max(1, round(math.log2(max(2, len(keys) / CROWD))))
    middle = keys[rng.integers(0, len(keys), 10_000)].mean(axis=0)
    for _ in range(TABLES):
        planes = rng.standard_normal((keys.shape[1], width)).astype(np.float32)
        bits = np.empty(len(keys), np.int64)
        for start in range(0, len(keys), 65_536):
            sides = (keys[start : start + 65_536] - middle) @ planes > 0
            bits[start : start + 65_536] = sides @ (1 << np.arange(width))
        order = np.argsort(bits, kind="stable")
        ends = np.flatnonzero(np.diff(bits[order])) + 1
        for members in np.split(order, ends):
            if len(members) > 1:
                for a, b in _all_pairs(keys[members], threshold):
                    yield members[a], members[b]
