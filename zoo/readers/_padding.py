"""Padding of one file in the words of a model that learned from others."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.ranges import in_ranges
from zoo.spec import Percentile

if TYPE_CHECKING:
    from zoo.readers._image import RawImage
    from zoo.spec import Intensity

__all__ = ["adopt_padding"]


def adopt_padding(image: RawImage, intensity: Intensity) -> RawImage:
    """The same image, filled up with padding that the intensity leaves out.

    Files of another site may fill up with another value than those that the model learned from. Its padding takes the
    value of theirs; where theirs named none, the smallest of the rest.
    """
    if not isinstance(intensity, Percentile) or image.padding is None:
        return image
    known, pixels, padded = intensity.padding, image.pixels, image.padded
    if not (padded & ~in_ranges(pixels, known)).any() or (padded.all() and not known):
        return image
    value = np.asarray(known[0][0] if known else pixels[~padded].min(), pixels.dtype)
    return dataclasses.replace(image, pixels=np.where(padded, value, pixels), padding=(float(value), float(value)))
