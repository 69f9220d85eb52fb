"""Columns beside an image, such as age and sex, and the numbers that a network is given of them.

Executed twice, by `zoo.tabular` and by `zoo.artefact._columns`, as the preprocessing of the image is.
"""

from __future__ import annotations

import math
from typing import Literal

from zoo.spec._value import Value

__all__ = [
    "COLUMN_INPUT",
    "MOST_COLUMNS",
    "MOST_VALUES",
    "Categorical",
    "ColumnSpec",
    "Missing",
    "Numeric",
    "TableSpec",
]

Missing = Literal["refuse", "neutral", "learnt"]
"""An image without the value. refuse: it gets no answer. neutral: its numbers are 0, as the user wanted it although
training saw no such image. learnt: training saw such images, and a number of its own says so."""

COLUMN_INPUT = "column/"
"""Begins the name of a graph's input of one column; the name of the column follows."""

MOST_COLUMNS = 32
"""Columns of a model at most: each is an input of the graph, and "a few" is what a late fusion is for."""

MOST_VALUES = 64
"""Values of a categorical column at most; a column of more is a name or a number of somebody."""


class Numeric(Value, frozen=True, tag_field="type", tag="numeric"):
    """A number x becomes (x - mean) / std, a missing one 0; where that was learnt a second number says so (1 or 0)."""

    name: str
    mean: float
    """Of the training images that have the number."""
    std: float
    """Standard deviation of the same, above 0."""
    missing: Missing = "refuse"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"column {self.name!r}: mean {self.mean}, std {self.std}; expected numbers, std above 0")

    @property
    def width(self) -> int:
        """Numbers that the network is given."""
        return 2 if self.missing == "learnt" else 1


class Categorical(Value, frozen=True, tag_field="type", tag="categorical"):
    """A value becomes a one in the place that it has in `values`, and zeros in all others (one-hot)."""

    name: str
    values: tuple[str, ...]
    """In natural order; letter case, spare blanks and a final ".0" make no difference."""
    other: bool = False
    """Training saw images with another value or none: one more number says so. Else these are zeros throughout."""
    missing: Missing = "refuse"

    def __post_init__(self) -> None:
        if not 1 <= len(self.values) <= MOST_VALUES or len(set(self.values)) < len(self.values):
            raise ValueError(f"column {self.name!r}: {len(self.values)} values, expected 1 to {MOST_VALUES}, each once")
        if self.missing == "learnt" and not self.other:
            raise ValueError(f"column {self.name!r}: missing is learnt, expected other to be true")

    @property
    def width(self) -> int:
        """Numbers that the network is given."""
        return len(self.values) + self.other


ColumnSpec = Numeric | Categorical


class TableSpec(Value, frozen=True):
    """The columns that a model takes beside the image, in the order in which the network sees them."""

    columns: tuple[ColumnSpec, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.columns) <= MOST_COLUMNS:
            raise ValueError(f"{len(self.columns)} columns, expected 1 to {MOST_COLUMNS}")
        if len(set(self.names)) < len(self.columns):
            raise ValueError("a column is named twice")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """Numbers that the network is given for an image."""
        return sum(column.width for column in self.columns)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, (N,) float32 each: the number, or the place in `values` counted from 0."""
        return tuple(f"{COLUMN_INPUT}{name}" for name in self.names)
