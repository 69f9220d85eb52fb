"""Splits that a data set does not bring itself: stratified by class and fixed by a seed.

Which split an image falls into depends on its content and the seed alone, not on file names, file order or a
random generator's version: within a class, images are ordered by sha256(seed, sha256 of the image). Images
that are the same byte for byte stay together, so a split made here never holds a copy from another.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from zoo.data.index import SplitName

__all__ = ["HELD_OUT", "stratified"]

HELD_OUT = 0.15
"""Share of all images that val and test get each when they are made."""

Rows = NDArray[np.int64]


def stratified(
    rows: Rows,
    targets: NDArray[np.int64],
    digests: Sequence[str],
    shares: dict[SplitName, float],
    *,
    keep: Set[str],
    labels: Sequence[str],
    name: str,
    seed: int,
) -> dict[SplitName, Rows]:
    """Divide `rows` into train and the splits named in `shares`.

    Args:
        rows: (m,) positions of the images to divide.
        targets: class of every image of the data set, indexed by position.
        digests: sha256 of every image of the data set, indexed by position.
        shares: fraction of `rows` for each split beside train.
        keep: sha256 of images that have to stay in train.
        labels: class names, for errors.
        name: of the data set, for errors.
        seed: another seed, another division.

    Returns:
        For train and each split of `shares`: ascending positions. Each class has an image in each.

    Raises:
        DataError: a class has fewer different images than there are splits to fill.
    """
    parts: dict[SplitName, list[int]] = {"train": [], **{split: [] for split in shares}}
    classes = targets[rows]
    keep = keep | _under_two_classes(rows.tolist(), classes.tolist(), digests)
    for target in np.unique(classes).tolist():
        copies: dict[str, list[int]] = {}
        for row in rows[classes == target].tolist():
            copies.setdefault(digests[row], []).append(row)
        free = [digest for digest in copies if digest not in keep]
        if len(copies) < len(parts) or len(free) < len(shares):
            raise DataError(
                f"{name}: class {labels[target]!r} has {len(free)} different images to divide, expected "
                f"at least {len(parts)} for {', '.join(parts)}; add images, or bring your own split folders"
            )
        # popped from the end, one held-out split after the other; what is left stays in train
        free.sort(key=lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).digest())
        n = len(copies)
        for later, (split, share) in zip(reversed(range(len(shares))), shares.items(), strict=True):
            wanted = max(1, int(n * share + 0.5))
            for _ in range(min(wanted, len(free) - later)):
                parts[split].extend(copies.pop(free.pop()))
        parts["train"].extend(row for same in copies.values() for row in same)
    return {split: np.sort(np.array(chosen, np.int64)) for split, chosen in parts.items()}


def _under_two_classes(rows: Sequence[int], classes: Sequence[int], digests: Sequence[str]) -> set[str]:
    """Images that stand under more than one class: divided class by class, their copies could part."""
    first: dict[str, int] = {}
    return {
        digests[row]
        for row, target in zip(rows, classes, strict=True)
        if first.setdefault(digests[row], target) != target
    }
