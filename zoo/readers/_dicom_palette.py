"""PALETTE COLOR pictures: the three tables, plain or in segments, and the colours of the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ImageError
from zoo.readers._dicom_values import look_up, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.readers._dicom_elements import Elements
    from zoo.readers._dicom_pixels import Picture

__all__ = ["palette_colours"]

_COLOURS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def palette_colours(stored: NDArray[Any], elements: Elements, picture: Picture) -> NDArray[np.uint8]:
    """PALETTE COLOR to RGB (PS3.3 sections C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9.2).

    Tables of 16 bits mostly hold 8-bit colours: in the high byte alone, in both bytes, or in the low byte alone.

    Args:
        stored: (H, W) indices.
        elements: with the three tables.
        picture: says whether indices are signed.

    Returns:
        (H, W, 3).

    Raises:
        ImageError: damaged tables, or 16-bit colours that 8 bits cannot hold.
    """
    plain, in_segments = (elements.value(f"{kind}RedPaletteColorLookupTableData") for kind in ("", "Segmented"))
    segmented = plain is None and in_segments is not None
    tables = [_read(elements, colour, picture, segmented=segmented) for colour in _COLOURS]
    low = all((entries < 256).all() for entries, _, _ in tables)
    planes = []
    for entries, first, bits in tables:
        values = look_up(stored, entries, first)
        if bits > 8 and not low:
            high = values >> 8
            if not ((values & 255 == 0).all() or (values == high * 257).all()):
                kind = "segmented palette" if segmented else "palette"
                raise ImageError(
                    elements.name,
                    f"a {kind} of 16 bits per colour, which would be cut to 8; save it as 8-bit RGB",
                    code="image-bit-depth",
                    bits=16,
                )
            values = high
        planes.append(values.astype(np.uint8))
    return np.stack(planes, axis=2)


def _read(elements: Elements, colour: str, picture: Picture, *, segmented: bool) -> tuple[NDArray[np.int64], int, int]:
    """Entries, first mapped value and bits of a table."""
    descriptor, data = f"{colour}PaletteColorLookupTableDescriptor", f"{colour}PaletteColorLookupTableData"
    if not segmented:
        return read_table(elements, descriptor, data, signed=picture.signed)
    return read_table(elements, descriptor, f"Segmented{data}", signed=picture.signed, unpack=_expand)


def _expand(words: Sequence[int], bits: int, count: int) -> list[int]:
    """The entries that segments make (PS3.3 section C.7.9.2).

    Raises:
        ValueError: a segment that cannot be, or more than `count` entries.
        IndexError: a segment that is not whole.
    """
    made: list[int] = []
    at, wide = 0, 4 if bits == 8 else 2  # words of an offset, which counts in bytes
    while len(made) < count:
        if words[at] != _INDIRECT:
            at = _follow(words, at, made)
            continue
        offset = sum(word << bits * place for place, word in enumerate(words[at + 2 : at + 2 + wide]))
        source = offset * wide // 4
        for _ in range(words[at + 1]):
            source = _follow(words, source, made)
            if len(made) > count:
                raise ValueError
        at += 2 + wide
    if len(made) > count:
        raise ValueError
    return made


def _follow(words: Sequence[int], at: int, made: list[int]) -> int:
    """Append the entries of a discrete or linear segment; where the next one begins."""
    kind, length = words[at], words[at + 1]
    if not length:  # else a table of nothing could be followed for ever
        raise ValueError
    if kind == _DISCRETE:
        made += words[at + 2 : at + 2 + length]
        return at + 2 + length
    if kind != _LINEAR:
        raise ValueError
    begin, end = made[-1], words[at + 2]  # the first segment is discrete: else an IndexError
    made += np.around(np.linspace(begin, end, length + 1)[1:]).astype(int).tolist()
    return at + 3
