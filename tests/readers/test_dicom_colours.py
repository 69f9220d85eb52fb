"""The colours of DICOM pictures: what a coded stream says of them, and what palettes hold."""

from __future__ import annotations

import io
import logging
import struct
from typing import Any

import numpy as np
import pytest
from dicom_cases import bundled, coded_dicom, dataset, edited, lossless_jpeg, segment, written
from PIL import Image
from refusals import refused

from zoo.errors import ImageError
from zoo.readers import probe, read


def red(**options: Any) -> bytes:
    """A red JPEG without the note of who wrote it: YCbCr, or with `keep_rgb` components named R, G and B."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (254, 0, 0)).save(stream, "JPEG", quality=95, **options)
    data = stream.getvalue()
    for marker in (b"\xff\xe0", b"\xff\xee"):
        if (at := data.find(marker)) >= 0:
            data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    return data


def noted(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + segment(marker, body) + data[2:]


def renamed(data: bytes, names: bytes) -> bytes:
    """Other identities of the three components."""
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    changed = bytearray(data)
    for place, name in enumerate(names):
        changed[frame + 10 + 3 * place] = changed[scan + 5 + 2 * place] = name
    return bytes(changed)


JFIF, ADOBE_RGB, ADOBE_YCC = b"JFIF\0\1\1\0\0\1\0\1\0\0", b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\1"
YCC, HALVED, RGB = red(subsampling=0), red(subsampling=2), red(keep_rgb=True)


@pytest.mark.parametrize(
    ("stream", "label"),
    [
        (noted(YCC, 0xE0, JFIF), "RGB"),
        (noted(YCC, 0xE0, JFIF), "YBR_FULL"),
        (noted(YCC, 0xEE, ADOBE_YCC), "RGB"),
        (noted(YCC, 0xEE, ADOBE_YCC), "YBR_FULL_422"),
        (noted(renamed(YCC, b"RGB"), 0xEE, ADOBE_YCC), "RGB"),
        (noted(RGB, 0xEE, ADOBE_RGB), "RGB"),
        (noted(RGB, 0xEE, ADOBE_RGB), "YBR_FULL_422"),
        (noted(renamed(RGB, b"\1\2\3"), 0xEE, ADOBE_RGB), "YBR_FULL"),
        (RGB, "RGB"),
        (RGB, "YBR_FULL"),
        (renamed(RGB, b"rgb"), "YBR_FULL"),
        (HALVED, "RGB"),
        (HALVED, "YBR_FULL_422"),
        (renamed(HALVED, b"\0\1\2"), "RGB"),
        # nothing in the stream says it: the label does
        (YCC, "YBR_FULL"),
        (renamed(RGB, b"\1\2\3"), "RGB"),
        (renamed(RGB, b"\0\1\2"), "RGB"),
    ],
)
def test_the_colours_of_a_jpeg_are_what_its_stream_says_and_else_what_the_label_says(stream: bytes, label: str) -> None:
    """Red became blue where a label was believed against the stream."""
    pixels = read(coded_dicom(stream, (16, 16), label)).pixels.astype(int)
    assert np.abs(pixels - [254, 0, 0]).max() <= 1


def test_the_label_decides_where_the_stream_says_nothing() -> None:
    pixels = read(coded_dicom(YCC, (16, 16), "RGB")).pixels.astype(int)
    assert np.abs(pixels - [76, 85, 255]).max() <= 1


def test_lossless_components_named_rgb_are_not_converted() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    stream = lossless_jpeg(pixels, 8, identities=b"RGB")
    found = read(coded_dicom(stream, (8, 9), "YBR_FULL", syntax="1.2.840.10008.1.2.4.70")).pixels
    np.testing.assert_array_equal(found, pixels)


INDICES = np.arange(256, dtype=np.uint8).reshape(16, 16)
RAMP = np.arange(256)


def palette_dicom(tables: list[bytes], bits: int, count: int = 256, kind: str = "Segmented") -> bytes:
    content = dataset()
    content.Rows = content.Columns = 16
    content.BitsAllocated = content.BitsStored = 8
    content.HighBit, content.PixelRepresentation, content.PhotometricInterpretation = 7, 0, "PALETTE COLOR"
    content.PixelData = INDICES.tobytes()
    content["PixelData"].VR = "OB"
    for colour, entries in zip(("Red", "Green", "Blue"), tables, strict=True):
        number = 0x1101 + ("Red", "Green", "Blue").index(colour)
        content.add_new((0x28, number), "US", [count, 0, bits])
        setattr(content, f"{kind}{colour}PaletteColorLookupTableData", entries)
    return written(content)


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def colours_of(data: bytes) -> Any:
    return read(data).pixels.reshape(256, 3)


def test_a_palette_in_segments_is_read() -> None:
    """PS3.3 C.7.9.2: a value, then straight lines to others."""
    up, down, none = words(0, 1, 0, 1, 255, 65280), words(0, 1, 65280, 1, 255, 0), words(0, 1, 0, 1, 255, 0)
    found = colours_of(palette_dicom([up, down, none], 16))
    np.testing.assert_array_equal(found, np.stack([RAMP, 255 - RAMP, 0 * RAMP], axis=1))


def test_segments_may_be_used_again() -> None:
    """An indirect segment: the two that begin at byte 0, up to an offset of 32 bits."""
    teeth = words(0, 2, 0, 257, 1, 126, 127 * 257, 2, 2, 0, 0)
    found = colours_of(palette_dicom([teeth] * 3, 16))
    np.testing.assert_array_equal(found[:, 0], np.concatenate([RAMP[:128], RAMP[:128]]))


def test_a_palette_in_segments_of_bytes_is_read() -> None:
    table = bytes([0, 2, 0, 1, 1, 126, 127, 2, 2, 0, 0, 0, 0, 0])
    found = colours_of(palette_dicom([table] * 3, 8))
    np.testing.assert_array_equal(found[:, 2], np.concatenate([RAMP[:128], RAMP[:128]]))


@pytest.mark.parametrize(
    "table",
    [
        words(1, 255, 65280),  # a line from nowhere
        words(0, 1, 0, 1, 254, 65280),  # too few entries
        words(0, 1, 0, 1, 256, 65280),  # too many
        words(0, 1, 0, 1, 0, 65280),
        words(0, 1, 0, 3, 255, 65280),
        words(0, 1, 0, 2, 255, 2, 0),  # points at itself
        words(0, 1, 0, 2, 65535, 0, 0),
        words(0, 200, 1, 2),
        words(0, 0) * 500,
    ],
)
def test_segments_that_cannot_be_are_refused(table: bytes) -> None:
    with refused("image-element", ImageError):
        read(palette_dicom([table] * 3, 16))


def test_a_segmented_palette_of_real_sixteen_bit_colours_is_named() -> None:
    fine = words(0, 1, 0, 1, 255, 1000)
    with refused("image-bit-depth", ImageError, bits=16) as caught:
        read(palette_dicom([fine] * 3, 16))
    assert "segmented" in caught.value.reason


def test_colours_in_the_low_byte_of_sixteen_are_read() -> None:
    """Old programs write 0 to 255 into entries of 16 bits, against the standard."""
    tables = [words(*RAMP), words(*RAMP[::-1]), words(*[0] * 256)]
    found = colours_of(palette_dicom(tables, 16, kind=""))
    np.testing.assert_array_equal(found, np.stack([RAMP, 255 - RAMP, 0 * RAMP], axis=1))


def test_a_missing_table_is_named() -> None:
    content = dataset("examples_palette.dcm")
    del content.GreenPaletteColorLookupTableData
    with refused("image-element", ImageError, element="GreenPaletteColorLookupTableData") as caught:
        read(written(content))
    assert "restore" not in caught.value.reason


def test_one_sample_without_a_colour_space_is_gray_and_said_once_a_file(caplog: pytest.LogCaptureFixture) -> None:
    data = edited(PhotometricInterpretation=None)
    assert probe(data).gray
    for _ in range(2):
        np.testing.assert_array_equal(read(data, name="bare.dcm").pixels, read(bundled("MR_small.dcm")).pixels)
    lines = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.args for record in lines] == [("bare.dcm",)]
    assert "MONOCHROME2" in lines[0].getMessage()


def test_three_samples_without_a_colour_space_are_refused_by_the_missing_element() -> None:
    data = edited("examples_rgb_color.dcm", PhotometricInterpretation=None)
    for action in (read, probe):
        with refused("image-element", ImageError, element="PhotometricInterpretation"):
            action(data)
