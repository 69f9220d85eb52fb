"""One file → one `RawImage`. The first bytes decide which reader gets it, never the suffix.

PNG, JPEG and their like and DICOM are read here. Other packages bring readers of other formats by the entry-point
group `zoo.readers`; see `Reader`.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zoo.errors import ImageError
from zoo.readers._door import IMAGE_SUFFIXES, choose, image_suffixes, is_image
from zoo.readers._image import KINDS, Kind, Probe, RawImage, from_array
from zoo.readers._raster import MAX_PIXELS
from zoo.readers._reader import HEAD_BYTES, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "HEAD_BYTES",
    "IMAGE_SUFFIXES",
    "KINDS",
    "MAX_PIXELS",
    "Kind",
    "Probe",
    "RawImage",
    "Reader",
    "from_array",
    "image_suffixes",
    "is_image",
    "probe",
    "read",
]


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
        return _choose(stream, shown).read(stream, shown, frame=frame, voi=voi)


def probe(source: Path | str | bytes, *, name: str | None = None) -> Probe:
    """Read a header only, about a hundred times faster than `read`; a truncated file passes.

    Args:
        source: a path, or the file's bytes.
        name: how errors name the image; default: the path as given.

    Raises:
        ImageError: as `read`, as far as the header tells.
    """
    with _stream(source, name) as (stream, shown):
        return _choose(stream, shown).probe(stream, shown)


@contextlib.contextmanager
def _stream(source: Path | str | bytes, name: str | None) -> Iterator[tuple[IO[bytes], str]]:
    if isinstance(source, bytes):
        yield io.BytesIO(source), name or "image"
        return
    shown, path = name or os.fspath(source), Path(source)
    try:
        # asked first: opening a pipe would wait for ever
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(shown, "not a regular file, expected an image", code="image-not-file")
        stream = path.open("rb")
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ImageError(
            shown, f"cannot be opened ({reason.lower()}); check the path", code="image-unopened", cause=reason.lower()
        ) from None
    with stream:
        yield stream, shown


def _choose(stream: IO[bytes], shown: str) -> Reader:
    """The reader of a file, which is left at its start."""
    try:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
    except OSError as problem:
        raise ImageError(
            shown, f"cannot be read ({(problem.strerror or 'i/o error').lower()})", code="image-io"
        ) from None
    if not head:
        raise ImageError(
            shown, "empty file (0 bytes), expected an image; restore it or leave it out", code="image-empty"
        )
    return choose(head, shown)
