"""Deal whole groups of images out to splits or folds, so that each gets its share of each label.

After iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML PKDD 2011, algorithm 1): the label with the fewest
units left is dealt out first, each unit to the part that needs it most. Here a unit is a group of images that must not
be parted (a patient, copies of one picture), so it brings a count of each label, and large units come first. The
need is weighed over all labels of the unit: it goes where sum((have - wanted)² / wanted) grows least. The last units
that hold a label go to the parts that still lack it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["deal", "units"]


def units(same: NDArray[np.int64], groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Which images must stay together: those of one group, and those that are equal byte for byte.

    Args:
        same: (m,) content of each image.
        groups: (m,) group of each image; None: there are none.

    Returns:
        (m,), numbered from 0.
    """
    contents = np.unique(same, return_inverse=True)[1].reshape(-1)
    if groups is None:
        return contents
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1)
    root = np.arange(groups.max(initial=-1) + 1, dtype=np.int64)  # of each group: the smallest it is joined to
    while True:
        lowest = np.full(contents.max(initial=-1) + 1, len(root), np.int64)
        np.minimum.at(lowest, contents, root[groups])
        joined = root.copy()
        np.minimum.at(joined, groups, lowest[contents])
        joined = joined[joined]
        if np.array_equal(joined, root):
            return np.unique(root[groups], return_inverse=True)[1].reshape(-1)
        root = joined


def deal(
    members: NDArray[np.int64],
    targets: NDArray[np.int64],
    shares: Sequence[float],
    rank: NDArray[np.int64],
    fixed: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Give every unit to one part.

    Args:
        members: (m,) unit of each image, numbered from 0.
        targets: (m,) class of each image, or (m, K) zeros, ones and UNKNOWN, which counts as nothing.
        shares: share of all images for each part; they add up to 1.
        rank: (U,) the order of units of one size; no two are equal.
        fixed: (U,) part of the units that are dealt already, -1 for the others.

    Returns:
        (U,) part of each unit.
    """
    sizes = np.bincount(members).tolist()
    unit, label, count = _marks(members, targets)
    table = _Table(shares, sizes, label, count)
    first = np.searchsorted(unit, np.arange(len(sizes) + 1)).tolist()
    marks = list(zip(label.tolist(), count.tolist(), strict=True))
    part = [-1] * len(sizes)
    if fixed is not None:
        for u in np.flatnonzero(fixed >= 0).tolist():
            part[u] = int(fixed[u])
            table.give(part[u], sizes[u], marks[first[u] : first[u + 1]])
    order = np.lexsort((rank[unit], -np.asarray(sizes)[unit], label))  # by label, then the largest first
    queues = np.split(unit[order], np.cumsum(np.bincount(label, minlength=table.labels))[:-1])
    while (rarest := table.rarest()) is not None:
        for u in queues[rarest].tolist():
            if part[u] < 0:
                mine = marks[first[u] : first[u + 1]]
                part[u] = table.best(sizes[u], mine)
                table.give(part[u], sizes[u], mine)
    return np.asarray(part, np.int64)


def _marks(members: NDArray[np.int64], targets: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Unit, label and number of images of each label that a unit holds, by unit; no label counts as one more."""
    if targets.ndim == 1:
        rows, label, labels = np.arange(len(targets)), targets, int(targets.max(initial=0)) + 1
    else:
        labels = targets.shape[1] + 1
        held = targets == 1
        rows, label = np.nonzero(np.column_stack((held, ~held.any(axis=1))))
    pairs, count = np.unique(members[rows] * labels + label, return_counts=True)
    return pairs // labels, pairs % labels, count


class _Table:
    """What each part has and wants, while units are dealt."""

    def __init__(
        self, shares: Sequence[float], sizes: Sequence[int], label: NDArray[np.int64], count: NDArray[np.int64]
    ) -> None:
        totals = np.bincount(label, weights=count)
        self.labels = len(totals)
        self.left = np.bincount(label).tolist()  # units that hold a label and are not dealt yet
        self.lacking = [len(shares)] * self.labels  # parts without the label
        # the last column counts images, whatever their labels
        self.wanted = [[*(share * totals).tolist(), share * sum(sizes)] for share in shares]
        self.have = [[0.0] * (self.labels + 1) for _ in shares]

    def rarest(self) -> int | None:
        """The label with the fewest units left; None: all are dealt."""
        waiting = [(left, k) for k, left in enumerate(self.left) if left]
        return min(waiting)[1] if waiting else None

    def best(self, size: int, marks: Sequence[tuple[int, int]]) -> int:
        """The part that a unit should go to; of equal ones the first."""
        last_chance = [k for k, _ in marks if self.left[k] <= self.lacking[k]]
        found, best = 0, (float("inf"), float("inf"))
        for part, (have, wanted) in enumerate(zip(self.have, self.wanted, strict=True)):
            helped = sum(have[k] == 0 for k in last_chance)
            cost = size * (2 * (have[-1] - wanted[-1]) + size) / wanted[-1]
            for k, c in marks:
                cost += c * (2 * (have[k] - wanted[k]) + c) / wanted[k]
            if (-helped, cost) < best:
                found, best = part, (-helped, cost)
        return found

    def give(self, part: int, size: int, marks: Sequence[tuple[int, int]]) -> None:
        """Put a unit into a part."""
        have = self.have[part]
        have[-1] += size
        for k, c in marks:
            if not have[k]:
                self.lacking[k] -= 1
            have[k] += c
            self.left[k] -= 1
