"""Coded frames of DICOM files: each is what the header says and whole, or refused before a decoder sees it."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dicom_cases import bundled, coded_dicom, dataset, lossless_jpeg, segment, stored, written
from pictures import photograph
from PIL import Image
from pydicom.encaps import encapsulate, get_frame
from refusals import refused

from zoo.errors import ImageError
from zoo.readers import _dicom_compressed as dicom_compressed
from zoo.readers import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

BASELINE, EXTENDED, LOSSLESS, FIRST_ORDER = (f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 57, 70))
LS, JPEG2000, RLE = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
FRAMES = {
    "JPEG": "SC_rgb_jpeg_dcmtk.dcm",
    "JPEG lossless": "SC_rgb_jpeg_gdcm.dcm",
    "JPEG-LS": "MR_small_jpeg_ls_lossless.dcm",
    "JPEG 2000": "MR_small_jp2klossless.dcm",
    "RLE": "MR_small_RLE.dcm",
}
EOI = b"\xff\xd9"


def noise(*shape: int, bits: int) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, 1 << bits, shape, np.uint16)


def lossless(
    pixels: NDArray[Any], bits: int, header: tuple[int, int] | None = None, *, signed: int = 0, **options: Any
) -> bytes:
    stream = lossless_jpeg(pixels, bits, **options)
    return in_file(stream, pixels, header or (8 if bits <= 8 else 16, bits), signed=signed)


def in_file(stream: bytes, pixels: NDArray[Any], header: tuple[int, int], **options: Any) -> bytes:
    photometric = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    size = pixels.shape[1], pixels.shape[0]
    return coded_dicom(stream, size, photometric, syntax=LOSSLESS, bits=header, **options)


def frame_of(name: str) -> bytes:
    frame = get_frame(dataset(name).PixelData, 0, number_of_frames=1)
    return frame if "RLE" in name else frame[: frame.rindex(EOI) + 2]


def with_frame(name: str, frame: bytes) -> bytes:
    content = dataset(name)
    content.PixelData = encapsulate([frame])
    content["PixelData"].VR = "OB"
    return written(content)


@contextlib.contextmanager
def refused_for_one_of(*codes: str) -> Iterator[None]:
    with pytest.raises(ImageError) as caught:
        yield
    assert caught.value.code in codes, caught.value


def jpeg(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("restart", [0, 4])
def test_lossless_jpeg_of_every_predictor_is_read(predictor: int, restart: int) -> None:
    pixels = noise(11, 7, bits=16)
    found = read(lossless(pixels, 16, predictor=predictor, restart=restart)).pixels
    np.testing.assert_array_equal(found[:, :, 0], pixels)


@pytest.mark.parametrize("bits", [2, 7, 8, 9, 12, 13, 15])
def test_lossless_jpeg_of_few_bits_is_read(bits: int) -> None:
    """The decoder ended the process on 2 to 7 bits."""
    pixels = noise(5, 6, bits=bits)
    np.testing.assert_array_equal(read(lossless(pixels, bits)).pixels[:, :, 0], pixels)


def test_lossless_colour_is_read_from_one_scan_or_three() -> None:
    pixels = noise(9, 8, 3, bits=8).astype(np.uint8)
    for planes in (False, True):
        np.testing.assert_array_equal(read(lossless(pixels, 8, planes=planes)).pixels, pixels)


def test_a_stream_of_more_bits_than_the_header_stores_keeps_the_stored_ones() -> None:
    pixels = noise(9, 8, bits=16)
    found = read(lossless(pixels, 16, (16, 12), signed=1)).pixels[:, :, 0]
    np.testing.assert_array_equal(found, (pixels.astype(int) + 2048) % 4096 - 2048)


def test_eight_bits_that_the_header_keeps_in_sixteen_are_read() -> None:
    pixels = noise(16, 16, bits=8).astype(np.uint8)
    np.testing.assert_array_equal(read(lossless(pixels, 8, (16, 8))).pixels[:, :, 0], pixels)
    baseline = jpeg(Image.fromarray(pixels), quality=100)
    narrow, wide = (read(coded_dicom(baseline, (16, 16), bits=(allocated, 8))).pixels for allocated in (8, 16))
    np.testing.assert_array_equal(wide, narrow)


@pytest.mark.parametrize(
    ("bits", "options"),
    [(16, {}), (8, {}), (12, {"predictor": 4}), (12, {"restart": 3}), (16, {"shift": 2}), (8, {"planes": True})],
)
def test_a_lossless_frame_that_is_cut_and_closed_is_refused_at_every_length(bits: int, options: dict[str, Any]) -> None:
    """The decoder goes on with zeros: nine tenths of such a picture would be made up."""
    pixels = noise(8, 7, 3, bits=bits) if options.get("planes") else noise(8, 7, bits=bits)
    pixels[5:] = 0  # a black border, whose samples look as if the data had ended
    whole = lossless_jpeg(pixels, bits, **options)
    header = (8 if bits <= 8 else 16, bits)
    begin = whole.index(b"\xff\xda") + 14
    assert read(in_file(whole, pixels, header)).pixels.size
    for cut in range(begin + 1, len(whole) - 2):
        with refused_for_one_of("image-truncated", "image-undecodable", "image-damaged"):
            read(in_file(whole[:cut].rstrip(b"\xff") + EOI, pixels, header))


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_baseline_frame_that_is_cut_and_closed_is_refused(mode: str, subsampling: int, progressive: bool) -> None:
    image = Image.fromarray(photograph("china")).convert(mode).resize((64, 48))
    whole = jpeg(image, quality=90, subsampling=subsampling, progressive=progressive)
    photometric = "MONOCHROME2" if mode == "L" else "YBR_FULL"
    assert read(coded_dicom(whole, image.size, photometric)).pixels.size
    for share in (0.4, 0.6, 0.9):
        cut = whole[: int(len(whole) * share)].rstrip(b"\xff") + EOI
        with refused("image-truncated", ImageError, frame=1):
            read(coded_dicom(cut, image.size, photometric))


@pytest.mark.parametrize("name", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize(
    "tail",
    [b"\xff\xff", b"\x20\x20", b"\n\n", b"\0\0\0\0", b"\r\n", b"\0\1"],
    ids=["FF", "20", "0A", "0", "CRLF", "01"],
)
def test_a_frame_followed_by_fill_bytes_is_read(name: str, tail: bytes) -> None:
    np.testing.assert_array_equal(read(with_frame(name, frame_of(name) + tail)).pixels, read(bundled(name)).pixels)


@pytest.mark.parametrize("name", [FRAMES["JPEG"], FRAMES["JPEG lossless"], FRAMES["JPEG-LS"]])
@pytest.mark.parametrize("before", [b"\0", b"\0\0\0", b"\xff"])
def test_zeros_before_the_end_marker_are_passed_over(name: str, before: bytes) -> None:
    """As in the JPEG-LS sample of DICOM's working group 4."""
    frame = frame_of(name)[:-2] + before + EOI
    np.testing.assert_array_equal(read(with_frame(name, frame)).pixels, read(bundled(name)).pixels)


