"""Splits and folds that a data set does not bring itself: stratified, grouped, and fixed by a seed.

Which part an image falls into depends on content and seed alone, not on file names, file order or a random
generator's version: images are ordered by sha256(seed, sha256 of the image). Images that are the same byte for byte
stay together, so a split made here never holds a copy from another; images of one group (a patient, a lesion) stay
together as well.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zoo._support.text import brief, format_count
from zoo.data._labels import count_labels
from zoo.data._splitting.deal import deal, units
from zoo.data._splitting.fingerprint import contents
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zoo.data._index import SplitName

__all__ = ["HELD_OUT", "folds", "stratify", "uneven"]

HELD_OUT = 0.15
"""Share of all images that val and test get each when they are made."""

Rows = NDArray[np.int64]


def stratify(
    rows: Rows,
    targets: NDArray[np.int64],
    digests: NDArray[np.uint8],
    shares: Mapping[SplitName, float],
    *,
    groups: NDArray[np.int64] | None = None,
    keep: NDArray[np.bool_] | None = None,
    same: NDArray[np.int64] | None = None,
    grouped_by: str | None = None,
    labels: Sequence[str],
    name: str,
    seed: int,
) -> dict[SplitName, Rows]:
    """Divide `rows` into train and the splits named in `shares`.

    Without groups, each class of single-label images is cut by itself, so shares are right to one image. Groups and
    several labels an image are dealt out as `zoo.data._splitting.deal` says, as evenly as they allow.

    Args:
        rows: (m,) positions of the images to divide.
        targets: class or labels of every image of the data set, as in `ImageSet`.
        digests: (n, 32), sha256 of every image.
        shares: fraction of `rows` for each split beside train.
        groups: (n,) group of every image.
        grouped_by: what made the groups, for errors.
        keep: (n,) images that have to stay in train, with their copies and their group.
        same: `contents` of the digests, where they are known.
        labels: class names, for errors.
        name: name of the data set, for errors.
        seed: another seed, another division.

    Returns:
        For train and each split of `shares`: ascending positions. Each class has an image in each; a label of
        images that may have several has one where there are enough.

    Raises:
        DataError: a class has fewer different images, or groups, than there are splits to fill.
    """
    same = np.unique((contents(digests) if same is None else same)[rows], return_inverse=True)[1]
    kept = np.zeros(same.max(initial=-1) + 1, bool)
    if keep is not None:
        kept[same[keep[rows]]] = True
    rank = _order(digests[rows], same, seed)
    parts: tuple[SplitName, ...] = ("train", *shares)
    if targets.ndim == 1 and groups is None:
        part = _by_class(same, targets[rows], rank, kept, list(shares.values()), labels=labels, name=name, parts=parts)
    else:
        mine = None if groups is None else groups[rows]
        given = [1 - sum(shares.values()), *shares.values()]
        part = _deal_units(same, targets[rows], rank, kept, given, groups=mine)
        _refuse_gaps(part, targets[rows], mine, grouped_by, labels=labels, name=name, parts=parts)
    return {split: np.sort(rows[part == number]) for number, split in enumerate(parts)}


def folds(
    targets: NDArray[np.int64],
    digests: NDArray[np.uint8],
    count: int,
    *,
    groups: NDArray[np.int64] | None = None,
    grouped_by: str | None = None,
    labels: Sequence[str],
    name: str,
    seed: int,
) -> NDArray[np.int64]:
    """Divide all images into `count` disjoint parts of equal shares.

    Args:
        targets: class or labels of every image, as in `ImageSet`.
        digests: (n, 32), sha256 of every image.
        count: at least 3: one is test, one validation, the rest training.
        groups: (n,) group of every image.
        grouped_by: what made the groups, for errors.
        labels: class names, for errors.
        name: name of the data set, for errors.
        seed: another seed, another division.

    Returns:
        (n,) fold of each image, from 0. Each class has an image in each fold.

    Raises:
        DataError: a class has fewer different images, or groups, than there are folds.
    """
    same = contents(digests)
    kept = np.zeros(same.max(initial=-1) + 1, bool)
    part = _deal_units(same, targets, _order(digests, same, seed), kept, [1 / count] * count, groups=groups)
    parts = [f"fold {number}" for number in range(count)]
    _refuse_gaps(part, targets, groups, grouped_by, labels=labels, name=name, parts=parts)
    return part


def uneven(
    targets: NDArray[np.int64], parts: Sequence[tuple[str, float, Rows]], labels: Sequence[str]
) -> tuple[str, ...]:
    """A note on the labels whose share of a part is off by more than a third, and by more than one image.

    Args:
        targets: class or labels of every image, as in `ImageSet`.
        parts: name, wanted share and images of each.
        labels: class names.
    """
    counts = np.array([count_labels(targets[rows], len(labels)) for _, _, rows in parts])
    totals = counts.sum(axis=0)
    far = []
    for (part, share, _), have in zip(parts, counts, strict=True):
        off = np.abs(have - share * totals)
        wrong = np.flatnonzero((off > share * totals / 3) & (off > 1)).tolist()
        far += [f"{have[k] / totals[k]:.0%} of {labels[k]!r} in {part} instead of {share:.0%}" for k in wrong]
    if not far:
        return ()
    more = f" and {len(far) - 3} more" if len(far) > 3 else ""
    return (f"groups kept whole leave shares uneven: {', '.join(far[:3])}{more}",)


def _by_class(
    same: Rows,
    classes: NDArray[np.int64],
    rank: Rows,
    kept: NDArray[np.bool_],
    shares: Sequence[float],
    *,
    labels: Sequence[str],
    name: str,
    parts: Sequence[str],
) -> Rows:
    """Part of each image: within a class, the held-out parts take the last contents by rank, one after the other."""
    pairs = np.unique(classes * len(kept) + same)  # each content once in each of its classes
    classes_of, content = pairs // len(kept), pairs % len(kept)
    # under two classes: divided class by class, copies could part
    stuck = kept | (np.bincount(content, minlength=len(kept)) > 1)
    part = np.zeros(len(kept), np.int64)
    for target in np.unique(classes_of).tolist():
        copies = content[np.searchsorted(classes_of, target) : np.searchsorted(classes_of, target, "right")]
        free = copies[~stuck[copies]]
        if len(copies) < len(parts) or len(free) < len(shares):
            raise DataError(
                f"{name}: class {labels[target]!r} has {len(free)} different images to divide, expected "
                f"at least {len(parts)} for {', '.join(parts)}; add images, or bring your own split folders",
                code="split-too-few",
                label=labels[target],
                images=len(free),
                parts=list(parts),
            )
        free = free[np.argsort(rank[free])]
        for number, share in enumerate(shares, 1):
            wanted = max(1, int(len(copies) * share + 0.5))
            taken = min(wanted, len(free) - (len(shares) - number))  # the later parts need one each
            free, chosen = free[: len(free) - taken], free[len(free) - taken :]
            part[chosen] = number
    return part[same]


def _deal_units(
    same: Rows,
    targets: NDArray[np.int64],
    rank: Rows,
    kept: NDArray[np.bool_],
    shares: Sequence[float],
    *,
    groups: NDArray[np.int64] | None,
) -> Rows:
    """Part of each image, with units dealt out whole; those with a kept image stay in the first part."""
    members = units(same, groups)
    n = int(members.max(initial=-1)) + 1
    lowest = np.full(n, len(kept), np.int64)
    np.minimum.at(lowest, members, rank[same])
    fixed = np.full(n, -1, np.int64)
    fixed[members[kept[same]]] = 0
    return deal(members, targets, shares, lowest, fixed)[members]


def _refuse_gaps(
    part: Rows,
    targets: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    grouped_by: str | None,
    *,
    labels: Sequence[str],
    name: str,
    parts: Sequence[str],
) -> None:
    """Refuse a class that is not in every part; labels of which an image has several may be rarer than parts."""
    if len(np.unique(part)) < len(parts):
        raise _too_few(f"the data of {name} has", np.ones(len(part), np.bool_), groups, grouped_by, parts)
    if targets.ndim != 1:
        return
    there = np.unique(targets)
    for number in range(len(parts)):
        for k in np.setdiff1d(there, targets[part == number]).tolist():
            what = f"class {labels[k]!r} of {name} has"
            raise _too_few(what, targets == k, groups, grouped_by, parts, label=labels[k])


def _too_few(
    what: str,
    mine: NDArray[np.bool_],
    groups: NDArray[np.int64] | None,
    grouped_by: str | None,
    parts: Sequence[str],
    **fields: str,
) -> DataError:
    """The refusal of images of which one part would have none; it names what made their groups."""
    held, remedy = format_count(int(mine.sum()), "image"), "add images"
    if groups is not None:
        count = len(np.unique(groups[mine]))
        held += f" of {format_count(count, 'group')}" + (f" (by {grouped_by})" if grouped_by else "")
        remedy += " of other groups, or name other groups by --group"
        fields_of_groups = {"groups": count, "grouped_by": grouped_by}
    else:
        fields_of_groups = {}
    return DataError(
        f"{what} {held}, expected enough for each of {brief(parts)}; {remedy}, or ask for fewer parts",
        code="split-too-few",
        images=int(mine.sum()),
        parts=list(parts),
        **fields_of_groups,
        **fields,
    )


def _order(digests: NDArray[np.uint8], same: Rows, seed: int) -> Rows:
    """(C,) place of each content in the order that the seed gives them."""
    first = np.unique(same, return_index=True)[1]
    start = hashlib.sha256(f"{seed}:".encode())
    keys = bytearray()
    for number in first.tolist():
        key = start.copy()
        key.update(digests[number].tobytes().hex().encode())
        keys += key.digest()
    return contents(np.frombuffer(keys, np.uint8).reshape(-1, 32))
