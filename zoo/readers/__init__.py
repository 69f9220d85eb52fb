"""One file → one `RawImage`. The first bytes decide which reader gets it, never the suffix.

PNG, JPEG and their like and DICOM are read here. Other packages bring readers of other formats by the entry-point
group `zoo.readers`; see `Reader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.readers import _companion as companion
from zoo.readers._boundary import open_image
from zoo.readers._door import IMAGE_SUFFIXES, image_suffixes, is_image
from zoo.readers._image import KINDS, Kind, Probe, RawImage, from_array
from zoo.readers._raster import MAX_PIXELS
from zoo.readers._reader import HEAD_BYTES, Reader

if TYPE_CHECKING:
    from pathlib import Path

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


def __dir__() -> list[str]:
    return __all__


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
    with open_image(source, name) as file:
        return companion.read(file, frame=frame, voi=voi)


def probe(source: Path | str | bytes, *, name: str | None = None) -> Probe:
    """Read a header only, about a hundred times faster than `read`; a truncated file passes.

    Args:
        source: a path, or the file's bytes.
        name: how errors name the image; default: the path as given.

    Raises:
        ImageError: as `read`, as far as the header tells.
    """
    with open_image(source, name) as file:
        return file.reader.probe(file.stream, file.name)
