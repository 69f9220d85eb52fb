"""Where decoded images go: memory, a temporary file, or nowhere, and how much room there is."""

from __future__ import annotations

import logging
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.memory import free_memory, lies_in_memory
from zoo._support.text import gigabytes
from zoo.data._rows import FileRows, HeldRows
from zoo.errors import DataError, OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["IN_MEMORY", "fits_memory", "temporary", "within_memory"]

IN_MEMORY = 512 * 1024**2
"""Bytes of decoded images of one set above which they do not go into memory unasked, nor do those that would take more
than half of what is free: training and validation images, PyTorch and a network stay below 2 GB together."""

log = logging.getLogger("zoo")


def fits_memory(size: int) -> bool:
    """Whether memory is the place for this many bytes."""
    return size <= min(IN_MEMORY, free_memory() / 2)


def within_memory(shape: Sequence[int], dtype: np.dtype[Any]) -> HeldRows:
    """Room in memory for (n, h, w, c).

    Raises:
        DataError: there is none.
    """
    size = math.prod(shape) * dtype.itemsize
    free = free_memory()
    try:
        if size > free:
            raise MemoryError
        return HeldRows(np.empty(shape, dtype))
    except MemoryError:
        raise DataError(
            f"no memory for {gigabytes(size)} of decoded images; lower --size, free some, or decode them anew for each "
            "epoch with --set cache=stream",
            code="decoded-memory",
            needed=size,
        ) from None


def temporary(shape: Sequence[int], dtype: np.dtype[Any]) -> FileRows | HeldRows:
    """Room for (n, h, w, c) in a temporary file, which is said; it goes with the rows.

    Raises:
        OutputError: the disk, or the memory that the folder is made of, has no room.
    """
    size = math.prod(shape) * dtype.itemsize
    folder = Path(tempfile.gettempdir())
    of_memory = lies_in_memory(folder)
    free = min(shutil.disk_usage(folder).free, free_memory() if of_memory else math.inf)
    if size > free:
        kind = "memory" if of_memory else "disk"
        raise _full(size, folder, f"{gigabytes(int(free))} of {kind} are free", free=int(free))
    log.info("decoded images take %s in a temporary file in %s; TMPDIR names another place", gigabytes(size), folder)
    if of_memory:
        log.warning("%s is made of memory, which these %s take; set TMPDIR to a disk", folder, gigabytes(size))
    # Nameless where the system allows it: gone when the rows are, even after a crash.
    with tempfile.TemporaryFile(prefix="zoo-", dir=folder) as stream:
        try:
            if hasattr(os, "posix_fallocate"):  # the disk is full now, not after an hour of decoding
                os.posix_fallocate(stream.fileno(), 0, size)
            if hasattr(os, "pread"):
                return FileRows(stream, shape, dtype)
            return HeldRows(np.memmap(stream, dtype=dtype, mode="w+", shape=tuple(shape)))
        except OSError as problem:
            raise _full(size, folder, (problem.strerror or str(problem)).lower()) from None


def _full(size: int, folder: Path, reason: str, **fields: int) -> OutputError:
    return OutputError(
        f"no room for {gigabytes(size)} of decoded images in {folder} ({reason}); free space, set TMPDIR or lower "
        "--size",
        code="output-full",
        needed=size,
        folder=str(folder),
        **fields,
    )
