"""How many pieces a picture's file is made of, before Pillow looks at each in Python.

A PNG of a million empty chunks, or a JPEG of millions of fill bytes, keeps Pillow busy for half a minute and holds no
picture that anybody made. Only lengths are followed here; nothing is decoded.
"""

from __future__ import annotations

import io
from itertools import islice
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST", "too_many"]

MOST = {"PNG": 65_536, "JPEG": 65_536, "GIF": 1_000_000}
"""Chunks of a PNG (64 million pixels of 16 bits in chunks of 8 KiB are 16 000), steps between the segments of a JPEG,
blocks of a GIF (of at most 255 bytes each)."""


def too_many(stream: IO[bytes], form: str) -> bool:
    """Whether the file has more than `MOST` pieces; formats without a limit never have. Moves the stream."""
    walk = {"PNG": _of_png, "JPEG": _of_jpeg, "GIF": _of_gif}.get(form)
    if walk is None:
        return False
    most = MOST[form]
    return sum(1 for _ in islice(walk(stream), most + 1)) > most


def _of_png(stream: IO[bytes]) -> Iterator[None]:
    """Chunks (PNG, section 5.3)."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8 and head[4:] != b"IEND":
        yield
        stream.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)


def _of_jpeg(stream: IO[bytes]) -> Iterator[None]:
    """Segments up to the first scan, and bytes that belong to none, as Pillow goes through them."""
    from PIL.JpegImagePlugin import MARKER

    stream.seek(2)
    first = stream.read(1)
    while first:
        yield
        if first != b"\xff":
            first = stream.read(1)
            continue
        second = stream.read(1)
        if not second or second == b"\xda":  # what follows is read by libjpeg
            return
        if second == b"\xff":
            continue
        known = MARKER.get(0xFF00 | second[0])
        if known is not None and known[2] is not None:
            stream.seek(max(0, int.from_bytes(stream.read(2), "big") - 2), io.SEEK_CUR)
        first = stream.read(1)


def _of_gif(stream: IO[bytes]) -> Iterator[None]:
    """Blocks and the blocks inside them (GIF89a, section 12), and bytes that belong to none."""
    stream.seek(10)
    flags = stream.read(3)[:1]
    stream.seek(_table(flags), io.SEEK_CUR)
    while (kind := stream.read(1)) not in (b"", b";"):
        yield
        if kind == b"!":
            stream.seek(1, io.SEEK_CUR)
        elif kind == b",":
            stream.seek(_table(stream.read(9)[8:]) + 1, io.SEEK_CUR)
        else:
            continue
        while (size := stream.read(1)) not in (b"", b"\0"):
            yield
            stream.seek(size[0], io.SEEK_CUR)


def _table(flags: bytes) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
