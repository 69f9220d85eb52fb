"""Columns beside an image on arrays: what cells mean, and the reference execution of `TableSpec`.

Two steps. `parse_cells` turns cells into what the graph takes: the number itself, or the place of a value in the list;
NaN where there is none. `encode_columns` turns that into what the network is given; `zoo.artefact._columns` writes the
same as nodes.

What this module does not know: tables as files, images, networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.cells import MISSING
from zoo._support.labels import class_key
from zoo._support.text import brief, format_count
from zoo.errors import DataError
from zoo.spec import Categorical, Numeric, TableSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.spec import ColumnSpec

__all__ = [
    "UNKNOWN_VALUE",
    "category_key",
    "check_cells",
    "describe_columns",
    "divide_request",
    "draw_cells",
    "encode_columns",
    "is_missing",
    "note_unusual",
    "parse_cells",
    "read_number",
]

UNKNOWN_VALUE = -1.0
"""What the graph is given for a value that is not in the list."""

FAR = 8.0
"""Standard deviations from the mean of training beyond which a number is unusual: another unit, or a slip."""

_LARGEST = float(np.finfo(np.float32).max)
_MODIFIERS = ("category", "optional")


def divide_request(text: str) -> tuple[str, frozenset[str]]:
    """'age:optional' to the column and what is said of it; modifiers are category and optional."""
    name, said = text.strip(), set()
    while (parts := name.rpartition(":"))[2] in _MODIFIERS and parts[0]:
        name = parts[0].strip()
        said.add(parts[2])
    return name, frozenset(said)


def category_key(text: str) -> str:
    """What two spellings of one value have in common: Unicode form, blanks, letter case, the point of a number."""
    return class_key(text).casefold()


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, blanks, or a word such as NA."""
    if cell is None or (isinstance(cell, float | np.floating) and math.isnan(cell)):
        return True
    return isinstance(cell, str) and cell.strip().lower() in MISSING


