"""Groups of images (patients, lesions, studies): found by a pattern in their ids, and numbered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import DataError
from zoo.text import brief

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.data.index import Pool

__all__ = ["captured", "codes_of", "numbered"]


def captured(pool: Pool, group: str, *, every: bool) -> list[str]:
    """What a regular expression with one capture group finds in each id, searched anywhere in it.

    Args:
        pool: the images.
        group: the expression; it is no column of the set.
        every: refuse it where it finds nothing in an image; else only where it finds nothing at all.

    Returns:
        (n,) texts, "" where nothing was found.

    Raises:
        DataError: no such expression, or it does not fit the ids.
    """
    try:
        pattern = re.compile(group)
    except re.error as problem:
        raise DataError(f"group {group!r} is no column of {pool.name} and no regular expression ({problem})") from None
    if pattern.groups != 1:
        raise DataError(
            f"group {group!r} is no column of {pool.name}; as a regular expression it has {pattern.groups} groups in "
            "parentheses, expected one, such as 'patient([0-9]+)'"
        )
    found = [match.group(1) or "" if (match := pattern.search(name)) else "" for name in pool.ids]
    without = [row for row, value in enumerate(found) if not value]
    if without and (every or len(without) == len(found)):
        raise DataError(
            f"group {group!r} finds nothing in {len(without)} of {len(found)} ids "
            f"({brief((pool.ids[row] for row in without), 2)}); mend it, so that "
            f"{'every image has' if every else 'images have'} a group"
        )
    return found


def codes_of(names: Sequence[str]) -> NDArray[np.int64]:
    """(n,) a number for each name, in the order in which they are met; -1 for ""."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(name, len(numbers)) if name else -1 for name in names), np.int64, len(names))


def numbered(found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups numbered from 0 without a gap; an image without one is a group of its own.

    Args:
        found: (n,) any number for each group, below 0 where an image has none.

    Returns:
        (n,).
    """
    keys, groups = np.unique(found, return_inverse=True)
    groups = groups.astype(np.int64)
    alone = found < 0
    groups[alone] = len(keys) + np.arange(alone.sum())
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)
