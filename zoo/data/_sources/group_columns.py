"""Which of several columns of a table groups its images, and which of them say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from zoo.data._sources.columns import Columns

__all__ = ["choose_column", "fill_blanks", "say_columns", "says_nothing"]

_FEWEST = 6
"""Images from which one group of all of them says nothing; fewer could not be divided anyway."""


def says_nothing(found: NDArray[np.int64]) -> bool:
    """Whether all images that name a group name one and the same, as files do whose patients were removed.

    Args:
        found: (n,) any number for each group, below 0 where an image has none.
    """
    named = found[found >= 0]
    return len(found) >= _FEWEST and 2 * len(named) > len(found) and bool((named == named[0]).all())


def choose_column(
    columns: Mapping[str, NDArray[np.int64]], labels: NDArray[np.int64]
) -> tuple[str | None, tuple[str, ...]]:
    """Which of several columns groups images: the widest whose groups hold those of the patients whole.

    A lesion lies inside a patient, and a patient may lie inside a family. Where groups cross, such as batches and
    patients, the patients stay whole. A column such as the arm of a study, of whose groups a class has fewer than a
    division needs, is not taken.

    Args:
        columns: (n,) numbers of groups by the column's name, patients first; -1 where an image has none.
        labels: (n,) a number for the class of each image.

    Returns:
        Its name, None where no column says anything; and notes.
    """
    notes = [
        f"column {name!r} names one group in every row, so it says nothing of patients"
        for name, codes in columns.items()
        if says_nothing(codes)
    ]
    useful = {name: codes for name, codes in columns.items() if (codes >= 0).any() and not says_nothing(codes)}
    if not useful:
        return None, tuple(notes)
    chosen, *others = useful
    first = chosen
    for name in others:
        narrow, wide = useful[chosen], useful[name]
        enough = min(_LEAST, _count_fewest(narrow, labels)) <= _count_fewest(wide, labels)
        if enough and _count(narrow) > _count(wide) and not _count_parted(narrow, wide):
            chosen = name
    groups = useful.pop(chosen)
    for name, codes in useful.items():
        parted = _count_parted(groups, codes)
        if _count_parted(codes, groups) == 0:
            why = "whose groups lie inside them" if parted else "whose groups are the same"
        else:
            why = f"whose groups part {parted} of them" if parted else "of which a class has too few"
        notes.append(f"{_count(groups)} groups by column {chosen!r}, not by {name!r}, {why}")
    if chosen != first:
        notes.append(f"--group {first!r} takes the narrower groups of that column")
    return chosen, tuple(notes)


def fill_blanks(groups: NDArray[np.int64], narrower: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Give images without a group that of their lesion or study, so that no split parts it.

    Args:
        groups: (n,) number of the group of each image, -1 where it has none.
        narrower: other columns of such numbers; one whose groups lie in several of `groups` is passed over.

    Returns:
        (n,) numbers. A blank image joins the images of its lesion that have a group; a lesion of blank images alone
        is a group of its own.
    """
    filled = groups.copy()
    for codes in narrower:
        blank = (filled < 0) & (codes >= 0)
        if not blank.any() or says_nothing(codes) or (_count_others(codes, filled) > 1).any():
            continue
        known = np.full(int(codes.max()) + 1, -1, np.int64)
        both = (filled >= 0) & (codes >= 0)
        known[codes[both]] = filled[both]
        joined = known[codes[blank]]
        filled[blank] = np.where(joined >= 0, joined, int(filled.max()) + 1 + codes[blank])
    return filled


_LEAST = 3
"""Groups that splits need: one each for train, val and test."""


def _count(codes: NDArray[np.int64]) -> int:
    return len(np.unique(codes[codes >= 0]))


def _count_fewest(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> int:
    """The number of groups of the class that has the fewest."""
    return int(_count_others(labels, groups).min(initial=len(groups)))


def _count_parted(groups: NDArray[np.int64], others: NDArray[np.int64]) -> int:
    """How many of `groups` have images in two of `others`."""
    counts = _count_others(groups, others)
    return int((counts > 1).sum()) if len(counts) else 1  # nothing shows that one holds the other


def _count_others(groups: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """(g,) for each of `groups`, in how many of `others` its images are; images that lack one of them count nowhere."""
    both = (groups >= 0) & (others >= 0)
    span = int(others.max(initial=0)) + 1
    pairs = np.unique(groups[both] * span + others[both]) // span
    return np.unique(pairs, return_counts=True)[1]


def say_columns(columns: Columns, group: str | None) -> dict[str, Any]:
    """What columns were taken for, with the one that groups were taken from."""
    roles = {role: name for role, name in columns.roles.items() if role != "group"}
    others = [name for name, _ in columns.groups if name != group]
    if group is not None:
        said = columns.roles["group"]
        roles["group"] = said if group == "group" and group != said and not others else group
    why = "its groups were not taken" if group is None else f"{group!r} was taken for the group"
    kept = {name: reason for name, reason in columns.ignored.items() if name != group}
    return {"roles": roles, "ignored": kept | dict.fromkeys(others, why)}
