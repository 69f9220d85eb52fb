"""One frame of a DICOM file, decoded: stored values of a gray picture, or 8-bit RGB.

No decoder sees a picture whose size was not checked first, neither that of the header nor that of a compressed stream.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ImageError
from zoo.readers._dicom_compressed import COMPRESSED, decompress, name_syntax, run_decoder
from zoo.readers._dicom_header import Located
from zoo.readers._raster import MAX_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MONOCHROME", "PALETTE", "Picture", "decode", "describe_picture", "is_compressed", "list_syntaxes"]

MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
PALETTE = "PALETTE COLOR"

_NATIVE = frozenset(
    {
        "1.2.840.10008.1.2",  # implicit VR, little endian
        "1.2.840.10008.1.2.1",  # explicit VR, little endian
        "1.2.840.10008.1.2.1.99",  # the same, deflated
        "1.2.840.10008.1.2.2",  # explicit VR, big endian
    }
)
_EXTENDED = "1.2.840.10008.1.2.4.51"
_MOST_BITS = 24
"""Stored bits that float32 holds exactly."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The image pixel module (PS3.3 section C.7.6.3), checked.

    Attributes:
        rows: height in pixels.
        columns: width in pixels.
        samples: 1 or 3 for each pixel.
        allocated: bits that a sample takes in the file.
        stored: bits of it that hold the value.
        signed: values are two's complement.
        photometric: one of `MONOCHROME`, `COLOUR` or PALETTE COLOR.
        planar: 1: the file holds one colour plane after the other.
        frames: pictures in the file.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str
    planar: int
    frames: int

    @property
    def storable(self) -> tuple[int, int]:
        """The smallest and the largest value that fits into the stored bits."""
        return (-(1 << self.stored - 1), (1 << self.stored - 1) - 1) if self.signed else (0, (1 << self.stored) - 1)


