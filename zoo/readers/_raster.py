"""PNG, JPEG, BMP, TIFF, WebP, GIF and PPM through Pillow, without Pillow's silent losses.

Pillow clips 16-bit gray at 255 when asked for 8 bits, opens 16-bit colour as 8-bit, drops surplus TIFF
channels and keeps hidden colour under transparency. Here each of these is either read as stored or refused.
ICC profiles and gamma chunks are not applied: they are display hints, and the result would depend on the
decoder.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from typing import IO, TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from zoo.errors import ImageError
from zoo.readers._exif import is_turned, personal, upright
from zoo.readers._image import Kind, Probe, RawImage, from_array
from zoo.readers._pieces import MOST, too_many

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_PIXELS", "SUFFIXES", "probe", "read", "recognise"]

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded; 8000 × 8000 is beyond any X-ray detector."""

SUFFIXES = frozenset(
    {
        ".bmp",
        ".gif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pfm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    *((b"P" + digit, "PPM") for digit in (b"1", b"2", b"3", b"4", b"5", b"6", b"f")),
)
# Pillow registers these two only after importing its whole zoo of plugins, unless asked by name.
_PLUGINS = {"TIFF": "PIL.TiffImagePlugin", "WEBP": "PIL.WebPImagePlugin"}

_COMMENT = re.compile(rb"#[^\r\n]*")
_PPM_HEAD = 65_536
"""Bytes that hold width and height of a PPM behind all comments, which Pillow reads byte by byte."""

_COLOUR = frozenset({"RGB", "RGBX", "YCbCr"})
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_GRAY16 = frozenset({"I;16", "I;16B", "I;16L"})

_PHOTOMETRIC, _SAMPLES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 262, 277, 338, 339  # TIFF 6.0 tags


def recognise(head: bytes) -> str | None:
    """Pillow's name of the format that a file starting with `head` (16 bytes are enough) claims to have."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def read(stream: IO[bytes], form: str, name: str, *, frame: int | None = None) -> RawImage:
    """Decode the image in `stream`.

    Args:
        stream: seekable; read from its start.
        form: what `recognise` said; no other parser gets to see the bytes.
        name: how to name the image to the user.
        frame: which page of a TIFF, counted from 1; None: it has one.

    Raises:
        ImageError: damaged, too large, animated, partly transparent, CMYK, or pixels that would lose values.
    """
    with _open(stream, form, name) as image:
        _choose(image, frame, _frames(image, stream, name), name)
        kind = _kind(image, name)
        with _decoding(name):
            image.load()
        standing = upright(image)
        if kind != "uint8":
            return _single_channel(standing, name)
        return RawImage(np.asarray(_rgb(standing, name)), kind)


def probe(stream: IO[bytes], form: str, name: str) -> Probe:
    """What the header says; raises as `read` does, as far as the header tells."""
    with _open(stream, form, name) as image:
        kind, bits = _kind(image, name), _bits(image)
        width, height = image.size
        # TIFF reports its size already turned; PNG would decode the image to look for a late EXIF chunk.
        if form in ("JPEG", "WEBP") and is_turned(image):
            width, height = height, width
        return Probe(
            width,
            height,
            kind,
            gray=kind != "uint8" or _is_gray(image),
            bits=bits,
            frames=_frames(image, stream, name),
            personal=personal(image),
        )


@contextlib.contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on bytes it does not like into one line."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageError(
            name, "the header is damaged; restore the file or leave it out", code="image-damaged"
        ) from None
    except Exception as problem:  # Pillow's parsers raise OSError, SyntaxError, struct.error, ValueError and more
        reason = " ".join(str(problem).split())[:100] or type(problem).__name__
        raise ImageError(
            name,
            f"cannot be decoded ({reason.lower()}); restore it or leave it out",
            code="image-undecodable",
            cause=reason.lower(),
        ) from None


@contextlib.contextmanager
def _open(stream: IO[bytes], form: str, name: str) -> Iterator[Image.Image]:
    with _decoding(name):
        if form in _PLUGINS:
            importlib.import_module(_PLUGINS[form])
        stream.seek(0)
        if form == "PPM" and len(_COMMENT.sub(b"", stream.read(_PPM_HEAD)).split(None, 4)) < 3:
            raise ImageError(
                name,
                f"a header of more than {_PPM_HEAD} bytes, expected two numbers; restore the file",
                code="image-bomb",
            )
        if too_many(stream, form):
            raise ImageError(
                name,
                f"a {form} of more than {MOST[form]} pieces; save it again with another program",
                code="image-bomb",
            )
        stream.seek(0)
        image: Image.Image = Image.open(stream, formats=[form])
    with image:
        _check_size(image, name)
        yield image


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            name,
            f"{width}x{height} pixels, expected at most {MAX_PIXELS // 10**6} million; shrink it",
            code="image-size",
            width=width,
            height=height,
            most=MAX_PIXELS,
        )


def _frames(image: Image.Image, stream: IO[bytes], name: str) -> int:
    """Pages of a TIFF; an animation is refused, its frames show what others left."""
    with _decoding(name):  # counting frames reads the file
        if image.format == "TIFF":
            frames = _pages(stream)
        else:
            frames = 1 if image.format in ("MPO", "JPEG") else getattr(image, "n_frames", 1)
    if frames != 1 and image.format != "TIFF":
        raise ImageError(
            name,
            f"holds {frames} frames, expected one image; save the wanted frame as a file",
            code="image-frames",
            frames=frames,
        )
    return frames


def _pages(stream: IO[bytes]) -> int:
    """Pages of a TIFF (TIFF 6.0 section 2; BigTIFF), by following the chain of directories and reading none.

    Pillow parses each of them, half a millisecond a page: a chain of a million would take minutes.
    """
    place = stream.tell()
    stream.seek(0)
    head = stream.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = 43 in head[2:4]
    entry, count_size, size = (20, 8, 8) if big else (12, 2, 4)
    following = int.from_bytes(head[8:16] if big else head[4:8], order)
    seen: set[int] = set()
    while following and following not in seen:
        stream.seek(following)
        count = stream.read(count_size)
        stream.seek(int.from_bytes(count, order) * entry, io.SEEK_CUR)
        link = stream.read(size)
        if len(count) < count_size or (len(link) < size and seen):
            break  # the chain is cut off: what is there is what can be read
        seen.add(following)
        following = int.from_bytes(link, order)
    stream.seek(place)
    return max(1, len(seen))


def _choose(image: Image.Image, frame: int | None, frames: int, name: str) -> None:
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
    if frames > 1:
        with _decoding(name):
            image.seek((frame or 1) - 1)
        _check_size(image, name)


def _kind(image: Image.Image, name: str) -> Kind:
    """The pixel type `read` will give, or a refusal of what cannot be read without loss."""
    mode, defect = image.mode, None
    if mode in _GRAY16:
        kind: Kind = "uint16"
    elif mode == "F":
        kind = "float32"
    elif mode == "CMYK":
        raise ImageError(
            name,
            "CMYK colours, expected gray or RGB; convert the file with a known colour profile",
            code="image-colours",
            mode="CMYK",
        )
    elif mode in _COLOUR or mode in _ALPHA or mode in ("1", "L", "P"):
        kind = "uint8"
        if _sixteen_bits(image):
            defect = "16 bits per colour channel, which would be cut to 8"
    else:
        raise ImageError(
            name,
            f"pixels of type {mode!r}, expected 8-bit gray or RGB, unsigned 16-bit gray or 32-bit float gray",
            code="image-colours",
            mode=mode,
        )
    defect = defect or _tiff_defect(image, kind)
    if defect:
        raise ImageError(name, f"{defect}; save it as 8-bit gray or RGB, or as 16-bit gray PNG", code="image-bit-depth")
    return kind


def _bits(image: Image.Image) -> int:
    """Bits that the file stores for a sample."""
    if image.mode == "1":
        return 1
    for tile in getattr(image, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if found := re.search(r";(\d+)", " ".join(arg for arg in args if isinstance(arg, str))):
            return int(found[1])
    return 32 if image.mode == "F" else 16 if image.mode in _GRAY16 else 8


def _sixteen_bits(image: Image.Image) -> bool:
    """Whether the file stores more than 8 bits a sample although the mode says 8."""
    for tile in getattr(image, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(arg, str) and ";16" in arg for arg in args):
            return True
        # PPM hands its decoder the file's largest value, as the last argument
        if image.format == "PPM" and isinstance(args[-1], int) and args[-1] > 255:
            return True
    return False


def _tiff_defect(image: Image.Image, kind: Kind) -> str | None:
    """What Pillow would read from a TIFF without a word and wrongly."""
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return None
    if tags.get(_PHOTOMETRIC) == 0 and kind != "uint8":  # 8-bit is inverted by Pillow, more bits are not
        return "white is stored as zero, which would be read inverted"
    if kind == "uint8" and 2 in tags.get(_SAMPLE_FORMAT, ()):
        return "signed 8-bit values, which would be read as unsigned"
    if 0 in tags.get(_EXTRA_SAMPLES, ()) or tags.get(_SAMPLES, 1) > 4:
        return f"{tags.get(_SAMPLES)} channels, of which some would be dropped"
    return None


def _is_gray(image: Image.Image) -> bool:
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


def _single_channel(image: Image.Image, name: str) -> RawImage:
    pixels = np.asarray(image)
    hidden = image.info.get("transparency")
    if hidden is not None and (pixels == hidden).any():
        raise ImageError(name, f"{_TRANSPARENT}", code="image-transparent")
    try:
        return from_array(pixels)
    except ImageError as problem:
        raise ImageError(name, f"{problem}", code=problem.code, **problem.fields) from None


_TRANSPARENT = "partly transparent, expected opaque pixels; flatten it on the background you mean"


def _rgb(image: Image.Image, name: str) -> Image.Image:
    """8-bit RGB; gray is replicated, alpha dropped where it hides nothing."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ImageError(name, f"{_TRANSPARENT}", code="image-transparent")
    return image.convert("RGB")
