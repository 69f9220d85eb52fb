"""The pixels of deep gray TIFFs and of stacks, and whether the strips of a TIFF hold all that libtiff made of them.

libtiff, through Pillow, unpacks the rows as plain bytes; byte order and predictor are undone by numpy. So every kind
of sample is read, where Pillow has no mode for some and swaps the bytes of compressed big-endian floats.
"""

from __future__ import annotations

import io
import re
import zlib
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from zoo.errors import ImageError
from zoo.readers import _jpeg as jpeg
from zoo.readers import _tiff as tiff
from zoo.readers._exif import turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["damage_said", "decode", "is_whole"]

_WIDEST_PIXEL, _SPARE_BYTES = 32, 2**26
"""Bytes that pixels of four 64-bit samples take, and what tiles may hold beyond the picture."""
_MOST_BYTES = 64_000_000
"""Bytes of rows that Pillow decodes in one go; it warns of more than 89 million pixels."""
_DAMAGE = re.compile(
    "Bad code word|Uncompressed data|Buffer overrun|[Mm]ismatch|Premature|Not enough data|not yet in table"
    "|[Dd]ecoding error|[Cc]orrupt|JPEGLib:"
)
"""What libtiff 4 writes of bits that make no sense; it writes of missing support and unknown tags as well."""
_END_MARK = 4
"""Bytes that the end mark of Group 4 takes at most, with the rest of the byte before it."""
_MARK = bytes(11)
"""Bits that begin an end of line and an end of block; no other codes of T.4 and T.6 make so many zeros."""
_END_MARKS = re.compile(rb"(?:\x00{11,}\x01\x01?)+\Z")
"""Of Group 3: marks without rows behind them, each followed by a bit where rows refer to each other (T.4, 4.2.2)."""
_DEFLATE = (8, 32946)
_CHECKED = frozenset({3, 4, 7, *_DEFLATE})
"""Compressions whose damage libtiff, or Pillow, does not tell: Group 3 and 4, JPEG, deflate."""
_UNTURN = {6: 8, 8: 6}
"""Orientations that undo others; the rest undo themselves."""
_EXACT = 1 << 24
"""Up to here float32 holds every whole number."""


def decode(stream: IO[bytes], page: tiff.Page, name: str) -> NDArray[Any]:
    """The values of a deep gray picture, (H, W), or of a stack, (H, W, C), that `check` passed; not turned.

    uint8, uint16 or float32. Floats of 64 bits are rounded to 32 (a relative error of 6e-8). Whole numbers of 32 and 64
    bits become float32, and are refused where that would change one of them.

    Raises:
        ImageError: truncated, damaged, or values that float32 cannot hold.
    """
    if page.samples > 1 and page.first(tiff.PLANAR, 1) == 2:
        return np.stack([_decode_plane(stream, plane, name) for plane in tiff.divide_planes(page)], axis=2)
    values = _decode_plane(stream, page, name)
    return values if page.samples == 1 else values.reshape(values.shape[0], -1, page.samples)


