"""What a file becomes. Most cases here are ones that Pillow, or a tool on top of it, gets wrong silently."""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from refusals import refused
from tiff_files import tiff

from zoo.errors import ImageError
from zoo.readers import _raster as raster
from zoo.readers import from_array, probe, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (7, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (7, 5, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (7, 5), np.uint16)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG by hand, for the kinds that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_colour_is_read_as_stored(form: str) -> None:
    image = read(encoded(Image.fromarray(COLOUR), form))
    assert image.kind == "uint8"
    np.testing.assert_array_equal(image.pixels, COLOUR)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_gray_is_replicated_to_three_channels(form: str) -> None:
    image = read(encoded(Image.fromarray(GRAY), form))
    np.testing.assert_array_equal(image.pixels, np.repeat(GRAY[..., None], 3, 2))


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_formats_give_what_pillow_decodes(form: str) -> None:
    data = encoded(Image.fromarray(COLOUR), form)
    np.testing.assert_array_equal(read(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_gray_keeps_every_value(form: str) -> None:
    """Converted to 8 bits by Pillow, an X-ray would be white above 255."""
    image = read(encoded(Image.fromarray(DEEP), form))
    assert image.kind == "uint16"
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels[..., 0], DEEP)


def test_big_endian_tiff_is_not_byte_swapped() -> None:
    entries = [(256, 3, 5), (257, 3, 7), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1)]
    entries += [(278, 3, 7), (279, 4, 70)]
    fields = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, value in entries
    )
    head = b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", len(entries)) + fields + b"\0\0\0\0"
    image = read(head.ljust(200, b"\0") + DEEP.astype(">u2").tobytes())
    np.testing.assert_array_equal(image.pixels[..., 0], DEEP)
    assert image.pixels.dtype.isnative


def test_float_tiff_is_read_as_stored_and_refused_when_not_finite() -> None:
    values = RNG.normal(size=(7, 5)).astype(np.float32)
    image = read(encoded(Image.fromarray(values), "TIFF"))
    assert image.kind == "float32"
    np.testing.assert_array_equal(image.pixels[..., 0], values)
    values[0, 0] = np.nan
    assert refusal(encoded(Image.fromarray(values), "TIFF")).code == "image-not-finite"


