"""Images that would make the numbers on held-out images too good: copies, and groups that are in two splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from zoo._support.text import count_with_verb, format_count
from zoo.data._index import SPLITS
from zoo.data._labels import count_labels, label_text
from zoo.errors import DataError, GateError
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from zoo.data._index import Pool, SplitName

__all__ = ["Leaks", "conflicts", "copies_across", "groups_across", "without_leaks"]

Leaks = Literal["drop", "keep", "refuse"]

Rows = dict["SplitName", "NDArray[np.int64]"]

_PAIRS: tuple[tuple[SplitName, SplitName, str], ...] = (
    ("train", "val", "the choice of the best epoch is optimistic"),
    ("train", "test", "numbers on test are optimistic"),
    ("val", "test", "numbers on test are optimistic"),
)


def without_leaks(pool: Pool, rows: Rows, same: NDArray[np.int64], leaks: Leaks) -> tuple[Rows, tuple[str, ...]]:
    """Act on copies and groups that are in more than one split.

    Args:
        pool: all images.
        rows: its splits.
        same: (n,) content of each image.
        leaks: drop: training images that are copies of held-out ones are left out. keep: nothing is done. refuse:
            any copy in two splits is refused.

    Returns:
        The splits to train on, and notes on what was done to them.

    Raises:
        GateError: a copy (refuse) or, unless `keep`, a group is in two splits.
        DataError: dropping the copies leaves a class without a training image.
    """
    if leaks == "keep":
        there = bool(copies_across(rows, same) or groups_across(pool, rows))
        return rows, ("images or groups that are in two splits were kept, as asked",) if there else ()
    if leaks == "refuse":
        _refuse_copies(pool, rows, same)
    decisions: tuple[str, ...] = ()
    held_out = [rows[split] for split in ("val", "test") if split in rows]
    if "train" in rows and held_out:
        copy = np.isin(same[rows["train"]], same[np.concatenate(held_out)])
        if copy.any():
            left = rows["train"][~copy]
            _refuse_emptied(pool, rows["train"], left)
            rows = {**rows, "train": left}
            images = count_with_verb(int(copy.sum()), "training image")
            decisions = (f"{images} left out: the same, byte for byte, as validation or test images",)
    _refuse_groups(pool, rows)
    return rows, decisions


def copies_across(rows: Mapping[SplitName, NDArray[np.int64]], same: NDArray[np.int64]) -> list[str]:
    """One note for each pair of splits that share images byte for byte."""
    notes = []
    for first, second, consequence in _PAIRS:
        if first not in rows or second not in rows:
            continue
        shared = int(np.isin(same[rows[second]], same[rows[first]]).sum())
        if shared:
            notes.append(f"{_are(shared, 'image')} in both {first} and {second}, byte for byte; {consequence}")
    return notes


def groups_across(pool: Pool, rows: Mapping[SplitName, NDArray[np.int64]]) -> list[str]:
    """A note when groups are in more than one split."""
    count, _ = _count_shared_groups(pool, rows)
    if not count:
        return []
    return [f"{_are(count, 'group')} in more than one split; numbers are optimistic"]


def conflicts(pool: Pool, same: NDArray[np.int64]) -> list[str]:
    """A note when the same image is under two classes."""
    first = np.unique(same, return_index=True)[1][same]  # of each image: the first with its content
    # one that knows less than the other does not contradict it
    differs = (pool.targets != pool.targets[first]) & (pool.targets != UNKNOWN) & (pool.targets[first] != UNKNOWN)
    rows = np.flatnonzero(differs if differs.ndim == 1 else differs.any(axis=1))
    if not len(rows):
        return []
    a, b = (label_text(pool.labels, pool.targets[row]) for row in (first[rows[0]], rows[0]))
    images = _are(len(rows), "image")
    return [f"{images} under more than one class, byte for byte ({a!r} and {b!r}); one of the labels is wrong"]


def _are(n: int, noun: str) -> str:
    return f"{format_count(n, noun)} {'is' if n == 1 else 'are'}"


def _refuse_copies(pool: Pool, rows: Rows, same: NDArray[np.int64]) -> None:
    counts: list[str] = []
    pairs: list[str] = []
    copies = 0
    for first, second, _ in _PAIRS:
        if first not in rows or second not in rows:
            continue
        shared = rows[second][np.isin(same[rows[second]], same[rows[first]])]
        if len(shared):
            counts.append(f"{len(shared)} in both {first} and {second}")
            copies += len(shared)
        for row in shared[: 5 - len(pairs)].tolist():
            twin = rows[first][np.flatnonzero(same[rows[first]] == same[row])[0]]
            pairs.append(f"{pool.ids[twin]} = {pool.ids[row]}")
    if counts:
        raise GateError(
            f"{pool.name}: the same images are in two splits, byte for byte: {', '.join(counts)} ({', '.join(pairs)}); "
            "remove one of each pair, or train without --strict, which leaves the training copies out",
            code="split-copies",
            data=pool.name,
            copies=copies,
        )


def _refuse_groups(pool: Pool, rows: Rows) -> None:
    count, where = _count_shared_groups(pool, rows)
    if count:
        groups = "1 group, such as a patient, is" if count == 1 else f"{count} groups, such as patients, are"
        raise GateError(
            f"{pool.name}: {groups} in more than one split ({where}); divide anew with "
            "'zoo data split PATH --again', and --group as here, or train on them all the same with --keep-leaks",
            code="split-groups",
            data=pool.name,
            groups=count,
        )


def _refuse_emptied(pool: Pool, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
    lost = _present(pool, before) & ~_present(pool, after)
    if lost.any():
        label = pool.labels[int(np.flatnonzero(lost)[0])]
        raise DataError(
            f"{pool.name}: every training image of class {label!r} is a copy of a validation or test image; "
            "add others, or keep copies with --keep-leaks",
            code="class-copies",
            label=label,
        )


def _present(pool: Pool, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(K,) which labels have an image among `rows`."""
    return count_labels(pool.targets[rows], len(pool.labels)) > 0


def _count_shared_groups(pool: Pool, rows: Mapping[SplitName, NDArray[np.int64]]) -> tuple[int, str]:
    """How many groups are in more than one split, and in which."""
    if pool.groups is None:
        return 0, ""
    there = {split: np.unique(pool.groups[rows[split]]) for split in SPLITS if split in rows}
    shared: list[NDArray[np.int64]] = []
    parts = []
    for first, second, _ in _PAIRS:
        if first in there and second in there:
            both = np.intersect1d(there[first], there[second], assume_unique=True)
            if len(both):
                parts.append(f"{len(both)} in {first} and {second}")
                shared.append(both)
    return (len(np.unique(np.concatenate(shared))), ", ".join(parts)) if shared else (0, "")
