"""How bright raw images are, how much contrast and how much colour they have: a site notices another scanner by it.

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


def measure_pixels(batch: NDArray[Any], most: int = 2**22) -> NDArray[np.float32]:
    """Brightness, contrast and colour of raw images.

    Args:
        batch: (N, H, W, C) as read, of any kind of pixel.
        most: pixels that are looked at in one image; of a larger one every second row and column, or every third, and
            so on.

    Returns:
        (N, 3) float32, columns as `zoo.spec.MEASURED`: mean and standard deviation of all values, and the mean over
        pixels of the largest less the smallest of three channels, else 0. All are over the largest value of the type,
        so in [0, 1]; of float32, which has none, they are as they are, values that are not finite left out.
    """
    step = max(1, int(np.ceil(np.sqrt(batch.shape[1] * batch.shape[2] / most))))
    found = np.zeros((len(batch), len(MEASURED)), np.float32)
    whole = batch.dtype.kind in "ui"
    top = np.iinfo(batch.dtype).max if whole else 1
    for at, image in enumerate(batch[:, ::step, ::step]):
        values = image if whole else image[np.isfinite(image)]
        if not values.size:
            continue
        colour = (image.max(axis=-1) - image.min(axis=-1)).mean() if whole and image.shape[-1] == 3 else 0
        found[at] = np.array([values.mean(dtype=np.float64), values.std(dtype=np.float64), colour]) / top
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
