"""From the first byte of a DICOM file to its pixels, which are not read: transfer syntax, header, where they are.

pydicom parses the elements that are asked for and skips all others unread. A deflated file is inflated here, in
pieces, because pydicom would inflate a bomb whole.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from zoo._support.imports import import_together
from zoo.errors import ImageError
from zoo.readers._dicom_elements import KEYWORDS, Elements, sop_class
from zoo.readers._dicom_start import BIG_ENDIAN, IMPLICIT, LONG, find_start, guess_syntax
from zoo.readers._reader import HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["INSTALL", "Header", "Located", "locate", "read_header", "read_syntax"]

_MODULES = (
    "pydicom.datadict", "pydicom.encaps", "pydicom.filereader", "pydicom.uid", "pydicom.pixels.decoders.base",
    "pydicom.pixels.processing",
)  # fmt: skip
"""All that is imported of pydicom anywhere: its modules import each other."""

INSTALL = "pip install 'edgezoo[dicom]'"

_FIRST_PIXELS = 0x7FE00008
_PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_DEFLATED = "1.2.840.10008.1.2.1.99"
_DICOMDIR = "1.2.840.10008.1.3.10"
_UNDEFINED = 0xFFFFFFFF

_INFLATED_FREELY = 64 * 2**20
_INFLATED_MOST = 1024 * 2**20
_RATIO_MOST = 100
"""A deflated file may become 64 MiB; from there on at most 100 times its size, and never more than 1 GiB."""


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """A parsed header and where the pixels are.

    Attributes:
        elements: of the header.
        syntax: UID of the transfer syntax.
        stream: the file, or its inflated copy.
        keyword: PixelData, FloatPixelData or DoubleFloatPixelData.
        vr: OB, OW, …; "" in implicit files.
        start: position in `stream` of the pixels' value.
        length: of it in bytes; None: undefined (encapsulated).
    """

    elements: Elements
    syntax: str
    stream: IO[bytes]
    keyword: str
    vr: str
    start: int
    length: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """The elements before the pixels, as pydicom read them.

    Attributes:
        dataset: the elements that were asked for.
        syntax: UID of the transfer syntax.
        media: SOP class, as the file meta information says it.
        assumed: whether the syntax is not said, and told by the look of the elements.
        stream: the file, or its inflated copy, at the element of the pixels.
    """

    dataset: Any
    syntax: str
    media: str
    assumed: bool
    stream: IO[bytes]


def read_header(stream: IO[bytes], name: str, keywords: Iterable[str]) -> Header:
    """Parse some elements before the pixels; all others are skipped unread.

    A file without group 0002 names no transfer syntax; its elements tell by their look which of the uncompressed ones
    it is (PS3.10 section 7.1 knows no such file; implicit VR, little endian is the default of PS3.5 section 10.1).

    Args:
        stream: seekable, a file that `find_start` knows.
        name: how to name the image to the user.
        keywords: the elements.

    Raises:
        ImageError: not an image, damaged, without transfer syntax, or a deflate bomb.
    """
    try:
        import_together(*_MODULES)
        from pydicom.datadict import tag_for_keyword
        from pydicom.filereader import read_dataset
    except ImportError:
        raise ImageError(
            name,
            f"DICOM needs the package pydicom; {INSTALL}",
            code="package-missing",
            package="pydicom",
            extra="dicom",
        ) from None
    clamped: Any = _Clamped(stream)
    syntax, media, assumed = _meta(clamped, name)
    if media == _DICOMDIR:
        raise ImageError(
            name,
            "a DICOMDIR, which lists files and holds no picture; name the image files themselves",
            code="image-without-picture",
            found="DICOMDIR",
        )
    if not syntax:
        raise ImageError(
            name,
            "DICOM without a transfer syntax in its header; write it anew with a DICOM tool",
            code="image-transfer-syntax",
        )
    if syntax == _DEFLATED:
        clamped = _inflate(clamped, name)
    tags = [tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None]
    try:
        dataset = read_dataset(
            clamped,
            is_implicit_VR=syntax == IMPLICIT,
            is_little_endian=syntax != BIG_ENDIAN,
            stop_when=lambda tag, _vr, _length: int(tag) >= _FIRST_PIXELS,
            specific_tags=[*tags],
        )
    except Exception:  # parsers of damaged bytes raise what they like, with values in the text
        raise ImageError(
            name, "the DICOM header is damaged; restore the file or leave it out", code="image-damaged"
        ) from None
    return Header(dataset, syntax, media, assumed, clamped)


def locate(stream: IO[bytes], name: str) -> Located:
    """Parse up to the pixels, which are not read; takes and raises as `read_header`."""
    header = read_header(stream, name, KEYWORDS)
    media = header.media
    implicit, little = header.dataset.original_encoding
    elements = Elements(header.dataset, name, little_endian=bool(little))
    keyword, vr, length = _pixel_element(header.stream, implicit=bool(implicit), little_endian=bool(little))
    if keyword is None:
        raise ImageError(
            name,
            f"{sop_class(elements, media)} without pixel data, expected an image; leave it out",
            code="image-without-picture",
            found=sop_class(elements, media),
        )
    if header.assumed and length == _UNDEFINED:
        raise ImageError(
            name,
            "compressed pixels and no transfer syntax in its header; write it anew with a DICOM tool",
            code="image-transfer-syntax",
        )
    start = header.stream.tell()
    return Located(elements, header.syntax, header.stream, keyword, vr, start, None if length == _UNDEFINED else length)


class _Clamped(io.RawIOBase):
    """A stream that never makes room for more bytes than it has left, whatever length a header claims."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._stream.tell())
        return self._stream.read(left if size is None or size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _meta(stream: IO[bytes], name: str) -> tuple[str, str, bool]:
    """Transfer syntax, media SOP class, and whether the syntax is assumed; the stream is left behind group 0002.

    PS3.10 section 7.1: explicit VR, little endian, group 0002.
    """
    found: dict[int, str] = {}
    start = find_start(stream.read(HEAD_BYTES)) or 0
    stream.seek(start)
    first = stream.read(6)
    if len(first) == 6 and first[:2] != b"\2\0":
        stream.seek(start)
        return guess_syntax(first), "", True
    stream.seek(start)
    while len(head := stream.read(8)) == 8:
        group, element, vr, length = struct.unpack("<HH2sH", head)
        if group != 2:
            stream.seek(-8, io.SEEK_CUR)
            break
        if vr in LONG:
            rest = stream.read(4)
            length = int.from_bytes(rest, "little") if len(rest) == 4 else 0
        elif not (vr.isalpha() and vr.isupper()):
            raise ImageError(
                name,
                "the DICOM file meta information is damaged; restore the file or leave it out",
                code="image-damaged",
            )
        value = stream.read(min(length, 64))
        stream.seek(length - len(value), io.SEEK_CUR)
        found[element] = value.strip(b" \0").decode("ascii", "replace")
    return found.get(0x0010, ""), found.get(0x0002, ""), False


def read_syntax(stream: IO[bytes], name: str) -> str:
    """UID of the transfer syntax, "" where the file names none; nothing behind the meta information is read.

    Raises:
        ImageError: the meta information is damaged.
    """
    stream.seek(0)
    return _meta(stream, name)[0]


def _inflate(stream: IO[bytes], name: str) -> IO[bytes]:
    """The rest of a deflated file (PS3.5 annex A.5), inflated in pieces, so that a bomb is noticed while it grows."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    result = bytearray()
    try:
        while not inflate.eof and (piece := inflate.unconsumed_tail or stream.read(2**16)):
            result += inflate.decompress(piece, 2**20)
            if len(result) > min(_INFLATED_MOST, max(_INFLATED_FREELY, stream.tell() * _RATIO_MOST)):
                raise ImageError(
                    name,
                    "deflated to less than a hundredth of its size, as no picture is; leave it out",
                    code="image-bomb",
                )
        result += inflate.flush()
    except zlib.error:
        raise ImageError(
            name, "the deflated data is damaged; restore the file or leave it out", code="image-damaged"
        ) from None
    return io.BytesIO(result)


def _pixel_element(stream: IO[bytes], *, implicit: bool, little_endian: bool) -> tuple[str | None, str, int]:
    """Keyword, VR and length of the element at the stream's place; the stream is left at the value."""
    order = "<" if little_endian else ">"
    head = stream.read(8)
    if len(head) < 8:
        return None, "", 0
    group, element, vr, length = struct.unpack(f"{order}HH2sH", head)
    if implicit or not (vr.isalpha() and vr.isupper()):
        vr, length = b"", struct.unpack(f"{order}I", head[4:])[0]
    elif vr in LONG:
        length = int.from_bytes(stream.read(4), "little" if little_endian else "big")
    return _PIXELS.get(group << 16 | element), vr.decode("ascii"), length
