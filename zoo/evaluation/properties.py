"""Plain properties of raw images that a model must not live by: brightness, contrast, size, aspect, a burned-in mark.

They are measured on the pixels that the model is given, while it is given them, so no image is decoded twice.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.edge import measure_pixels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.evaluation._predict import Predict
    from zoo.evaluation._scores import Array

__all__ = ["PROPERTIES", "Watch", "file_types", "measure_batch", "varying"]

PROPERTIES = ("brightness", "contrast", "size", "aspect", "mark")
"""brightness and contrast: as `zoo.edge.measure_pixels` has them; size: pixels of the image; aspect: width over height;
mark: share of a corner that thin bright strokes on dark fill, as letters and rulers do."""

_MOST = 192**2
"""Pixels of an image that brightness and contrast are taken from: enough for ranges, and cheap beside the model."""
_STROKE = 3
"""A stroke is at most so many pixels wide, beside which the picture is darker by half of its range."""


class Watch:
    """A model that remembers the properties of the images it was asked about.

    Args:
        predict: raw (N, H, W, C) images, and columns beside them, to (N, K) logits.
    """

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._rows: list[Array] = []

    def __call__(self, batch: NDArray[Any], *beside: Any) -> NDArray[Any]:
        """What the model answers."""
        self._rows.append(measure_batch(batch))
        return self._predict(batch, *beside)

    def properties(self, n: int) -> dict[str, Array]:
        """Name to (n,) numbers; empty where the model was not asked about just n images, one after the other."""
        rows = np.concatenate(self._rows) if self._rows else np.empty((0, len(PROPERTIES)))
        return dict(zip(PROPERTIES, rows.T, strict=True)) if len(rows) == n else {}


def measure_batch(batch: NDArray[Any]) -> Array:
    """(N, 5) float64 of (N, H, W, C) raw images, in the order of PROPERTIES."""
    n, height, width = batch.shape[:3]
    found = np.empty((n, len(PROPERTIES)))
    found[:, :2] = measure_pixels(batch, _MOST)[:, :2]
    found[:, 2], found[:, 3] = height * width, width / height
    found[:, 4] = [_find_mark(image) for image in batch]
    return found


def file_types(ids: Sequence[str]) -> Sequence[str]:
    """The suffix of each name, in lower case."""
    return [posixpath.splitext(name)[1].lower() for name in ids]


def varying(properties: Mapping[str, Array]) -> dict[str, Array]:
    """Those that are not the same for all images."""
    return {name: values for name, values in properties.items() if len(np.unique(values)) > 1}


def _find_mark(image: NDArray[Any]) -> float:
    """The largest share of any corner (a quarter of each side) that thin bright strokes fill, in [0, 1]."""
    height, width = max(image.shape[0] // 4, 1), max(image.shape[1] // 4, 1)
    if min(height, width) <= 2 * _STROKE:
        return 0.0
    plane = image[:, :, image.shape[2] // 2]  # of colours the green one
    half = (float(plane.max()) - float(plane.min())) / 2
    return max(
        _share_of_strokes(plane[rows, columns].astype(np.float32), half)
        for rows in (slice(height), slice(-height, None))
        for columns in (slice(width), slice(-width, None))
    )


def _share_of_strokes(corner: NDArray[np.float32], half: float) -> float:
    """Pixels brighter by half of the range than those both to the left and right of them, or above and below."""
    if half <= 0:
        return 0.0
    found = np.zeros(corner.shape, np.bool_)
    for axis in (0, 1):
        moved = np.moveaxis(corner, axis, 0)
        middle = moved[_STROKE:-_STROKE] - half
        thin = (middle >= moved[: -2 * _STROKE]) & (middle >= moved[2 * _STROKE :])
        np.moveaxis(found, axis, 0)[_STROKE:-_STROKE] |= thin
    return float(found.mean())
