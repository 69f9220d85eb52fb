"""Columns beside the images: what they hold, and how a model is to be given them, by the training images alone."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import brief, format_count, natural_key
from zoo.errors import DataError, UsageError
from zoo.spec import MOST_COLUMNS, MOST_VALUES, Categorical, Numeric, TableSpec
from zoo.tabular import category_key, divide_request, is_missing, note_unusual, parse_cells, read_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.data import ImageSet, Splits
    from zoo.spec import ColumnSpec
    from zoo.spec._columns import Missing

__all__ = ["fit_table", "select_columns"]

MOST_MISSING = 0.8
"""Share of training images without the value from which a column tells too little to be given."""

RARE = 5
"""Training images that a value needs, so that there is something to learn of it; others are "other"."""

_FEW = 30
"""Training images below which nothing is concluded of a column whose values are all different."""

_NUMBERING = 3
"""A column of different whole numbers that lie this densely (span over count) numbers the rows."""

_ID = re.compile(r"(?:^|[\s_.-])(?:id|uid|uuid|mrn|accession|identifier|filename)(?:$|[\s_.-])", re.IGNORECASE)


def fit_table(requested: Sequence[str], data: Splits) -> tuple[TableSpec | None, tuple[str, ...]]:
    """How the columns are encoded, and what to say of them.

    Numbers by the mean and the standard deviation of the training images; other columns by their values. A column of
    numbers is one whose cells are all numbers; NAME:category takes them for names.

    Args:
        requested: `TrainConfig.inputs`.
        data: its training images decide; validation and test images are not looked at.

    Returns:
        None where nothing was requested.

    Raises:
        UsageError: too many columns.
        DataError: a column is constant, nearly empty, the label in other words, a name or a number of somebody, or
            holds numbers and texts.
    """
    if not requested:
        return None, ()
    if len(requested) > MOST_COLUMNS:
        raise UsageError(
            f"--inputs names {len(requested)} columns, expected at most {MOST_COLUMNS}",
            code="inputs-many",
            columns=len(requested),
            most=MOST_COLUMNS,
        )
    columns, notes = [], []
    for text in requested:
        name, said = divide_request(text)
        column, note = _fit_column(name, data.train, category="category" in said, optional="optional" in said)
        columns.append(column)
        notes.append(f"input {note}")
    table = TableSpec(columns=tuple(columns))
    for split in ("val", "test"):  # refused now, not after hours of training
        images = data.split(split)
        raw = parse_cells(table, images.columns, len(images))
        notes += [f"{split}: {note}" for note in note_unusual(table, raw)]
    return table, tuple(notes)


def select_columns(images: ImageSet, table: TableSpec | None) -> tuple[ImageSet, tuple[str, ...]]:
    """The images with the columns that a model takes beside them and no others, and what to say of their values.

    Raises:
        DataError: columns are not there, or a cell cannot be taken.
    """
    if table is None:
        return dataclasses.replace(images, columns={}), ()
    raw = parse_cells(table, images.columns, len(images))
    chosen = {name: images.columns[name] for name in table.names}
    return dataclasses.replace(images, columns=chosen), note_unusual(table, raw)


def _fit_column(name: str, train: ImageSet, *, category: bool, optional: bool) -> tuple[ColumnSpec, str]:
    cells = list(train.columns[name])
    there = [cell for cell in cells if not is_missing(cell)]
    gone = len(cells) - len(there)
    if gone > MOST_MISSING * len(cells):
        raise DataError(
            f"column {name!r} is empty for {gone} of {len(cells)} training images, expected at most "
            f"{MOST_MISSING:.0%}; fill it in, or leave it out of --inputs",
            code="inputs-empty",
            column=name,
            missing=gone,
            images=len(cells),
        )
    keys = [category_key(cell) for cell in there]
    _refuse_constant(name, keys)
    _refuse_label(name, keys, train, [not is_missing(cell) for cell in cells])
    numbers = [read_number(cell) for cell in there]
    texts = [cell for cell, number in zip(there, numbers, strict=True) if number is None]
    missing: Missing = "learnt" if gone else "neutral" if optional else "refuse"
    if category or len(texts) == len(there):
        return _fit_values(name, there, keys, gone, missing)
    if texts:
        raise DataError(
            f"column {name!r} holds {format_count(len(there) - len(texts), 'number')} and "
            f"{format_count(len(texts), 'text')} ({brief(dict.fromkeys(texts), 3)}); mend the texts or empty them, or "
            f"take all for names with --inputs {name}:category",
            code="inputs-mixed",
            column=name,
            texts=len(texts),
        )
    return _fit_number(name, [number for number in numbers if number is not None], gone, missing)


def _fit_number(name: str, numbers: list[float], gone: int, missing: Missing) -> tuple[Numeric, str]:
    values = np.asarray(numbers, np.float64)
    whole, different = bool((values == np.round(values)).all()), len(np.unique(values)) == len(values)
    span = float(values.max() - values.min()) + 1
    if len(values) >= _FEW and whole and different and (span <= _NUMBERING * len(values) or _ID.search(name)):
        raise _names_somebody(name, len(values))
    mean, std = float(values.mean()), float(values.std())
    if not (math.isfinite(std) and std > 0):
        raise _constant(name, f"{mean:g}")
    of = f"{format_count(len(values), 'training image')}" + (f", {gone} without it" if gone else "")
    said = f"{name}: a number, mean {mean:.4g}, standard deviation {std:.4g} of {of}"
    return Numeric(name=name, mean=mean, std=std, missing=missing), said


def _fit_values(name: str, cells: list[str], keys: list[str], gone: int, missing: Missing) -> tuple[Categorical, str]:
    counts = Counter(keys)
    if len(cells) >= _FEW and 2 * len(counts) > len(cells):
        raise _names_somebody(name, len(counts))
    kept = {key for key, count in counts.items() if count >= RARE}
    if len(kept) > MOST_VALUES:
        raise _names_somebody(name, len(counts))
    if not kept:
        raise DataError(
            f"column {name!r} has no value that {RARE} training images share; leave it out of --inputs",
            code="inputs-rare",
            column=name,
            values=len(counts),
        )
    spelled: dict[str, Counter[str]] = {}
    for key, cell in zip(keys, cells, strict=True):
        spelled.setdefault(key, Counter())[" ".join(cell.split())] += 1
    values = sorted((spelled[key].most_common(1)[0][0] for key in kept), key=natural_key)
    rare = sum(count for key, count in counts.items() if key not in kept)
    other = f"; other: {rare} of rare values, {gone} without" if rare or gone else ""
    column = Categorical(name=name, values=tuple(values), other=bool(rare or gone), missing=missing)
    return column, f"{name}: one of {brief(values, 8)}{other}"


def _refuse_constant(name: str, keys: list[str]) -> None:
    if len(set(keys)) < 2:
        raise _constant(name, keys[0] if keys else "")


def _constant(name: str, value: str) -> DataError:
    return DataError(
        f"column {name!r} holds {value!r} for every training image, which tells nothing; leave it out of --inputs",
        code="inputs-constant",
        column=name,
    )


def _refuse_label(name: str, keys: list[str], train: ImageSet, there: list[bool]) -> None:
    """Refuse a column each of whose values goes with one class, and no two with the same: the label in other words."""
    if train.targets.ndim != 1 or len(keys) < _FEW:
        return
    pairs = set(zip(keys, train.targets[np.asarray(there)].tolist(), strict=True))
    if len(pairs) == len({key for key, _ in pairs}) == len({target for _, target in pairs}):
        raise DataError(
            f"column {name!r} says the class of every training image: it is the label in other words; leave it out of "
            "--inputs",
            code="inputs-label",
            column=name,
        )


def _names_somebody(name: str, different: int) -> DataError:
    return DataError(
        f"column {name!r} has {different} different values for the training images: it names or numbers them, and a "
        "model would learn them by heart; leave it out of --inputs",
        code="inputs-identity",
        column=name,
        values=different,
    )
