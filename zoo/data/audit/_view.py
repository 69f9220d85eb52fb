"""A pool and what was seen of it, side by side, and in which words findings speak of its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.data._index import SPLITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.data._index import Pool
    from zoo.data.audit._look import Looks

__all__ = ["WHOLE", "View"]

WHOLE = "all"
"""The name under which a set without splits is counted."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What the makers of findings work on.

    Attributes:
        pool: the set.
        looks: what was seen of its images.
        split: (n,) int32, positions in `names`; -1: in none of the splits that there are.
        names: of the splits, or else the folds, that the set brings; `WHOLE` alone where it brings none.
    """

    pool: Pool
    looks: Looks
    split: NDArray[np.int32]
    names: tuple[str, ...]

    @classmethod
    def of(cls, pool: Pool, looks: Looks) -> View:
        """Number the splits, or the folds: each of them is test once."""
        split = np.zeros(len(pool.ids), np.int32)
        if pool.folds is not None and not pool.rows:
            numbers, split[:] = np.unique(pool.folds, return_inverse=True)
            return cls(pool, looks, split, tuple(f"fold {number}" for number in numbers.tolist()))
        names = tuple(name for name in SPLITS if name in pool.rows)
        if names:
            split[:] = -1
        for number, name in enumerate(names):
            split[pool.rows[name]] = number
        return cls(pool, looks, split, names or (WHOLE,))

    @property
    def divided(self) -> bool:
        """The set brings splits or folds."""
        return self.names != (WHOLE,)

    @property
    def folded(self) -> bool:
        """What divides the set is folds."""
        return self.divided and not self.pool.rows

    def files(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """Ids of the images at `rows`."""
        return tuple(self.pool.ids[int(row)] for row in rows)

    def side_by_side(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """`rows` in turns from each split, so that the first few come from different splits."""
        split = self.split[rows]
        turn = np.zeros(len(rows), np.int64)
        for number in np.unique(split):
            turn[split == number] = np.arange((split == number).sum())
        return rows[np.lexsort((rows, split, turn))]

    def across(self, rows: Sequence[int] | NDArray[np.int64]) -> bool:
        """Whether the images at `rows` are in more than one split."""
        found = self.split[rows]
        return len(np.unique(found[found >= 0])) > 1

    def where(self, rows: Sequence[int] | NDArray[np.int64]) -> str:
        """', in train (3) and test (1)'; nothing without splits."""
        if not self.divided:
            return ""
        counts = np.bincount(self.split[rows][self.split[rows] >= 0], minlength=len(self.names))
        there = [f"{name} ({count})" for name, count in zip(self.names, counts.tolist(), strict=True) if count]
        return ", in " + " and ".join(there) if there else ", in no split"

    def labels(self, row: int) -> tuple[str, ...]:
        """The class of an image, or all labels that it is known to have."""
        target = self.pool.targets[row]
        if self.pool.targets.ndim == 1:
            return (self.pool.labels[int(target)],)
        return tuple(self.pool.labels[k] for k in np.flatnonzero(target == 1).tolist())

    def conflict(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """The different labellings of the images at `rows`, quoted; empty where they agree."""
        targets = self.pool.targets[np.asarray(rows)]
        if targets.ndim == 2 and not ((targets == 1).any(axis=0) & (targets == 0).any(axis=0)).any():
            return ()  # what one image leaves open contradicts nothing
        different = sorted({self.labels(int(row)) for row in rows})
        return tuple(repr(" and ".join(one) or "no label") for one in different) if len(different) > 1 else ()
