"""What the boxes of AVIF and HEIC and the main header of JPEG 2000 say: bits, gray, and whether the data are all there.

Their decoders cut deep colours to 8 bits, and the one of JPEG 2000 fills what is missing, without a word.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Coding", "follow_tiles", "is_whole_codestream", "parse_codestream", "parse_media"]

_SIZ = struct.Struct(">HHIIIIIIIIH")
_MAIN = b"\xff\x4f\xff\x51"  # SOC and SIZ (ITU-T T.800, table A.2)
_SOT, _SOD, _EOC = b"\xff\x90", b"\xff\x93", b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Coding:
    """What a header says of the samples.

    Attributes:
        bits: of the deepest channel.
        channels: of the coded picture, alpha left out where it is a picture of its own; 1: gray.
        signed: some channel has a sign.
        even: all channels have the same size.
    """

    bits: int
    channels: int
    signed: bool = False
    even: bool = True


def parse_media(data: bytes) -> Coding | None:
    """What AVIF (AV1-ISOBMFF, section 2.3) or HEIC (ISO/IEC 14496-15, section 8.3.3) say; None: nothing."""
    bits, channels = 0, 1
    for kind, start, end in _walk_properties(data):
        body = data[start:end]
        if kind == b"av1C" and len(body) >= 3:
            bits = max(bits, 8 if not body[2] & 0x40 else 12 if body[2] & 0x20 else 10)
            channels = max(channels, 1 if body[2] & 0x10 else 3)
        if kind == b"hvcC" and len(body) >= 19:
            bits = max(bits, 8 + (body[17] & 7), 8 + (body[18] & 7))
            channels = max(channels, 3 if body[16] & 3 else 1)
    return Coding(bits, channels) if bits else None


def parse_codestream(data: bytes) -> Coding | None:
    """What the SIZ segment of a JPEG 2000 codestream says (ITU-T T.800, A.5.1); None: there is none."""
    at = _find_codestream(data)
    if at < 0 or at + 4 + _SIZ.size > len(data):
        return None
    channels = _SIZ.unpack_from(data, at + 4)[10]
    entries = data[at + 4 + _SIZ.size : at + 4 + _SIZ.size + 3 * channels]
    if not channels or len(entries) < 3 * channels:
        return None
    depths = entries[::3]
    steps = set(zip(entries[1::3], entries[2::3], strict=True))
    return Coding(
        max(depth & 127 for depth in depths) + 1, channels, any(depth & 128 for depth in depths), steps == {(1, 1)}
    )


def is_whole_codestream(data: bytes) -> bool:
    """Whether every tile-part of a JPEG 2000 codestream is there in its length, and every tile (T.800, A.4.2)."""
    at = _find_codestream(data)
    if at < 0:
        return False
    width, height, _, _, across, down, tiles_left, tiles_top = _SIZ.unpack_from(data, at + 4)[2:10]
    if not across or not down:
        return False
    tiles = -(-(width - tiles_left) // across) * -(-(height - tiles_top) // down)
    found, end = follow_tiles(data, at + 2)
    return data[end : end + 2] == _EOC and len(found) == tiles and all(found.values())


def follow_tiles(data: bytes, at: int) -> tuple[dict[int, bool], int]:
    """Follow the tile-parts of a JPEG 2000 codestream (T.800, A.4.2); nothing is decoded.

    Args:
        data: the codestream.
        at: where a segment of its main header begins.

    Returns:
        For each tile whether it has as many tile-parts as it announces, and where the last one ends.
    """
    while data[at : at + 1] == b"\xff" and data[at : at + 2] not in (_SOT, _EOC):
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    seen: Counter[int] = Counter()
    parts: dict[int, int] = {}
    while data[at : at + 2] == _SOT and at + 12 <= len(data):
        tile, length, _, count = struct.unpack_from(">HIBB", data, at + 4)
        seen[tile] += 1
        parts[tile] = max(parts.get(tile, 0), count)
        if length:
            at += max(length, 12)
        else:  # up to the end of the codestream
            end = data.rfind(_EOC, at)
            at = end if end >= 0 else len(data)
    return {tile: seen[tile] >= parts[tile] for tile in seen}, at


def _find_codestream(data: bytes) -> int:
    """Where a codestream begins, alone or in the box jp2c; -1: nowhere."""
    if data.startswith(_MAIN):
        return 0
    for kind, start, _ in _walk(data, 0, len(data)):
        if kind == b"jp2c":
            return start if data.startswith(_MAIN, start) else -1
    return -1


def _walk_properties(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The boxes in meta, iprp, ipco (ISO/IEC 14496-12, 23008-12)."""
    for kind, start, end in _walk(data, 0, len(data)):
        if kind == b"meta":
            for inner, at, until in _walk(data, start + 4, end):
                if inner == b"iprp":
                    for one, first, last in _walk(data, at, until):
                        if one == b"ipco":
                            yield from _walk(data, first, last)


def _walk(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box, and where its body begins and ends."""
    while at + 8 <= end:
        size, start = int.from_bytes(data[at : at + 4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        last = min(end, at + size if size else end)
        if last < start:
            return
        yield data[at + 4 : at + 8], start, last
        at = last
