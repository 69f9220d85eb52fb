"""Groups (patients, lesions, studies) that a user names by a regular expression on the ids of images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zoo.errors import DataError
from zoo.text import brief

if TYPE_CHECKING:
    from zoo.data.index import Pool

__all__ = ["captured"]


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
