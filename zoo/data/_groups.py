"""Groups of images (patients, lesions, studies): named by a column or a pattern, numbered, and compared by spelling."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.cells import column_key
from zoo._support.text import format_count
from zoo.data._patterns import capture
from zoo.data._sources.group_columns import PATIENT, Grouping, number_groups, settle
from zoo.data._sources.values import pair_alike
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.data._index import Pool

__all__ = [
    "PATIENT",
    "codes_of",
    "describe_alike",
    "group_as_asked",
    "names_alike",
    "names_of",
    "notes_with",
    "regroup",
]

_SHOWN = 5  # pairs that are named


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
    return capture(pool, group, every=every)


def group_as_asked(pool: Pool, group: str, *, every: bool) -> Grouping:
    """The groups that a user names; arguments and errors as `names_of`.

    Blanks of a column are filled from what else is known, as where nobody names it. An expression decides alone.
    """
    names = names_of(pool, group, every=every)
    known: dict[str, NDArray[np.int64]] = {}
    if group in pool.columns and pool.grouping is not None:
        known = {name: codes for name, codes in pool.grouping.columns.items() if column_key(name) != column_key(group)}
    elif group in pool.columns and pool.groups is not None:
        alone = np.bincount(pool.groups)[pool.groups] == 1
        known = {"group of the data": np.where(alone, -1, pool.groups)}
    return settle({group: codes_of(names), **known}, pool.targets, lambda _: names, group)


def notes_with(pool: Pool, grouping: Grouping | None) -> tuple[str, ...]:
    """The notes of `pool`, and those of other groups in the place of its own; None: it keeps its own."""
    if grouping is None:
        return pool.notes
    said = () if pool.grouping is None else pool.grouping.notes
    return (*(note for note in pool.notes if note not in said), *grouping.notes)


def regroup(pool: Pool, group: str) -> Pool:
    """`pool` with the groups that a user names; arguments and errors as `names_of`, every image has a group."""
    grouping = group_as_asked(pool, group, every=True)
    groups = number_groups(np.empty(0, np.int64) if grouping.numbers is None else grouping.numbers)
    found = f"{format_count(len(np.unique(groups)), 'group')} of images, as --group says"
    roles, ignored = dict(pool.roles), dict(pool.ignored)
    before = roles.pop("group", None)
    if isinstance(before, str) and before != group:
        ignored[before] = "--group says another group"
    if roles and group in pool.columns:
        roles["group"] = group
        ignored.pop(group, None)
    return dataclasses.replace(
        pool,
        groups=groups,
        grouping=grouping,
        columns={**pool.columns, **grouping.named},
        notes=(*notes_with(pool, grouping), found),
        roles=roles,
        ignored=ignored,
    )


def names_alike(pool: Pool, group: str | None = None) -> list[tuple[str, str]]:
    """Pairs of groups that may be one patient spelled two ways; `group` as in `names_of`, None: what the data brings.

    The names of patients are for the screen of who has the data. They belong in no report.
    """
    names = pool.columns.get("group", ()) if group is None else names_of(pool, group, every=False)
    return pair_alike(set(names))


def describe_alike(pairs: Sequence[tuple[str, str]], *, named: bool) -> str:
    """What to say of `names_alike`; not `named`: for a report, without the names."""
    shown = ", ".join(f"{a!r} and {b!r}" for a, b in pairs[:_SHOWN])
    more = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    return (
        f"{format_count(len(pairs), 'pair')} of groups {'differs' if len(pairs) == 1 else 'differ'} only in spelling"
        f"{f' ({shown}{more})' if named else ''}; each may be one patient in two splits; spell one patient one way"
    )


def codes_of(names: Sequence[str]) -> NDArray[np.int64]:
    """(n,) a number for each name, in the order in which they are met; -1 for ""."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(name, len(numbers)) if name else -1 for name in names), np.int64, len(names))