def read_number(cell: Any) -> float | None:
    """A cell as a finite number; None: it is none, or no float32 holds it."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if abs(value) <= _LARGEST else None  # NaN and infinity are not


def parse_cells(table: TableSpec, cells: Mapping[str, Sequence[Any]], rows: int) -> NDArray[np.float32]:
    """Cells as the graph takes them.

    Args:
        table: the columns.
        cells: for each column `rows` cells: text, numbers, or None.
        rows: n.

    Returns:
        (n, C) float32, columns in the order of `table`: a number, or a place in `values`; NaN: no value; -1: another
        value than those in the list.

    Raises:
        DataError: a column is not there (`inputs-missing`), a cell holds something else than a number (`inputs-cell`),
            or it holds nothing where the model needs a value (`inputs-cell-missing`).
    """
    if lost := [name for name in table.names if name not in cells]:
        raise missing_columns(table, lost)
    parsed = np.empty((rows, len(table.columns)), np.float32)
    for at, column in enumerate(table.columns):
        given = cells[column.name]
        if len(given) != rows:
            raise DataError(
                f"column {column.name!r} has {len(given)} values for {rows} images; give one for each",
                code="inputs-cell",
                column=column.name,
            )
        parsed[:, at] = [_parse(column, cell) for cell in given]
    return parsed


def missing_columns(table: TableSpec, lost: Sequence[str]) -> DataError:
    """The error of a call that lacks columns."""
    are = "is" if len(lost) == 1 else "are"
    return DataError(
        f"the model takes {brief(table.names, 8)} beside the image, and {brief(lost, 8)} {are} not given; give "
        f"{describe_columns(table)}, in a table with --table FILE or as columns={{NAME: values}}",
        code="inputs-missing",
        columns=list(lost),
        expected=list(table.names),
    )


def _parse(column: ColumnSpec, cell: Any) -> float:
    if isinstance(column, Categorical) and cell is not None:
        key = category_key(str(cell))
        places = [at for at, value in enumerate(column.values) if category_key(value) == key]
        if places:  # before missing words: "None" may be a value
            return float(places[0])
    if is_missing(cell):
        if column.missing == "refuse":
            raise DataError(
                f"{column.name!r} holds nothing, and the model needs it: training saw no image without; give it, or "
                f"train with --inputs {column.name}:optional",
                code="inputs-cell-missing",
                column=column.name,
            )
        return math.nan
    if isinstance(column, Categorical):
        return UNKNOWN_VALUE
    value = read_number(cell)
    if value is None:
        raise DataError(
            f"{column.name!r} holds {str(cell)[:40]!r}, expected a number such as {column.mean:.4g}",
            code="inputs-cell",
            column=column.name,
        )
    return value


def check_cells(table: TableSpec, raw: NDArray[Any], images: int) -> NDArray[np.float32]:
    """`raw` as `parse_cells` gives it, for so many images.

    Raises:
        DataError: another shape, infinite numbers, or nothing where the model needs a value.
    """
    found = np.asarray(raw, np.float32)
    if found.shape != (images, len(table.columns)):
        raise DataError(
            f"columns of shape {found.shape}, expected ({images}, {len(table.columns)}): a row for each image with "
            f"{brief(table.names, 8)}",
            code="inputs-cell",
            shape=list(found.shape),
        )
    for at, column in enumerate(table.columns):
        if np.isinf(found[:, at]).any():
            raise DataError(f"{column.name!r} holds an infinite number", code="inputs-cell", column=column.name)
        if column.missing == "refuse" and np.isnan(found[:, at]).any():
            _parse(column, None)
    return found


def encode_columns(raw: NDArray[np.float32], table: TableSpec) -> NDArray[np.float32]:
    """What the network is given of (n, C) columns, as `parse_cells` gives them: (n, table.width) float32."""
    parts: list[NDArray[Any]] = []
    for at, column in enumerate(table.columns):
        x = raw[:, at : at + 1].astype(np.float32)
        if isinstance(column, Numeric):
            mean, std = np.float32(column.mean), np.float32(column.std)
            gone = np.isnan(x)
            parts.append((np.where(gone, mean, x) - mean) / std)
            if column.missing == "learnt":
                parts.append(gone)
            continue
        hits = x == np.arange(len(column.values), dtype=np.float32)  # NaN equals nothing
        parts.append(hits)
        if column.other:
            parts.append(1 - hits.sum(axis=1, keepdims=True))
    return np.concatenate([np.asarray(part, np.float32) for part in parts], axis=1)


def draw_cells(table: TableSpec, count: int) -> NDArray[np.float32]:
    """(count, C) made rows, nobody's and the same each time.

    They hold all that the encoding tells apart: known, other and missing values.
    """
    rng = np.random.default_rng(0)
    drawn = np.empty((count, len(table.columns)), np.float32)
    for at, column in enumerate(table.columns):
        if isinstance(column, Numeric):
            drawn[:, at] = np.round(column.mean + column.std * rng.uniform(-2, 2, count), 2)
        else:
            drawn[:, at] = rng.integers(-1, len(column.values), count)
        if column.missing != "refuse":
            drawn[rng.random(count) < 0.2, at] = np.nan
    return drawn


def note_unusual(table: TableSpec, raw: NDArray[np.float32]) -> tuple[str, ...]:
    """What must be said of (n, C) columns: values that the model does not know, numbers far from those of training."""
    notes = []
    for at, column in enumerate(table.columns):
        x = raw[:, at]
        if isinstance(column, Categorical):
            if unknown := int((x == UNKNOWN_VALUE).sum()):
                slot = "one for all others" if column.other else "none: their numbers are 0"
                notes.append(
                    f"{format_count(unknown, 'image')} with a value of {column.name!r} that training did not know "
                    f"({brief(column.values, 6)} it knew); the network has {slot}"
                )
        elif far := int((np.abs(x - column.mean) > FAR * column.std).sum()):
            notes.append(
                f"{format_count(far, 'image')} with {column.name!r} more than {FAR:g} standard deviations from the "
                f"mean of training ({column.mean:.4g}); look at its unit"
            )
    return tuple(notes)


def describe_columns(table: TableSpec) -> str:
    """Such as "age (a number), sex (F, M)"."""
    return ", ".join(
        f"{column.name} (a number)" if isinstance(column, Numeric) else f"{column.name} ({brief(column.values, 6)})"
        for column in table.columns
    )
