"""Names of very many images in one buffer, which takes the bytes of their text; strings take 60 more each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError

__all__ = ["Names", "one_line"]


_STEP = 4096  # names handed out from one piece of the arrays: positions one by one cost three times as much


class Names(Sequence[str]):
    """An immutable sequence of strings; a subset shares its text."""

    __slots__ = ("_ends", "_order", "_text")

    def __init__(self, text: bytes, ends: NDArray[np.int64], order: NDArray[np.int64] | None = None) -> None:
        self._text = text
        self._ends = ends  # (all + 1,): name i is between ends[i] and ends[i + 1]
        self._order = order  # which of all names these are; None: all of them

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """Any strings as `Names`."""
        if isinstance(names, Names):
            return names
        text, ends = bytearray(), array("q", [0])
        for name in names:
            text += name.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        return cls(bytes(text), np.frombuffer(ends, np.int64))

    def subset(self, indices: NDArray[np.integer[Any]]) -> Names:
        """The names at `indices`, (m,), in that order."""
        chosen = np.asarray(indices, np.int64)
        return Names(self._text, self._ends, chosen if self._order is None else self._order[chosen])

    def __len__(self) -> int:
        return len(self._ends) - 1 if self._order is None else len(self._order)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return self.subset(np.arange(*index.indices(len(self)), dtype=np.int64))
        place = range(len(self))[index]  # raises IndexError and counts negative ones from the end
        row = place if self._order is None else int(self._order[place])
        start, end = int(self._ends[row]), int(self._ends[row + 1])
        return self._text[start:end].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _STEP):
            part = slice(start, start + _STEP)
            rows = np.arange(*part.indices(len(self))) if self._order is None else self._order[part]
            pairs = zip(self._ends[rows].tolist(), self._ends[rows + 1].tolist(), strict=True)
            for begin, end in pairs:
                yield self._text[begin:end].decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((len(self), self[0] if len(self) else ""))

    def __repr__(self) -> str:
        shown = ", ".join(repr(name) for name in self[:3])
        return f"Names([{shown}{', …' if len(self) > 3 else ''}], n={len(self)})"


def one_line(name: str, ids: Iterable[str]) -> Iterator[str]:
    """Hand on `ids`, which go into tables and messages of one line.

    Raises:
        DataError: at the end, when some hold control characters or are not UTF-8.
    """
    bad, example = 0, ""
    for identity in ids:
        # the first question takes a tenth of the second, and says yes to a few that are fine
        if not identity.isprintable() and any(
            ord(c) < 32 or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in identity
        ):
            bad, example = bad + 1, example or identity
        yield identity
    if bad:
        raise DataError(
            f"{name}: {bad} file names hold control characters or are not UTF-8 ({example!a}); rename them",
            code="file-name",
            files=bad,
        )
