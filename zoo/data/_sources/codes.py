"""The values of one column of a table, which occur again and again: as numbers, in the order they were met."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from zoo.data._names import Names

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Codes"]


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

    def find(self, texts: set[str]) -> NDArray[np.bool_]:
        """(n,) which rows hold one of `texts`."""
        return np.isin(self.array(), [self.numbers[text] for text in texts])

    def empty(self, texts: set[str]) -> None:
        """Turn `texts` into ""."""
        names = [("" if text in texts else text) for text in self.numbers]
        self.numbers = {}
        order = np.array([self.numbers.setdefault(name, len(self.numbers)) for name in names], np.int64)
        self.codes = array("q", order[self.array()].tobytes())

    def subset(self, keep: NDArray[np.bool_]) -> Codes:
        """The values of some rows, and no other value."""
        used, codes = np.unique(self.array()[keep], return_inverse=True)
        texts = list(self.numbers)
        numbers = {texts[old]: new for new, old in enumerate(used.tolist())}
        return Codes(numbers, array("q", codes.astype(np.int64).tobytes()))
