"""Whether every line of a JPEG was decoded; libjpeg fills a stream that ends early with zeros and says nothing.

Two facts tell. A decoder that lacks data takes whatever bytes come next, so bytes put before the end of a scan change
the picture. And in a sequential scan whose data has ended, every further block is flat mid-gray, so a last block of
any other look means that at most that one MCU (8 × 8 to 32 × 32 pixels) was cut.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["DRI", "EOI", "RESTART", "SOS", "Frame", "decode", "find_end", "find_frame", "is_whole", "shows_end", "walk"]

# Markers of ITU-T T.81, table B.1. SOF: all but DHT (C4), JPG (C8) and DAC (CC), and that of JPEG-LS (T.87, C.1.1).
_SOF = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL, _PROGRESSIVE, _LOSSLESS = frozenset({0xC0, 0xC1, 0xC9}), frozenset({0xC2, 0xCA}), frozenset({0xC3, 0xCB})
_ARITHMETIC = frozenset(range(0xC9, 0xD0))
EOI, SOS, DRI = 0xD9, 0xDA, 0xDD
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length: TEM, RST and SOI."""
_NEXT = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""The marker that ends entropy-coded data; FF00, RST and in JPEG-LS FF01 to FF7F belong to it."""
RESTART = re.compile(rb"\xff+[\xd0-\xd7]")

_EDGE = 8  # samples of a block
_FEW_UNITS = 16
"""In a picture of fewer MCUs the last one is too large a part to go unseen."""

# The first bits are 1: they must differ from the zeros that the decoder makes up, also where one bit is missing.
_JUNK = bytes(0xC0 | (value * 37 + 42) % 0x3F for value in range(64))
# An arithmetic coder may drop zeros at the end of a scan (T.81, D.1.8); a whole stream lacks few of them.
_JUNK_ARITHMETIC = bytes(64) + _JUNK


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame header (T.81, B.2.2) says.

    Attributes:
        marker: second byte of its marker, 0xC0 to 0xCF.
        bits: of a sample.
        height: lines; 0 where only a DNL segment tells.
        width: samples in a line.
        components: identifier, horizontal and vertical sampling factor of each.
    """

    marker: int
    bits: int
    height: int
    width: int
    components: tuple[tuple[int, int, int], ...]


class _Segment(NamedTuple):
    marker: int
    start: int
    """First byte behind marker and length."""
    end: int
    """Where the entropy-coded data ends, for SOS; else the segment."""
    data: int
    """Where the entropy-coded data begins, for SOS; else `end`."""


def find_end(data: bytes, start: int = 0) -> int | None:
    """Where the first byte behind the end marker is; None: the stream ends before it. Decodes nothing.

    Args:
        data: a JPEG, and whatever follows it.
        start: where its SOI is.
    """
    return next((piece.end for piece in walk(data, start) if piece.marker == EOI), None)


def find_frame(data: bytes, start: int = 0) -> Frame | None:
    """The frame header of the stream that begins at `start`; None: there is none before the first scan."""
    for piece in _walk_head(data, start):
        if piece.marker in _SOF:
            return _parse_frame(data, piece)
    return None


