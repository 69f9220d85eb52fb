"""An image as people look at it: 8 bits, and small enough for a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from zoo.readers._image import stack_of
from zoo.readers._stack import blend_channels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.readers._image import RawImage

__all__ = ["make_visible", "thumbnail"]

_QUALITY = 70
"""Of WebP; at 100 pixels a thumbnail then takes about 2 kB."""


def make_visible(image: RawImage) -> NDArray[np.uint8]:
    """(H, W, 3) to look at.

    Deep images are shown from their least to their largest value, padding left out, and stacks as `blend_channels` of
    them.
    """
    if stack_of(image.kind, image.pixels.shape[2]):
        unit = blend_channels(image)[:, :, None]
    elif image.kind == "uint8":
        return np.asarray(image.pixels)
    else:
        values = np.asarray(image.pixels, np.float64)
        shown = image.unpadded if image.unpadded.size else values
        low, high = float(shown.min()), float(shown.max())
        unit = np.clip((values - low) / ((high - low) or 1), 0, 1)
    return np.repeat((unit * 255 + 0.5).astype(np.uint8), 3, axis=2)


def thumbnail(image: RawImage, side: int) -> str:
    """A data URI of the image, at most `side` pixels on its longer side.

    A large image is averaged and written as WebP. A small one stays as it is, as PNG: a page enlarges it in blocks, so
    that its own pixels are seen.
    """
    picture = Image.fromarray(make_visible(image))
    small = max(picture.size) <= side
    if not small:
        picture.thumbnail((side, side), Image.Resampling.BOX)
    stream = io.BytesIO()
    kind = "png" if small else "webp"
    picture.save(stream, kind, **({"optimize": True} if small else {"quality": _QUALITY}))
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
