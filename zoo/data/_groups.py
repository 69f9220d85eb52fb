"""Groups of images (patients, lesions, studies): found by a pattern in their ids, and numbered."""

from __future__ import annotations

import re
import signal
import threading
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import brief
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from zoo.data._index import Pool

__all__ = ["PATIENCE", "PATIENT", "codes_of", "names_of", "number_groups"]

PATIENT = "patient"
"""A column of that name: the patients that a table or DICOM files name, the latter hashed."""

PATIENCE = 2.0
"""Seconds that an expression may search in one id, which takes a microsecond unless it tries again and again."""


def names_of(pool: Pool, group: str, *, every: bool) -> Sequence[str]:
    """The groups that a user names.

    Args:
        pool: the images.
        group: a column of the set; "patient", what DICOM files say; or a regular expression with one group in
            parentheses that is searched in each id.
        every: refuse an expression that finds nothing in an image; else only one that finds nothing at all.

    Returns:
        (n,) texts, "" where an image has no group.

    Raises:
        DataError: no column has this name, and it is not an expression that fits the ids.
    """
    if group in pool.columns:
        return pool.columns[group]
    if group == PATIENT:
        raise DataError(
            f"{pool.name}: no column and no DICOM file names a patient; give a column or a regular expression",
            code="group-missing",
            data=pool.name,
        )
    return _capture(pool, group, every=every)


def codes_of(names: Sequence[str]) -> NDArray[np.int64]:
    """(n,) a number for each name, in the order in which they are met; -1 for ""."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(name, len(numbers)) if name else -1 for name in names), np.int64, len(names))


def number_groups(found: NDArray[np.int64]) -> NDArray[np.int64]:
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


def _capture(pool: Pool, group: str, *, every: bool) -> list[str]:
    """What the expression finds in each id; as `names_of`."""
    try:
        pattern = re.compile(group)
    except (re.error, RecursionError, OverflowError) as problem:
        raise DataError(
            f"group {group!r} is not a column of {pool.name} and not a regular expression ({problem})",
            code="group-pattern",
            group=group,
        ) from None
    if pattern.groups != 1:
        raise DataError(
            f"group {group!r} is not a column of {pool.name}; as a regular expression it has {pattern.groups} groups "
            "in parentheses, expected one, such as 'patient([0-9]+)'",
            code="group-pattern",
            group=group,
            groups=pattern.groups,
        )
    found = list(_search(pattern, pool.ids))
    without = [row for row, value in enumerate(found) if not value]
    if without and (every or len(without) == len(found)):
        raise DataError(
            f"group {group!r} finds nothing in {len(without)} of {len(found)} ids "
            f"({brief((pool.ids[row] for row in without), 2)}); mend it, so that "
            f"{'every image has' if every else 'images have'} a group",
            code="group-unmatched",
            group=group,
            without=len(without),
            images=len(found),
        )
    return found


def _search(pattern: re.Pattern[str], names: Sequence[str]) -> Iterator[str]:
    """What the one group of `pattern` holds in each name, "" where nothing is found.

    An expression such as '(a+)+$' tries more ways than there are atoms; a timer looks whether the search gets on. Only
    the main thread of a POSIX process can be interrupted so.

    Raises:
        DataError: it stays at one name for `PATIENCE` seconds.
    """
    done, seen = 0, -1

    def look(*_: object) -> None:
        nonlocal seen
        if seen == done:
            raise DataError(
                f"group {pattern.pattern!r} takes more than {PATIENCE:g} seconds for {names[done]!r}; put no "
                "repetition inside a repetition, as in 'patient([0-9]+)'",
                code="group-pattern-slow",
                group=pattern.pattern,
                image=names[done],
                seconds=PATIENCE,
            )
        seen = done

    timed = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, look) if timed else None
    if timed:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE, PATIENCE)
    try:
        for name in names:
            match = pattern.search(name)
            yield (match[1] or "") if match else ""
            done += 1
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