def decode(data: bytes) -> NDArray[Any]:
    """The pixels of a JPEG as Pillow decodes them, not turned."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image)


def is_whole(data: bytes, pixels: NDArray[Any], decode: Callable[[bytes], NDArray[Any]]) -> bool:
    """Whether the stream brings every line of the picture that was decoded from it.

    Args:
        data: a JPEG, and whatever follows it.
        pixels: (H, W) or (H, W, C), what `decode` made of it, not turned.
        decode: decodes such bytes; asked again only where the pixels do not show that the stream is whole.
    """
    if shows_end(data, pixels.shape[0], pixels.shape[1], pixels[-_EDGE:, -_EDGE:]):
        return True
    frame = find_frame(data)
    scans = None if frame is None else _list_scans(data, frame)
    if frame is None or scans is None:
        return False
    return np.array_equal(decode(_insert_junk(data, frame, scans)), pixels)


def walk(data: bytes, at: int) -> Iterator[_Segment]:
    """Segments up to the end marker, or to where they end or make no sense."""
    while True:
        piece = None
        for piece in _walk_head(data, at):
            if piece.marker != SOS:
                yield piece
        if piece is None or piece.marker != SOS:
            return
        following = _NEXT.search(data, piece.data)
        at = following.start() if following else len(data)
        while at > piece.data and data[at - 1] == 0xFF:  # fill bytes; in the expression they would cost forty times
            at -= 1
        yield piece._replace(end=at)


def _walk_head(data: bytes, at: int) -> Iterator[_Segment]:
    """Segments up to the first scan, whose data are not looked at, or the end marker."""
    while True:
        found = data.find(b"\xff", at)
        if found < 0:
            return
        while data[found + 1 : found + 2] == b"\xff":
            found += 1
        if found + 2 > len(data):
            return
        marker, start = data[found + 1], found + 2
        if marker == EOI:
            yield _Segment(marker, start, start, start)
            return
        if marker in _ALONE or marker == 0:
            at = start
            continue
        at = start + int.from_bytes(data[start : start + 2], "big")
        if at < start + 2 or at > len(data):
            return
        yield _Segment(marker, start + 2, at, at)
        if marker == SOS:
            return


def _parse_frame(data: bytes, piece: _Segment) -> Frame | None:
    body = data[piece.start : piece.end]
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        return None
    entries = (body[6 + 3 * place : 9 + 3 * place] for place in range(body[5]))
    components = tuple((one[0], one[1] >> 4 or 1, one[1] & 15 or 1) for one in entries)
    return Frame(piece.marker, body[0], body[1] << 8 | body[2], body[3] << 8 | body[4], components)


def shows_end(data: bytes, height: int, width: int, corner: NDArray[Any]) -> bool:
    """Whether the last block of a single sequential scan shows that the data went so far; False: cannot be seen.

    Args:
        data: a JPEG, and whatever follows it.
        height: rows of the decoded picture.
        width: columns of the decoded picture.
        corner: its last 8 rows and columns, or all there are, not turned.
    """
    head = list(_walk_head(data, 0))
    frame = next((_parse_frame(data, piece) for piece in head if piece.marker in _SOF), None)
    if frame is None or not frame.components:
        return False
    if frame.marker not in (0xC0, 0xC1) or corner.dtype != np.uint8 or (height, width) != (frame.height, frame.width):
        return False
    # colours of the neighbour reach one pixel into a block when they are enlarged
    top, left = max((height - 1) // 8 * 8 + 1, height - 6), max((width - 1) // 8 * 8 + 1, width - 6)
    last = corner[top - max(0, height - _EDGE) :, left - max(0, width - _EDGE) :]
    if not last.size:
        return False
    pixel = last[-1, -1].ravel().tolist()  # nearly always enough, and costs a tenth
    if all(127 <= value <= 128 for value in pixel) and last.min() >= 127 and last.max() <= 128:  # 127: inverted
        return False
    scan = head[-1]
    if scan.marker != SOS or data[scan.start] != len(frame.components) or _count_units(data, frame, scan) < _FEW_UNITS:
        return False
    first, *others = frame.components
    if any(one[1] > first[1] or one[2] > first[2] for one in others):
        return False  # the blocks of the first component are not those of the pixels
    interval = next((_parse_interval(data, piece) for piece in reversed(head) if piece.marker == DRI), 0)
    return not interval or _has_restarts(data, frame, scan._replace(end=data.find(b"\xff\xd9", scan.data)), interval)


def _list_scans(data: bytes, frame: Frame) -> list[_Segment] | None:
    """All scans; None where they do not bring every coefficient of every component to its last bit."""
    scans: list[_Segment] = []
    # as libjpeg's coef_bits: the lowest bit known of each coefficient, -1: none
    known = {identifier: [-1] * 64 for identifier, _, _ in frame.components}
    interval, closed = 0, False
    for piece in walk(data, 0):
        closed = piece.marker == EOI
        if piece.marker == DRI:
            interval = _parse_interval(data, piece)
        if piece.marker != SOS:
            continue
        head = data[piece.start : piece.data]
        count = head[0] if head else 0
        if len(head) < 4 + 2 * count or not _has_restarts(data, frame, piece, interval):
            return None
        low, high, bit = 0, 63, 0
        if frame.marker in _PROGRESSIVE:
            low, high, bit = head[1 + 2 * count], min(head[2 + 2 * count], 63), head[3 + 2 * count] & 15
        for identifier in head[1 : 1 + 2 * count : 2]:
            if identifier in known:
                known[identifier][low : high + 1] = [bit] * max(0, high + 1 - low)
        scans.append(piece)
    return scans if closed and all(not any(bits) for bits in known.values()) else None


def _has_restarts(data: bytes, frame: Frame, scan: _Segment, interval: int) -> bool:
    """Whether a scan holds as many restart markers as its interval asks for (T.81, E.1.4)."""
    if not interval:
        return True
    needed = -(-_count_units(data, frame, scan) // interval) - 1
    return sum(data.count(bytes((0xFF, code)), scan.data, scan.end) for code in range(0xD0, 0xD8)) >= needed


def _count_units(data: bytes, frame: Frame, scan: _Segment) -> int:
    """MCUs of a scan (T.81, A.2)."""
    unit = 1 if frame.marker in _LOSSLESS else 8
    most_across, most_down = max(one[1] for one in frame.components), max(one[2] for one in frame.components)
    if data[scan.start] == 1:  # not interleaved: its units are single blocks
        across, down = next((one[1:] for one in frame.components if one[0] == data[scan.start + 1]), (1, 1))
        width, height = -(-frame.width * across // most_across), -(-frame.height * down // most_down)
        return -(-width // unit) * -(-height // unit)
    return -(-frame.width // (unit * most_across)) * -(-frame.height // (unit * most_down))


def _parse_interval(data: bytes, piece: _Segment) -> int:
    """MCUs between two restart markers; 0: there are none (T.81, B.2.4.4)."""
    return int.from_bytes(data[piece.start : piece.start + 2], "big")


def _insert_junk(data: bytes, frame: Frame, scans: list[_Segment]) -> bytes:
    """The same stream with bytes that nobody needs before each marker that ends coded data."""
    junk = _JUNK_ARITHMETIC if frame.marker in _ARITHMETIC else _JUNK
    parts, at = [], 0
    for scan in scans:
        parts += [data[at : scan.data], RESTART.sub(lambda found: junk + found[0], data[scan.data : scan.end]), junk]
        at = scan.end
    return b"".join(parts) + data[at:]