def describe_picture(found: Located) -> Picture:
    """Check the header against what can be read without loss and without a flood of memory.

    Raises:
        ImageError: too large, no picture, or pixels of a kind that would lose values.
    """
    elements, name = found.elements, found.elements.name
    rows, columns = elements.whole("Rows"), elements.whole("Columns")
    if rows < 1 or columns < 1:
        raise ImageError(
            name,
            f"{columns}x{rows} pixels, expected at least one; restore the file or leave it out",
            code="image-size",
            width=columns,
            height=rows,
        )
    if rows * columns > MAX_PIXELS:
        raise ImageError(
            name,
            f"{columns}x{rows} pixels, expected at most {MAX_PIXELS // 10**6} million; shrink it",
            code="image-size",
            width=columns,
            height=rows,
            most=MAX_PIXELS,
        )
    frames = elements.whole("NumberOfFrames", 1)
    if frames < 1:
        raise ImageError(
            name,
            f"says that it holds {frames} frames, expected at least one; correct the element NumberOfFrames",
            code="image-frames",
            frames=frames,
        )
    samples = elements.whole("SamplesPerPixel", 1)
    photometric = elements.text("PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "")
    if not photometric:
        raise ImageError(
            name,
            f"the element PhotometricInterpretation is missing, expected RGB or YBR_FULL for {samples} samples; "
            "write the file anew with a DICOM tool",
            code="image-element",
            element="PhotometricInterpretation",
        )
    expected = 3 if photometric in COLOUR else 1
    if photometric not in MONOCHROME | COLOUR | {PALETTE} or samples != expected:
        raise ImageError(
            name,
            f"pixels of {samples} samples in a colour space that is not read; expected MONOCHROME1 or 2, "
            "PALETTE COLOR, RGB or YBR_FULL; convert it with a DICOM tool",
            code="image-colours",
            samples=samples,
        )
    whole = found.keyword == "PixelData"
    allocated = elements.whole("BitsAllocated")
    stored = elements.whole("BitsStored", allocated) if whole else allocated
    picture = Picture(
        rows=rows,
        columns=columns,
        samples=samples,
        allocated=allocated,
        stored=stored,
        signed=whole and elements.whole("PixelRepresentation", 0) == 1,
        photometric=photometric,
        planar=elements.whole("PlanarConfiguration", 0),
        frames=frames,
    )
    _check_bits(found, picture)
    return picture


def _check_bits(found: Located, picture: Picture) -> None:
    elements, name, stored = found.elements, found.elements.name, picture.stored
    if found.keyword != "PixelData":
        if found.keyword != "FloatPixelData" or picture.allocated != 32 or picture.photometric not in MONOCHROME:
            raise ImageError(
                name,
                f"{found.keyword} of {stored} bits, expected gray of 32; convert it to 32-bit float",
                code="image-bit-depth",
                bits=stored,
            )
        return
    fits = picture.allocated in {1, 8, 16, 32} and 1 <= stored <= picture.allocated
    high = elements.whole("HighBit", stored - 1)
    if fits and high != stored - 1:
        raise ImageError(
            name,
            f"{stored} bits stored up to bit {high}, expected bit {stored - 1}; correct BitsStored or HighBit",
            code="image-bit-depth",
            bits=stored,
            high=high,
        )
    if not fits:
        raise ImageError(
            name,
            f"{stored} bits stored in {picture.allocated}, expected the lowest of 1, 8, 16 or 32; "
            "convert it with a DICOM tool",
            code="image-bit-depth",
            bits=stored,
            allocated=picture.allocated,
        )
    if picture.photometric in COLOUR and (picture.allocated, stored) != (8, 8):
        raise ImageError(
            name,
            f"{stored} bits per colour channel, which would be cut to 8; save it as 8-bit RGB or as gray",
            code="image-bit-depth",
            bits=stored,
        )
    if stored > _MOST_BITS:
        raise ImageError(
            name,
            f"{stored} bits a pixel, expected at most {_MOST_BITS}, which float32 holds exactly",
            code="image-bit-depth",
            bits=stored,
            most=_MOST_BITS,
        )
    if found.syntax == _EXTENDED and stored > 8:
        raise ImageError(
            name,
            f"{stored}-bit JPEG (Extended), read only by a decoder under the GPL; convert it to lossless JPEG",
            code="image-transfer-syntax",
            syntax="JPEG Extended",
            bits=stored,
        )
    if found.syntax not in _NATIVE and found.syntax not in COMPRESSED:
        raise ImageError(
            name,
            f"{name_syntax(found.syntax)} is not read; convert it to a lossless transfer syntax",
            code="image-transfer-syntax",
            syntax=name_syntax(found.syntax),
        )
    if (found.syntax in _NATIVE) != (found.length is not None):
        raise ImageError(
            name,
            "the pixels are not packed as the transfer syntax says; write the file anew with a DICOM tool",
            code="image-damaged",
        )


def is_compressed(syntax: str) -> bool:
    """Whether a decoder for compressed pixels sees a file of this transfer syntax; "" is a file that names none."""
    return syntax not in _NATIVE | {""}


def decode(found: Located, picture: Picture, frame: int) -> NDArray[Any]:
    """The stored values of one frame.

    Args:
        found: the header.
        picture: form of the pixels, see `describe_picture`.
        frame: counted from 1, at most `picture.frames`.

    Returns:
        (H, W), an integer type or float32; unused high bits are gone, which also removes overlays kept there
        (PS3.5 section 8.1.2). Colour: (H, W, 3) uint8 RGB.

    Raises:
        ImageError: truncated, damaged, or the decoder is not installed.
    """
    name = found.elements.name
    try:
        pixels = (_native if found.syntax in _NATIVE else decompress)(found, picture, frame)
    except (ImageError, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # decoders raise what they like, and quote the file; a panic of Rust is not an Exception
        raise ImageError(
            name,
            f"frame {frame} cannot be decoded; restore the file or leave it out",
            code="image-undecodable",
            frame=frame,
        ) from None
    shape = (picture.rows, picture.columns, 3) if picture.samples == 3 else (picture.rows, picture.columns)
    if pixels.shape != shape:
        raise ImageError(
            name,
            "decoded to another size than the header says; write the file anew with a DICOM tool, or leave it out",
            code="image-size-differs",
        )
    return pixels


def _native(found: Located, picture: Picture, frame: int) -> NDArray[Any]:
    subsampled = picture.photometric == "YBR_FULL_422"
    bits = picture.rows * picture.columns * picture.samples * picture.allocated
    bits = bits * 2 // 3 if subsampled else bits
    assert found.length is not None  # noqa: S101 - native pixels have a length, see _check_bits
    needed = math.ceil(bits * picture.frames / 8)
    there = min(found.length, found.stream.seek(0, 2) - found.start)
    if there < needed:
        raise ImageError(
            found.elements.name,
            f"truncated, {there} of {needed} bytes of pixels; restore the file",
            code="image-truncated",
            there=there,
            needed=needed,
        )
    if subsampled and there >= needed * 3 // 2:
        raise ImageError(
            found.elements.name, "more pixels than its colour space has; convert it to RGB", code="image-colours"
        )
    if picture.allocated == 1:
        return _bits(found, picture, frame)
    # One frame is cut out of the file, unless its bytes are swapped with its neighbour's.
    swapped = picture.allocated == 8 and found.vr == "OW" and not found.elements.little_endian
    size, index, frames = (there, frame - 1, picture.frames) if swapped else (bits // 8, 0, 1)
    found.stream.seek(found.start + (0 if swapped else (frame - 1) * size))
    return run_decoder(found.stream.read(size), found, picture, frames=frames, index=index)


def _bits(found: Located, picture: Picture, frame: int) -> NDArray[Any]:
    """One frame of a picture of single bits, which follow each other without a gap (PS3.5 section 8.1.1).

    Not by pydicom, which reads a byte too few where a frame begins inside one.
    """
    count = picture.rows * picture.columns
    first = (frame - 1) * count
    word = 2 if found.vr == "OW" and not found.elements.little_endian else 1  # bytes that are swapped together
    skipped = first % (8 * word)
    found.stream.seek(found.start + (first - skipped) // 8)
    data = np.frombuffer(found.stream.read(math.ceil((skipped + count) / (8 * word)) * word), f">u{word}")
    values = data.astype(f"<u{word}").view(np.uint8)
    unpacked = np.unpackbits(values, bitorder="little")[skipped : skipped + count]
    return unpacked.reshape(picture.rows, picture.columns)


def list_syntaxes() -> list[str]:
    """UIDs of the transfer syntaxes that can be decoded on this machine, those without a decoder first."""
    from pydicom.pixels.decoders.base import get_decoder

    coded = [one for one, (plugin, _, _) in COMPRESSED.items() if plugin in get_decoder(one).available_plugins]
    return [*sorted(_NATIVE), *coded]
