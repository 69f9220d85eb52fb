"""PGM, PPM and PBM: values above the largest one that the header names, and pictures behind the first."""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

__all__ = ["check_values", "count_pictures", "decode_deep", "is_endless"]

_COMMENT = re.compile(rb"#[^\r\n]*")
HEAD_BYTES = 65_536
"""Bytes that hold width and height behind all comments, which Pillow reads byte by byte."""
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_NUMBER = _GAP + rb"(\d{1,9})"
_NEXT = re.compile(rb"\s*P(?:([14])" + _NUMBER * 2 + rb"|([2356])" + _NUMBER * 3 + rb")\s")
_NEXT_FLOAT = re.compile(rb"\s*Pf" + _NUMBER * 2 + rb"\s+-?[\d.]+\s")
_NEXT_PLAIN = re.compile(rb"\sP[1-6]\s+\d")
_MOST = 1000
"""Pictures that are counted."""


def is_endless(stream: IO[bytes]) -> bool:
    """Whether the header is longer than anybody's comments make it."""
    stream.seek(0)
    return len(_COMMENT.sub(b"", stream.read(HEAD_BYTES)).split(None, 4)) < 3


def count_pictures(image: ImageFile, stream: IO[bytes]) -> int:
    """Pictures in the file of an opened image; other bytes behind the first one count as nothing.

    A plain file (P1, P2, P3) holds one by its definition: a second header in it is counted where one follows.
    """
    place = stream.tell()
    stream.seek(0)
    plain = stream.read(2) in (b"P1", b"P2", b"P3")
    codec, _, start, _ = image.tile[0]
    stream.seek(start)
    try:
        if plain or codec == "ppm_plain":
            return 1 + len(_NEXT_PLAIN.findall(_COMMENT.sub(b"", stream.read())))
        at, count = start + _count_bytes(image), 1
        while count < _MOST:
            stream.seek(at)
            head = stream.read(HEAD_BYTES)
            found = _NEXT.match(head)
            if found is None:
                return count + (_NEXT_FLOAT.match(head) is not None)
            count += 1
            kind, width, height = (found[1], found[2], found[3]) if found[1] else (found[4], found[5], found[6])
            bits = 1 if found[1] else 16 if int(found[7]) > 255 else 8
            at += found.end() + -(-int(width) * bits * (3 if kind in b"36" else 1) // 8) * int(height)
        return count
    finally:
        stream.seek(place)


def check_values(image: ImageFile, stream: IO[bytes], name: str) -> None:
    """Refuse values above the header's largest one, before Pillow clips them.

    Args:
        image: opened, not decoded.
        stream: its file.
        name: how errors name the image.

    Raises:
        ImageError: such a value.
    """
    codec, _, start, arguments = image.tile[0]
    if codec != "ppm" or not isinstance(arguments, tuple):
        return  # all values of a byte are allowed, or Pillow looks itself
    most = arguments[1]
    stream.seek(start)
    data = stream.read(_count_bytes(image))
    kind = np.dtype(">u2" if most > 255 else "u1")
    values = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)
    _check_most(values, most, name)


def _check_most(values: NDArray[Any], most: int, name: str) -> None:
    found = int(values.max(initial=0))
    if found > most or values.min(initial=0) < 0:
        reason = f"a value of {found}, above the header's largest of {most}; correct the header or restore the file"
        raise ImageError(name, reason, code="image-damaged", found=found, most=most)


def decode_deep(image: ImageFile, stream: IO[bytes], name: str) -> NDArray[np.uint16]:
    """Gray of more than 8 bits as stored, (H, W), where Pillow spreads it over 16 bits.

    Raises:
        ImageError: truncated, or a value above the header's largest.
    """
    codec, _, start, arguments = image.tile[0]
    size = image.size[0] * image.size[1]
    stream.seek(start)
    if codec == "ppm_plain":
        most = int(tuple(arguments or ())[-1])
        values = np.array(_COMMENT.sub(b"", stream.read()).split(None, size)[:size]).astype(np.int64)
        _check_most(values, most, name)
    else:
        data = stream.read(2 * size)
        values = np.frombuffer(data[: len(data) // 2 * 2], ">u2")
    if len(values) < size:
        raise ImageError(name, "truncated: a part of the picture is missing; restore the file", code="image-truncated")
    return values.astype(np.uint16).reshape(image.size[::-1])


def _count_bytes(image: ImageFile) -> int:
    """Bytes of the pixels of a binary file."""
    width, height = image.size
    if image.mode == "1":
        return -(-width // 8) * height
    arguments = image.tile[0].args
    deep = image.mode == "I" or (isinstance(arguments, tuple) and isinstance(arguments[1], int) and arguments[1] > 255)
    return width * height * len(image.getbands()) * (4 if image.mode == "F" else 2 if deep else 1)
