"""What the columns of a table mean, by their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo._support.text import brief
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MARK", "NAMES", "Columns", "columns_of", "plain"]

NAMES: dict[str, tuple[str, ...]] = {
    "image": ("image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "image_index"),
    "label": ("label", "class", "target", "diagnosis", "dx"),
    "labels": ("labels", "finding_labels"),
    "split": ("split", "subset", "partition"),
    "fold": ("fold",),
    # the widest first: a patient holds lesions and studies, and is what splits must not share
    "group": (
        "group", "patient", "patient_id", "patientid", "subject", "subject_id", "lesion", "lesion_id",
        "study", "study_id",
    ),
    "frame": ("frame",),
    "site": ("site", "hospital", "institution"),
    "age": ("age", "patient_age"),
    "sex": ("sex", "gender", "patient_sex", "patient_gender"),
}  # fmt: skip
"""What a column is for, and the names it may have, compared in lower case with "_" for spaces and hyphens. Where more
than one of a kind is there, the first name decides for groups, and the plain name (image, label) for the others."""

MARK = "label:"
"""Begins the name of a column of zeros and ones that says whether an image has the label that follows."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Positions of the columns that mean something.

    Attributes:
        image: which file.
        label: its one class, or None.
        labels: its labels in one cell, joined by "|", or None.
        marks: (label, position) of columns of zeros and ones.
        guessed: the marks do not bear the prefix; they are all columns that mean nothing else.
        split: train, val or test.
        fold: a number.
        group: patient, lesion or study.
        frame: which picture of a file with several, from 1.
        kept: (name, position) of columns that are kept beside the images.
        ignored: the names of columns that mean nothing.
    """

    image: int
    label: int | None
    labels: int | None
    marks: tuple[tuple[str, int], ...]
    guessed: bool
    split: int | None
    fold: int | None
    group: int | None
    frame: int | None
    kept: tuple[tuple[str, int], ...]
    ignored: tuple[str, ...]


def plain(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def columns_of(header: Sequence[str], file: str, also: str | None = None) -> Columns:
    """Find out what each column means.

    Args:
        header: names of the columns.
        file: name of the table, for errors.
        also: one more column to keep, such as one to group by; it need not be there.

    Raises:
        DataError: no image or label column, several that could be it, or both split and fold.
    """
    where = {plain(name): position for position, name in reversed(list(enumerate(header)))}
    found = {role: _one(role, names, where, header, file) for role, names in NAMES.items()}
    image = found["image"]
    if image is None:
        raise DataError(
            f"{file}: no column names the image; expected one called {_or(NAMES['image'][:4])} among {brief(header)}",
            code="table-column-missing",
            role="image",
        )
    if found["split"] is not None and found["fold"] is not None:
        raise DataError(
            f"{file}: columns for split and for fold both divide the images; remove or rename one",
            code="table-columns",
            role="split",
        )
    marks = tuple((name[len(MARK) :].strip(), at) for name, at in _list_named(header) if name.lower().startswith(MARK))
    if len({label for label, _ in marks}) < len(marks) or any(not label for label, _ in marks):
        raise DataError(
            f"{file}: columns that begin with {MARK!r} name a label twice, or none; rename them",
            code="table-columns",
            role="label",
        )
    given = [role for role in ("label", "labels") if found[role] is not None] + ([MARK] if marks else [])
    if len(given) > 1:
        raise DataError(
            f"{file}: columns {brief(given)} all say what an image shows; keep one of them",
            code="table-columns",
            role="label",
            columns=list(given),
        )
    used = {position for position in found.values() if position is not None} | {position for _, position in marks}
    synonyms = {name for names in NAMES.values() for name in names}
    free = [(name, at) for name, at in _list_named(header) if at not in used and plain(name) not in synonyms]
    guessed = not given
    if guessed:
        if len(free) < 2:
            raise DataError(
                f"{file}: no column names the class; expected one called {_or(NAMES['label'][:4])}, or columns of "
                f"zeros and ones called '{MARK}NAME'",
                code="table-column-missing",
                role="label",
            )
        marks, free = tuple(free), []
    kept = {role: found[role] for role in ("site", "age", "sex", "group")}
    if also is not None and plain(also) in where:
        kept[also] = where[plain(also)]
        free = [(name, at) for name, at in free if at != kept[also]]
    return Columns(
        image=image,
        label=found["label"],
        labels=found["labels"],
        marks=marks,
        guessed=guessed,
        split=found["split"],
        fold=found["fold"],
        group=found["group"],
        frame=found["frame"],
        kept=tuple((name, at) for name, at in kept.items() if at is not None),
        ignored=tuple(name for name, _ in free),
    )


def _one(role: str, names: Sequence[str], where: dict[str, int], header: Sequence[str], file: str) -> int | None:
    there = [name for name in names if name in where]
    if len(there) > 1 and role in {"image", "label", "split"} and role not in there:
        given = brief(header[where[name]] for name in there)
        raise DataError(
            f"{file}: columns {given} could each be the {role}; rename the one that is meant to {role!r}",
            code="table-columns",
            role=role,
        )
    return where[there[0]] if there else None


def _list_named(header: Sequence[str]) -> list[tuple[str, int]]:
    return [(name, position) for position, name in enumerate(header) if name]


def _or(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:-1]) + f" or {names[-1]!r}"
