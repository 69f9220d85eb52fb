"""AVIF, HEIC and JPEG 2000, and what Pillow does not see, or stumbles over, in GIF, PNG, PPM and BMP."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from refusals import refused

from zoo.errors import ImageError
from zoo.readers import _quick as quick
from zoo.readers import _raster as raster
from zoo.readers import is_image, probe, read

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (40, 30), np.uint8)
COLOUR = RNG.integers(0, 256, (40, 30, 3), np.uint8)
SMOOTH = np.stack([np.add.outer(np.arange(40) * 3, np.arange(30) * factor) for factor in (1, 2, 4)], -1).astype(
    np.uint8
)
RAMP = bytes(range(256))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits: int, colour: int, rows: bytes, size: tuple[int, int], extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# GIF


def gif(
    pixels: bytes,
    *,
    local: bytes | None,
    table: bytes | None,
    key: int | None = None,
    screen: tuple[int, int] = (2, 2),
    place: tuple[int, int] = (0, 0),
) -> bytes:
    """Two by two pixels, uncompressed: a code of 9 bits each, and 256 to begin with."""
    codes = [256, *pixels, 257]
    bits = sum(code << 9 * place for place, code in enumerate(codes)).to_bytes(-(-9 * len(codes) // 8), "little")
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0xF7 if table else 0, 0, 0) + (table or b"")
    control = b"" if key is None else b"!\xf9\4\1\0\0" + bytes((key, 0))
    frame = b"," + struct.pack("<HHHHB", *place, 2, 2, 0x87 if local else 0) + (local or b"")
    return head + control + frame + b"\x08" + bytes((len(bits),)) + bits + b"\0;"


GRAYS = bytes(value for value in range(256) for _ in range(3))
REDS = bytes(part for value in range(256) for part in (value, 255 - value, 9))


@pytest.mark.parametrize(("local", "table"), [(GRAYS, REDS), (GRAYS, None), (None, GRAYS)])
def test_gray_table_of_a_frame_is_read_though_the_file_has_a_coloured_one(
    local: bytes | None, table: bytes | None
) -> None:
    """Pillow took the colours of the file's table."""
    data = gif(b"\0\1\2\3", local=local, table=table)
    assert read(data).pixels[..., 0].ravel().tolist() == [0, 1, 2, 3]
    assert probe(data).gray
    key = gif(b"\0\1\2\3", local=local, table=table, key=2)
    with refused("image-transparent", ImageError):
        read(key)
    assert read(gif(b"\0\1\2\3", local=local, table=table, key=9)).pixels[1, 1].tolist() == [3, 3, 3]


def test_coloured_table_of_a_frame_is_read_though_the_file_has_a_gray_one() -> None:
    data = gif(b"\0\1\2\3", local=REDS, table=GRAYS)
    assert read(data).pixels[1, 1].tolist() == [3, 252, 9]
    assert not probe(data).gray


def test_picture_without_any_table_is_gray_by_its_numbers() -> None:
    assert read(gif(b"\0\1\2\3", local=None, table=None)).pixels[..., 1].ravel().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("screen", "place"), [((3, 2), (0, 0)), ((3, 3), (1, 1)), ((2, 2), (0, 1))])
def test_frame_that_does_not_fill_its_screen_is_refused(screen: tuple[int, int], place: tuple[int, int]) -> None:
    """Pillow filled the rest with the first colour of a table."""
    data = gif(b"\0\1\2\3", local=None, table=REDS, screen=screen, place=place)
    for action in (read, probe):
        with refused("image-transparent", ImageError):
            action(data)


def test_frame_larger_than_its_screen_is_read_whole() -> None:
    data = gif(b"\0\1\2\3", local=None, table=REDS, screen=(1, 1))
    assert read(data).pixels[1, 1].tolist() == [3, 252, 9]
    assert (probe(data).width, probe(data).height) == (2, 2)


# PNG


