"""The stated rule for each odd kind of picture: read without loss, or refused in one line."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from zoo.errors import ImageError
from zoo.readers import MAX_PIXELS, probe, read

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (7, 5), np.uint8)
DEEP = RNG.integers(0, 65536, (7, 5), np.uint16)
COLOUR = RNG.integers(0, 256, (7, 5, 3), np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def pages(*images: np.ndarray) -> bytes:
    first, *others = (Image.fromarray(image) for image in images)
    return encoded(first, "TIFF", save_all=True, append_images=others)


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def refusal(data: bytes | Path, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read(data, name="scan", **options)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("width", "height"), [(12_000, 10_000), (30_000, 30_000), (65_535, 65_535)])
def test_pixel_bombs_of_every_size_are_refused_by_read_and_probe(width: int, height: int) -> None:
    """Pillow itself only warns between 89 and 179 million pixels."""
    assert width * height > MAX_PIXELS
    bomb = png(width, height, 1, 0, bytes(100))
    assert refusal(bomb).code in {"image-size", "image-undecodable"}
    with pytest.raises(ImageError):
        probe(bomb)


@pytest.mark.parametrize(
    "head",
    [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.7\n", b"SIMPLE  =                    T", b"<svg xmlns=", b"<?xml version="],
    ids=["eps", "pdf", "fits", "svg", "xml"],
)
def test_formats_with_programs_inside_are_refused_whatever_their_name(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(head.ljust(3000))
    assert refusal(path).code == "image-format"


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_picture_without_pixels_is_refused(width: int, height: int) -> None:
    refusal(png(width, height, 8, 0, b""))


def test_picture_of_one_pixel_is_a_picture() -> None:
    assert read(png(1, 1, 8, 0, b"\0\x2a")).pixels.tolist() == [[[42, 42, 42]]]


def test_gray_with_opaque_alpha_is_gray_and_with_holes_is_refused() -> None:
    opaque = Image.merge("LA", (Image.fromarray(GRAY), Image.new("L", (5, 7), 255)))
    np.testing.assert_array_equal(read(encoded(opaque, "PNG")).pixels, np.repeat(GRAY[..., None], 3, 2))
    assert probe(encoded(opaque, "PNG")).gray
    holes = Image.merge("LA", (Image.fromarray(GRAY), Image.fromarray(np.eye(7, 5, dtype=np.uint8) * 255)))
    assert refusal(encoded(holes, "PNG")).code == "image-transparent"


def test_palette_with_transparent_entries_in_use_is_refused() -> None:
    image = Image.fromarray(COLOUR).quantize(16)
    used = int(np.asarray(image)[0, 0])
    assert refusal(encoded(image, "PNG", transparency=used)).code == "image-transparent"


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_refused_because_its_colours_need_a_profile(form: str) -> None:
    assert refusal(encoded(Image.new("CMYK", (4, 4)), form)).code == "image-colours"


def test_white_is_zero_is_inverted_at_8_bits_and_refused_at_16() -> None:
    eight = encoded(Image.fromarray(GRAY), "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(read(eight).pixels[..., 0], GRAY)
    assert refusal(encoded(Image.fromarray(DEEP), "TIFF", tiffinfo={262: 0})).code == "image-bit-depth"


def test_page_of_a_tiff_is_read_when_it_is_named() -> None:
    data = pages(DEEP, DEEP[::-1], DEEP.T)
    assert (problem := refusal(data)).code == "image-frames"
    assert "--frame N" in problem.reason
    for number, expected in enumerate((DEEP, DEEP[::-1], DEEP.T), 1):
        np.testing.assert_array_equal(read(data, frame=number).pixels[..., 0], expected)
    for wrong in (0, 4):
        assert refusal(data, frame=wrong).code == "image-frame-unknown"
    header = probe(data)
    assert (header.frames, header.width, header.bits) == (3, 5, 16)


def test_each_page_is_held_to_the_rules() -> None:
    data = pages(GRAY, RNG.integers(-5, 5, (7, 5)).astype(np.int32))
    assert read(data, frame=1).kind == "uint8"
    assert refusal(data, frame=2).code == "image-colours"


def test_single_picture_has_one_frame() -> None:
    data = encoded(Image.fromarray(GRAY), "PNG")
    np.testing.assert_array_equal(read(data, frame=1).pixels, read(data).pixels)
    assert refusal(data, frame=2).code == "image-frame-unknown"


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_animation_has_no_frame_to_name(form: str) -> None:
    frames = [Image.fromarray(np.roll(GRAY, shift)) for shift in range(3)]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert refusal(data, frame=2).code == "image-frames"


def test_pictures_bring_no_window() -> None:
    assert refusal(encoded(Image.fromarray(DEEP), "TIFF"), voi=True).code == "image-window-missing"


@pytest.mark.parametrize(
    ("image", "form", "bits"),
    [
        (Image.fromarray(GRAY > 9), "PNG", 1),
        (Image.fromarray(GRAY > 9), "TIFF", 1),
        (Image.fromarray(COLOUR).quantize(16), "PNG", 4),
        (Image.fromarray(GRAY), "JPEG", 8),
        (Image.fromarray(COLOUR), "PNG", 8),
        (Image.fromarray(DEEP), "PNG", 16),
        (Image.fromarray(DEEP), "TIFF", 16),
        (Image.fromarray(GRAY.astype(np.float32)), "TIFF", 32),
    ],
)
def test_probe_says_how_deep_a_picture_is(image: Image.Image, form: str, bits: int) -> None:
    assert probe(encoded(image, form)).bits == bits
