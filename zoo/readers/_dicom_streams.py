"""What compressed pixels say of themselves, asked before a decoder sees them.

Decoders trust such numbers: one makes room for them, another leaves its process with a panic.
"""

from __future__ import annotations

import io
import itertools
import struct
from typing import IO

from zoo.errors import ImageError

__all__ = ["check_fragments", "read_claimed_size", "rle_overflows"]

_ITEM = struct.Struct("<HHI")  # encapsulated pixels are little endian (PS3.5 section A.4)
_ITEM_TAG = (0xFFFE, 0xE000)
_FRAGMENTS_FREELY = 4096
_FRAGMENTS_PER_FRAME = 16
_CODESTREAM = b"\xff\x4f\xff\x51"
"""SOC and SIZ, with which a JPEG 2000 codestream begins (ISO 15444-1 annex A.5.1)."""
_RLE_HEADER = struct.Struct("<16I")  # number of segments, then where each begins (PS3.5 section G.5)


def check_fragments(stream: IO[bytes], start: int, frames: int, name: str) -> None:
    """Refuse pixels in more fragments than any writer makes; each of them costs pydicom more time than its bytes.

    Args:
        stream: the file.
        start: position of the encapsulated pixels in it.
        frames: pictures in the file.
        name: how errors name it.

    Raises:
        ImageError: more than 4096 fragments and 16 for each frame.
    """
    most = _FRAGMENTS_FREELY + _FRAGMENTS_PER_FRAME * frames
    stream.seek(start)
    for _ in range(most + 1):
        head = stream.read(_ITEM.size)
        if len(head) < _ITEM.size:
            return
        group, element, length = _ITEM.unpack(head)
        if (group, element) != _ITEM_TAG:
            return
        stream.seek(length, io.SEEK_CUR)
    raise ImageError(
        name,
        f"{frames} frames in more than {most} fragments; write it anew with a DICOM tool",
        code="image-bomb",
        frames=frames,
        most=most,
    )


def read_claimed_size(data: bytes, *, jpeg2000: bool) -> tuple[int, int] | None:
    """(rows, columns) by the stream itself, of JPEG 2000 or else JPEG or JPEG-LS; None where it does not say."""
    if jpeg2000:
        begin = data.find(_CODESTREAM, 0, 4096)
        # marker, length, capabilities, then x, y, x offset, y offset
        if begin < 0 or len(data) < begin + 24:
            return None
        x, y, left, top = struct.unpack(">4I", data[begin + 8 : begin + 24])
        return y - top, x - left
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xFF:  # a fill byte
            position += 1
        elif (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}) or marker == 0xF7:
            # a start of frame, JPEG's or JPEG-LS's: length, precision, lines, samples a line (ITU T.81 B.2.2)
            rows, columns = struct.unpack(">HH", data[position + 5 : position + 9])
            return rows, columns
        else:
            position += 2 + length
    return None


def rle_overflows(data: bytes, rows: int, columns: int) -> bool:
    """Whether a segment of an RLE stream (PS3.5 annex G) unpacks to more than a byte for each pixel."""
    if len(data) < _RLE_HEADER.size:
        return False  # which the decoder says itself
    count, *starts = _RLE_HEADER.unpack_from(data)
    bounds = [*starts[: min(count, len(starts))], len(data)]
    pixels = rows * columns
    return any(_count_unpacked(data, begin, end, pixels) > pixels for begin, end in itertools.pairwise(bounds))


def _count_unpacked(data: bytes, begin: int, end: int, most: int) -> int:
    """Bytes that a segment unpacks to, counted until they are more than `most`; the last byte may be padding."""
    made, last = 0, end - 1
    while begin < last and made <= most:
        code = data[begin]
        if code < 128:  # so many bytes and one more follow as they are
            made += code + 1
            begin += code + 2
        elif code > 128:  # the next byte, repeated
            made += 257 - code
            begin += 2
        else:
            begin += 1
    return made