def interlaced(pixels: np.ndarray) -> bytes:
    """Rows of the seven passes (PNG, section 8.2), each behind its filter of 0."""
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [pixels[row::down, column::across] for row, column, down, across in starts]
    return b"".join(b"\0" + line.tobytes() for part in parts if part.size for line in part)


@pytest.mark.parametrize("last", [0, 7], ids=["black", "gray"])
@pytest.mark.parametrize("layout", ["rows", "passes"])
def test_png_whose_data_end_before_its_rows_is_refused(layout: str, last: int) -> None:
    """The stream is closed and its checksums are right; Pillow left the other rows black."""
    pixels = RNG.integers(0, 256, (9, 5), np.uint8)
    pixels[-1] = last
    rows = interlaced(pixels) if layout == "passes" else b"".join(b"\0" + line.tobytes() for line in pixels)
    data = png(8, 0, rows, (5, 9))
    if layout == "passes":
        head = data[12:28] + b"\1"
        data = data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    np.testing.assert_array_equal(read(data).pixels[..., 0], pixels)
    for cut in (1, 6, len(rows) // 2):
        short = data[:33] + chunk(b"IDAT", zlib.compress(rows[:-cut])) + chunk(b"IEND", b"")
        with pytest.raises(ImageError) as caught:
            read(short)
        assert caught.value.code in {"image-truncated", "image-undecodable"}
    longer = data[:33] + chunk(b"IDAT", zlib.compress(rows + rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(read(longer).pixels[..., 0], pixels)


@pytest.mark.parametrize("late", [False, True])
def test_png_is_upright_for_the_header_as_for_the_pixels(late: bool) -> None:
    """EXIF may follow the pixels."""
    turned = Image.Exif()
    turned[0x0112] = 6
    turned[0x013B] = "somebody"
    block = chunk(b"eXIf", turned.tobytes().removeprefix(b"Exif\0\0"))
    plain = png(8, 0, b"\0\1\2\0\3\4\0\5\6", (2, 3), b"" if late else block)
    data = plain[:-12] + block + plain[-12:] if late else plain
    assert read(data).pixels[..., 0].tolist() == [[5, 3, 1], [6, 4, 2]]
    found = probe(data)
    assert (found.width, found.height, found.personal) == (3, 2, ("Artist",))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_colour_key_of_gray_is_compared_with_the_stored_value(bits: int) -> None:
    """Pillow spreads the values over 0 to 255, and not the key."""
    most = (1 << bits) - 1
    values = np.arange(8) % (most if bits > 1 else 1)  # the highest value is not there
    row = np.packbits((values[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8))
    for key in range(min(most, 20) + 1):
        data = png(bits, 0, b"\0" + row.tobytes(), (8, 1), chunk(b"tRNS", struct.pack(">H", key)))
        assert quick.probe(data) is None
        if key in values:
            with refused("image-transparent", ImageError):
                read(data)
        else:
            assert read(data).pixels[0, :, 0].tolist() == (values * (255 // most)).tolist()


def test_colour_key_of_16_bits_and_of_colours_is_compared_as_stored() -> None:
    rows = b"\0" + struct.pack(">HH", 0x0102, 0x0103)
    with refused("image-transparent", ImageError):
        read(png(16, 0, rows, (2, 1), chunk(b"tRNS", struct.pack(">H", 0x0103))))
    read(png(16, 0, rows, (2, 1), chunk(b"tRNS", struct.pack(">H", 0x0203))))
    with refused("image-transparent", ImageError):
        read(png(8, 2, b"\0\1\2\3", (1, 1), chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))))
    read(png(8, 2, b"\0\1\2\3", (1, 1), chunk(b"tRNS", struct.pack(">HHH", 1, 2, 4))))


def test_palette_that_is_missing_or_too_short_is_refused() -> None:
    """Pillow makes such pixels black."""
    row = b"\0" + bytes((0, 1, 2))
    with refused("image-damaged", ImageError):
        read(png(8, 3, row, (3, 1)))
    with refused("image-damaged", ImageError):
        probe(png(8, 3, row, (3, 1)))
    table = chunk(b"PLTE", b"\1\2\3\4\5\6\7\x08\x09")
    assert read(png(8, 3, row, (3, 1), table)).pixels[0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    with refused("image-damaged", ImageError):
        read(png(8, 3, row, (3, 1), chunk(b"PLTE", b"\1\2\3\4\5\6")))


def long_chunks() -> list[bytes]:
    long = b"x" * 1_200_000
    return [
        chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(long)),
        chunk(b"zTXt", b"Author\0\0" + zlib.compress(long)),
        chunk(b"iTXt", b"Author\0\1\0en\0\0" + zlib.compress(long)),
        chunk(b"tEXt", b"Author\0" + long),
    ]


@pytest.mark.parametrize("late", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("piece", long_chunks(), ids=["iCCP", "zTXt", "iTXt", "tEXt"])
def test_long_profile_or_text_does_not_cost_the_picture(piece: bytes, late: bool) -> None:
    data = encoded(Image.fromarray(COLOUR), "PNG")
    at = data.index(b"IEND") - 4 if late else 33
    longer = data[:at] + piece + data[at:]
    np.testing.assert_array_equal(read(longer).pixels, COLOUR)
    said = ("PNG text Author",) if piece[4:8] != b"iCCP" and not late else ()
    assert probe(longer).personal == said
    broken = bytearray(longer)
    broken[data.index(b"IDAT") + 20 + (0 if late else len(piece))] ^= 1
    with refused("image-undecodable", ImageError):
        read(bytes(broken))
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1 << 20


# PPM


@pytest.mark.parametrize("most", [256, 4095, 65535])
def test_deep_pgm_is_read_as_stored(most: int) -> None:
    """Pillow spreads it over 16 bits."""
    values = np.linspace(0, most, 12).astype(np.uint16).reshape(3, 4)
    data = b"P5\n# scan\n4 3\n%d\n" % most + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(read(data).pixels[..., 0], values)
    found = probe(data)
    assert (found.kind, found.gray, found.bits) == ("uint16", True, 16)
    with refused("image-truncated", ImageError):
        read(data[:-1])
    text = b"P2 # scan\n4 3\n%d\n" % most + " ".join(map(str, values.ravel().tolist())).encode()
    np.testing.assert_array_equal(read(text + b"\n").pixels[..., 0], values)
    assert (probe(text).kind, probe(text).bits) == ("uint16", 16)
    with refused("image-truncated", ImageError):
        read(text.rpartition(b" ")[0])
    with refused("image-damaged", ImageError):
        read(b"P2 2 1 %d\n1 70000\n" % most)
    with refused("image-undecodable", ImageError):
        read(b"P2 2 1 %d\n1 x\n" % most)


@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_value_above_the_largest_is_refused(kind: str) -> None:
    """Pillow clipped it."""
    channels = 3 if kind in ("P3", "P6") else 1
    for value, good in ((100, True), (101, False)):
        numbers = [5] * (channels * 4 - 1) + [value]
        body = " ".join(map(str, numbers)).encode() if kind in ("P2", "P3") else bytes(numbers)
        data = f"{kind}\n# comment\n2 2 100\n".encode() + body
        if good:
            assert int(read(data).pixels.max()) == 255
        else:
            with pytest.raises(ImageError) as caught:
                read(data)
            assert caught.value.code in {"image-damaged", "image-undecodable"}


@pytest.mark.parametrize(
    ("one", "frames"),
    [
        (b"P5 2 2 255\n\1\2\3\4", 1),
        (b"P6\n2 1\n#x\n255\n" + bytes(6), 1),
        (b"P4 9 2\n" + bytes(4), 1),
        (b"P2 2 1 9 1 2\n", 1),
        (b"P1 2 1 1 0\n", 1),
        (b"Pf 1 1 -1.0\n" + bytes(4), 1),
    ],
    ids=["P5", "P6", "P4", "P2", "P1", "Pf"],
)
def test_second_picture_in_a_file_is_said_and_other_bytes_are_passed_over(one: bytes, frames: int) -> None:
    assert probe(one).frames == frames
    read(one)
    read(one + (b"" if one[1:2] in b"12" else b"\n\0 rubbish P"))
    for action in (read, probe):
        with refused("image-frames", ImageError, frames=2):
            action(one + b"\n" * (one[1:2] in b"12") + one)
    if one[:2] in (b"P5", b"P6", b"P4"):
        with refused("image-frames", ImageError, frames=3):
            read(one * 3)


# BMP


def bmp(words: np.ndarray, masks: tuple[int, ...], *, size: int = 40) -> bytes:
    """The rows from top to bottom."""
    height, width = words.shape
    row = -(-words.itemsize * width // 4) * 4
    body = b"".join(line.tobytes().ljust(row, b"\0") for line in words)
    info = struct.pack("<IiiHHIIiiII", size, width, -height, 1, 8 * words.itemsize, 3, len(body), 0, 0, 0, 0)
    packed = struct.pack(f"<{len(masks)}I", *masks)
    info = (info + packed).ljust(max(size, 40 + len(packed)), b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


@pytest.mark.parametrize(
    "masks",
    [
        (0xF800, 0x7E0, 0x1F),
        (0x7C00, 0x3E0, 0x1F),
        (0xF00, 0xF0, 0xF),
        (0x1F, 0x7E0, 0xF800),
        (0xFF0000, 0xFF00, 0xFF),
        (0x3FF00000, 0xFFC00, 0x3FF),
    ],
    ids=["565", "555", "444", "bgr565", "888", "10-10-10"],
)
def test_colours_by_masks_are_spread_over_8_bits(masks: tuple[int, int, int]) -> None:
    kind = np.uint16 if max(masks) < 1 << 16 else np.uint32
    words = RNG.integers(0, 1 << (8 * np.dtype(kind).itemsize), (5, 3)).astype(kind)
    words[0] = masks
    data = bmp(words, masks)
    shifts = [(mask & -mask).bit_length() - 1 for mask in masks]
    expected = [
        (words.astype(np.uint64) >> np.uint64(shift) & np.uint64(mask >> shift)) * 255 // (mask >> shift)
        for mask, shift in zip(masks, shifts, strict=True)
    ]
    np.testing.assert_array_equal(read(data).pixels, np.stack(expected, axis=-1))
    assert read(data).pixels[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert (probe(data).kind, probe(data).bits) == ("uint8", max(mask.bit_count() for mask in masks))
    with refused("image-truncated", ImageError):
        read(data[:-1])


def test_alpha_by_a_mask_is_dropped_where_opaque_and_refused_elsewhere() -> None:
    masks = (0xF00, 0xF0, 0xF, 0xF000)
    words = np.full((2, 2), 0xF123, np.uint16)
    assert read(bmp(words, masks, size=56)).pixels[0, 0].tolist() == [17, 34, 51]
    words[1, 1] = 0x7123
    with refused("image-transparent", ImageError):
        read(bmp(words, masks, size=56))


# AVIF, HEIC and JPEG 2000


def heic(image: Image.Image, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=95, **options)
    return stream.getvalue()


def test_avif_is_read_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = (encoded(Image.fromarray(SMOOTH), "AVIF", quality=95, **more) for more in ({}, {"exif": exif}))
    assert np.abs(read(plain).pixels.astype(int) - SMOOTH).mean() < 4
    np.testing.assert_array_equal(read(turned).pixels, np.rot90(read(plain).pixels, -1))
    header = probe(turned)
    assert (header.height, header.width, header.kind, header.bits, header.gray) == (30, 40, "uint8", 8, False)


def test_heic_is_read_by_the_extra_and_pillow_is_left_as_it_was() -> None:
    data = heic(Image.fromarray(SMOOTH))
    image = read(data)
    assert np.abs(image.pixels.astype(int) - SMOOTH).mean() < 4
    assert (probe(data).height, probe(data).width, probe(data).bits) == (40, 30, 8)
    assert "HEIF" not in Image.OPEN
    several = io.BytesIO()
    pillow_heif = pytest.importorskip("pillow_heif")
    both = pillow_heif.from_pillow(Image.fromarray(SMOOTH))
    both.add_from_pillow(Image.fromarray(SMOOTH))
    both.save(several)
    with refused("image-frames", ImageError, frames=2):
        read(several.getvalue())


def test_heic_without_the_extra_is_counted_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raster, "HAS_HEIF", False)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    path = tmp_path / "IMG_1"
    path.write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    assert not is_image(path)
    for action in (read, probe):
        with refused("package-missing", ImageError, package="pillow-heif", extra="heif"):
            action(path)


@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
def test_jpeg_2000_is_read_as_stored(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    deep = RNG.integers(0, 65536, (40, 30), np.uint16)
    for array in (GRAY, COLOUR, deep):
        Image.fromarray(array).save(path, irreversible=False)
        image, header = read(path), probe(path)
        expected = np.repeat(array[..., None], 3, 2) if array is GRAY else array.reshape(image.pixels.shape)
        np.testing.assert_array_equal(image.pixels, expected)
        assert (header.kind, header.gray) == (image.kind, array is not COLOUR)


@pytest.mark.parametrize("plain", [False, True], ids=["jp2", "codestream"])
def test_jpeg_2000_of_other_depths_is_read_as_stored_or_refused(plain: bool) -> None:
    """Pillow moves 12 bits up to 16, and cuts colours to 8."""
    twelve = RNG.integers(0, 4096, (40, 30), np.uint16)
    raised = twelve + np.uint16((1 << 15) - (1 << 11))  # the decoder adds half of the range that SIZ names
    data = bytearray(encoded(Image.fromarray(raised), "JPEG2000", no_jp2=plain, irreversible=False))
    data[depth_at(data)] = 11
    np.testing.assert_array_equal(read(bytes(data)).pixels[..., 0], twelve)
    assert (probe(bytes(data)).kind, probe(bytes(data)).bits) == ("uint16", 12)
    colour = bytearray(encoded(Image.fromarray(COLOUR), "JPEG2000", no_jp2=plain))
    for place in range(3):
        colour[depth_at(colour) + 3 * place] = 11
    for action in (read, probe):
        with refused("image-bit-depth", ImageError):
            action(bytes(colour))


def depth_at(data: bytes) -> int:
    """Where SIZ says how deep the first channel is (ITU-T T.800, table A.9)."""
    return data.index(b"\xff\x4f\xff\x51") + 42


@pytest.mark.parametrize("form", ["AVIF", "JPEG2000", "HEIC", "WEBP"])
def test_picture_cut_short_is_refused_in_every_format(form: str) -> None:
    image = Image.fromarray(COLOUR)
    data = heic(image) if form == "HEIC" else encoded(image, form)
    read(data)
    for part in range(1, 20):
        for tail in (b"", b"\xff\xd9"):
            with pytest.raises(ImageError):
                read(data[: len(data) * part // 20] + tail)


@pytest.mark.parametrize("form", ["AVIF", "JPEG2000"])
def test_transparent_pixels_are_refused_in_every_format(form: str) -> None:
    alpha = np.full((40, 30), 255, np.uint8)
    assert read(encoded(Image.fromarray(np.dstack([COLOUR, alpha])), form)).pixels.shape == (40, 30, 3)
    alpha[:20] = 0
    with refused("image-transparent", ImageError):
        read(encoded(Image.fromarray(np.dstack([COLOUR, alpha])), form))


def test_animated_avif_is_refused() -> None:
    frames = [Image.fromarray(np.roll(SMOOTH, shift, 0)) for shift in range(3)]
    with refused("image-frames", ImageError, frames=3):
        read(encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:]))
