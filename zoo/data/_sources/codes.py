"""The values of one column of a table, which occur again and again: as numbers, in the order they were met."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import brief, count_with_verb
from zoo.data._names import Names
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["Codes", "refuse_unlabelled"]

_RARE = 0.01
"""Share of the images that a class may have: 1.1 % of HAM10000 are dermatofibromas, 2 % of EyePACS proliferative."""
_FEWEST = 3
"""Images of a class that can be trained: one each in train, val and test."""


@dataclass(slots=True)
class Codes:
    """A column; `numbers` tells the values apart, and `codes` holds one number for each row."""

    numbers: dict[str, int] = field(default_factory=dict)
    codes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, value: str) -> None:
        self.codes.append(self.numbers.setdefault(value, len(self.numbers)))

    def values(self) -> Names:
        """The value of each row."""
        return Names.of(self.numbers).subset(self.array())

    def array(self) -> NDArray[np.int64]:
        return np.asarray(self.codes, np.int64)

    def count(self) -> dict[str, int]:
        """How many rows hold each value."""
        times = np.bincount(self.array(), minlength=len(self.numbers)).tolist()
        return dict(zip(self.numbers, times, strict=True))

    def find(self, texts: set[str]) -> NDArray[np.bool_]:
        """(n,) which rows hold one of `texts`."""
        return np.isin(self.array(), [self.numbers[text] for text in texts])

    def empty(self, texts: set[str], column: str) -> str:
        """Turn `texts`, which mean nothing, into ""; a note on how many cells of this column held them."""
        n = int(self.find(texts).sum())
        names = [("" if text in texts else text) for text in self.numbers]
        self.numbers = {}
        order = np.array([self.numbers.setdefault(name, len(self.numbers)) for name in names], np.int64)
        self.codes = array("q", order[self.array()].tobytes())
        return f"{count_with_verb(n, 'cell')} taken for empty in column {column!r} ({brief(sorted(texts))})"

    def blank(self, rows: Iterable[int]) -> None:
        """Turn the cells of these rows into ""."""
        for row in rows:
            self.codes[row] = self.numbers.setdefault("", len(self.numbers))

    def subset(self, keep: NDArray[np.bool_]) -> Codes:
        """The values of some rows, and no other value."""
        used, codes = np.unique(self.array()[keep], return_inverse=True)
        texts = list(self.numbers)
        numbers = {texts[old]: new for new, old in enumerate(used.tolist())}
        return Codes(numbers, array("q", codes.astype(np.int64).tobytes()))


def refuse_unlabelled(file: str, labels: Codes, missing: set[str], *, settled: bool) -> None:
    """Refuse to leave rows without a label out where none would stay, or where their word may be a class.

    "None" is a grade of retinopathy. A word is taken for one where as many rows hold it as the rarest class, or
    in one of a hundred: by its number alone it cannot be told from a class then.

    Args:
        file: name of the table.
        labels: the column.
        missing: values of it that mean nothing.
        settled: the user said what such words are.

    Raises:
        DataError: codes data-empty and label-or-gap.
    """
    rows = labels.count()
    classes = [n for text, n in rows.items() if text not in missing]
    total = len(labels.codes)
    if not classes:
        raise DataError(f"{file}: no row has a label; fill the label column in", code="data-empty", unlabelled=total)
    fewest = max(_FEWEST, min(*classes, _RARE * total))
    words = {text: n for text, n in rows.items() if text in missing and text and n >= fewest}
    if words and not settled:
        said = ", ".join(f"{text!r} ({n})" for text, n in words.items())
        raise DataError(
            f"{file}: {sum(words.values())} of {total} rows have {said} for a label, as many as a class has; "
            f"say what {brief(words)} means: a class with --keep-na, no label with --no-keep-na",
            code="label-or-gap",
            words=words,
            rows=total,
        )
