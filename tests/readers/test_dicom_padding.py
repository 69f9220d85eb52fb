"""Which values of a DICOM picture are padding: PixelPaddingValue and its range limit, as modality values."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from dicom_cases import bare, dataset, edited, element, lut, picture, stored, written
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from zoo.readers import probe, read

LOWEST = int(stored().min())
VALUE, LIMIT = 0x00280120, 0x00280121


def padded(value: int, limit: int | None = None, *, vr: str = "SS", **elements: Any) -> bytes:
    """MR_small with these values named as padding."""
    content = dataset()
    for keyword, given in elements.items():
        setattr(content, keyword, given)
    for tag, number in ((VALUE, value), (LIMIT, limit)):
        if number is not None:
            content.add_new(tag, vr, number)
    return written(content)


def agreed(data: bytes) -> tuple[float, float] | None:
    """The padding, which header and picture must say alike."""
    image = read(data)
    assert probe(data).padding == image.padding
    return image.padding


def test_a_file_without_the_element_has_no_padding() -> None:
    assert agreed(edited()) is None
    assert not read(edited()).padded.any()


def test_padded_pixels_are_those_of_the_value() -> None:
    image = read(padded(LOWEST))
    assert image.padding == (LOWEST, LOWEST)
    np.testing.assert_array_equal(image.padded[:, :, 0], stored() == LOWEST)
    np.testing.assert_array_equal(image.pixels[:, :, 0], stored())


@pytest.mark.parametrize(("value", "limit"), [(LOWEST, 300), (300, LOWEST)])
def test_a_range_counts_with_both_ends_in_either_order(value: int, limit: int) -> None:
    image = read(padded(value, limit))
    assert image.padding == (LOWEST, 300)
    np.testing.assert_array_equal(image.padded[:, :, 0], stored() <= 300)


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (-1, 0), (0.1, 0.3)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_goes_the_way_of_pixels(slope: float, intercept: float, photometric: str) -> None:
    """Rescaled and mirrored to the last bit, else no padded pixel would equal it."""
    data = padded(LOWEST, 300, RescaleSlope=slope, RescaleIntercept=intercept, PhotometricInterpretation=photometric)
    assert agreed(data) is not None
    np.testing.assert_array_equal(read(data).padded[:, :, 0], stored() <= 300)


def test_padding_goes_through_a_modality_lut() -> None:
    data = padded(2, 3, ModalityLUTSequence=lut(0, [9, 8, 3, 7, 5]))
    assert agreed(data) == (3, 7)


@pytest.mark.parametrize(("value", "vr"), [(-2000, "SS"), (63536, "US")])
@pytest.mark.parametrize(("representation", "expected"), [(1, -2000), (0, 63536)])
def test_the_sign_is_that_of_the_pixels(value: int, vr: str, representation: int, expected: int) -> None:
    """Writers take the wrong one of US and SS, and the bits are the same."""
    data = padded(value, vr=vr, PixelRepresentation=representation, BitsStored=16, HighBit=15)
    assert agreed(data) == (expected, expected)


def test_a_value_that_no_pixel_can_hold_is_no_padding() -> None:
    """The unused bits of a pixel are masked, so the same bits of padding would name a value that was imaged."""
    elements = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11}
    assert agreed(padded(63536, vr="US", **elements)) is None
    assert agreed(padded(4000, 63536, vr="US", **elements)) == (4000, 4095)


def test_padding_of_compressed_pixels_is_named_too() -> None:
    content = dataset()
    content.add_new(VALUE, "SS", LOWEST)
    content.compress(RLELossless, generate_instance_uid=False)
    assert agreed(written(content)) == (LOWEST, LOWEST)


def test_each_frame_has_its_own_rescale() -> None:
    """The header says that of the first."""
    groups = []
    for slope in (2, 3):
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept = slope, 0
        groups.append(Dataset())
        groups[-1].PixelValueTransformationSequence = Sequence([values])
    elements = {"PerFrameFunctionalGroupsSequence": Sequence(groups), "NumberOfFrames": 2}
    data = padded(7, PixelData=np.stack([stored(), stored()]).tobytes(), **elements)
    assert probe(data).padding == read(data, frame=1).padding == (14, 14)
    assert read(data, frame=2).padding == (21, 21)


def test_a_limit_alone_says_nothing() -> None:
    content = dataset()
    content.add_new(LIMIT, "SS", 5)
    assert agreed(written(content)) is None


@pytest.mark.parametrize("vr", ["US", "SS", "OW", "UN"])
def test_an_odd_vr_is_read_as_the_number_it_holds(vr: str) -> None:
    pixels = np.full((4, 4), 63536, "<u2")
    head = picture() + element(0x28, 0x120, vr, struct.pack("<H", 63536))
    data = bare("1.2.840.10008.1.2.1", head + element(0x7FE0, 0x10, "OW", pixels.tobytes()))
    assert agreed(data) == (63536, 63536)
    assert read(data).padded.all()


def test_implicit_vr_is_read_alike() -> None:
    fields = {0x02: 1, 0x10: 2, 0x11: 2, 0x100: 16, 0x101: 16, 0x102: 15, 0x103: 1, 0x120: 63536}
    values = {number: struct.pack("<H", value) for number, value in fields.items()} | {0x04: b"MONOCHROME2 "}
    head = b"".join(struct.pack("<HHI", 0x28, n, len(values[n])) + values[n] for n in sorted(values))
    pixels = struct.pack("<HHI", 0x7FE0, 0x10, 8) + np.int16([-2000, 0, 1, -2000]).tobytes()
    data = bare("1.2.840.10008.1.2", head + pixels)
    assert agreed(data) == (-2000, -2000)
    assert read(data).padded[:, :, 0].tolist() == [[True, False], [False, True]]


def test_float_pixels_have_float_padding() -> None:
    pixels = np.float32([[-1e6, 0.1], [0.2, 0.3]])
    numbers = {0x02: 1, 0x10: 2, 0x11: 2, 0x100: 32}
    fields = {number: element(0x28, number, "US", struct.pack("<H", value)) for number, value in numbers.items()}
    fields[0x04] = element(0x28, 0x04, "CS", b"MONOCHROME2 ")
    fields[0x122] = element(0x28, 0x122, "FL", struct.pack("<f", -1e6))
    head = b"".join(fields[number] for number in sorted(fields))
    data = bare("1.2.840.10008.1.2.1", head + struct.pack("<HH2sHI", 0x7FE0, 8, b"OF", 0, 16) + pixels.tobytes())
    assert agreed(data) == (-1e6, -1e6)
    assert read(data).padded[:, :, 0].tolist() == [[True, False], [False, False]]


def test_through_the_files_own_window_nothing_is_padding() -> None:
    """Values in [0, 1] have no range to compute; the window shows padding as it shows any value."""
    image = read(padded(LOWEST, WindowCenter=600, WindowWidth=1600), voi=True)
    assert image.padding is None
