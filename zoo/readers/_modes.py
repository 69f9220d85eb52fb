"""What Pillow's mode of an opened picture means: the pixel type it is read as, bits, gray, and opaque colours."""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING, Any, NoReturn

import numpy as np

from zoo.errors import ImageError
from zoo.readers import _boxes as boxes
from zoo.readers._image import Kind, RawImage, from_array

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["convert_gray", "convert_rgb", "find_bits", "find_kind", "is_gray", "name_array", "refuse_transparent"]

_COLOUR = frozenset({"RGB", "RGBX", "YCbCr"})
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_GRAY16 = frozenset({"I;16", "I;16B", "I;16L"})


def find_kind(image: Image.Image, stream: IO[bytes], form: str, name: str) -> Kind:
    """The pixel type that an opened picture is read as.

    Raises:
        ImageError: it cannot be read without loss.
    """
    mode, bits = image.mode, find_bits(image, stream, form)
    if mode in ("CMYK", "LAB"):
        _refuse_colours(
            name, f"{mode} colours, expected gray or RGB; convert the file with a known colour profile", mode
        )
    if mode in _GRAY16 or mode == "F" or (mode == "I" and form == "PPM"):
        return "float32" if mode == "F" else "uint16"
    if mode not in _COLOUR and mode not in _ALPHA and mode not in ("1", "L", "P"):
        reason = f"pixels of type {mode!r}, expected 8-bit gray or RGB, unsigned 16-bit gray or 32-bit float gray"
        _refuse_colours(name, reason, mode)
    if bits > 8:
        reason = f"{bits} bits per colour channel, which would be cut to 8; save it as 8-bit RGB, or as 16-bit gray PNG"
        raise ImageError(name, reason, code="image-bit-depth")
    return "uint8"


def _refuse_colours(name: str, reason: str, mode: str) -> NoReturn:
    raise ImageError(name, reason, code="image-colours", mode=mode)


def _coding(stream: IO[bytes], form: str) -> boxes.Coding | None:
    """What the boxes or the main header say, of the formats that have them."""
    if form not in ("AVIF", "HEIF", "JPEG2000"):
        return None
    stream.seek(0)
    return (boxes.parse_codestream if form == "JPEG2000" else boxes.parse_media)(stream.read())


def find_bits(image: Image.Image, stream: IO[bytes], form: str) -> int:
    """Bits that the file stores for a sample."""
    if (coding := _coding(stream, form)) is not None:
        return coding.bits
    if image.mode == "1":
        return 1
    for tile in getattr(image, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        named = " ".join(arg for arg in args if isinstance(arg, str))
        if named.startswith("BGR;"):  # BMP of 5-5-5 or 5-6-5, said by bits of a pixel
            return 5
        if found := re.search(r";(\d+)", named):
            return int(found[1])
        # PPM hands its decoder the file's largest value, as the last argument
        if form == "PPM" and isinstance(args[-1], int) and args[-1] > 255:
            return 16
    return 32 if image.mode == "F" else 16 if image.mode in _GRAY16 else 8


def is_gray(image: Image.Image, stream: IO[bytes], form: str) -> bool:
    if (coding := _coding(stream, form)) is not None and form != "JPEG2000":
        return coding.channels == 1
    if image.mode == "P" and image.palette is not None:
        return _gray_palette(*image.palette.getdata())  # not `getpalette`, which decodes the image
    return image.mode in ("1", "L", "LA", "La")


def _gray_palette(order: str, colours: bytes) -> bool:
    """Whether every entry has three equal colours; `order` is Pillow's name of how the bytes follow each other."""
    if order == "RGB;L":  # TIFF: all reds, all greens, all blues
        planes = np.frombuffer(colours, np.uint8)[: len(colours) // 3 * 3].reshape(3, -1)
        return bool((planes == planes[0]).all())
    width = 4 if order in ("BGRX", "RGBA", "RGBX") else 3
    entries = np.frombuffer(colours, np.uint8)[: len(colours) // width * width].reshape(-1, width)
    return bool((entries[:, :3] == entries[:, :1]).all())


def convert_gray(image: Image.Image, stream: IO[bytes], form: str, name: str) -> RawImage:
    pixels = np.asarray(image)
    hidden = image.info.get("transparency")
    if hidden is not None and (pixels == hidden).any():
        refuse_transparent(name)
    if (coding := _coding(stream, form)) is not None:  # openjpeg's values are moved up to 16 bits by Pillow
        pixels = pixels >> (16 - coding.bits)
    return name_array(pixels, name)


def name_array(pixels: NDArray[Any], name: str) -> RawImage:
    """An array as an image; a refusal names the file."""
    try:
        return from_array(pixels)
    except ImageError as problem:
        raise ImageError(name, f"{problem}", code=problem.code, **problem.fields) from None


def refuse_transparent(name: str) -> NoReturn:
    reason = "partly transparent, expected opaque pixels; flatten it on the background you mean"
    raise ImageError(name, reason, code="image-transparent")


def convert_rgb(image: Image.Image, name: str) -> Image.Image:
    """8-bit RGB; gray is replicated, alpha dropped where it hides nothing."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            refuse_transparent(name)
    return image.convert("RGB")
