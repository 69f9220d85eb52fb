"""PNG, JPEG, TIFF and other pictures through Pillow, without Pillow's silent losses.

Pillow clips 16-bit gray at 255 when asked for 8 bits, opens 16-bit colour as 8-bit, drops surplus TIFF
channels and keeps hidden colour under transparency. Here each of these is either read as stored or refused.
ICC profiles and gamma chunks are not applied: they are display hints, and the result would depend on the
decoder.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from dataclasses import replace
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image, ImagePalette, UnidentifiedImageError

from zoo._support.text import join_lines
from zoo.errors import ImageError
from zoo.readers import _bmp as bmp
from zoo.readers import _boxes as boxes
from zoo.readers import _jpeg as jpeg
from zoo.readers import _png as png
from zoo.readers import _ppm as ppm
from zoo.readers import _tiff as tiff
from zoo.readers import _tiff_pixels as pixels
from zoo.readers._exif import find_names, is_turned, personal, turn, upright
from zoo.readers._foreign import HEIF_BRANDS, HEIF_SUFFIXES
from zoo.readers._image import Kind, Probe, RawImage, check_frame, from_array
from zoo.readers._modes import convert_gray, convert_rgb, find_bits, find_kind, is_gray, name_array, refuse_transparent
from zoo.readers._pieces import MOST, too_many

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.ImageFile import ImageFile

__all__ = ["APART", "HAS_HEIF", "MAX_PIXELS", "SUFFIXES", "probe", "read", "recognise"]

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded; 8000 × 8000 is beyond any X-ray detector."""

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
"""Whether HEIC is read: by the extra [heif]. Without it such files are counted as pictures that are not read."""

# fmt: off
SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".j2c", ".j2k", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pfm",
    ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
}) | (HEIF_SUFFIXES if HAS_HEIF else frozenset())
# fmt: on

APART = frozenset({"AVIF", "HEIF", "JPEG2000"})
"""Formats beside compressed TIFF whose native decoders may end the process; they are read in a companion."""

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
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_BRANDS = {**dict.fromkeys((b"avif", b"avis"), "AVIF"), **dict.fromkeys(HEIF_BRANDS, "HEIF")}
"""Major brands of ISO base media files that hold pictures (ISO/IEC 14496-12, 23008-12)."""
# Pillow registers these only after importing its whole zoo of plugins, unless asked by name.
_PLUGINS = {
    "AVIF": "PIL.AvifImagePlugin",
    "JPEG2000": "PIL.Jpeg2KImagePlugin",
    "TIFF": "PIL.TiffImagePlugin",
    "WEBP": "PIL.WebPImagePlugin",
}
_FEATURES = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}
"""What Pillow must have been built with."""

_EXIF, _GPS = 0x8769, 0x8825  # TIFF and EXIF tags

_JPEG_HEAD = 1 << 20
"""Bytes of a JPEG that hold its frame header, behind EXIF blocks and profiles."""
_JPEG_KINDS = {
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    0xCB: "lossless JPEG",
    0xF7: "JPEG-LS",
}
"""By the marker of the frame header (ITU-T T.81, table B.1), what libjpeg does not decode."""


