"""The readers of this package, as `Reader`s: what they take is decided by the same code as anyone's.

They are not found by entry points: a device would pay for reading the metadata of every installed package.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from zoo.errors import ImageError
from zoo.readers import _dicom as dicom
from zoo.readers import _raster as raster
from zoo.readers._reader import HEAD_BYTES

if TYPE_CHECKING:
    from zoo.readers._image import Probe, RawImage
    from zoo.readers._reader import Reader

__all__ = ["BUILT_IN", "NAMES"]

NAMES = "DICOM, PNG, JPEG, BMP, TIFF, WebP, GIF or PPM"
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
        """By the four letters behind the preamble."""
        return head[128:132] == b"DICM"

    def probe(self, stream: IO[bytes], name: str) -> Probe:
        """By pydicom."""
        return dicom.probe(stream, name)

    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        """By pydicom and the decoders that are installed."""
        return dicom.read(stream, name, frame=frame, voi=voi)


BUILT_IN: tuple[Reader, ...] = (Dicom(), Raster())
"""All of them; a head is recognised by one at most."""
