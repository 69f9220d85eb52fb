"""TIFF of every sample, byte order, compression and layout: read as stored, or refused by what it is."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from refusals import refused
from tiff_files import Order, assemble, tiff

from zoo.errors import ImageError
from zoo.readers import _tiff_pixels as tiff_pixels
from zoo.readers import probe, read

RNG = np.random.default_rng(0)
SHAPE = (37, 45)


def values(dtype: str) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return RNG.normal(0, 100, SHAPE).astype(kind)
    return RNG.integers(0, min(1 << 24, np.iinfo(kind).max), SHAPE).astype(kind)


@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize("tile", [0, 16, 48])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u2", "u4", "u8", "f2", "f4", "f8"])
def test_deep_gray_is_read_as_stored_whatever_its_order_and_layout(
    dtype: str, order: Order, tile: int, big: bool
) -> None:
    """Pillow swaps the bytes of compressed big-endian floats, and has no mode for most of the rest."""
    array = values(dtype)
    expected = array if dtype == "u2" else array.astype(np.float32)
    for coding, predictor in ((1, 1), (8, 1), (8, 2), (8, 3)):
        if predictor == 3 and array.dtype.kind != "f":
            continue
        data = tiff(array, order=order, big=big, tile=tile, coding=coding, predictor=predictor)
        image, header = read(data), probe(data)
        np.testing.assert_array_equal(image.pixels[..., 0], expected)
        assert (header.kind, header.height, header.width) == (image.kind, *SHAPE)
        assert (header.bits, header.gray) == (8 * array.dtype.itemsize, True)


@pytest.mark.parametrize("coding", ["tiff_lzw", "zstd", "lzma", "packbits"])
def test_deep_gray_of_every_compression_of_bytes_is_read(coding: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(values("u2")).save(stream, "TIFF", compression=coding)
    image = read(stream.getvalue())
    np.testing.assert_array_equal(image.pixels[..., 0], np.asarray(Image.open(stream)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("coding", [1, 8])
def test_twelve_bits_are_packed_from_the_highest_in_both_byte_orders(order: Order, coding: int) -> None:
    array = RNG.integers(0, 4096, (7, 5))
    bits = (array[..., None] >> np.arange(11, -1, -1) & 1).reshape(7, -1).astype(np.uint8)
    rows = np.packbits(bits, axis=1)  # a row ends with its byte
    data = tiff(rows, order=order, coding=coding, tags={256: 5, 258: 12})
    np.testing.assert_array_equal(read(data).pixels[..., 0], array)
    assert (probe(data).kind, probe(data).bits) == ("uint16", 12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_gray_is_turned_upright(orientation: int) -> None:
    stream = io.BytesIO()
    Image.fromarray(values("u1")).save(stream, "TIFF", tiffinfo={274: orientation})
    expected = np.asarray(Image.open(stream))
    data = tiff(np.asarray(Image.open(stream).convert("L")) * np.uint16(1), tags={274: 1})
    assert read(data).pixels.shape[:2] == expected.shape
    array = values("u2")
    turned = read(tiff(array, tags={274: orientation}))
    eight = io.BytesIO()
    Image.fromarray((array >> 8).astype(np.uint8)).save(eight, "TIFF", tiffinfo={274: orientation})
    np.testing.assert_array_equal(turned.pixels[..., 0] >> 8, np.asarray(Image.open(eight)))
    header = probe(tiff(array, tags={274: orientation}))
    assert (header.height, header.width) == turned.pixels.shape[:2]


def test_whole_numbers_that_float32_cannot_hold_are_refused_and_others_are_not() -> None:
    array = np.array([[1 << 24, 1 << 31, 3 << 24]], np.uint32)
    np.testing.assert_array_equal(read(tiff(array)).pixels[..., 0], array)
    array[0, 0] += 1
    with refused("image-bit-depth", ImageError):
        read(tiff(array))
    assert probe(tiff(array)).kind == "float32"


def test_doubles_are_rounded_and_refused_beyond_the_range() -> None:
    assert read(tiff(np.array([[0.1, 1 / 3]]))).pixels[..., 0].tolist() == [[np.float32(0.1), np.float32(1 / 3)]]
    with refused("image-bit-depth", ImageError):
        read(tiff(np.array([[1e300, 0.0]])))
    with refused("image-not-finite", ImageError):
        read(tiff(np.array([[np.nan, 0.0]])))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planar"])
def test_colour_of_16_bits_is_a_stack_in_every_layout(order: Order, tile: int, planar: bool) -> None:
    """Plane after plane, Pillow made stripes of the low and high bytes, and cut what lay side by side to 8 bits."""
    array = RNG.integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    data = tiff(array, order=order, tile=tile, planar=planar)
    np.testing.assert_array_equal(read(data).pixels, array)
    assert (probe(data).kind, probe(data).channels, probe(data).gray) == ("uint16", 3, False)
    eight = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(read(tiff(eight, order=order, tile=tile, planar=planar)).pixels, eight)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("coding", [1, 8])
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planar"])
def test_stack_of_channels_is_read_as_stored_in_every_layout(dtype: str, coding: int, tile: int, planar: bool) -> None:
    """Channels that change places, or a predictor that runs over them, give another picture of the same brightness."""
    whole = (RNG.random((37, 29, 5)) * 255).astype(dtype)
    for order in ("<", ">"):
        for predictor in (1, 3) if dtype == "f4" else (1, 2):
            if predictor > 1 and coding == 1:
                continue
            data = tiff(whole, order=order, coding=coding, tile=tile, planar=planar, predictor=predictor)
            image, header = read(data), probe(data)
            np.testing.assert_array_equal(image.pixels, whole)
            assert (header.kind, header.channels, header.width, header.height) == (image.kind, 5, 29, 37)


@pytest.mark.parametrize(("channels", "extra"), [(2, 0), (4, 0), (5, [0, 0]), (16, [0] * 13)])
def test_eight_bits_beside_gray_or_colours_that_are_no_alpha_are_channels(channels: int, extra: object) -> None:
    """Near infrared beside colours is the fourth channel of a field camera; taken for alpha it would be refused."""
    whole = RNG.integers(0, 256, (6, 5, channels), np.uint8)
    photometric = 1 if channels == 2 else 2
    np.testing.assert_array_equal(read(tiff(whole, tags={262: photometric, 338: extra})).pixels, whole)


def test_stack_is_turned_as_its_orientation_says() -> None:
    whole = RNG.integers(0, 65536, (6, 5, 4)).astype(np.uint16)
    data = tiff(whole, tags={274: 6})
    np.testing.assert_array_equal(read(data).pixels, np.rot90(whole, -1))
    assert (probe(data).width, probe(data).height) == (6, 5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tile", [0, 16])
def test_big_endian_bigtiff_of_8_bits_is_read(channels: int, tile: int) -> None:
    array = RNG.integers(0, 256, (20, 30, channels), np.uint8)
    for coding in (1, 8):
        data = tiff(array, order=">", big=True, tile=tile, coding=coding)
        np.testing.assert_array_equal(read(data).pixels, np.broadcast_to(array, (20, 30, 3)))
        assert probe(data).gray == (channels == 1)


def test_colour_map_of_8_bits_gives_its_colours() -> None:
    """Old programs wrote 0 to 255 where the format says 0 to 65535; Pillow made such a picture black."""
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    ramp = np.arange(256)
    expected = np.stack([index, 255 - index, index * 0], axis=-1)
    for factor in (1, 257):
        table = [*(ramp * factor).tolist(), *((255 - ramp) * factor).tolist(), *(ramp * 0).tolist()]
        stream = io.BytesIO(tiff(index, tags={262: 3, 320: table}))
        np.testing.assert_array_equal(read(stream.getvalue()).pixels, expected)


@pytest.mark.parametrize("coding", [1, 8])
def test_planes_with_opaque_alpha_are_read_whatever_kind_of_alpha(coding: int) -> None:
    """Pillow has no mode for planes without compression whose colours were multiplied by alpha."""
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    colours[..., 3] = 255
    for kind in (1, 2):
        data = tiff(colours, planar=True, coding=coding, tags={262: 2, 338: kind})
        np.testing.assert_array_equal(read(data).pixels, colours[..., :3])
        assert probe(data).kind == "uint8"
    colours[5, 5, 3] = 9
    with refused("image-transparent", ImageError):
        read(tiff(colours, planar=True, coding=coding, tags={262: 2, 338: 1}))


@pytest.mark.parametrize(
    ("data", "code", "fields"),
    [
        (tiff(np.zeros((4, 4, 17), np.uint8)), "image-bit-depth", {"channels": 17}),
        (tiff(np.zeros((4, 4, 2), np.uint16), tags={338: 2}), "image-bit-depth", {}),
        (tiff(np.zeros((4, 4, 5), np.int16)), "image-colours", {}),
        (tiff(np.zeros((4, 4, 3), np.uint16), tags={258: [16, 16, 8]}), "image-bit-depth", {}),
        (tiff(np.zeros((4, 4, 5), np.uint16), tags={259: 7}), "image-coding", {}),
        (tiff(np.zeros((4, 4), np.uint8), tags={259: 33005}), "image-coding", {"coding": "JPEG 2000"}),
        (tiff(np.zeros((4, 4), np.uint8), tags={259: 50001}), "image-coding", {"coding": "WebP"}),
        (tiff(np.zeros((4, 4), np.uint8), tags={259: 64999}), "image-coding", {"coding": "compression 64999"}),
        (tiff(np.zeros((4, 4), np.uint16), tags={259: 7}), "image-coding", {}),
        (tiff(np.zeros((4, 4), np.uint8), tags={259: 32773, 317: 2}), "image-coding", {}),
        (tiff(np.zeros((4, 4, 3), np.uint8), tags={262: 6}), "image-coding", {"coding": "YCbCr"}),
        (tiff(np.zeros((4, 4, 3), np.uint8), tags={262: 8}), "image-colours", {"mode": "CIE Lab"}),
        (tiff(np.zeros((4, 4, 4), np.uint8), tags={262: 5}), "image-colours", {"mode": "CMYK"}),
        (tiff(np.zeros((4, 4), np.int32)), "image-colours", {}),
        (tiff(np.zeros((4, 4), np.int8)), "image-bit-depth", {}),
        (tiff(np.zeros((4, 4), np.uint64), tags={339: 6}), "image-colours", {"mode": "complex"}),
        (tiff(np.zeros((4, 4), np.uint16), tags={258: 24}), "image-bit-depth", {}),
        (tiff(np.zeros((4, 4), np.uint8), tags={258: 6}), "image-bit-depth", {"bits": 6}),
        (tiff(np.zeros((4, 4, 2), np.uint8), tags={258: [4, 4], 338: 2}), "image-bit-depth", {"bits": 4}),
        (tiff(np.zeros((4, 4), np.float32), tags={262: 0}), "image-bit-depth", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whole_file_that_is_not_read_is_never_called_damaged(data: bytes, code: str, fields: dict[str, object]) -> None:
    for action in (read, probe):
        with refused(code, ImageError, **fields):
            action(data)


def test_cut_pictures_are_refused() -> None:
    for coding in (1, 8):
        data = tiff(values("f4"), coding=coding)
        for part in range(1, 20):
            with pytest.raises(ImageError):
                read(data[: len(data) * part // 20])


def test_group_4_that_ends_before_the_picture_is_refused() -> None:
    """libtiff makes the rest white and warns where nobody hears it."""
    bits = Image.fromarray(np.kron(RNG.integers(0, 2, (30, 20)), np.ones((3, 5))) > 0)
    stream = io.BytesIO()
    bits.save(stream, "TIFF", compression="group4", strip_size=1 << 20)
    data = stream.getvalue()
    np.testing.assert_array_equal(read(data).pixels[..., 0] > 0, np.asarray(bits))
    start, count = (struct.unpack("<I", data[at + 8 : at + 12])[0] for at in entries(data, 273, 279))
    coded = data[start : start + count]
    shape = {256: 100, 257: 90, 258: 1, 259: 4, 262: 1, 277: 1, 278: 90}
    read(assemble(shape, [coded], order="<", big=False, tiled=False))
    for part in range(1, 10):
        with refused("image-truncated", ImageError):
            read(assemble(shape, [coded[: count * part // 10]], order="<", big=False, tiled=False))


def entries(data: bytes, *tags: int) -> list[int]:
    at = struct.unpack("<I", data[4:8])[0]
    places = range(at + 2, at + 2 + 12 * struct.unpack("<H", data[at : at + 2])[0], 12)
    return [place for tag in tags for place in places if struct.unpack("<H", data[place : place + 2])[0] == tag]


@pytest.mark.parametrize("coding", ["group3", "group4"])
def test_fax_whose_rows_end_in_zeros_is_refused(coding: str) -> None:
    """Zeros are taken for an end of the line or of the strip; libtiff leaves the other rows white without a word."""
    bits = np.random.default_rng(0).random((60, 3000)) < 0.2
    stream = io.BytesIO()
    Image.fromarray(bits).save(stream, "TIFF", compression=coding)
    whole = stream.getvalue()
    np.testing.assert_array_equal(read(whole).pixels[..., 0], bits * np.uint8(255))
    for share in (20.5 / 60, 40.5 / 60):  # inside a row
        at = int(len(whole) * share)
        with pytest.raises(ImageError) as caught:
            read(whole[:at] + bytes(40) + whole[at + 40 :])
        assert caught.value.code in {"image-truncated", "image-damaged"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_deflated_strip_whose_checksum_is_wrong_is_refused(dtype: type) -> None:
    """libtiff stops at the last row and does not compare it."""
    pixels = np.random.default_rng(0).integers(0, 200, (16, 30)).astype(dtype)
    data = tiff(pixels, coding=8)
    strip = zlib.compress(pixels.tobytes())
    assert data.count(strip) == 1
    np.testing.assert_array_equal(read(data).pixels[..., 0], pixels)
    wrong = strip[:-4] + bytes(byte ^ 255 for byte in strip[-4:])
    with pytest.raises(ImageError) as caught:
        read(data.replace(strip, wrong))
    assert caught.value.code in {"image-truncated", "image-damaged", "image-undecodable"}


@pytest.mark.parametrize("closed", [False, True])
def test_jpeg_inside_a_tiff_that_ends_early_is_refused(closed: bool) -> None:
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64), np.uint8)).save(stream, "JPEG")
    coded = stream.getvalue()
    shape = {256: 64, 257: 64, 258: 8, 259: 7, 262: 1, 277: 1, 278: 64}
    assert read(assemble(shape, [coded], order="<", big=False, tiled=False)).pixels.shape == (64, 64, 3)
    cut = coded[: len(coded) // 2].rstrip(b"\xff") + b"\xff\xd9" * closed
    with refused("image-truncated", ImageError):
        read(assemble(shape, [cut], order="<", big=False, tiled=False))


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        ("Fax4Decode: Bad code word at line 116 of strip 0 (x 254).", True),
        ("Fax3Decode1D: Bad code word at line 25 of strip 0 (x 124).", True),
        ("Fax4Decode: Uncompressed data (not supported) at line 3 of strip 0 (x 2).", True),
        ("tempfile.tif: Using code not yet in table.", True),
        ("tempfile.tif: WEBP compression support is not configured.", False),
        ("More samples per pixel than can be decoded: 303169682", False),
    ],
)
def test_lines_of_libtiff_that_mean_damage_are_known(line: str, damaged: bool) -> None:
    assert tiff_pixels.damage_said(["something else", line]) == (line if damaged else None)


def test_names_of_personal_fields_of_deep_gray_are_given_out() -> None:
    data = tiff(values("f8"), tags={270: b"CANARY\0", 315: b"CANARY^NAME\0"})
    assert probe(data).personal == ("ImageDescription", "Artist")


def test_what_a_deflated_strip_holds_behind_the_picture_is_not_unpacked() -> None:
    """A strip of a few kilobytes may unpack to hours of zeros; only what is unpacked is judged."""
    strip = zlib.compress(bytes(150_000_000), 9)
    wrong = strip[:-1] + bytes([strip[-1] ^ 1])
    assert not tiff_pixels._are_sound([wrong], 10**9)
    assert tiff_pixels._are_sound([wrong], 10**7)
