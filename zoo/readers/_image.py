"""What a reader gives back: one image as the device will see it, or what its header says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from zoo._support.ranges import in_ranges
from zoo.errors import ImageError
from zoo.spec import MOST_CHANNELS, PixelKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KINDS", "SHOWN", "Kind", "Probe", "RawImage", "Shown", "check_frame", "from_array", "stack_of"]

Kind = PixelKind
"""Pixel type of a raw image; it is also the input type of the exported file."""

KINDS: tuple[Kind, ...] = ("uint8", "uint16", "float32")
"""Their order, for arrays that hold the kinds of many images as numbers."""

Shown = Literal["", "trunk", "dermoscopy"]
"""What a header says of its picture: chest or belly, seen from a side of the room; skin through a dermatoscope."""

SHOWN: tuple[Shown, ...] = ("", "trunk", "dermoscopy")
"""Their order, as that of `KINDS`."""


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """One image, decoded and nothing more: not resized, not scaled, not windowed.

    Attributes:
        pixels: (H, W, C). uint8: C = 3, gray replicated, in [0, 255]. uint16 and float32: C = 1, values as
            stored. Of any kind C may be another number up to 16: a stack of channels that are not colours. May be
            read-only.
        kind: the dtype of `pixels`.
        padding: (smallest, largest) of the values that fill the picture up beside what was imaged; None: it names none.
            They are as stored in `pixels`; what computes a range from pixels leaves them out.
    """

    pixels: NDArray[Any]
    kind: Kind
    padding: tuple[float, float] | None = None

    @property
    def padded(self) -> NDArray[np.bool_]:
        """(H, W, C) bool: which values are padding."""
        return in_ranges(self.pixels, () if self.padding is None else (self.padding,))

    @property
    def unpadded(self) -> NDArray[Any]:
        """(n,) the values that are not padding, row by row."""
        return self.pixels.ravel() if self.padding is None else self.pixels[~self.padded]


@dataclass(frozen=True, slots=True)
class Probe:
    """What the header of a file says; no pixel was decoded.

    Attributes:
        width: pixels, after EXIF orientation.
        height: pixels, after EXIF orientation.
        kind: what `read` will give.
        gray: the file stores one channel (or a palette of grays only).
        channels: of a stack, 2 to 16; None: the file stores colours or gray.
        bits: stored for each sample: 1, 8, 12, 16, 32.
        frames: pictures in the file; with more than one, `read` needs to be told which.
        voi: the file says itself how its values are to be shown (DICOM's VOI LUT or window).
        group: a hash of the patient, where the file names one; the name itself never leaves the file.
        study: a hash of the examination that the file belongs to, as `group`; None: the file names none.
        personal: names (never values) of the fields that hold personal data, such as PatientName or GPSInfo.
        padding: as in `RawImage`; of a file of several pictures, that of the first.
        aspect: height of a pixel over its width, as DICOM says it; pixels are given as stored all the same.
        shows: what the header says that decides how training may change the picture; "": nothing.
    """

    width: int
    height: int
    kind: Kind
    gray: bool
    bits: int = 8
    frames: int = 1
    voi: bool = False
    group: str | None = None
    personal: tuple[str, ...] = ()
    padding: tuple[float, float] | None = None
    channels: int | None = None
    study: str | None = None
    aspect: float = 1.0
    shows: Shown = ""


def stack_of(kind: str, channels: int) -> int | None:
    """The number of channels where they are those of a stack; None: three of uint8 are colours, one alone is gray."""
    return None if channels in ((1, 3) if kind == "uint8" else (1,)) else channels


def from_array(pixels: NDArray[Any]) -> RawImage:
    """An array as an image, by the rules files are read by.

    Args:
        pixels: (H, W) or (H, W, C) of uint8, uint16 or float32 in any byte order, C from 1 to 16. Three channels of
            uint8 are colours, other numbers than one are stacks.

    Raises:
        ImageError: another shape or dtype, no pixels, or float32 values that are not finite.
    """
    array = np.asarray(pixels)
    found = f"array of shape {'x'.join(map(str, array.shape)) or '()'} and dtype {array.dtype}"
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or 0 in array.shape:
        raise ImageError(found, "expected (H, W) or (H, W, C) with at least one pixel", code="image-array", found=found)
    if array.shape[2] > MOST_CHANNELS:
        turned = "; channels come last" if array.shape[0] <= MOST_CHANNELS else ""
        raise ImageError(
            found,
            f"{array.shape[2]} channels, expected at most {MOST_CHANNELS}{turned}",
            code="image-array",
            found=found,
        )
    native = array.dtype.newbyteorder("=")
    if native == np.uint8:
        whole = np.broadcast_to(array, (*array.shape[:2], 3)) if array.shape[2] == 1 else array
        return RawImage(np.ascontiguousarray(whole), "uint8")
    if native == np.uint16:
        return RawImage(np.ascontiguousarray(array, dtype=np.uint16), "uint16")
    if native == np.float32:
        if not np.isfinite(array).all():
            raise ImageError(
                found, "holds values that are not finite; replace them before using the image", code="image-not-finite"
            )
        return RawImage(np.ascontiguousarray(array, dtype=np.float32), "float32")
    raise ImageError(
        found, "expected uint8, uint16 or float32; convert it without loss", code="image-array", found=found
    )


def check_frame(frame: int | None, frames: int, name: str) -> int:
    """The number of the picture that is asked for, counted from 1; None with one picture: that one.

    Raises:
        ImageError: none is named of several, or the file does not hold so many.
    """
    if frame is None and frames > 1:
        raise ImageError(
            name,
            f"holds {frames} frames, expected one; name the one you mean with --frame N, counted from 1",
            code="image-frames",
            frames=frames,
        )
    if frame is not None and not 1 <= frame <= frames:
        raise ImageError(
            name,
            f"frame {frame} was asked for, expected 1 to {frames}",
            code="image-frame-unknown",
            frame=frame,
            frames=frames,
        )
    return frame or 1
