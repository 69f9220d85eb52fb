"""From stored values to what they mean (PS3.3 section C.11): modality, then VOI, then photometric inversion, last.

The arithmetic is ours: pydicom's windowing inverts the contrast where the rescale slope is negative, and its pixel
array never inverts MONOCHROME1. All of it is float64 until the end, so that twins of one picture (inverted and tagged
MONOCHROME1, or stored with a negative slope) become the same float32 values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ImageError
from zoo.readers._dicom_pixels import Picture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from zoo.readers._dicom_elements import Elements

__all__ = [
    "apply_voi",
    "apply_window",
    "brings_voi",
    "find_functional",
    "look_up",
    "read_modality_values",
    "read_table",
]


def read_modality_values(stored: NDArray[Any], elements: Elements, picture: Picture, frame: int) -> NDArray[np.float32]:
    """Modality values, Hounsfield units for CT; the order of gray is that of MONOCHROME2.

    MONOCHROME1 is mirrored within the range of its stored values, x → lo + hi - x, where lo and hi are the modality
    values of the smallest and largest that can be stored. Padding (PixelPaddingValue) stays as stored.

    Args:
        stored: (H, W) as decoded.
        elements: the header.
        picture: the header's image module.
        frame: counted from 1.

    Returns:
        (H, W).

    Raises:
        ImageError: a damaged table or slope.
    """
    modality = _modality(elements, picture, frame)
    values, ends = modality(stored), np.array(picture.storable)
    if _is_inverted(elements, picture):
        if stored.dtype.kind == "f":
            raise ImageError(
                elements.name,
                "float pixels that are stored inverted, which have no range; convert it",
                code="image-colours",
            )
        # for a rescale the same numbers in another order, which makes them the twin's to the last bit
        linear = isinstance(modality, _Rescale)
        values = modality(ends.sum() - stored.astype(np.int64)) if linear else modality(ends).sum() - values
    return np.asarray(values, np.float32)


def apply_voi(stored: NDArray[Any], elements: Elements, picture: Picture, frame: int) -> NDArray[np.float32]:
    """The picture as the file says it is to be shown: (H, W) in [0, 1], 0 is black; as `read_modality_values`.

    A VOI LUT is preferred over a window, and of several the first is taken.

    Raises:
        ImageError: the file brings neither, or they are damaged.
    """
    modality = _modality(elements, picture, frame)
    values = modality(stored)
    voi = find_functional(elements, frame, "FrameVOILUTSequence")
    if luts := voi.items("VOILUTSequence"):
        lowest = float(modality(np.array(picture.storable)).min()) if stored.dtype.kind != "f" else 0.0
        entries, first, bits = read_table(luts[0], "LUTDescriptor", "LUTData", signed=lowest < 0)
        shown = np.clip(look_up(values, entries, first) / (2**bits - 1), 0, 1)
    elif brings_voi(elements, frame):
        function = voi.text("VOILUTFunction") or "LINEAR"
        center, width = voi.number("WindowCenter"), voi.number("WindowWidth")
        try:
            shown = apply_window(values, center, width, function)
        except ValueError as problem:
            raise ImageError(
                elements.name, f"{problem}; choose another intensity than voi", code="image-window"
            ) from None
    else:
        raise ImageError(
            elements.name,
            "brings no VOI LUT and no window, which intensity voi reads through; "
            "take files that bring one, or train with another intensity",
            code="image-window-missing",
        )
    return np.asarray(1 - shown if _is_inverted(elements, picture) else shown, np.float32)


def brings_voi(elements: Elements, frame: int = 1) -> bool:
    """Whether `apply_voi` has something to go by."""
    voi = find_functional(elements, frame, "FrameVOILUTSequence")
    window = voi.value("WindowCenter") is not None and voi.value("WindowWidth") is not None
    return window or bool(voi.items("VOILUTSequence"))


def apply_window(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    """A window, PS3.3 sections C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID) and C.11.2.1.3.2 (LINEAR_EXACT).

    Args:
        values: modality values.
        center: center of the window.
        width: width of the window, at least 1 for LINEAR and above 0 for the others.
        function: value of the element VOILUTFunction.

    Returns:
        In [0, 1].

    Raises:
        ValueError: an unknown function, or a width it does not allow.
    """
    least = {"LINEAR": 1.0, "LINEAR_EXACT": np.finfo(np.float64).tiny, "SIGMOID": np.finfo(np.float64).tiny}
    if function not in least:
        raise ValueError("its VOI LUT function is not one of LINEAR, LINEAR_EXACT, SIGMOID")
    if width < least[function]:
        raise ValueError("the width of its window is too small")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # exp of a large number is infinite, and 1 / infinity is 0, as it should be
            return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class _Rescale:
    """Linear, PS3.3 section C.11.1.1.2."""

    slope: float
    intercept: float

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        return stored.astype(np.float64) * self.slope + self.intercept


@dataclass(frozen=True, slots=True, eq=False)
class _Lut:
    """A table, PS3.3 section C.11.1.1.1."""

    entries: NDArray[np.int64]
    first: int

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        return look_up(stored, self.entries, self.first).astype(np.float64)


def _modality(elements: Elements, picture: Picture, frame: int) -> _Rescale | _Lut:
    if luts := elements.items("ModalityLUTSequence"):
        entries, first, _ = read_table(luts[0], "LUTDescriptor", "LUTData", signed=picture.signed)
        return _Lut(entries, first)
    holder = find_functional(elements, frame, "PixelValueTransformationSequence")
    slope = holder.number("RescaleSlope", 1)
    if slope == 0:
        raise ImageError(
            elements.name,
            "its rescale slope is 0, which would erase the picture; correct the element RescaleSlope",
            code="image-element",
            element="RescaleSlope",
        )
    return _Rescale(slope, holder.number("RescaleIntercept", 0))


def _is_inverted(elements: Elements, picture: Picture) -> bool:
    """Whether small values are bright; MONOCHROME1 and PresentationLUTShape INVERSE say the same (C.8.11.3.1.2)."""
    return picture.photometric == "MONOCHROME1" or elements.text("PresentationLUTShape") == "INVERSE"


def find_functional(elements: Elements, frame: int, keyword: str) -> Elements:
    """Where a frame's own values are: enhanced multi-frame objects have functional groups (PS3.3 C.7.6.16)."""
    of_frames = elements.items("PerFrameFunctionalGroupsSequence")
    for group in (*of_frames[frame - 1 : frame], *elements.items("SharedFunctionalGroupsSequence")[:1]):
        if items := group.items(keyword):
            return items[0]
    return elements