def recognise(head: bytes) -> str | None:
    """Pillow's name of the format that a file starting with `head` (16 bytes are enough) claims to have."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4], "big"), len(head))
        return "AVIF" if b"avif" in head[16:size] else _BRANDS.get(head[8:12])
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
    if form == "TIFF":
        page, _ = _find_page(stream, frame, name)
        if page is not None and (tiff.is_deep(page) or tiff.is_stack(page)):
            with _decoding(name):
                values = pixels.decode(stream, page, name)
            return name_array(turn(values, page.first(tiff.ORIENTATION, 1)), name)
        if page is not None and _is_foreign(stream, page):
            stream, frame = tiff.rewrite(stream, page), None
    if form == "BMP" and (masks := bmp.parse(stream)) is not None:
        _check_size(masks.width, masks.height, name)
        check_frame(frame, 1, name)
        colours, opaque = bmp.decode(stream, masks, name)
        if not opaque:
            refuse_transparent(name)
        return from_array(colours)
    with _open(stream, form, name) as image:
        frames = _count_frames(image, stream, form, name)
        number = check_frame(frame, frames, name)
        if frames > 1:
            with _decoding(name):
                image.seek(number - 1)
                _settle_page(image)
            _check_size(*image.size, name)
        kind = find_kind(image, stream, form, name)
        if form == "PPM":
            ppm.check_values(image, stream, name)
            if kind == "uint16":
                with _decoding(name):
                    return name_array(ppm.decode_deep(image, stream, name), name)
        with _decoding(name):
            with _naming_coding(stream, form, name):
                image.load()
            _check_whole(image, stream, form, name)
            standing = upright(image)
            if kind != "uint8":
                return convert_gray(standing, stream, form, name)
            return RawImage(np.asarray(convert_rgb(standing, name)), kind)


def probe(stream: IO[bytes], form: str, name: str) -> Probe:
    """What the header says; raises as `read` does, as far as the header tells."""
    if form == "TIFF":
        page, frames = _find_page(stream, 1, name)
        stack = page.samples if page is not None and tiff.is_stack(page) else None
        own = page is not None and (stack is not None or tiff.is_deep(page))
        if page is not None and not own and _is_foreign(stream, page):
            names = _find_personal(stream, page)
            return replace(probe(tiff.rewrite(stream, page), form, name), frames=frames, personal=names)
        if page is not None and own:
            width, height = page.size[::-1] if page.first(tiff.ORIENTATION, 1) in (5, 6, 7, 8) else page.size
            kind: Kind = "float32" if page.form != 1 or page.bits[0] > 16 else "uint16" if page.bits[0] > 8 else "uint8"
            names = _find_personal(stream, page)
            return Probe(width, height, kind, not stack, page.bits[0], frames, personal=names, channels=stack)
    if form == "BMP" and (masks := bmp.parse(stream)) is not None:
        _check_size(masks.width, masks.height, name)
        return Probe(masks.width, masks.height, "uint8", gray=False, bits=masks.bits)
    with _open(stream, form, name) as image:
        if form == "JPEG":
            _check_coding(stream, name)
        if form == "PNG":
            png.add_exif(image, stream)
        frames = _count_frames(image, stream, form, name)
        kind, bits = find_kind(image, stream, form, name), find_bits(image, stream, form)
        width, height = image.size
        if form != "TIFF" and is_turned(image):  # TIFF reports its size already turned
            width, height = height, width
        return Probe(
            width,
            height,
            kind,
            gray=kind != "uint8" or is_gray(image, stream, form),
            bits=bits,
            frames=frames,
            personal=personal(image),
        )


def _find_page(stream: IO[bytes], frame: int | None, name: str) -> tuple[tiff.Page | None, int]:
    """The directory of the page that is asked for, held to the rules, and the number of pages; None: it has none."""
    with _decoding(name):
        places = tiff.find_pages(stream)
        frames = max(1, len(places))
        number = check_frame(frame, frames, name)
        if not places:
            return None, frames
        page = tiff.parse(stream, places[number - 1])
        _check_size(*page.size, name)
        tiff.check(page, name)
        if tiff.is_stack(page):
            _check_size(*page.size, name, page.samples)
    return page, frames


def _is_foreign(stream: IO[bytes], page: tiff.Page) -> bool:
    """Whether Pillow has no mode for the file: a big-endian BigTIFF, or planes that alpha is multiplied into."""
    stream.seek(0)
    return stream.read(4) == b"MM\0+" or (page.first(tiff.PLANAR, 1) == 2 and page.first(tiff.EXTRA, 0) == 1)


def _find_personal(stream: IO[bytes], page: tiff.Page) -> tuple[str, ...]:
    inner = tiff.parse(stream, page.first(_EXIF, 0)).texts if _EXIF in page.numbers else {}
    return find_names(page.texts, inner, located=_GPS in page.numbers)


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
        reason = join_lines(problem, 100) or type(problem).__name__
        advice = "convert it to PNG" if "unsupported" in reason.lower() else "restore it or leave it out"
        raise ImageError(
            name,
            f"cannot be decoded ({reason.lower()}); {advice}",
            code="image-undecodable",
            cause=reason.lower(),
        ) from None


@contextlib.contextmanager
def _open(stream: IO[bytes], form: str, name: str) -> Iterator[ImageFile]:
    with _decoding(name):
        if form == "PPM" and ppm.is_endless(stream):
            reason = "a header without two numbers at its start; restore the file"
            raise ImageError(name, reason, code="image-bomb")
        if too_many(stream, form):
            reason = f"a {form} of more than {MOST[form]} pieces; save it again with another program"
            raise ImageError(name, reason, code="image-bomb")
        if form == "PNG":
            stream = png.lighten(stream, name)
        stream.seek(0)
        with _naming_coding(stream, form, name):
            image = _open_heif(stream, name) if form == "HEIF" else _open_known(stream, form, name)
    with image:
        if form == "PNG":
            png.mask_key(image)
        if form == "GIF":
            _settle_table(image)
        if form == "TIFF":
            _settle_page(image)
        _check_size(*image.size, name)
        yield image


def _open_known(stream: IO[bytes], form: str, name: str) -> ImageFile:
    if form in _FEATURES:
        from PIL import features

        if not features.check(_FEATURES[form]):
            reason = f"{form}, which this Pillow cannot read; run 'pip install --force-reinstall pillow'"
            raise ImageError(name, reason, code="package-missing", package="pillow")
    if form in _PLUGINS:
        importlib.import_module(_PLUGINS[form])
    return Image.open(stream, formats=[form])


def _open_heif(stream: IO[bytes], name: str) -> ImageFile:
    """By pillow-heif, which is not made known to Pillow: other users of Pillow in the process see no change."""
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError:
        reason = "HEIC needs pillow-heif; run \"pip install 'edgezoo[heif]'\", or convert it to JPEG or PNG"
        raise ImageError(name, reason, code="package-missing", package="pillow-heif", extra="heif") from None
    image: ImageFile = pillow_heif.HeifImageFile(stream)
    return image


@contextlib.contextmanager
def _naming_coding(stream: IO[bytes], form: str, name: str) -> Iterator[None]:
    """Refuse a JPEG that Pillow cannot decode for what it is, where it is not damaged."""
    try:
        yield
    except Exception:  # whatever Pillow raises, it says too little
        if form == "JPEG":
            _check_coding(stream, name)
        raise


def _check_coding(stream: IO[bytes], name: str) -> None:
    """Refuse the kinds of JPEG that Pillow does not decode, by their names.

    Raises:
        ImageError: such a kind.
    """
    stream.seek(0)
    frame = jpeg.find_frame(stream.read(_JPEG_HEAD))
    if frame is None:
        return
    coding = _JPEG_KINDS.get(frame.marker)
    if frame.bits != 8 and coding is None:
        coding = f"{frame.bits}-bit JPEG"
    if coding is not None:
        reason = f"{coding}, expected baseline or progressive JPEG of 8 bits; convert it to 16-bit gray PNG"
        raise ImageError(name, reason, code="image-coding", coding=coding)


def _settle_table(image: Image.Image) -> None:
    """Let a GIF be read by its own table.

    Pillow takes a gray table for none, and then the table of the whole file for it.
    """
    if image.mode == "L":
        image.palette = None


def _settle_page(image: Image.Image) -> None:
    """Let a page of a TIFF be read by our rules, before it is decoded.

    A colour map without a value above 255 is one of 8 bits, as in libtiff; Pillow makes it black. And Pillow turns a
    page by its XMP where tag 274 is missing.
    """
    image.info.pop("xmp", None)
    colours = getattr(image, "tag_v2", {}).get(tiff.COLOUR_MAP, ())
    if image.mode in ("P", "PA") and colours and max(colours) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _check_whole(image: Image.Image, stream: IO[bytes], form: str, name: str) -> None:
    """Refuse what its decoder has filled up or made up without a word."""
    png.check_palette(image, name)
    if form not in ("JPEG", "JPEG2000", "PNG", "TIFF"):
        return
    if form == "PNG":
        whole = png.is_whole(stream, image)
    elif form == "TIFF":
        places = tiff.find_pages(stream)
        whole = not places or pixels.is_whole(stream, tiff.parse(stream, places[image.tell()]), image)
    else:
        stream.seek(0)
        data = stream.read()
        if form == "JPEG":
            width, height = image.size
            corner = np.asarray(image.crop((max(0, width - 8), max(0, height - 8), width, height)))
            whole = jpeg.shows_end(data, height, width, corner) or jpeg.is_whole(data, np.asarray(image), jpeg.decode)
        else:
            whole = boxes.is_whole_codestream(data)
    if not whole:
        reason = "truncated: the data end before the picture does; restore the file or leave it out"
        raise ImageError(name, reason, code="image-truncated")


def _check_size(width: int, height: int, name: str, channels: int = 1) -> None:
    if width * height * channels > MAX_PIXELS:
        of = f" of {channels} channels" if channels > 1 else ""
        raise ImageError(
            name,
            f"{width}x{height} pixels{of}, expected at most {MAX_PIXELS // 10**6} million; shrink it",
            code="image-size",
            width=width,
            height=height,
            most=MAX_PIXELS,
        )


def _count_frames(image: ImageFile, stream: IO[bytes], form: str, name: str) -> int:
    """Pages of a TIFF; an animation is refused, its frames show what others left."""
    if form == "TIFF":
        return max(1, len(tiff.find_pages(stream)))
    if form == "JPEG":  # those of an MPO are other views or smaller ones
        return 1
    with _decoding(name):  # counting frames reads the file
        frames: int = ppm.count_pictures(image, stream) if form == "PPM" else getattr(image, "n_frames", 1)
    if form == "GIF" and frames == 1 and image.tile[0].extents != (0, 0, *image.size):
        reason = "its frame leaves a part of the picture open, expected opaque pixels; flatten it on the background you"
        raise ImageError(name, f"{reason} mean", code="image-transparent")
    if frames != 1:
        raise ImageError(
            name,
            f"holds {frames} frames, expected one image; save the wanted frame as a file",
            code="image-frames",
            frames=frames,
        )
    return frames
