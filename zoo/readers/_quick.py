"""The header of a plain PNG or JPEG in a few microseconds, for the million files of an index.

Pillow stays the truth: whatever is not plain (a palette, transparency, EXIF, a colour profile, an animation, CMYK,
anything damaged or unusual) is left to `zoo.readers.probe`, and where an answer is given here it is the same.
"""

from __future__ import annotations

import struct
import zlib

from zoo.readers._image import Kind, Probe
from zoo.readers._raster import MAX_PIXELS

__all__ = ["probe"]

_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")
_IHDR = struct.Struct(">IIBBBBB")
_PLAIN = {b"pHYs": 9, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"tIME": 7}
"""Length of the chunks that change neither what is read nor what is said of it (PNG, section 11.3)."""
_GRAY, _RGB = 0, 2  # colour types (PNG, table 11.1)
_KINDS: dict[tuple[int, int], tuple[Kind, bool]] = {
    (8, _GRAY): ("uint8", True),
    (8, _RGB): ("uint8", False),
    (16, _GRAY): ("uint16", True),
}
"""Kind and gray by bits and colour type; every other pair is Pillow's."""

_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive (ITU-T T.81, table B.1)
_APP0, _APP14, _DHT, _DQT, _DRI, _SOS, _COM = 0xE0, 0xEE, 0xC4, 0xDB, 0xDD, 0xDA, 0xFE


def probe(data: bytes) -> Probe | None:
    """What `zoo.readers.probe` would answer to the bytes of a file; None: ask it."""
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(_PNG):
        return _png(data)
    return None


def _png(data: bytes) -> Probe | None:
    if data[8:16] != b"\0\0\0\rIHDR" or len(data) < 45:
        return None
    width, height, bits, colour, method, filters, interlace = _IHDR.unpack_from(data, 16)
    if (bits, colour) not in _KINDS or method or filters or interlace > 1:
        return None
    if not 0 < width * height <= MAX_PIXELS:
        return None
    at = 8
    while True:
        if at + 12 > len(data):
            return None
        length, kind = _CHUNK.unpack_from(data, at)
        if kind == b"IDAT":
            return Probe(width, height, *_KINDS[bits, colour], bits)
        end = at + 8 + length
        if end + 4 > len(data) or (at > 8 and _PLAIN.get(kind) != length):
            return None
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return None
        at = end + 4


def _jpeg(data: bytes) -> Probe | None:
    size: tuple[int, int, int] | None = None
    at = 2
    while at + 4 <= len(data):
        mark, kind = data[at], data[at + 1]
        if mark != 0xFF:
            return None
        start, end = at + 4, at + 2 + (data[at + 2] << 8 | data[at + 3])
        if end < start or end > len(data):
            return None
        if kind in _FRAMES:
            if size is not None:
                return None
            size = _frame(data, start, end)
            if size is None:
                return None
        elif kind == _SOS:
            if size is None:
                return None
            width, height, components = size
            return Probe(width, height, "uint8", components == 1)
        elif not _passes(data, kind, start, end):
            return None
        at = end
    return None


def _frame(data: bytes, start: int, end: int) -> tuple[int, int, int] | None:
    """Width, height and components of a frame header of 8-bit gray or YCbCr."""
    if end < start + 6 or data[start] != 8:
        return None
    height, width = data[start + 1] << 8 | data[start + 2], data[start + 3] << 8 | data[start + 4]
    components = data[start + 5]
    if components not in (1, 3) or end - start != 6 + 3 * components or not 0 < width * height <= MAX_PIXELS:
        return None
    return width, height, components


def _passes(data: bytes, kind: int, start: int, end: int) -> bool:
    """Whether a segment is well formed and says nothing that matters to a `Probe`."""
    if kind == _APP0:
        return data[start : start + 5] == b"JFIF\0" and end - start >= 14
    if kind == _APP14:
        return data[start : start + 5] == b"Adobe" and end - start >= 12
    if kind == _DQT:
        while start < end:
            start += 129 if data[start] >> 4 else 65
        return start == end
    return kind in (_DHT, _DRI, _COM)
