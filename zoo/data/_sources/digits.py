"""The built-in set: 1797 handwritten digits, 8 × 8 pixels, from scikit-learn (test set of UCI optdigits)."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data._sources.npz import array_pool
from zoo.errors import DataError

if TYPE_CHECKING:
    from zoo.data._index import Pool

__all__ = ["index_digits"]

_FILE = "datasets/data/digits.csv.gz"
_LEVELS = 16  # ink is counted in 4 × 4 blocks of a bitmap: 0 to 16


def index_digits() -> Pool:
    """All digits without splits: uint8 (1797, 8, 8), 0 to 255.

    The file of scikit-learn is read without its code, whose import takes longer than a short training.

    Raises:
        DataError: scikit-learn is not installed, or is a release that keeps the digits elsewhere.
    """
    package = find_spec("sklearn")
    path = None if package is None or package.origin is None else Path(package.origin).parent / _FILE
    if path is None or not path.is_file():
        raise DataError(
            f"the digits are scikit-learn's file {_FILE}, which is not here; pip install 'edgezoo[train]'",
            code="package-missing",
            package="scikit-learn",
            extra="train",
        )
    with gzip.open(path, "rt", encoding="ascii") as stream:
        rows = np.loadtxt(stream, delimiter=",", dtype=np.int64)  # 64 counts of ink and the digit
    images = np.round(rows[:, :-1].reshape(-1, 8, 8) * 255 / _LEVELS).astype(np.uint8)
    return array_pool("digits", images, rows[:, -1], tuple(map(str, range(10))))
