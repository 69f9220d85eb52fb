"""What a TIFF holds, by its directory, and the refusal of what is not read by its true name.

Pillow has no mode for many kinds and calls them damaged; it drops channels and cuts colours of 16 bits unsaid.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Literal, NoReturn

from zoo.errors import ImageError
from zoo.spec import MOST_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Page",
    "build",
    "check",
    "divide_planes",
    "find_pages",
    "is_compressed",
    "is_deep",
    "is_stack",
    "parse",
    "refuse",
    "rewrite",
]

# Tags of TIFF 6.0, and of its first supplement
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, SAMPLES, ROWS, STRIP_BYTES, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES = 322, 323, 324, 325
COLOUR_MAP, EXTRA, FORMAT, SUBSAMPLING = 320, 338, 339, 530
ORIENTATION, OPTIONS_3, TABLES = 274, 292, 347
_SHAPE = frozenset(
    {WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, ROWS, PLANAR, PREDICTOR, TILE_WIDTH}
    | {TILE_LENGTH, COLOUR_MAP, EXTRA, FORMAT, SUBSAMPLING, ORIENTATION, OPTIONS_3}
)
"""What the pixels depend on, beside strips and tiles."""

_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Types of a field that hold whole numbers without a sign, as struct names them."""
_TEXTS = frozenset({1, 2, 7})
"""Types of a field that may hold text."""
_SHORT, _LONG = 3, 4
_MOST_ENTRIES = 4096
_MOST_LOOKED_AT = 65_536
"""Entries of a directory that are looked at for a compression; a TIFF has no more, a BigTIFF may."""
_MOST_TEXT = 65_536
MOST_VALUES = 1 << 28  # bytes of one field
MOST_OFFSET = 1 << 62