def _decode_plane(stream: IO[bytes], page: tiff.Page, name: str) -> NDArray[Any]:
    """(H, W · C): the channels of a pixel side by side."""
    width, height = page.size
    bits, channels = page.bits[0], page.samples
    across = page.first(tiff.TILE_WIDTH, 0) if tiff.TILES in page.numbers else 0
    columns = -(-width // across) * across if across else width
    rows = _unpack(stream, page, -(-columns * channels * bits // 8), across * channels * bits // 8, name)
    width *= channels
    if bits == 12:
        pairs = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 3))).astype(np.uint16).reshape(height, -1, 3)
        high, low = pairs[..., 0] << 4 | pairs[..., 1] >> 4, (pairs[..., 1] & 15) << 8 | pairs[..., 2]
        return np.stack((high, low), axis=-1).reshape(height, -1)[:, :width]
    letter, size = "f" if page.form == tiff.FLOAT else "u", bits // 8
    predictor, order = page.first(tiff.PREDICTOR, 1), page.order
    step = across * channels * size if across else rows.shape[1]

    def sums(part: NDArray[Any], kind: str) -> NDArray[Any]:
        """Running sums along each row, of each channel alone."""
        return np.cumsum(part.reshape(height, -1, channels), axis=1, dtype=kind).reshape(height, -1)

    if predictor == 3:  # bytes of one significance side by side, the highest first (Adobe TIFF Technical Note 3)
        parts = [
            sums(rows[:, at : at + step], "u1").reshape(height, size, -1).transpose(0, 2, 1)
            for at in range(0, rows.shape[1], step)
        ]
        rows, order = np.concatenate([part.reshape(height, -1) for part in parts], axis=1), ">"
    values = np.ascontiguousarray(rows).view(f"{order}u{size}")
    if predictor == 2:
        parts = [sums(values[:, at : at + step // size], f"u{size}") for at in range(0, values.shape[1], step // size)]
        values = np.concatenate(parts, axis=1)
    return _narrow(values[:, :width].astype(f"u{size}").view(f"{letter}{size}"), name)


def _narrow(values: NDArray[Any], name: str) -> NDArray[Any]:
    """As uint8, uint16 or float32."""
    if values.dtype in (np.uint8, np.uint16):
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        floats = values.astype(np.float32)
    if values.dtype.kind == "u" and values.max() > _EXACT and not np.array_equal(floats.astype(np.float64), values):
        tiff.refuse(name, f"whole numbers above {_EXACT} that float32 cannot hold", "image-bit-depth", most=_EXACT)
    if values.dtype.kind == "f" and bool((np.isinf(floats) & np.isfinite(values)).any()):
        tiff.refuse(name, "64-bit floats beyond the range of float32", "image-bit-depth")
    return floats


def is_whole(stream: IO[bytes], page: tiff.Page, image: Image.Image) -> bool:
    """Whether the strips hold enough for the picture that libtiff made of them, of the codings it fills up unsaid.

    JPEG: each strip or tile is a stream of its own. Group 4: no coding of the same rows is shorter than the one of
    T.6, so a strip that is shorter than that (less its end mark), or ends so early, was filled up. Group 3: each row
    has a mark, which no valid row holds (T.4, section 4.1.2). Deflate: the checksum, which libtiff does not compare.

    Args:
        stream: the file.
        page: its directory.
        image: the decoded picture, as turned by its orientation.
    """
    tiled, compression = tiff.TILES in page.numbers, page.first(tiff.COMPRESSION, 1)
    if compression not in _CHECKED or (compression in (3, 4) and tiled):
        return True
    offsets = page.numbers.get(tiff.TILES if tiled else tiff.STRIPS, ())
    counts = page.numbers.get(tiff.TILE_BYTES if tiled else tiff.STRIP_BYTES, ())
    pieces = []
    for offset, count in zip(offsets, counts, strict=False):
        stream.seek(min(offset, tiff.MOST_OFFSET))
        pieces.append(stream.read(count))
    if compression in _DEFLATE:
        return _are_sound(pieces, _SPARE_BYTES + _WIDEST_PIXEL * page.size[0] * page.size[1])
    order: Literal["big", "little"] = "little" if page.first(tiff.FILL_ORDER, 1) == 2 else "big"
    if compression == 3:
        rows, height = page.first(tiff.ROWS, page.size[1]) or page.size[1], page.size[1]
        return all(
            _has_marks(_list_bits(piece, order), min(rows, height - at * rows)) for at, piece in enumerate(pieces)
        )
    if compression == 4:
        turned = page.first(tiff.ORIENTATION, 1)
        bits = turn(np.asarray(image), _UNTURN.get(turned, turned)) ^ (page.first(tiff.PHOTOMETRIC, 0) == 0)
        rows = page.first(tiff.ROWS, len(bits)) or len(bits)
        return all(
            8 * _count_group4(bits[at * rows : (at + 1) * rows]) < _find_mark(_list_bits(piece, order)) + 8
            for at, piece in enumerate(pieces)
        )
    tables = page.texts.get(tiff.TABLES, b"")
    for piece in pieces:
        data = tables.removesuffix(b"\xff\xd9") + piece[2:] if tables else piece
        if jpeg.find_end(data) is None or not jpeg.is_whole(data, jpeg.decode(data), jpeg.decode):
            return False
    return True


def _are_sound(strips: Iterable[bytes], most: int) -> bool:
    """Whether deflated strips unpack; one that lacks only its checksum does.

    Args:
        strips: all of them.
        most: bytes after which no more is unpacked: what lies behind the picture costs nobody a pixel.
    """
    made = 0
    for data in strips:
        unpack, rest = zlib.decompressobj(), data
        try:
            while rest and not unpack.eof and made <= most:
                made += len(unpack.decompress(rest, _MOST_BYTES))
                rest = unpack.unconsumed_tail
        except zlib.error:
            return False
    return True


def _list_bits(data: bytes, order: Literal["big", "little"]) -> bytes:
    """A byte for each bit, in the order they are decoded."""
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder=order).tobytes()


def _find_mark(bits: bytes) -> int:
    """Where the end mark of Group 4 begins, or the bits end: no row holds 11 zeros in a row."""
    found = bits.find(_MARK)
    return len(bits) if found < 0 else found


def _has_marks(bits: bytes, rows: int) -> bool:
    """Whether each row of Group 3 has one mark, the first one perhaps none; a strip without any is of another kind."""
    bits = _END_MARKS.sub(b"", bits.rstrip(b"\0"))
    marks = bits.count(_MARK + b"\1")
    return not marks or marks == rows - (not bits.startswith(_MARK))


def _count_group4(bits: NDArray[Any]) -> int:
    """Bytes that the rows take by T.6, without the end mark."""
    if not bits.size:
        return 0
    coded = io.BytesIO()
    Image.fromarray(bits).save(coded, "TIFF", compression="group4", strip_size=tiff.MOST_VALUES)
    return sum(tiff.parse(coded, tiff.find_pages(coded)[0]).numbers[tiff.STRIP_BYTES]) - _END_MARK


def _unpack(stream: IO[bytes], page: tiff.Page, row: int, across: int, name: str) -> NDArray[np.uint8]:
    """The bytes of all rows, (H, `row`), by the decoder of 8-bit gray; byte order and predictor are as stored.

    Args:
        stream: the file.
        page: its directory.
        row: bytes of a row, with what the last tile of it has too much.
        across: bytes of a row of a tile; 0: there are strips.
        name: how errors name the image.
    """
    height = page.size[1]
    down = page.first(tiff.TILE_LENGTH, height) if across else min(page.first(tiff.ROWS, height), height)
    offsets = page.numbers.get(tiff.TILES if across else tiff.STRIPS, ())
    counts = page.numbers.get(tiff.TILE_BYTES if across else tiff.STRIP_BYTES, ())
    compression = page.first(tiff.COMPRESSION, 1)
    if down < 1 or row < 1 or len(offsets) < -(-height // down) * (row // across if across else 1):
        raise ImageError(name, "the header is damaged; restore the file or leave it out", code="image-damaged")
    beside, bands = row // across if across else 1, -(-height // down)
    at_once = max(1, _MOST_BYTES // (row * down))
    if row * down > _MOST_BYTES and compression != 1:
        tiff.refuse(name, f"one compressed strip of more than {_MOST_BYTES} bytes", "image-coding", coding="strip")
    parts = []
    for first in range(0, bands, at_once):
        last = min(bands, first + at_once)
        lines = min(height, last * down) - first * down
        pieces = []
        for place in range(first * beside, last * beside):
            whole = (across or row) * (down if across else min(down, height - place * down))
            count = whole if compression == 1 else counts[place] if place < len(counts) else -1
            stream.seek(min(offsets[place], tiff.MOST_OFFSET))
            pieces.append(stream.read(count))
            if len(pieces[-1]) < count:
                reason = "truncated: a part of the picture is missing; restore the file"
                raise ImageError(name, reason, code="image-truncated")
        if compression in _DEFLATE and not _are_sound(pieces, 2 * _MOST_BYTES):
            reason = "the checksum of its pixels is wrong; restore the file or leave it out"
            raise ImageError(name, reason, code="image-damaged")
        if compression == 1 and not across:
            parts.append(_order_bits(np.frombuffer(b"".join(pieces), np.uint8).reshape(lines, row), page))
            continue
        # libtiff undoes a reversed order of the bits itself where there is a compression
        tags = {
            tiff.WIDTH: [row],
            tiff.LENGTH: [lines],
            tiff.BITS: [8],
            tiff.COMPRESSION: [compression],
            tiff.PHOTOMETRIC: [1],
            tiff.SAMPLES: [1],
        }
        tags |= {tiff.FILL_ORDER: [page.first(tiff.FILL_ORDER, 1)]}
        tags |= {tiff.TILE_WIDTH: [across], tiff.TILE_LENGTH: [down]} if across else {tiff.ROWS: [down]}
        with Image.open(io.BytesIO(tiff.build(tags, pieces, tiled=bool(across))), formats=["TIFF"]) as image:
            parts.append(np.asarray(image))
    return np.concatenate(parts)


def _order_bits(rows: NDArray[np.uint8], page: tiff.Page) -> NDArray[np.uint8]:
    """Bytes with their highest bit first."""
    if page.first(tiff.FILL_ORDER, 1) != 2:
        return rows
    return np.packbits(np.unpackbits(rows, axis=1), axis=1, bitorder="little")


def damage_said(lines: Sequence[str]) -> str | None:
    """What libtiff's lines say of damage that it reads over; None: nothing of the kind.

    Args:
        lines: what libtiff wrote to stderr while it decoded one file.
    """
    return next((line for line in lines if _DAMAGE.search(line)), None)
