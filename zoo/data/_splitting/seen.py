"""What a model has seen: digests of its training and validation images, kept beside it to be looked up later."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.files import atomic_write
from zoo.data._splitting.fingerprint import contents
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._index import Splits

__all__ = ["TRAINED_ON", "count_seen", "read_seen", "write_seen"]

TRAINED_ON = "trained_on.npz"
"""In a run: `train` and `val`, (n, 32) uint8 each, sorted sha256 of the images' files or pixels."""


def write_seen(path: Path, splits: Splits, others: Sequence[Path] = ()) -> None:
    """Write the digests of train and val, sorted, so that they tell nothing about names or order.

    Args:
        path: where.
        splits: whose train and val.
        others: `TRAINED_ON` files of models that went into this one; what they have seen it has seen.
    """
    seen = {"train": [splits.train.digests], "val": [splits.val.digests]}
    for other in others:
        for part, digests in seen.items():
            digests.append(read_seen(other, part))
    # Members of an ensemble have mostly seen the same images; the file holds each image once.
    train, val = (np.unique(np.concatenate(one), axis=0) if others else one[0] for one in seen.values())
    buffer = io.BytesIO()
    np.savez(buffer, train=_sort(train), val=_sort(val))
    atomic_write(path, buffer.getvalue())


def read_seen(path: Path, *parts: str) -> NDArray[np.uint8]:
    """The digests of a `TRAINED_ON` file: (n, 32).

    Args:
        path: path of the file.
        parts: "train", "val"; none: both together.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            found = [archive[part] for part in parts or ("train", "val")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        found = []
    if not found or any(part.dtype != np.uint8 or part.shape[1:] != (32,) for part in found):
        raise DataError(
            f"{path} is damaged; remove it to evaluate without knowing what the model has seen",
            code="seen-damaged",
            path=str(path),
        )
    return np.concatenate(found)


def count_seen(digests: NDArray[np.uint8], seen: NDArray[np.uint8]) -> int:
    """How many of `digests`, (n, 32), are among `seen`, (m, 32)."""
    same = contents(np.concatenate((seen, digests)))
    return int(np.isin(same[len(seen) :], same[: len(seen)]).sum())


def _sort(digests: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return digests[np.argsort(contents(digests), kind="stable")]
