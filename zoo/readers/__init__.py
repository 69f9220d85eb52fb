"""One file → one `RawImage`. The first bytes decide which reader gets it, never the suffix.

PNG, JPEG and their like and DICOM are read here. Other packages bring readers of other formats by the entry-point
group `zoo.readers`; see `Reader`.
"""

from __future__ import annotations

from pathlib import Path

from zoo.errors import ImageError
from zoo.readers import _companion as companion
from zoo.readers._boundary import open_image
from zoo.readers._door import IMAGE_SUFFIXES, image_suffixes, is_image
from zoo.readers._image import KINDS, SHOWN, Kind, Probe, RawImage, Shown, from_array, stack_of
from zoo.readers._raster import MAX_PIXELS
from zoo.readers._reader import HEAD_BYTES, Reader
from zoo.readers._stack import JOINT, blend_channels, join_channels
from zoo.readers._visible import make_visible, thumbnail
from zoo.spec import MOST_CHANNELS

__all__ = [
    "HEAD_BYTES",
    "IMAGE_SUFFIXES",
    "JOINT",
    "KINDS",
    "MAX_PIXELS",
    "SHOWN",
    "Kind",
    "Probe",
    "RawImage",
    "Reader",
    "Shown",
    "blend_channels",
    "from_array",
    "image_suffixes",
    "is_image",
    "join_channels",
    "make_visible",
    "probe",
    "read",
    "stack_of",
    "thumbnail",
]


def __dir__() -> list[str]:
    return __all__


def read(
    source: Path | str | bytes,
    *,
    name: str | None = None,
    frame: int | None = None,
    voi: bool = False,
    stack: bool = False,
) -> RawImage:
    """Decode one image.

    Args:
        source: a path, or the file's bytes; paths joined by `JOINT` are the channels of one image.
        name: how errors name the image; default: the path as given.
        frame: which picture of a file that holds several, counted from 1 as DICOM does; never guessed.
        voi: apply the file's own VOI LUT or window, which gives values in [0, 1]; a file without one is refused.
        stack: the pictures of a file that holds several are the channels of one image; `frame` must be None then.

    Returns:
        uint8 (H, W, 3), uint16 or float32 (H, W, 1), or a stack (H, W, C), upright by EXIF; see `RawImage`.

    Raises:
        ImageError: one line: what the file is, what was expected, what to do. Never pixels, never metadata.
    """
    if not isinstance(source, bytes) and JOINT in str(source) and not Path(source).exists():
        parts = str(source).split(JOINT)
        return join_channels([read(part, frame=frame, voi=voi) for part in parts], name or str(source))
    if stack and frame is None and (frames := probe(source, name=name).frames) > 1:
        shown = name or ("image" if isinstance(source, bytes) else str(source))
        if frames > MOST_CHANNELS:
            reason = f"holds {frames} pictures to stack, expected 2 to {MOST_CHANNELS}"
            raise ImageError(shown, reason, code="image-stack", found=frames, most=MOST_CHANNELS)
        return join_channels([read(source, name=shown, frame=one, voi=voi) for one in range(1, frames + 1)], shown)
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
