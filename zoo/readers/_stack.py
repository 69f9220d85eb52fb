"""Several pictures of one thing as the channels of one image: the pages of a file, or files side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import ImageError
from zoo.readers._image import RawImage
from zoo.spec import MOST_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["JOINT", "blend_channels", "join_channels"]

JOINT = "|"
"""Between the paths of files that are the channels of one image: "dapi.tif|gfp.tif". Windows allows it in no name."""


def join_channels(images: Sequence[RawImage], name: str) -> RawImage:
    """One image whose channels are gray images, in their order.

    Args:
        images: 2 to 16, each of one channel (uint8: three equal ones), of one size, kind and padding.
        name: how errors name the whole.

    Raises:
        ImageError: they differ, or one is not gray.
    """
    first = images[0]
    if not 2 <= len(images) <= MOST_CHANNELS:
        reason = f"{len(images)} pictures to stack, expected 2 to {MOST_CHANNELS}"
        raise ImageError(name, reason, code="image-stack", found=len(images), most=MOST_CHANNELS)
    for number, image in enumerate(images, 1):
        pixels = image.pixels
        coloured = pixels.shape[2] > 1 and not (pixels.shape[2] == 3 and (pixels == pixels[:, :, :1]).all())
        said = {
            "colours or channels, expected gray": coloured,
            f"{pixels.shape[1]}x{pixels.shape[0]} pixels, the first has {first.pixels.shape[1]}x"
            f"{first.pixels.shape[0]}": pixels.shape[:2] != first.pixels.shape[:2],
            f"{image.kind}, the first is {first.kind}": image.kind != first.kind,
            "another padding than the first": image.padding != first.padding,
        }
        if wrong := next((what for what, holds in said.items() if holds), None):
            raise ImageError(
                name, f"picture {number} of {len(images)} to stack: {wrong}", code="image-stack", picture=number
            )
    pixels = np.concatenate([image.pixels[:, :, :1] for image in images], axis=2)
    return RawImage(pixels, first.kind, first.padding)


def blend_channels(image: RawImage) -> NDArray[np.float64]:
    """(H, W) in [0, 1], to look at: the mean of all channels, each from its least to its largest value.

    Padding is left out of these ends and becomes 0. A channel of one value becomes 0.
    """
    padded = image.padded
    total = np.zeros(image.pixels.shape[:2])
    for at in range(image.pixels.shape[2]):
        values, hidden = image.pixels[:, :, at].astype(np.float64), padded[:, :, at]
        shown = values[~hidden] if not hidden.all() else values
        low, high = float(shown.min()), float(shown.max())
        total += np.where(hidden & ~hidden.all(), 0, np.clip((values - low) / ((high - low) or 1), 0, 1))
    return np.asarray(total / image.pixels.shape[2])
