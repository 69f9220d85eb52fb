"""Decoded images one after another, in memory or in a file: an image is a row.

Rows of a file are read one by one and not mapped. Pages of a map count as memory of the process and of its limits, and
a disk that fails under a map ends the process without a word.

Rows to learn from are packed: pictures of 8 bits become whole 128ths of a level (int16). That is half of float32, whole
levels stay as they are, and the rest moves by at most 1/256 of a level: `docs/decisions/0079-packed-rows.md`.
"""

from __future__ import annotations

import math
import os
import weakref
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from zoo.errors import DataError, OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["STEPS", "FileRows", "HeldRows", "Rows", "pack", "unpack"]

STEPS = 128
"""Of a packed row, in a level of 8 bits: 255 of them fit into 15 bits, and a power of two divides without a rest."""


class Rows(Protocol):
    """Images by position, as `zoo.preprocess.resize_image` gives them: float32, or int16 where they are packed."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, h, w, c); c is 1 where every image has three equal channels and the rows are to learn from."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or int16."""
        ...

    def take(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """(B, h, w, c): the rows at `index`, in that order.

        Raises:
            DataError: one cannot be read any more.
        """
        ...


class HeldRows:
    """Rows in memory.

    Attributes:
        array: (n, h, w, c).
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.shape: tuple[int, int, int, int] = array.shape
        self.dtype = array.dtype

    def take(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """As `Rows.take`."""
        return self.array[index]

    def put(self, i: int, row: NDArray[Any]) -> None:
        """Set row `i`."""
        self.array[i] = row

    def first(self, n: int) -> HeldRows:
        """The first `n` rows, which share their memory."""
        return HeldRows(self.array[:n])


class FileRows:
    """Rows from the start of a file, which stays open while they are used; it may have lost its name."""

    def __init__(self, stream: IO[bytes], shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        n, height, width, channels = shape
        self.shape = (n, height, width, channels)
        self.dtype = dtype
        self._row = math.prod(self.shape[1:]) * dtype.itemsize
        self._handle = os.dup(stream.fileno())
        self._last = weakref.finalize(self, os.close, self._handle)

    def take(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """As `Rows.take`."""
        found = np.empty((len(index), *self.shape[1:]), self.dtype)
        for position, i in enumerate(index.tolist()):
            self._fill(memoryview(found[position].reshape(-1)).cast("B"), i)
        return found

    def put(self, i: int, row: NDArray[Any]) -> None:
        """Write row `i`.

        Raises:
            OutputError: the disk is full, or fails.
        """
        rest = np.ascontiguousarray(row, self.dtype).data.cast("B")
        at = i * self._row
        try:
            while rest:
                done = os.pwrite(self._handle, rest, at)
                rest, at = rest[done:], at + done
        except OSError as problem:
            raise OutputError(
                f"decoded images cannot be written ({(problem.strerror or 'i/o error').lower()}); free space, or "
                "decode them anew for each epoch with --set cache=stream",
                code="decoded-write",
            ) from None

    def first(self, n: int) -> FileRows:
        """The first `n` rows of the same file."""
        with os.fdopen(os.dup(self._handle), "rb") as stream:
            return FileRows(stream, (n, *self.shape[1:]), self.dtype)

    def map(self) -> NDArray[Any]:
        """(n, h, w, c), mapped; what is written to it stays in memory."""
        with os.fdopen(os.dup(self._handle), "rb") as stream:
            return np.memmap(stream, self.dtype, "c", shape=self.shape)

    def _fill(self, place: memoryview, i: int) -> None:
        at = i * self._row
        try:
            while len(place):
                data = os.pread(self._handle, len(place), at)
                if not data:
                    raise OSError(None, "the file has become shorter")
                place[: len(data)] = data
                place, at = place[len(data) :], at + len(data)
        except OSError as problem:
            raise DataError(
                f"decoded images cannot be read back ({(problem.strerror or 'i/o error').lower()}); remove them with "
                "'zoo data cache --clear' and start again",
                code="decoded-read",
            ) from None


def pack(image: NDArray[np.float32]) -> NDArray[np.int16]:
    """Values from 0 to 255 as whole numbers of 1/STEPS, to the nearest."""
    return np.asarray(np.rint(image * np.float32(STEPS)), np.int16)


def unpack(rows: NDArray[Any]) -> NDArray[np.float32]:
    """The reverse of `pack`; float32 rows as they are."""
    return np.asarray(rows / np.float32(STEPS) if rows.dtype == np.int16 else rows, np.float32)
