"""BMP whose colours are bits of a word by masks, such as 5-6-5: any masks, where Pillow knows a list of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Masks", "decode", "parse"]

_BITFIELDS = (3, 6)  # values of biCompression: with and without a mask of alpha
_INFO = struct.Struct("<IiiHHI")
_HEAD = 14  # bytes of the file header
_SHORT = 40  # bytes of an information header whose masks follow it


@dataclass(frozen=True, slots=True)
class Masks:
    """The header of a BMP with masks.

    Attributes:
        width: pixels.
        height: pixels.
        upwards: the lowest row comes first.
        word: bytes of a pixel, 2 or 4.
        start: where the pixels begin.
        masks: bits of red, green, blue and alpha; 0: the file has no alpha.
    """

    width: int
    height: int
    upwards: bool
    word: int
    start: int
    masks: tuple[int, int, int, int]

    @property
    def bits(self) -> int:
        """The most that a colour has."""
        return max(mask.bit_count() for mask in self.masks[:3])


def parse(stream: IO[bytes]) -> Masks | None:
    """The header, if the colours are given by masks of 16- or 32-bit words, and the masks make sense."""
    stream.seek(0)
    head = stream.read(_HEAD + _SHORT + 16)
    if len(head) < _HEAD + _SHORT + 12:
        return None
    size, width, height, _, bits, compression = _INFO.unpack_from(head, _HEAD)
    if size < _SHORT or compression not in _BITFIELDS or bits not in (16, 32):
        return None
    has_alpha = (size >= _SHORT + 16 or compression == 6) and len(head) == _HEAD + _SHORT + 16
    masks = (*struct.unpack_from("<3I", head, _HEAD + _SHORT), int.from_bytes(head[-4:], "little") if has_alpha else 0)
    joined = all(_is_joined(mask) and mask < 1 << bits for mask in masks)
    if not joined or not all(masks[:3]) or width <= 0 or height == 0:
        return None
    start = int.from_bytes(head[10:14], "little")
    return Masks(width, abs(height), height > 0, bits // 8, start, (masks[0], masks[1], masks[2], masks[3]))


def decode(stream: IO[bytes], header: Masks, name: str) -> tuple[NDArray[np.uint8], bool]:
    """The colours, (H, W, 3) uint8, and whether every pixel is opaque.

    A colour of n bits is spread over 0 to 255 as Pillow does: value × 255 // (2ⁿ − 1).

    Raises:
        ImageError: truncated.
    """
    row = -(-header.width * header.word // 4) * 4
    stream.seek(header.start)
    data = stream.read(row * header.height)
    if len(data) < row * header.height:
        raise ImageError(name, "truncated: a part of the picture is missing; restore the file", code="image-truncated")
    words = np.frombuffer(data, np.uint8).reshape(header.height, row)[:, : header.width * header.word]
    words = np.ascontiguousarray(words).view(f"<u{header.word}").astype(np.uint32)
    if header.upwards:
        words = words[::-1]
    colours = np.stack([_spread(words, mask) for mask in header.masks[:3]], axis=-1)
    return colours, not header.masks[3] or bool((words & header.masks[3] == header.masks[3]).all())


def _spread(words: NDArray[Any], mask: int) -> NDArray[np.uint8]:
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    table = (np.arange(256, dtype=np.uint32) * 255 // most).astype(np.uint8) if most < 256 else None
    values = (words & np.uint32(mask)) >> np.uint32(shift)
    return table[values] if table is not None else (values.astype(np.uint64) * 255 // most).astype(np.uint8)


def _is_joined(mask: int) -> bool:
    """Whether the bits of a mask follow each other; 0 has none."""
    return not mask or (mask // (mask & -mask) + 1).bit_count() == 1
