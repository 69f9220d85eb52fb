"""The readers of this package, as `Reader`s: what they take is decided by the same code as anyone's.

They are not found by entry points: a device would pay for reading the metadata of every installed package.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from zoo.errors import ImageError
from zoo.readers import _dicom as dicom
from zoo.readers import _numpy as arrays
from zoo.readers import _raster as raster
from zoo.readers._dicom_start import find_start
from zoo.readers._reader import HEAD_BYTES
from zoo.readers._tiff import is_compressed
from zoo.readers._tiff_pixels import damage_said as damage_said_of_tiff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.readers._image import Probe, RawImage
    from zoo.readers._reader import Reader

__all__ = ["BUILT_IN", "NAMES", "damage_said", "decodes_natively"]

NAMES = "DICOM, PNG, JPEG, BMP, TIFF, WebP, GIF, PPM, AVIF, HEIC, JPEG 2000 or NumPy"
"""The formats, for messages."""


class Raster:
    """What Pillow reads; see `zoo.readers._raster`."""

    suffixes = raster.SUFFIXES

    def recognise(self, head: bytes) -> bool:
        """By the first bytes; a DICOM file may begin with those of a TIFF."""
        return head[128:132] != b"DICM" and raster.recognise(head) is not None

    def probe(self, stream: IO[bytes], name: str) -> Probe:
        """By Pillow's parser of the format."""
        return raster.probe(stream, self._form(stream, name), name)

    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        """By Pillow's decoder of the format; no raster format brings a VOI."""
        form = self._form(stream, name)
        if voi:
            raise ImageError(
                name,
                f"{form} brings no VOI LUT or window, expected DICOM; choose another intensity",
                code="image-window-missing",
                form=form,
            )
        return raster.read(stream, form, name, frame=frame)

    def decodes_natively(self, stream: IO[bytes], name: str, frame: int | None) -> bool:
        """Whether libtiff would decode the page, or another library that may end the process."""
        form = self._form(stream, name)
        missing = form == "HEIF" and not raster.HAS_HEIF  # its refusal needs no decoder
        return (form in raster.APART and not missing) or (form == "TIFF" and is_compressed(stream, frame or 1))

    def _form(self, stream: IO[bytes], name: str) -> str:
        stream.seek(0)
        form = raster.recognise(stream.read(HEAD_BYTES))
        if form is None:
            raise ImageError(name, f"not an image by its first bytes; expected {NAMES}", code="image-format")
        return form


class Dicom:
    """DICOM files; see `zoo.readers._dicom`."""

    suffixes = frozenset({".dcm", ".dicom"})

    def recognise(self, head: bytes) -> bool:
        """By the four letters behind the preamble, or by the elements of a file without one."""
        return find_start(head) is not None

    def probe(self, stream: IO[bytes], name: str) -> Probe:
        """By pydicom."""
        return dicom.probe(stream, name)

    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        """By pydicom and the decoders that are installed."""
        return dicom.read(stream, name, frame=frame, voi=voi)

    def decodes_natively(self, stream: IO[bytes], name: str, _frame: int | None) -> bool:
        """Whether the pixels are compressed."""
        return dicom.is_compressed(stream, name)


class Numpy:
    """Arrays; see `zoo.readers._numpy`."""

    suffixes = arrays.SUFFIXES

    def recognise(self, head: bytes) -> bool:
        """By the first bytes; a DICOM file may begin with those of an array."""
        return head[128:132] != b"DICM" and arrays.recognise(head)

    def probe(self, stream: IO[bytes], name: str) -> Probe:
        """By numpy's parser of the header."""
        return arrays.probe(stream, name)

    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        """The values as they are."""
        return arrays.read(stream, name, frame=frame, voi=voi)


BUILT_IN: tuple[Reader, ...] = (Dicom(), Raster(), Numpy())
"""All of them; a head is recognised by one at most."""


def decodes_natively(reader: Reader, stream: IO[bytes], name: str, frame: int | None) -> bool:
    """Whether a native decoder would see the file, one that a hostile file makes end its process.

    Not those of PNG, JPEG, WebP, GIF and BMP, which browsers give to everybody; not readers of other packages.

    Args:
        reader: the one that `choose` chose.
        stream: the file; left at its start.
        name: how to name the image to the user.
        frame: which picture will be read.

    Raises:
        ImageError: the header is damaged.
    """
    found = isinstance(reader, Raster | Dicom) and reader.decodes_natively(stream, name, frame)
    stream.seek(0)
    return found


_CORRUPT = ("Corrupt JPEG data: bad Huffman code", "Corrupt JPEG data: premature end")
"""What gdcm's decoder says where it makes samples up; bytes that it passes over cost none."""


def damage_said(reader: Reader, lines: Sequence[str]) -> str | None:
    """The line of a native decoder's that means damage, where only such a line says it; None: there is none."""
    if isinstance(reader, Raster):
        return damage_said_of_tiff(lines)
    return next((line for line in lines if line.startswith(_CORRUPT)), None)