def test_one_bit_becomes_black_and_white() -> None:
    bits = GRAY > 128
    image = read(encoded(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(image.pixels[..., 1], bits * np.uint8(255))


def test_palette_becomes_its_colours() -> None:
    image = Image.fromarray(COLOUR).quantize(16)
    np.testing.assert_array_equal(read(encoded(image, "PNG")).pixels, np.asarray(image.convert("RGB")))


def test_orientation_of_a_phone_is_applied() -> None:
    """A photo taken upright is stored lying; viewers turn it, and so must a classifier."""
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        upright = Image.fromarray(COLOUR)
        exif = Image.Exif()
        exif[0x0112] = 6  # stored as if turned left; to be turned right
        lossless = {"lossless": True} if form == "WEBP" else {"quality": 100} if form == "JPEG" else {}
        data = encoded(upright, form, exif=exif, **lossless)
        image = read(data)
        assert image.pixels.shape == (5, 7, 3), form
        if form != "JPEG":
            np.testing.assert_array_equal(image.pixels, np.rot90(COLOUR, -1))


_XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


_TEXT = b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP


def _described() -> Image.Exif:
    """EXIF without an orientation."""
    exif = Image.Exif()
    exif[0x010E] = "a scan"
    return exif


XMP_FILES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG": lambda image: encoded(image, "JPEG", xmp=_XMP),
    "JPEG with EXIF": lambda image: encoded(image, "JPEG", xmp=_XMP, exif=_described()),
    "PNG": lambda image: (data := encoded(image, "PNG"))[:33] + chunk(b"iTXt", _TEXT) + data[33:],
    "PNG, behind its pixels": lambda image: (data := encoded(image, "PNG"))[:-12] + chunk(b"iTXt", _TEXT) + data[-12:],
    "WebP": lambda image: encoded(image, "WEBP", lossless=True, xmp=_XMP),
    "TIFF": lambda image: encoded(image, "TIFF", tiffinfo={700: _XMP}),
    "TIFF of pages": lambda image: encoded(image, "TIFF", save_all=True, append_images=[image], tiffinfo={700: _XMP}),
    "deep TIFF": lambda _: tiff(DEEP, tags={700: _XMP}),
    "BigTIFF": lambda _: tiff(COLOUR, big=True, tags={700: _XMP}),
    "big-endian BigTIFF": lambda _: tiff(COLOUR, big=True, order=">", tags={700: _XMP}),
    "deep BigTIFF": lambda _: tiff(DEEP, big=True, tags={700: _XMP}),
}
"""One picture whose XMP says that it is to be turned."""


@pytest.mark.parametrize("form", XMP_FILES)
def test_orientation_in_xmp_turns_no_picture(form: str) -> None:
    """EXIF alone does. Browsers know no other rule, and with two of them one file would be two pictures."""
    data = XMP_FILES[form](Image.fromarray(COLOUR))
    for frame in (1, 2) if "pages" in form else (None,):
        assert read(data, frame=frame).pixels.shape[:2] == (7, 5)
    header = probe(data)
    assert (header.height, header.width) == (7, 5)


@pytest.mark.parametrize("orientation", range(10))
def test_all_orientations_are_those_of_the_exif_standard(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(COLOUR), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(read(data).pixels, np.asarray(expected))


def test_damaged_exif_does_not_cost_the_image() -> None:
    data = encoded(Image.fromarray(COLOUR), "PNG")
    broken = data[:33] + chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff") + data[33:]
    np.testing.assert_array_equal(read(broken).pixels, COLOUR)
    # orientation 3 stands there, another field is broken
    exif = b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", 2)
    exif += struct.pack(">HHIHH", 0x0112, 3, 1, 3, 0) + struct.pack(">HHII", 0x9000, 4, 1, 0xFFFFFFFF) + b"\0\0\0\0"
    turned = data[:33] + chunk(b"eXIf", exif) + data[33:]
    np.testing.assert_array_equal(read(turned).pixels, COLOUR[::-1, ::-1])


def test_opaque_alpha_is_dropped_and_hidden_colour_refused() -> None:
    opaque = np.dstack([COLOUR, np.full((7, 5), 255, np.uint8)])
    np.testing.assert_array_equal(read(encoded(Image.fromarray(opaque), "PNG")).pixels, COLOUR)
    opaque[3, 3, 3] = 0
    assert refusal(encoded(Image.fromarray(opaque), "PNG")).code == "image-transparent"


def test_transparent_colour_key_is_refused_where_it_hides_something() -> None:
    image = Image.fromarray(GRAY)
    absent = next(value for value in range(256) if value not in GRAY)
    assert refusal(encoded(image, "PNG", transparency=int(GRAY[0, 0]))).code == "image-transparent"
    assert read(encoded(image, "PNG", transparency=absent)).pixels.shape == (7, 5, 3)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP)
    hidden = chunk(b"tRNS", DEEP[:1, :1].astype(">u2").tobytes())
    assert refusal(png(5, 7, 16, 0, rows, hidden)).code == "image-transparent"


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_sixteen_bit_colour_is_refused_rather_than_cut(colour: int) -> None:
    """Pillow opens it as 8-bit: two pictures that differ become one."""
    channels = {2: 3, 4: 2, 6: 4}[colour]
    assert refusal(png(2, 1, 16, colour, b"\0" + bytes(2 * 2 * channels))).code == "image-bit-depth"


def test_deep_ppm_is_refused_rather_than_cut() -> None:
    assert refusal(b"P6 1 1 65535\n" + bytes(6)).code == "image-bit-depth"
    assert refusal(b"P3 1 1 4095\n1 2 3\n").code == "image-bit-depth"


def test_cmyk_is_refused() -> None:
    assert refusal(encoded(Image.new("CMYK", (4, 4)), "JPEG")).code == "image-colours"


def test_signed_and_inverted_tiff_are_refused() -> None:
    signed = Image.fromarray(GRAY.astype(np.int32))
    assert refusal(encoded(signed, "TIFF")).code == "image-colours"
    assert refusal(encoded(Image.fromarray(DEEP), "TIFF", tiffinfo={262: 0})).code == "image-bit-depth"
    # as 8-bit, white-is-zero is understood by Pillow and needs no refusal
    np.testing.assert_array_equal(read(encoded(Image.fromarray(GRAY), "TIFF", tiffinfo={262: 0})).pixels[..., 0], GRAY)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_several_frames_are_refused(form: str) -> None:
    frames = [Image.fromarray(np.roll(GRAY, shift)) for shift in range(3)]
    assert refusal(encoded(frames[0], form, save_all=True, append_images=frames[1:])).code == "image-frames"


def test_pixel_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    bomb = png(9000, 9000, 8, 0, b"")
    assert refusal(bomb).code == "image-size"
    assert refusal(png(60_000, 60_000, 8, 0, b"")).code == "image-undecodable"


@pytest.mark.parametrize("content", [b"", b"not an image, whatever the suffix says", bytes(500)])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scan_7.png"
    path.write_bytes(content)
    for action in (read, probe):
        with refused("image-format" if content else "image-empty", ImageError) as caught:
            action(path)
        assert str(path) in str(caught.value)


def test_suffix_does_not_decide(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(Image.fromarray(COLOUR), "PNG"))
    np.testing.assert_array_equal(read(str(path)).pixels, COLOUR)


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX")
def test_missing_folder_and_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "missing.png", tmp_path / "pipe.png", "nul\0.png"):
        with pytest.raises(ImageError):
            read(path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_truncated_file_is_refused_when_decoded_not_filled_with_gray(form: str) -> None:
    big = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(big, form)
    assert refusal(data[: len(data) * 2 // 3]).code == "image-undecodable"


@given(
    position=st.integers(0, 400),
    value=st.integers(0, 255),
    form=st.sampled_from(["PNG", "TIFF", "GIF", "BMP", "WEBP", "JPEG"]),
)
@settings(max_examples=150, deadline=None)
def test_no_damaged_byte_raises_anything_but_image_error(position: int, value: int, form: str) -> None:
    """A stray exception would end a run over a thousand files."""
    data = bytearray(encoded(Image.fromarray(COLOUR), form))
    data[position % len(data)] = value
    try:
        image = read(bytes(data))
    except ImageError:
        return
    assert image.pixels.ndim == 3


def test_probe_says_what_read_will_give(tmp_path: Path, photos: Path) -> None:
    files = {
        "deep.png": encoded(Image.fromarray(DEEP), "PNG"),
        "gray.tif": encoded(Image.fromarray(GRAY), "TIFF"),
        "colour.webp": encoded(Image.fromarray(COLOUR), "WEBP"),
        "palette.gif": encoded(Image.fromarray(GRAY), "GIF"),
        "float.tiff": encoded(Image.fromarray(GRAY.astype(np.float32)), "TIFF"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for path in [*sorted(tmp_path.iterdir()), *sorted(photos.iterdir())]:
        header, image = probe(path), read(path)
        assert (header.height, header.width) == image.pixels.shape[:2], path.name
        assert header.kind == image.kind
        assert header.gray == bool((image.pixels == image.pixels[..., :1]).all()), path.name


def test_probe_counts_sides_as_they_will_be_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    path = tmp_path / "turned.jpg"
    path.write_bytes(encoded(Image.fromarray(COLOUR), "JPEG", exif=exif))
    assert (probe(path).height, probe(path).width) == read(path).pixels.shape[:2] == (5, 7)


def test_probe_decodes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    data = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")
    path.write_bytes(data[: len(data) // 2])
    assert probe(path).width == 64


def test_only_the_parser_of_the_claimed_format_sees_the_bytes() -> None:
    assert raster.recognise(b"%!PS-Adobe-3.0") is None
    assert raster.recognise(b"RIFF\0\0\0\0WEBPVP8 ") == "WEBP"


def test_arrays_follow_the_rules_of_files() -> None:
    assert from_array(GRAY).pixels.shape == (7, 5, 3)
    assert from_array(GRAY[..., None]).kind == "uint8"
    np.testing.assert_array_equal(from_array(COLOUR).pixels, COLOUR)
    assert from_array(DEEP.astype(">u2")).pixels.dtype == np.uint16
    np.testing.assert_array_equal(from_array(DEEP.astype(">u2")).pixels[..., 0], DEEP)
    assert from_array(DEEP.astype(np.float32)).kind == "float32"
    for stack in (COLOUR.astype(np.uint16), np.dstack([COLOUR, GRAY]), np.dstack([DEEP] * 16).astype(">u2")):
        np.testing.assert_array_equal(from_array(stack).pixels, stack)
    for wrong in (
        GRAY.astype(np.int64),
        GRAY[0],
        GRAY[:0],
        np.zeros((4, 4, 17), np.uint8),
        np.zeros((5, 40, 30), np.uint16),
    ):
        with pytest.raises(ImageError, match="expected"):
            from_array(wrong)