def _at(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Other bytes behind the marker SOF3."""
    return lambda data: data[: (at := data.index(b"\xff\xc3") + offset)] + value + data[at + len(value) :]


def _scan(offset: int, value: int) -> Callable[[bytes], bytes]:
    """Another byte behind the marker SOS."""
    return lambda data: data[: (at := data.index(b"\xff\xda") + offset)] + bytes([value]) + data[at + 1 :]


def _table(offset: int, value: int) -> Callable[[bytes], bytes]:
    """Another byte behind the marker DHT."""
    return lambda data: data[: (at := data.index(b"\xff\xc4") + offset)] + bytes([value]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_at(4, b"\xb8"), "image-header-differs"),
        (_at(4, b"\x11"), "image-header-differs"),
        (_at(4, b"\x01"), "image-header-differs"),
        (_at(4, b"\x07"), "image-header-differs"),
        (_at(4, b"\x09"), "image-header-differs"),
        (_at(5, b"\xff\xff"), "image-size-differs"),
        (_at(7, b"\0\0"), "image-size-differs"),
        (_at(9, b"\1"), "image-damaged"),
        (_at(9, b"\4"), "image-damaged"),
        (_at(10, b"\3"), "image-damaged"),
        (_at(11, b"\x22"), "image-damaged"),
        (_at(11, b"\x01"), "image-damaged"),
        (_at(14, b"\xff"), "image-damaged"),
        (_at(1, b"\xc0"), "image-header-differs"),
        (_at(1, b"\xc1"), "image-header-differs"),
        (_at(1, b"\xcb"), "image-header-differs"),
        (_at(1, b"\xf7"), "image-header-differs"),
        (_at(1, b"\xe0"), "image-damaged"),
        (_scan(4, 2), "image-damaged"),
        (_scan(4, 0), "image-damaged"),
        (_scan(5, 9), "image-damaged"),
        (_scan(6, 0x20), "image-damaged"),
        (_scan(11, 0), "image-damaged"),
        (_scan(11, 8), "image-damaged"),
        (_scan(12, 63), "image-damaged"),
        (_scan(13, 8), "image-damaged"),
        (_table(4, 0x10), "image-damaged"),
        (_table(4, 0x04), "image-damaged"),
        (_table(5, 3), "image-damaged"),
        (_table(9, 200), "image-damaged"),
        (_table(25, 17), "image-damaged"),
        (lambda data: data.replace(b"\xff\xda", segment(0xDD, b"\0\3") + b"\xff\xda"), "image-damaged"),
        (lambda data: data.replace(b"\xff\xda", b"ab\xff\xda"), "image-damaged"),
        (lambda data: data[2:], "image-damaged"),
        (lambda data: data[: data.index(b"\xff\xda")] + EOI, "image-damaged"),
    ],
)
def test_no_decoder_sees_a_frame_whose_header_cannot_be_or_is_not_the_files(
    change: Callable[[bytes], bytes], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder of lossless JPEG ends the process on most of these."""
    pixels = noise(6, 5, 3, bits=8).astype(np.uint8)
    whole = lossless_jpeg(pixels, 8)

    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(dicom_compressed, "run_decoder", decoded)
    with refused(code, ImageError):
        read(in_file(change(whole), pixels, (8, 8)))


def test_only_the_segments_that_bear_on_the_pixels_reach_the_decoder() -> None:
    """It ends the process on some values in the notes of programs."""
    pixels = noise(6, 5, 3, bits=8).astype(np.uint8)
    whole = lossless_jpeg(pixels, 8)
    noted = whole[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x81") + segment(0xFE, b"by hand") + whole[2:]
    assert read(in_file(noted, pixels, (8, 8))).pixels.shape == (6, 5, 3)


@pytest.mark.parametrize(
    ("elements", "coded", "header"),
    [
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "16 bits a sample", "8 stored in 8"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0,
          "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "1 components", "3 for each pixel"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("family", ["JPEG-LS", "JPEG 2000"])
def test_a_frame_of_other_samples_than_the_header_is_refused(
    family: str, elements: dict[str, Any], coded: str, header: str
) -> None:
    content = dataset(FRAMES[family])
    for keyword, value in elements.items():
        setattr(content, keyword, value)
    with refused("image-header-differs", ImageError, coded=coded, header=header, frame=1):
        read(written(content))


@pytest.mark.parametrize(
    ("offset", "value", "code"),
    [
        (8, struct.pack(">I", 65), "image-size-differs"),
        (24, struct.pack(">II", 0, 0), "image-damaged"),  # tiles of no size
        (24, struct.pack(">II", 1, 1), "image-truncated"),  # 4096 tiles, one is there
        (32, struct.pack(">II", 70, 70), "image-damaged"),  # the first tile begins behind the picture
        (40, struct.pack(">H", 2), "image-damaged"),
        (42, b"\x1f", "image-header-differs"),  # 32 bits
        (43, b"\2", "image-header-differs"),
        (43, b"\0", "image-damaged"),
    ],
)
def test_a_jpeg_2000_header_that_cannot_be_or_is_not_the_files_is_refused(offset: int, value: bytes, code: str) -> None:
    frame = bytearray(frame_of(FRAMES["JPEG 2000"]))
    frame[offset : offset + len(value)] = value
    with refused(code, ImageError):
        read(with_frame(FRAMES["JPEG 2000"], bytes(frame)))


def test_a_jpeg_2000_tile_that_lacks_one_of_its_parts_is_refused() -> None:
    whole = frame_of(FRAMES["JPEG 2000"])
    announced = whole.index(b"\xff\x90") + 11  # TNsot: how many parts the tile has
    two = whole[:announced] + b"\2" + whole[announced + 1 :]
    with refused("image-truncated", ImageError, frame=1):
        read(with_frame(FRAMES["JPEG 2000"], two))


@pytest.mark.parametrize("family", ["JPEG-LS", "JPEG 2000"])
def test_frames_of_other_families_that_are_cut_and_closed_are_refused(family: str) -> None:
    whole = frame_of(FRAMES[family])
    for share in (0.1, 0.5, 0.9, 0.99):
        with refused_for_one_of("image-truncated", "image-undecodable", "image-damaged"):
            read(with_frame(FRAMES[family], whole[: int(len(whole) * share)].rstrip(b"\xff") + EOI))


def rle(*segments: bytes, starts: list[int] | None = None, count: int | None = None) -> bytes:
    places = [64 + sum(map(len, segments[:number])) for number in range(len(segments))] if starts is None else starts
    return struct.pack(
        "<16I", len(segments) if count is None else count, *places, *[0] * (15 - len(places))
    ) + b"".join(segments)


def rle_file(frame: bytes, *, bits: int = 8, size: tuple[int, int] = (4, 4)) -> bytes:
    return coded_dicom(frame, size, syntax=RLE, bits=(bits, bits))


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (rle(b"\xf1\7"), ""),
        (rle(b"\xf2\7"), "image-truncated"),  # 15 of 16 pixels
        (rle(b"\x0f" + bytes(range(10))), "image-truncated"),
        (rle(b"\xf0\7"), "image-size-differs"),  # 17
        (rle(b"\xf1\7\xf1\7"), "image-size-differs"),
        (rle(b"\xf1\7", b"\xf1\7"), "image-header-differs"),
        (rle(b"\xf1\7", count=0), "image-header-differs"),
        (rle(b"\xf1\7", count=16), "image-header-differs"),
        (rle(b"\xf1\7", starts=[8]), "image-damaged"),
        (rle(b"\xf1\7", starts=[90]), "image-truncated"),
        (b"\1\0\0\0\x40\0", "image-truncated"),
    ],
)
def test_rle_unpacks_to_the_pixels_of_the_header_or_is_refused(frame: bytes, code: str) -> None:
    if not code:
        assert (read(rle_file(frame)).pixels == 7).all()
        return
    with refused(code, ImageError):
        read(rle_file(frame))


def test_rle_segments_that_do_not_follow_each_other_are_refused() -> None:
    with refused("image-damaged", ImageError):
        read(rle_file(rle(b"\xf1\7", b"\xf1\7", starts=[66, 64]), bits=16))


@pytest.mark.parametrize("cut", [1, 9, 10, 100])
def test_a_file_that_ends_inside_its_compressed_pixels_is_refused(cut: int) -> None:
    """The last fragment claims more bytes than there are: a decoder of RLE fills what is missing with zeros."""
    data = bundled("SC_rgb_rle.dcm").read_bytes()
    end = data.rindex(b"\xfe\xff\xdd\xe0")
    with refused("image-truncated", ImageError):
        read(data[: end - cut])


def test_one_bit_rle_frames_are_unpacked() -> None:
    """A frame of 15 pixels fills no whole byte."""
    bits = np.random.default_rng(0).integers(0, 2, (2, 5, 3), np.uint8)
    content = dataset()
    content.file_meta.TransferSyntaxUID = RLE
    content.Rows, content.Columns, content.NumberOfFrames = 5, 3, 2
    content.BitsAllocated, content.BitsStored, content.HighBit, content.PixelRepresentation = 1, 1, 0, 0
    packed = [np.packbits(one.ravel(), bitorder="little").tobytes() for one in bits]
    content.PixelData = encapsulate([rle(bytes([len(one) - 1]) + one + b"\0") for one in packed])
    content["PixelData"].VR = "OB"
    for number in (1, 2):
        np.testing.assert_array_equal(read(written(content), frame=number).pixels[:, :, 0], bits[number - 1])


def test_twelve_bit_jpeg_is_named_whatever_its_syntax() -> None:
    frame = frame_of("JPEG-lossy.dcm")
    for syntax, bits in ((EXTENDED, (16, 12)), (BASELINE, (16, 12)), (BASELINE, (8, 8))):
        with refused("image-transfer-syntax", ImageError, bits=12) as caught:
            read(coded_dicom(frame, (256, 1024), syntax=syntax, bits=bits))
        assert "restore" not in caught.value.reason


def test_jpeg_ls_of_eight_bits_in_sixteen_is_read() -> None:
    pixels = np.ascontiguousarray(stored() & 255).astype(np.uint8)
    jpeg_ls = pytest.importorskip("jpeg_ls")
    stream = bytes(jpeg_ls.encode_array(pixels))
    found = read(coded_dicom(stream, (64, 64), syntax=LS, bits=(16, 8))).pixels
    np.testing.assert_array_equal(found[:, :, 0], pixels)
