"""Fragments and RLE: what encapsulated pixels are packed in, checked before a decoder sees them.

Decoders trust such numbers: one makes room for them, another leaves its process with a panic.
"""

from __future__ import annotations

import io
import itertools
import math
import struct
from typing import IO, TYPE_CHECKING

import numpy as np

from zoo.errors import ImageError
from zoo.readers._dicom_frame import FILL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.readers._dicom_frame import CodedFrame

__all__ = ["check_fragments", "check_rle", "unpack_bits"]

_ITEM = struct.Struct("<HHI")  # encapsulated pixels are little endian (PS3.5 section A.4)
_ITEM_TAG = (0xFFFE, 0xE000)
_FRAGMENTS_FREELY = 4096
_FRAGMENTS_PER_FRAME = 16
_RLE_HEADER = struct.Struct("<16I")  # number of segments, then where each begins (PS3.5 section G.5)


def check_fragments(stream: IO[bytes], start: int, frames: int, name: str) -> None:
    """Refuse pixels in more fragments than any writer makes, and a fragment that claims bytes which are not there.

    Each fragment costs pydicom more time than its bytes.

    Args:
        stream: the file.
        start: position of the encapsulated pixels in it.
        frames: pictures in the file.
        name: how errors name it.

    Raises:
        ImageError: more than 4096 fragments and 16 for each frame, or the file ends inside one.
    """
    most = _FRAGMENTS_FREELY + _FRAGMENTS_PER_FRAME * frames
    size = stream.seek(0, io.SEEK_END)
    stream.seek(start)
    for _ in range(most + 1):
        head = stream.read(_ITEM.size)
        if len(head) < _ITEM.size:
            return
        group, element, length = _ITEM.unpack(head)
        if (group, element) != _ITEM_TAG:
            return
        if stream.seek(length, io.SEEK_CUR) > size:
            raise ImageError(
                name, "truncated, the file ends inside its compressed pixels; restore the file", code="image-truncated"
            )
    raise ImageError(
        name,
        f"{frames} frames in more than {most} fragments; write it anew with a DICOM tool",
        code="image-bomb",
        frames=frames,
        most=most,
    )


def check_rle(frame: CodedFrame) -> bytes:
    """Hold a frame of RLE (PS3.5 annex G) against the header: its segments, and the bytes that each unpacks to.

    Returns:
        The frame without what follows it.

    Raises:
        ImageError: the frame says something else than the header, or ends too early.
    """
    data, picture = frame.data, frame.picture
    if len(data) < _RLE_HEADER.size:
        raise frame.truncated("ends inside its header")
    count, *starts = _RLE_HEADER.unpack_from(data)
    planes = picture.samples * max(1, picture.allocated // 8)
    if count != planes:
        raise frame.differs(f"{count} segments", f"{planes} bytes for each pixel")
    starts = starts[:count]
    if starts[0] < _RLE_HEADER.size or any(first >= second for first, second in itertools.pairwise(starts)):
        raise frame.damaged("has segments that do not follow each other")
    if starts[-1] >= len(data):
        raise frame.truncated("ends before its last segment")
    needed = math.ceil(picture.rows * picture.columns * min(picture.allocated, 8) / 8)
    reached = 0
    for begin, end in itertools.pairwise([*starts, len(data)]):
        made, reached = _count_unpacked(data, begin, end, needed)
        if made < needed:
            raise frame.truncated("holds too few pixels")
        if made > needed or not FILL.issuperset(data[reached:end]):
            raise frame.overflows()
    return data[:reached]


def unpack_bits(frame: CodedFrame) -> NDArray[np.uint8]:
    """A checked frame of single bits, which no decoder of RLE takes: eight pixels a byte, the lowest bit first.

    Returns:
        (H, W), 0 and 1.
    """
    data, rows, columns = frame.data, frame.picture.rows, frame.picture.columns
    at, unpacked = _RLE_HEADER.unpack_from(data)[1], bytearray()
    while at < len(data):
        code = data[at]
        if code < 128:
            unpacked += data[at + 1 : at + 2 + code]
            at += code + 2
        else:
            unpacked += data[at + 1 : at + 2] * (257 - code) if code > 128 else b""
            at += 2 if code > 128 else 1
    bits = np.unpackbits(np.frombuffer(unpacked, np.uint8), bitorder="little")
    return bits[: rows * columns].reshape(rows, columns)


def _count_unpacked(data: bytes, begin: int, end: int, needed: int) -> tuple[int, int]:
    """Bytes that a segment unpacks to, up to the run that makes them enough, and where it ends; 0 where it is cut."""
    made = 0
    while begin < end and made < needed:
        code = data[begin]
        if code < 128:  # so many bytes and one more follow as they are
            made += code + 1
            begin += code + 2
        elif code > 128:  # the next byte, repeated
            made += 257 - code
            begin += 2
        else:
            begin += 1
    return (made, begin) if begin <= end else (0, end)  # the last run is cut
