"""The built-in set: 1797 handwritten digits, 8 × 8 pixels, from scikit-learn (test set of UCI optdigits)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.data._sources.npz import array_pool
from zoo.errors import DataError

if TYPE_CHECKING:
    from zoo.data._index import Pool

__all__ = ["index_digits"]

_LEVELS = 16  # ink is counted in 4 × 4 blocks of a bitmap: 0 to 16


def index_digits() -> Pool:
    """All digits without splits: uint8 (1797, 8, 8), 0 to 255.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError(
            "the digits come with scikit-learn, which is not here; pip install 'edgezoo[train]'",
            code="package-missing",
            package="scikit-learn",
            extra="train",
        ) from None
    bunch = load_digits()
    images = np.round(bunch.images * 255 / _LEVELS).astype(np.uint8)
    return array_pool("digits", images, bunch.target.astype(np.int64), tuple(map(str, bunch.target_names)))