_UNSIGNED, _SIGNED, FLOAT = 1, 2, 3  # values of FORMAT; 5 and 6 are complex, 4 is undefined
_BLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 1, 2, 3, 5, 6
_PREMULTIPLIED, _ALPHA = 1, 2  # values of EXTRA; 0 is a channel that is none
_COLOURS = {
    _CMYK: "CMYK",
    8: "CIE Lab",
    9: "ICC Lab",
    10: "ITU Lab",
    32803: "raw colour filter",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
_READ = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34925, 50000})
_BYTEWISE = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})
"""Compressions of bytes, whatever the samples are: none, LZW, deflate, PackBits, LZMA, zstd."""
_PREDICTED = frozenset({5, 8, 32946, 34925, 50000})
"""Those of them that libtiff undoes a predictor of."""
_COMPRESSIONS = {
    1: "no compression",
    32773: "PackBits",
    2: "CCITT",
    3: "CCITT Group 3",
    4: "CCITT Group 4",
    6: "JPEG",
    7: "JPEG",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34676: "SGI Log",
    34677: "SGI Log",
    34887: "LERC",
    34892: "lossy JPEG",
    34933: "PNG",
    34934: "JPEG XR",
    22610: "JPEG XR",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


@dataclass(frozen=True, slots=True)
class Page:
    """The directory of one picture.

    Attributes:
        order: byte order of the file, as numpy names it.
        numbers: by tag, the fields of whole numbers.
        texts: by tag, the fields that may be text.
    """

    order: Literal["<", ">"]
    numbers: dict[int, tuple[int, ...]]
    texts: dict[int, bytes]

    def first(self, tag: int, otherwise: int) -> int:
        """The first number of a field."""
        return (self.numbers.get(tag) or (otherwise,))[0]

    @property
    def samples(self) -> int:
        """Channels of a pixel."""
        return self.first(SAMPLES, 1)

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each channel."""
        bits = self.numbers.get(BITS) or (1,)
        return bits * self.samples if len(bits) == 1 and self.samples <= _MOST_ENTRIES else bits[: self.samples] or (1,)

    @property
    def form(self) -> int:
        """Whether samples are unsigned (1), signed (2) or floats (3); undefined ones count as unsigned."""
        found = max(self.numbers.get(FORMAT) or (_UNSIGNED,))
        return _UNSIGNED if found in (0, 4) else found

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.first(WIDTH, 0), self.first(LENGTH, 0)


def find_pages(stream: IO[bytes]) -> list[int]:
    """Where the directories of a TIFF are (TIFF 6.0 section 2; BigTIFF), by following their chain and reading none.

    Pillow parses each of them, half a millisecond a page: a chain of a million would take minutes.
    """
    order, count_size, entry, size = _read_layout(stream)
    stream.seek(size)  # the header ends in the first link
    following = int.from_bytes(stream.read(size), order)
    seen: dict[int, None] = {}
    while 0 < following < MOST_OFFSET and following not in seen:
        stream.seek(following)
        count = stream.read(count_size)
        if int.from_bytes(count, order) > MOST_VALUES:
            break
        stream.seek(int.from_bytes(count, order) * entry, io.SEEK_CUR)
        link = stream.read(size)
        if len(count) < count_size or (len(link) < size and seen):
            break  # the chain is cut off: what is there is what can be read
        seen[following] = None
        following = int.from_bytes(link, order)
    return list(seen)


def parse(stream: IO[bytes], offset: int) -> Page:
    """The directory at `offset`; fields that make no sense are left out."""
    order, count_size, entry_size, inline = _read_layout(stream)
    sign: Literal["<", ">"] = "<" if order == "little" else ">"
    stream.seek(offset)
    count = min(int.from_bytes(stream.read(count_size), order), _MOST_ENTRIES)
    entries = stream.read(count * entry_size)
    numbers: dict[int, tuple[int, ...]] = {}
    texts: dict[int, bytes] = {}
    for at in range(0, len(entries) - entry_size + 1, entry_size):
        tag, kind = struct.unpack_from(f"{sign}HH", entries, at)
        many = int.from_bytes(entries[at + 4 : at + entry_size - inline], order)
        size = many * (struct.calcsize(_CODES[kind]) if kind in _CODES else 1)
        if not 0 < size < MOST_VALUES or (kind not in _CODES and kind not in _TEXTS):
            continue
        value = entries[at + entry_size - inline : at + entry_size]
        if size > inline:
            where = int.from_bytes(value, order)
            value = stream.read(size) if where < MOST_OFFSET and stream.seek(where) else b""
        if kind in _CODES and size <= len(value):
            numbers[tag] = struct.unpack_from(f"{sign}{many}{_CODES[kind]}", value)
        if kind in _TEXTS:
            texts[tag] = value[: min(size, _MOST_TEXT)]
    return Page(sign, numbers, texts)


def is_compressed(stream: IO[bytes], page: int) -> bool:
    """Whether libtiff would decode a page: a directory up to that of the page says anything else than no compression.

    Pillow takes a value of any type, so a plain 1 alone counts as none. Moves the stream.

    Args:
        stream: the file.
        page: counted from 1.
    """
    order, count_size, entry_size, inline = _read_layout(stream)
    tag, one = COMPRESSION.to_bytes(2, order), (1).to_bytes(inline, order)
    plain = tuple(
        tag + kind.to_bytes(2, order) + one + (1).to_bytes(width, order) for kind, width in ((_SHORT, 2), (_LONG, 4))
    )
    for place in find_pages(stream)[:page]:
        stream.seek(place)
        count = int.from_bytes(stream.read(count_size), order)
        if count > _MOST_LOOKED_AT:
            return True
        entries = stream.read(count * entry_size)
        found = (entries[at : at + entry_size] for at in range(0, len(entries), entry_size))
        if any(entry.startswith(tag) and not entry.startswith(plain) for entry in found):
            return True
    return False


def check(page: Page, name: str) -> None:
    """Refuse what cannot be read without loss, by what it is.

    Raises:
        ImageError: colours, channels, bits or a compression that are not read.
    """
    photometric, compression = page.first(PHOTOMETRIC, 0), page.first(COMPRESSION, 1)
    _check_kind(page, name)
    if is_stack(page):
        _check_deep(page, name)
        return
    colours = 3 if photometric in (_RGB, _YCBCR) else 1
    if compression not in (6, 7) or SAMPLES in page.numbers:
        _check_channels(page, colours, name)
    bits = max(page.bits)
    if page.form == _SIGNED:
        code = "image-bit-depth" if bits <= 8 else "image-colours"
        refuse(name, f"signed {bits}-bit values, expected unsigned ones or floats", code)
    if colours == 3 or photometric == _PALETTE or page.samples > 1:
        if bits > 8:
            what = "palette entry" if photometric == _PALETTE else "colour channel" if colours == 3 else "channel"
            refuse(name, f"{bits} bits per {what}, which would be cut to 8", "image-bit-depth")
        if colours == 3 and min(page.bits) < 8:
            refuse(name, f"{min(page.bits)} bits per colour channel, expected 8", "image-bit-depth")
    elif bits > 8:
        _check_deep(page, name)
    if bits < 8 and (page.samples > 1 or bits not in (1, 2, 4)):
        refuse(name, f"{page.samples} channels of {bits} bits, expected 8", "image-bit-depth", bits=bits)
    if page.first(PREDICTOR, 1) != 1 and compression not in _PREDICTED:  # programs disagree whether it holds
        found = f"{_COMPRESSIONS.get(compression, 'this')} with a predictor"
        refuse(name, f"{found}, expected one with LZW or deflate", "image-coding", coding=found)
    if photometric == _YCBCR and compression == 1 and page.numbers.get(SUBSAMPLING, (2, 2)) != (1, 1):
        refuse(name, "YCbCr of coarser colours without compression", "image-coding", coding="YCbCr")


def _check_kind(page: Page, name: str) -> None:
    photometric, compression = page.first(PHOTOMETRIC, 0), page.first(COMPRESSION, 1)
    if compression not in _READ:
        found = _COMPRESSIONS.get(compression, f"compression {compression}")
        refuse(name, f"{found} inside a TIFF, a coding that is not read", "image-coding", coding=found)
    if photometric in _COLOURS:
        found = _COLOURS[photometric]
        refuse(name, f"{found} colours, expected gray or RGB", "image-colours", mode=found)
    if page.form not in (_UNSIGNED, _SIGNED, FLOAT):
        refuse(name, "complex values, expected gray or RGB", "image-colours", mode="complex")


def _check_channels(page: Page, colours: int, name: str) -> None:
    extra = page.numbers.get(EXTRA, ())
    unsaid = colours == 3 and page.samples == 4 and not extra  # taken for alpha, as libtiff does
    opaque = page.samples == colours + 1 and len(extra) == 1 and extra[0] != 0
    if page.samples != colours and not unsaid and not opaque:
        reason = f"{page.samples} channels, expected 1 of gray, 3 of RGB or up to {MOST_CHANNELS} of a stack"
        refuse(name, reason, "image-bit-depth", channels=page.samples)


def _check_deep(page: Page, name: str) -> None:
    bits, compression = page.bits[0], page.first(COMPRESSION, 1)
    what = "gray" if page.samples == 1 else "channels"
    if page.first(PHOTOMETRIC, 1) == 0:  # 8 bits are inverted by Pillow
        refuse(name, "white is stored as zero, which would be read inverted", "image-bit-depth")
    if page.form == _SIGNED:
        refuse(name, f"signed {bits}-bit values, expected unsigned ones or floats", "image-colours")
    read = (16, 32, 64) if page.form == FLOAT else (12, 16, 32, 64)
    if bits not in (read if what == "gray" else (8, *read)) or len(set(page.bits)) > 1:
        found = "floats" if page.form == FLOAT else what
        refuse(name, f"{found} of {max(page.bits)} bits, expected 12, 16, 32 or 64", "image-bit-depth")
    predictor = page.first(PREDICTOR, 1)
    if compression not in _BYTEWISE or predictor not in (1, 2, 3) or (bits == 12 and predictor != 1):
        found = f"{_COMPRESSIONS.get(compression, f'compression {compression}')}, predictor {predictor}"
        refuse(name, f"{bits}-bit {what} coded as {found}", "image-coding", coding=found)
    if page.first(PLANAR, 1) not in (1, 2):
        refuse(name, f"planar configuration {page.first(PLANAR, 1)}", "image-coding", coding="planar configuration")


def refuse(name: str, reason: str, code: str, **fields: Any) -> NoReturn:
    """Refuse a whole file for what it holds.

    Raises:
        ImageError: always.
    """
    raise ImageError(name, f"{reason}; save it as 8-bit gray or RGB, or as 16-bit gray PNG", code=code, **fields)


def is_stack(page: Page) -> bool:
    """Whether the picture has channels beside colours and alpha, or colours of more than 8 bits.

    Scanners and microscopes write such files as gray, or as RGB, with further samples that they call nothing.
    """
    photometric, extra = page.first(PHOTOMETRIC, 0), page.numbers.get(EXTRA, ())
    if not 2 <= page.samples <= MOST_CHANNELS or photometric not in (_BLACK, _RGB):
        return False
    if _PREMULTIPLIED in extra or _ALPHA in extra:
        return False
    colours = photometric == _RGB and page.samples in (3, 4) and not extra  # a fourth is taken for alpha, as by libtiff
    return max(page.bits) > 8 or (min(page.bits) == 8 and not colours)


def divide_planes(page: Page) -> list[Page]:
    """The directory of each channel of a stack that is stored channel by channel."""
    numbers = dict(page.numbers)
    places = [tag for tag in (STRIPS, STRIP_BYTES, TILES, TILE_BYTES) if tag in numbers]
    alone = {SAMPLES: (1,), BITS: page.bits[:1], FORMAT: (page.form,), PLANAR: (1,), EXTRA: ()}
    found = []
    for plane in range(page.samples):
        parts = {
            tag: numbers[tag][plane * (n := len(numbers[tag]) // page.samples) : (plane + 1) * n] for tag in places
        }
        found.append(replace(page, numbers=numbers | alone | parts))
    return found


def is_deep(page: Page) -> bool:
    """Whether the picture is gray of more than 8 bits, which is decoded row by row; the rest is Pillow's."""
    return page.bits[0] > 8 and page.samples == 1


def rewrite(stream: IO[bytes], page: Page) -> IO[bytes]:
    """The page as a little-endian TIFF of its own, which Pillow opens.

    Only for samples of 8 bits and fewer, which have no byte order. Alpha that colours were multiplied by is named as
    the other one: where it is opaque, and that is all that is read, both are the same.
    """
    tiled = TILES in page.numbers
    offsets = page.numbers.get(TILES if tiled else STRIPS, ())
    counts = page.numbers.get(TILE_BYTES if tiled else STRIP_BYTES, ())
    pieces = []
    for offset, count in zip(offsets, counts, strict=False):
        stream.seek(min(offset, MOST_OFFSET))
        pieces.append(stream.read(count))
    tags = {tag: values for tag, values in page.numbers.items() if tag in _SHAPE}
    if tags.get(EXTRA) == (1,):
        tags[EXTRA] = (2,)
    return io.BytesIO(build(tags, pieces, tiled=tiled))


def build(tags: Mapping[int, Sequence[int]], pieces: Sequence[bytes], *, tiled: bool) -> bytes:
    """A little-endian TIFF of these fields and strips or tiles."""
    fields = dict(tags)
    fields[TILES if tiled else STRIPS] = [0] * len(pieces)
    fields[TILE_BYTES if tiled else STRIP_BYTES] = [len(piece) for piece in pieces]
    start = 8 + 2 + 12 * len(fields) + 4
    at = start + sum(4 * len(values) for values in fields.values())
    starts = []
    for piece in pieces:
        starts.append(at)
        at += len(piece)
    fields[TILES if tiled else STRIPS] = starts
    entries = values_behind = b""
    for tag, values in sorted(fields.items()):
        short = max(values, default=0) < 65536  # libtiff wants colour maps and the like as short numbers
        body = struct.pack(f"<{len(values)}{'H' if short else 'I'}", *values)
        where = struct.pack("<I", start + len(values_behind)) if len(body) > 4 else body.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, 3 if short else 4, len(values)) + where
        values_behind += body if len(body) > 4 else b""
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4)
    padding = bytes(starts[0] - len(head) - len(values_behind)) if starts else b""
    return b"".join((head, values_behind, padding, *pieces))


def _read_layout(stream: IO[bytes]) -> tuple[Literal["little", "big"], int, int, int]:
    """Byte order, and the bytes of a directory's count, of an entry, and of an entry's value or a link."""
    stream.seek(0)
    head = stream.read(4)
    sizes = (8, 20, 8) if 43 in head[2:4] else (2, 12, 4)
    return "little" if head[:2] == b"II" else "big", *sizes
