"""What data was taken for, before splits are made: columns, classes, groups, splits and the first rows."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo._support.text import format_count
from zoo.data._groups import regroup
from zoo.data._labels import count_labels
from zoo.data._named import index
from zoo.data._unusable import note_skipped
from zoo.spec import LABEL_SEPARATOR, Display, Table

if TYPE_CHECKING:
    from typing import Unpack

    from zoo.data._index import Pool
    from zoo.spec import Reading

__all__ = ["DataDescription", "describe_data"]

_FIRST = 5
"""Rows that are shown."""


class DataDescription(Display, msgspec.Struct, frozen=True, kw_only=True):
    """What `zoo data info` shows of data."""

    name: str
    n: int
    kind: str
    channels: int | None
    """Of every image, where they are stacks of channels; None: colours or gray."""
    columns: dict[str, str | tuple[str, ...]]
    """What a column of a table was taken for: role to its name, or to those of several. Of other data: empty."""
    ignored: dict[str, str]
    """The other columns, and why each is ignored."""
    classes: dict[str, int]
    """Images of each class, or with each label."""
    groups: int | None
    """Different patients or lesions; None: none are known."""
    splits: dict[str, int]
    """Images of each split, or of each fold, that the data brings."""
    first: tuple[dict[str, str], ...]
    """The first rows: image, label, group and split, as far as they are known."""
    skipped: int
    """Images that cannot be read."""
    passed_over: dict[str, int]
    """Files that are not read as images, by their format."""
    notes: tuple[str, ...]

    def headline(self) -> str:
        """How many images of what, in how many classes, groups and splits."""
        splits = ", ".join(f"{split} {n}" for split, n in self.splits.items()) or "no splits"
        groups = "no groups are known" if self.groups is None else format_count(self.groups, "group")
        stack = "" if self.channels is None else f", {self.channels} channels"
        what = f"{format_count(self.n, 'image')}, {self.kind}{stack}, {len(self.classes)} classes"
        return f"{self.name}: {what}; {splits}; {groups}"

    def tables(self) -> dict[str, Table]:
        """classes: images of each. columns: what each column of a table was taken for."""
        taken = [{"column": name, "taken_for": role} for role, name in self.columns.items()]
        ignored = [{"column": name, "ignored": why} for name, why in self.ignored.items()]
        return {
            "classes": Table({"class": label, "images": n} for label, n in self.classes.items()),
            "columns": Table([*taken, *ignored], ("column", "taken_for", "ignored")),
        }


def describe_data(source: str | Path, **reading: Unpack[Reading]) -> DataDescription:
    """Look at data without learning from it. No pixel is decoded; every header is read and every file hashed.

    Args:
        source: name or place of the data set, as in `open_data`.
        **reading: way to read it, see `zoo.spec.Reading`.

    Raises:
        DataError: as `open_data`.
    """
    pool = index(source, skip_bad=True, as_is=True, **reading)
    if group := reading.get("group"):
        pool = regroup(pool, group)
    counts = count_labels(pool.targets, len(pool.labels)).tolist()
    splits = {str(split): len(rows) for split, rows in pool.rows.items()}
    if pool.folds is not None:
        numbers, sizes = np.unique(pool.folds, return_counts=True)
        splits = {f"fold {number}": size for number, size in zip(numbers.tolist(), sizes.tolist(), strict=True)}
    return DataDescription(
        name=pool.name,
        n=len(pool.ids),
        kind=pool.kind,
        channels=pool.channels,
        columns=dict(pool.roles),
        ignored=dict(pool.ignored),
        classes=dict(zip(pool.labels, counts, strict=True)),
        groups=None if pool.groups is None else len(np.unique(pool.groups)),
        splits=splits,
        first=_first_rows(pool),
        skipped=len(pool.skipped),
        passed_over=dict(pool.passed_over),
        notes=(*note_skipped(len(pool.skipped)), *pool.notes),
    )


def _first_rows(pool: Pool) -> tuple[dict[str, str], ...]:
    rows = []
    group = pool.roles.get("group")
    for at, image in enumerate(itertools.islice(pool.ids, _FIRST)):
        if pool.targets.ndim == 2:
            has = [label for label, one in zip(pool.labels, pool.targets[at].tolist(), strict=True) if one == 1]
            row = {"image": image, "labels": LABEL_SEPARATOR.join(has)}
        else:
            row = {"image": image, "label": pool.labels[int(pool.targets[at])]}
        row |= {
            name: texts[at] for name, texts in pool.columns.items() if name in {"group", *pool.roles} or name != group
        }
        if pool.folds is not None:
            row["fold"] = str(pool.folds[at])
        for split in (split for split, of_split in pool.rows.items() if at in of_split):
            row["split"] = split
        rows.append(row)
    return tuple(rows)
