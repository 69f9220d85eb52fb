"""How bright raw images are, and how much contrast they have: numbers by which a site notices another scanner.

What this module does not know: models, tables, what is usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import UsageError
from zoo.spec import MEASURED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.spec import Manifest

__all__ = ["check_measured", "measure_pixels"]

_ROOM = 2**22
"""Pixels that are looked at in one image; of a larger one every second row and column, or every third, and so on."""


def measure_pixels(batch: NDArray[Any]) -> NDArray[np.float32]:
    """Brightness and contrast of raw images.

    Args:
        batch: (N, H, W, C) as read, of any kind of pixel.

    Returns:
        (N, 2) float32, columns as `zoo.spec.MEASURED`: mean and standard deviation of all values, over the largest
        value of the type, so in [0, 1]; of float32, which has none, as they are, those that are not finite left out.
    """
    step = max(1, int(np.ceil(np.sqrt(batch.shape[1] * batch.shape[2] / _ROOM))))
    rows = batch[:, ::step, ::step].reshape(len(batch), -1)
    found = np.zeros((len(rows), len(MEASURED)), np.float32)
    top = np.iinfo(batch.dtype).max if batch.dtype.kind in "ui" else 1
    for at, row in enumerate(rows):
        finite = row if top > 1 else row[np.isfinite(row)]
        if finite.size:
            found[at] = finite.mean(dtype=np.float64) / top, finite.std(dtype=np.float64) / top
    return found


def check_measured(shown: str, manifest: Manifest) -> None:
    """Refuse to measure the images of a file that is given preprocessed ones.

    Raises:
        UsageError: so it is; `shown` is how the line calls the file.
    """
    stage = manifest.input.stage
    if stage != "raw":
        raise UsageError(
            f"{shown} leaves preprocessing to its caller, so no statistics of raw pixels come with its answers; give a "
            "file that was exported with --preprocess full",
            code="statistics-not-raw",
            stage=stage,
        )
