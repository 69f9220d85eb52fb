"""Padding of a DICOM picture: the values that fill it up beside what was imaged (PS3.3 section C.7.5.1.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.readers._dicom_values import read_modality_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.readers._dicom_elements import Elements
    from zoo.readers._dicom_header import Located
    from zoo.readers._dicom_pixels import Picture

__all__ = ["read_padding"]


def read_padding(found: Located, picture: Picture, frame: int = 1) -> tuple[float, float] | None:
    """The range of modality values that are padding: PixelPaddingValue, to PixelPaddingRangeLimit where there is one.

    Both ends count. They become modality values as pixels do, MONOCHROME1 mirrored, and so equal padded pixels.

    Args:
        found: the header.
        picture: the header's image module, of gray.
        frame: counted from 1.

    Returns:
        (smallest, largest); None where the file names no padding, or one that no pixel can hold.

    Raises:
        ImageError: a damaged element.
    """
    elements = found.elements
    if found.keyword == "FloatPixelData":
        names = ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit")
        limits = [elements.number(name) for name in names if elements.value(name) is not None]
        stored: NDArray[Any] = np.array([limits], np.float32)
    else:
        names = ("PixelPaddingValue", "PixelPaddingRangeLimit")
        limits = [_whole(elements, name, picture) for name in names if elements.value(name) is not None]
        least, most = picture.storable
        # every value of it, since a modality LUT may turn the order round
        stored = np.arange(max(min(limits, default=1), least), min(max(limits, default=0), most) + 1)[np.newaxis]
    if elements.value(names[0]) is None or not stored.size:
        return None
    values = read_modality_values(stored, elements, picture, frame)
    return float(values.min()), float(values.max())


def _whole(elements: Elements, name: str, picture: Picture) -> int:
    """A value of 16 bits, signed as pixels are; writers often take the other of US and SS."""
    content = elements.value(name)
    if isinstance(content, bytes) and len(content) >= 2:  # of a VR that says nothing about numbers
        number = int.from_bytes(content[:2], "little" if elements.little_endian else "big")
    else:
        number = elements.whole(name)
    number &= 0xFFFF
    return number - 65536 if picture.signed and number > 32767 else number
