"""Which of several columns groups images, which of them say nothing, and which files hold several pictures.

A column is here (n,) numbers, one for each image; below 0 where the column says nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.cells import column_key
from zoo._support.text import brief, count_with_verb, format_count
from zoo.data._names import Names
from zoo.data._sources.columns import NAMES
from zoo.data._splitting.deal import units

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.data._sources.columns import Columns

__all__ = [
    "FILE",
    "PATIENT",
    "PATIENTS",
    "PATIENT_ID",
    "STUDY_UID",
    "Grouping",
    "group_images",
    "number_groups",
    "say_columns",
    "says_nothing",
    "settle",
]

PATIENT = "patient"
"""A column of that name: the patients that a table or DICOM files name, the latter hashed."""
PATIENT_ID = "PatientID of the files"
STUDY_UID = "StudyInstanceUID of the files"
FILE = "file of several pictures"
"""Names of the columns that files bring themselves."""

_ONE_PATIENT = (
    "PatientID is the same in every file that has one, so it tells no patients apart; where names of files do, give "
    "--group REGEX"
)
PATIENTS = frozenset(NAMES["group"][: NAMES["group"].index("group")])
"""Names of columns of a table that name patients."""

_FEWEST = 6
"""Images from which one group of all of them says nothing; fewer could not be divided anyway."""


def says_nothing(found: NDArray[np.int64]) -> bool:
    """Whether all images that name a group name one and the same, as files do whose patients were removed.

    Args:
        found: (n,) any number for each group, below 0 where an image has none.
    """
    named = found[found >= 0]
    return len(found) >= _FEWEST and 2 * len(named) > len(found) and bool((named == named[0]).all())


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """What is known of groups, and what was made of it.

    Attributes:
        columns: columns that may name groups, patients first.
        numbers: (n,) the group of each image, below 0 where it has none; None: no groups are known.
        named: "group", its name as (n,) texts, "" where it has none; and "patient", where files name any. Without
            "group" where "patient" is the same.
        chosen: the column that was taken.
        notes: why, in plain words.
    """

    columns: Mapping[str, NDArray[np.int64]]
    numbers: NDArray[np.int64] | None
    named: Mapping[str, Sequence[str]]
    chosen: str | None
    notes: tuple[str, ...]

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """(n,) counting from 0; an image without a group is one of its own."""
        return None if self.numbers is None else number_groups(self.numbers)


def group_images(
    targets: NDArray[np.int64],
    hashes: Mapping[str, NDArray[np.int64]],
    of_table: Mapping[str, NDArray[np.int64]] | None = None,
    texts: Callable[[str], Sequence[str]] | None = None,
    asked: str | None = None,
) -> Grouping:
    """Group images as a table and their files say; `hashes` as in `_columns_of_files`, the rest as in `settle`."""
    of_table, of_files = of_table or {}, _columns_of_files(hashes)
    columns = _order_columns(of_table, of_files)

    def name(column: str) -> Sequence[str]:
        return texts(column) if texts is not None and column in of_table else _name_hashes(hashes[column])

    grouping = settle(columns, targets, name, asked)
    if PATIENT_ID not in columns or says_nothing(columns[PATIENT_ID]):
        return grouping
    return replace(grouping, named={PATIENT: name(PATIENT_ID), **grouping.named})


def settle(
    columns: Mapping[str, NDArray[np.int64]],
    targets: NDArray[np.int64],
    texts: Callable[[str], Sequence[str]],
    asked: str | None = None,
) -> Grouping:
    """Make groups of everything that is known of them.

    The column that is asked for, else the widest that keeps patients whole, groups the images. Where it is blank, the
    others say to which of its groups an image belongs. Pictures of one file stay together.

    Args:
        columns: columns that may name groups, patients first.
        targets: classes, as in `zoo.data._index.ImageSet`. A class must have groups enough; of several labels that is
            not asked.
        texts: (n,) the cells of a column by its name, "" for none.
        asked: the column that a user names.
    """
    labels = targets if targets.ndim == 1 else np.zeros(len(targets), np.int64)
    files = columns.get(FILE)
    named = {name: codes for name, codes in columns.items() if name != FILE}
    chosen, notes = choose_column(named, labels) if asked is None else (asked, _say_parted(named, asked))
    if chosen is None and files is not None and not says_nothing(files):
        chosen = FILE
        notes = (*notes, "pictures of one file are kept together; no patient is named, so splits may share patients")
    if chosen is None:
        if files is not None:
            notes = (*notes, "all images are pictures of one file, so splits part it")
        return Grouping(columns, None, {}, None, notes)
    others = {name: codes for name, codes in columns.items() if name != chosen}
    filled = fill_blanks(columns[chosen], others)
    if by := int((filled != columns[chosen]).sum()):
        notes = (*notes, f"{count_with_verb(by, 'image')} grouped by {brief(others)}: no {chosen!r} is named")
    whole = filled
    if files is not None and chosen != FILE:
        whole, said = _keep_files_whole(filled, files, labels)
        notes = (*notes, *said)
    if alone := int((whole < 0).sum()):
        what = "name no patient" if chosen == PATIENT_ID else "have no group"
        notes = (*notes, f"{alone} of {len(whole)} images {what}; each of them counts as a group of its own")
    if whole is not columns[chosen]:
        return Grouping(columns, whole, {"group": _name_groups(whole, texts(chosen), chosen)}, chosen, notes)
    return Grouping(columns, whole, {} if chosen == PATIENT_ID else {"group": texts(chosen)}, chosen, notes)


def _call(name: str) -> str:
    return name if name in {PATIENT_ID, STUDY_UID} else f"column {name!r}"


def _say_parted(columns: Mapping[str, NDArray[np.int64]], asked: str) -> tuple[str, ...]:
    """Notes on columns whose groups are parted where a user names another."""
    groups = columns[asked]
    return tuple(
        f"{_call(asked)} parts {format_count(parted, 'group')} of {_call(name)}, as asked"
        for name, codes in columns.items()
        if name != asked and (codes >= 0).any() and not says_nothing(codes) and (parted := _count_parted(codes, groups))
    )


def _keep_files_whole(
    groups: NDArray[np.int64], files: NDArray[np.int64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Join groups that have pictures in one file, unless too few would be left of a class; and notes."""
    there = (groups >= 0) & (files >= 0)
    parted = len(_list_several(files[there], groups[there]))
    if not parted:
        return groups, ()
    joined = units(number_groups(files), number_groups(groups))
    whole = np.where((groups < 0) & (files < 0), -1, joined)
    shown = f"{format_count(parted, 'file')} with pictures of several groups"
    if _is_enough(_count_fewest(number_groups(groups), labels), number_groups(whole), labels):
        return whole, (f"{shown}: these groups were joined, so that no split parts a file",)
    return groups, (f"{shown}: a class has too few files, so pictures of one file may be in two splits",)