def read_table(
    elements: Elements,
    descriptor: str,
    data: str,
    *,
    signed: bool,
    unpack: Callable[[Sequence[int], int, int], list[int]] | None = None,
) -> tuple[NDArray[np.int64], int, int]:
    """Entries, first mapped value and bits of a look-up table.

    Args:
        elements: with the table.
        descriptor: keyword of its descriptor.
        data: keyword of its entries.
        signed: the values that it maps are signed.
        unpack: makes entries of words, bits and count; raises ValueError or IndexError.

    Raises:
        ImageError: the table is missing or damaged.
    """
    described, content = elements.value(descriptor), elements.value(data)
    if described is None or content is None:
        absent = descriptor if described is None else data
        raise ImageError(
            elements.name,
            f"the element {absent} is missing, expected a table; write the file anew with a DICOM tool",
            code="image-element",
            element=absent,
        )
    try:
        count, first, bits = (int(number) for number in described)
        count = count % 65536 or 65536  # 0 means 65536; the field has 16 bits
        order = "<" if elements.little_endian else ">"
        if unpack is not None:
            words = np.frombuffer(content, np.uint8 if bits == 8 else np.dtype(f"{order}u2"))
            entries = np.array(unpack(words.tolist(), bits, count), np.int64)
        elif isinstance(content, bytes):
            one_byte = bits <= 8 and len(content) <= count + 1
            entries = np.frombuffer(content, np.uint8 if one_byte else np.dtype(f"{order}u2"))[:count].astype(np.int64)
        else:
            entries = np.array([content] if isinstance(content, int) else list(content), np.int64)[:count]
    except (TypeError, ValueError, IndexError):
        raise ImageError(
            elements.name,
            f"{descriptor} or {data} is damaged; restore the file",
            code="image-element",
            element=data,
        ) from None
    if len(entries) != count or not 1 <= bits <= 16:
        raise ImageError(
            elements.name,
            f"{data} does not hold what {descriptor} says; restore the file",
            code="image-element",
            element=data,
        )
    # The descriptor's second value is written signed or unsigned, as the values that it maps are.
    first = first & 0xFFFF
    return entries & 0xFFFF, first - 65536 if signed and first > 32767 else first, bits


def look_up(values: NDArray[Any], entries: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """Values below the first mapped one take the first entry, those beyond the last take the last."""
    index = np.rint(values).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64)
    return np.asarray(entries[np.clip(index - first, 0, len(entries) - 1)])
