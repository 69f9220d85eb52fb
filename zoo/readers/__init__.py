"""One file → one `RawImage`. The first bytes decide which reader gets it, never the suffix."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zoo.errors import ImageError
from zoo.readers import dicom, raster
from zoo.readers.image import KINDS, Kind, Probe, RawImage, from_array
from zoo.readers.raster import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "IMAGE_SUFFIXES",
    "KINDS",
    "MAX_PIXELS",
    "Kind",
    "Probe",
    "RawImage",
    "from_array",
    "is_image",
    "probe",
    "read",
]

IMAGE_SUFFIXES: frozenset[str] = raster.SUFFIXES | {".dcm", ".dicom"}
"""Lower-case suffixes of the files that count as images when a folder is walked."""

_DICOM = "DICOM"
_HEAD = 132  # a DICOM file says so at bytes 128 to 131


def read(
    source: Path | str | bytes, *, name: str | None = None, frame: int | None = None, voi: bool = False
) -> RawImage:
    """Decode one image.

    Args:
        source: a path, or the file's bytes.
        name: how errors name the image; default: the path as given.
        frame: which picture of a file that holds several, counted from 1 as DICOM does; never guessed.
        voi: apply the file's own VOI LUT or window, which gives values in [0, 1]; a file without one is refused.

    Returns:
        uint8 (H, W, 3), or uint16 or float32 (H, W, 1), upright by EXIF; see `RawImage`.

    Raises:
        ImageError: one line: what the file is, what was expected, what to do. Never pixels, never metadata.
    """
    with _stream(source, name) as (stream, shown):
        form = _form(stream, shown)
        if form == _DICOM:
            return dicom.read(stream, shown, frame=frame, voi=voi)
        if voi:
            raise ImageError(f"{shown}: {form} brings no VOI LUT or window, expected DICOM; choose another intensity")
        return raster.read(stream, form, shown, frame=frame)


def probe(source: Path | str | bytes, *, name: str | None = None) -> Probe:
    """Read a header only, about a hundred times faster than `read`; a truncated file passes.

    Args:
        source: a path, or the file's bytes.
        name: how errors name the image; default: the path as given.

    Raises:
        ImageError: as `read`, as far as the header tells.
    """
    with _stream(source, name) as (stream, shown):
        form = _form(stream, shown)
        return dicom.probe(stream, shown) if form == _DICOM else raster.probe(stream, form, shown)


def is_image(path: Path) -> bool:
    """Whether a file begins as one of the formats does, whatever its name; False where it can not be opened.

    A DICOMDIR is none: it lists files. "BM" or "P1" may begin any text, so there the header must make sense too.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        if head[128:132] == b"DICM":
            return path.name != "DICOMDIR"
        form = raster.recognise(head)
        if form in {"BMP", "PPM"}:
            probe(path)
    except (OSError, ImageError):
        return False
    return form is not None


@contextlib.contextmanager
def _stream(source: Path | str | bytes, name: str | None) -> Iterator[tuple[IO[bytes], str]]:
    if isinstance(source, bytes):
        yield io.BytesIO(source), name or "image"
        return
    shown, path = name or os.fspath(source), Path(source)
    try:
        # asked first: opening a pipe would wait for ever
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(f"{shown}: not a regular file, expected an image")
        stream = path.open("rb")
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ImageError(f"{shown}: can not be opened ({reason.lower()}); check the path") from None
    with stream:
        yield stream, shown


def _form(stream: IO[bytes], shown: str) -> str:
    try:
        head = stream.read(_HEAD)
    except OSError as problem:
        raise ImageError(f"{shown}: can not be read ({(problem.strerror or 'i/o error').lower()})") from None
    if not head:
        raise ImageError(f"{shown}: empty file (0 bytes), expected an image; restore it or leave it out")
    if head[128:132] == b"DICM":
        return _DICOM
    form = raster.recognise(head)
    if form is None:
        raise ImageError(
            f"{shown}: not an image by its first bytes; expected DICOM, PNG, JPEG, BMP, TIFF, WebP, GIF or PPM"
        )
    return form