def _name_groups(numbers: NDArray[np.int64], names: Sequence[str], chosen: str) -> Names:
    """(n,) the name of each group: the first that one of its images has."""
    known: dict[int, str] = {}
    none = f"no {chosen.removesuffix(' of the files')}"
    for number, name in zip(numbers.tolist(), names, strict=True):
        if name:
            known.setdefault(number, name)
    return Names.of("" if one < 0 else known.get(one, f"{none} {one}") for one in numbers.tolist())


def _columns_of_files(hashes: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Columns that files bring themselves; those that are blank, or join no images, are left out.

    Args:
        hashes: (n,) each, -1 for none: for the patient that the file of an image names, its study, and the file itself
            where it holds several pictures.
    """
    columns: dict[str, NDArray[np.int64]] = {}
    for name, found in hashes.items():
        there = np.flatnonzero(found >= 0)
        keys, codes = np.unique(found[there], return_inverse=True)
        if len(keys) and (name == PATIENT_ID or len(keys) < len(there)):
            columns[name] = np.full(len(found), -1, np.int64)
            columns[name][there] = codes
    return columns


def _name_hashes(hashes: NDArray[np.int64]) -> Names:
    """(n,) a hash as text, "" below 0."""
    keys, which = np.unique(hashes, return_inverse=True)
    return Names.of("" if key < 0 else f"{key:016x}" for key in keys.tolist()).subset(which)


def _order_columns(
    of_table: Mapping[str, NDArray[np.int64]], of_files: Mapping[str, NDArray[np.int64]]
) -> dict[str, NDArray[np.int64]]:
    """Columns of a table and those of its files, patients first."""
    first = {name: codes for name, codes in of_table.items() if column_key(name) in PATIENTS}
    patient = {name: codes for name, codes in of_files.items() if name == PATIENT_ID}
    return first | patient | dict(of_table) | dict(of_files)


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
    useful = {name: codes for name, codes in columns.items() if (codes >= 0).any() and not says_nothing(codes)}
    notes = [
        _ONE_PATIENT if name == PATIENT_ID else f"{_call(name)} names one group in every row, so it says nothing"
        for name, codes in columns.items()
        if says_nothing(codes) and (name not in {PATIENT_ID, STUDY_UID} or useful.keys() <= {STUDY_UID})
    ]
    if not useful:
        return None, tuple(notes)
    chosen, *others = useful
    first = chosen
    for name in others:
        narrow, wide = useful[chosen], useful[name]
        enough = _is_enough(_count_fewest(narrow, labels), wide, labels)
        if enough and _count(narrow) > _count(wide) and not _count_parted(narrow, wide):
            chosen = name
    groups = useful.pop(chosen)
    for name, codes in useful.items():
        parted = _count_parted(groups, codes)
        if _count_parted(codes, groups) == 0:
            if name == STUDY_UID:  # of every DICOM file
                continue
            why = "whose groups lie inside them" if parted else "whose groups are the same"
        else:
            why = f"whose groups part {parted} of them" if parted else "of which a class has too few"
        notes.append(f"{_count(groups)} groups by {_call(chosen)}, not by {_call(name)}, {why}")
    if chosen != first:
        asked = "patient" if first == PATIENT_ID else first
        notes.append(f"--group {asked!r} takes the narrower groups of {_call(first)}")
    if chosen == STUDY_UID and not useful:
        notes.append("images of one study are kept together; no patient is named, so splits may share patients")
    return chosen, tuple(notes)


def fill_blanks(groups: NDArray[np.int64], others: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Give images without a group that of their lesion, study or file, so that no split parts it.

    Args:
        groups: (n,) number of the group of each image, -1 where it has none.
        others: other columns of such numbers by their names. A group in several of `groups` says nothing. Lesions of a
            table may be numbered anew for each patient, so there it speaks against the whole column; hashes and files
            are unique.

    Returns:
        (n,) numbers; `groups` itself where nothing is filled. A blank image joins the images of its lesion that have a
        group; blank images of one lesion, study or file alone are a group of their own.
    """
    usable = []
    for name, codes in others.items():
        both = (groups >= 0) & (codes >= 0)
        several = _list_several(codes[both], groups[both])
        if not says_nothing(codes) and (not len(several) or name in {PATIENT_ID, STUDY_UID, FILE}):
            usable.append(np.where(np.isin(codes, several), -1, codes))
    filled, before = groups.copy(), -1
    while before != (before := int((filled < 0).sum())):  # a study leads on from what a lesion has filled
        for codes in usable:
            both, blank = (filled >= 0) & (codes >= 0), (filled < 0) & (codes >= 0)
            known = np.full(int(codes.max()) + 1, -1, np.int64)
            known[codes[both]] = filled[both]
            filled[blank] = known[codes[blank]]
    left = np.flatnonzero(filled < 0)
    together, named = np.arange(len(left), dtype=np.int64), np.zeros(len(left), np.bool_)
    for codes in usable:
        together = units(number_groups(codes[left]), together)
        named |= codes[left] >= 0
    filled[left] = np.where(named, int(filled.max(initial=-1)) + 1 + together, -1)
    return groups if np.array_equal(filled, groups) else filled


_LEAST = 3
"""Groups that splits need: one each for train, val and test."""


def _count(codes: NDArray[np.int64]) -> int:
    return len(np.unique(codes[codes >= 0]))


def _is_enough(fewest: int, wide: NDArray[np.int64], labels: NDArray[np.int64]) -> bool:
    """Whether each class has as many of the wide groups as splits need, or as the `fewest` that a class has anyway."""
    return min(_LEAST, fewest) <= _count_fewest(wide, labels)


def _count_fewest(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> int:
    """The number of groups of the class that has the fewest."""
    return int(_count_others(labels, groups).min(initial=len(groups)))


def _count_parted(groups: NDArray[np.int64], others: NDArray[np.int64]) -> int:
    """How many of `groups` have images in two of `others`."""
    both = (groups >= 0) & (others >= 0)
    if not both.any():
        return 1  # nothing shows that one holds the other
    return len(_list_several(groups[both], others[both]))


def _list_several(groups: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of `groups` that have images in two of `others`; none of both is below 0."""
    found, times = np.unique(_pair(groups, others), return_counts=True)
    return np.asarray(found[times > 1], np.int64)


def _pair(groups: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group of each different pair; none of both is below 0."""
    span = int(others.max(initial=0)) + 1
    return np.asarray(np.unique(groups * span + others) // span, np.int64)


def _count_others(groups: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """(g,) for each of `groups`, in how many of `others` its images are; images that lack one of them count nowhere."""
    both = (groups >= 0) & (others >= 0)
    return np.unique(_pair(groups[both], others[both]), return_counts=True)[1]


def say_columns(columns: Columns, group: str | None) -> dict[str, Any]:
    """What columns were taken for, with the one that groups were taken from, which may be the files' own."""
    roles = {role: name for role, name in columns.roles.items() if role != "group"}
    of_table = {*columns.ignored, columns.roles.get("group")}  # not those that paths or another table say
    others = [name for name, _ in columns.groups if name != group and name in of_table]
    if group is not None and group in dict(columns.groups):
        roles["group"] = group
    why = "its groups were not taken" if group is None else f"{group!r} was taken for the group"
    kept = {name: reason for name, reason in columns.ignored.items() if name != group}
    return {"roles": roles, "ignored": kept | dict.fromkeys(others, why)}
