"""What Pillow does not see, or stumbles over, in a PNG: a missing palette, colour keys of few bits, long texts."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from zoo.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image
    from PIL.ImageFile import ImageFile

__all__ = ["add_exif", "check_palette", "is_whole", "lighten", "mask_key"]

_PALETTE = 3  # colour type (PNG, table 11.1)
_COLOUR_AT, _INTERLACE_AT = 25, 28
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by colour type (PNG, table 11.1)."""
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row of each pass, and the steps across and down (PNG, section 8.2)."""
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_LONG = 1 << 20
"""Pillow refuses a profile or a text that unpacks to more than this many bytes."""
_DEFLATE_MOST = 1032
"""The most that deflate can unpack one byte to (zlib's technical notes)."""
_SCALES = {"L;2": (3, 85), "L;4": (15, 17)}
"""By Pillow's name of the samples: the largest key, and what Pillow multiplies the samples by."""


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    length: int


def lighten(stream: IO[bytes], name: str) -> IO[bytes]:
    """The same PNG without profiles and texts that are longer than Pillow takes; the pixels do not depend on them.

    Each text that is left out leaves its keyword, so that it is still known what the file says of somebody.

    Raises:
        ImageError: colours by palette, and no palette.
    """
    stream.seek(0)
    head = stream.read(33)
    palette, long = False, []
    for chunk in _walk(stream):
        palette = palette or chunk.kind == b"PLTE"
        if chunk.kind == b"IDAT" and head[_COLOUR_AT] == _PALETTE and not palette:
            reason = "colours by palette, and no palette in the file; restore it or leave it out"
            raise ImageError(name, reason, code="image-damaged")
        if (chunk.kind == b"iCCP" or chunk.kind in _TEXTS) and _is_long(stream, chunk):
            long.append(chunk)
    if not long:
        return stream
    parts, at = [], 0
    for chunk in long:
        stream.seek(at)
        parts.append(stream.read(chunk.start - at))
        stream.seek(chunk.start + 8)
        keyword = stream.read(min(80, chunk.length)).partition(b"\0")[0]
        if chunk.kind in _TEXTS:
            data = b"tEXt" + keyword + b"\0left out"
            parts.append(struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)))
        at = chunk.start + 12 + chunk.length
    stream.seek(at)
    return io.BytesIO(b"".join((*parts, stream.read())))


def mask_key(image: ImageFile) -> None:
    """Make the colour key of an opened PNG comparable with its pixels (PNG, section 11.3.1.1).

    Pillow spreads gray of 2 and 4 bits over 0 to 255, and leaves the key as stored.
    """
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int):
        arguments = image.tile[0].args
        most, factor = _SCALES.get(str(arguments), (255, 1))
        image.info["transparency"] = (key & most) * factor
    if image.mode == "RGB" and isinstance(key, tuple):
        image.info["transparency"] = tuple(value & 255 for value in key)


def check_palette(image: Image.Image, name: str) -> None:
    """Refuse a decoded palette picture whose pixels point behind the palette; Pillow makes them black.

    Raises:
        ImageError: such a pixel.
    """
    if image.mode != "P" or image.palette is None:
        return
    entries = len(image.palette.palette) // len(image.palette.mode)
    most = int(np.asarray(image).max())
    if most >= entries:
        reason = f"a pixel of colour {most} of a palette of {entries}; restore the file or leave it out"
        raise ImageError(name, reason, code="image-damaged")


def is_whole(stream: IO[bytes], image: Image.Image) -> bool:
    """Whether the data unpack to all rows of the decoded picture; Pillow leaves the others 0 without a word."""
    stream.seek(0)
    head = stream.read(33)
    width, height = image.size
    if not head[_INTERLACE_AT] and np.asarray(image.crop((0, height - 1, width, height))).any():
        return True  # the last row was decoded
    bits = head[_COLOUR_AT - 1] * _SAMPLES[head[_COLOUR_AT]]
    passes = _ADAM7 if head[_INTERLACE_AT] else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    missing = sum((1 + -(-columns * bits // 8)) * rows for columns, rows in sizes if columns > 0 and rows > 0)
    unpack = zlib.decompressobj()
    for chunk in _walk(stream):
        if chunk.kind == b"IDAT" and missing > 0:
            stream.seek(chunk.start + 8)
            data = stream.read(chunk.length)
            while data and missing > 0:
                missing -= len(unpack.decompress(data, _LONG))
                data = unpack.unconsumed_tail
    return missing <= len(unpack.flush())


def add_exif(image: ImageFile, stream: IO[bytes]) -> None:
    """Give an opened PNG the EXIF that follows its pixels; Pillow decodes them to get there."""
    for chunk in _walk(stream):
        if chunk.kind == b"eXIf":
            stream.seek(chunk.start + 8)
            image.info.setdefault("exif", b"Exif\0\0" + stream.read(chunk.length))


def _walk(stream: IO[bytes]) -> Iterator[_Chunk]:
    """Chunks (PNG, section 5.3) up to the end, or to where they are cut off."""
    at = 8
    while True:
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        chunk = _Chunk(head[4:], at, int.from_bytes(head[:4], "big"))
        yield chunk
        at += 12 + chunk.length


def _is_long(stream: IO[bytes], chunk: _Chunk) -> bool:
    """Whether a profile or text unpacks to more than Pillow takes; a text in full counts as well."""
    if chunk.length * _DEFLATE_MOST <= _LONG:
        return False
    if chunk.length > _LONG:
        return True
    stream.seek(chunk.start + 8)
    body = stream.read(chunk.length).partition(b"\0")[2]
    if chunk.kind == b"tEXt":
        return False
    # iTXt: flag, method, language, translated keyword; the others: method
    body = body[2:].partition(b"\0")[2].partition(b"\0")[2] if chunk.kind == b"iTXt" else body[1:]
    try:
        return len(zlib.decompressobj().decompress(body, _LONG + 1)) > _LONG
    except zlib.error:
        return False
