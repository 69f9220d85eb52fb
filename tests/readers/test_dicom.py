"""What a DICOM file becomes: the values of its pixels, by the order of the standard."""

from __future__ import annotations

import io
import logging
import math
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dicom_cases import bare, bundled, coded_dicom, dataset, edited, element, frames, lut, picture, stored, written
from hypothesis import given
from hypothesis import strategies as st
from pictures import photograph
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless
from refusals import refused

from zoo.errors import ImageError
from zoo.readers import is_image, probe, read
from zoo.readers._dicom_values import apply_window

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.readers import RawImage

MR = "MR_small.dcm"  # signed, 16 bits stored, window 600 / 1600
LOW, HIGH = -32768, 32767


def values(image: RawImage) -> NDArray[np.float32]:
    assert image.kind == "float32"
    assert image.pixels.dtype == np.float32
    assert image.pixels.shape[2] == 1
    return image.pixels[:, :, 0]


def flipped() -> bytes:
    """The stored values of MR_small, inverted."""
    return (LOW + HIGH - stored().astype(np.int32)).astype("<i2").tobytes()


@pytest.mark.parametrize(
    "name", ["", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_jpeg_ls_lossless", "_padded"]
)
def test_every_encoding_of_one_picture_gives_the_same_pixels(name: str) -> None:
    found = values(read(bundled(f"MR_small{name}.dcm")))
    np.testing.assert_array_equal(found, stored())


def test_ct_is_in_hounsfield_units() -> None:
    """CT_small says slope 1, intercept -1024; without them air would be 128 and not -896."""
    found = values(read(bundled("CT_small.dcm")))
    np.testing.assert_allclose(found, stored("CT_small.dcm") * 1.0 - 1024.0, rtol=0, atol=1e-6)
    sloped = values(read(edited("CT_small.dcm", RescaleSlope="0.25", RescaleIntercept="-3.5")))
    np.testing.assert_allclose(sloped, stored("CT_small.dcm") * 0.25 - 3.5, rtol=1e-6)


def test_monochrome1_twin_is_the_same_picture() -> None:
    rescale = {"RescaleSlope": "1.7", "RescaleIntercept": "-0.3"}
    plain = edited(**rescale)
    twin = edited(PhotometricInterpretation="MONOCHROME1", PixelData=flipped(), **rescale)
    inverse = edited(PresentationLUTShape="INVERSE", PixelData=flipped(), **rescale)
    for one in (twin, inverse):
        np.testing.assert_array_equal(read(one).pixels, read(plain).pixels)


def test_monochrome1_and_inverse_together_invert_once() -> None:
    """Digital X-ray says both for one inversion."""
    both = edited(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", PixelData=flipped())
    np.testing.assert_array_equal(values(read(both)), stored())


def test_negative_slope_twin_is_the_same_picture() -> None:
    plain = edited(RescaleSlope="2", RescaleIntercept="5")
    twin = edited(RescaleSlope="-2", RescaleIntercept=str(5 + 2 * (LOW + HIGH)), PixelData=flipped())
    for voi in (False, True):
        np.testing.assert_array_equal(read(twin, voi=voi).pixels, read(plain, voi=voi).pixels)


def test_window_of_a_monochrome1_twin_shows_the_same_picture() -> None:
    """A window counts in the twin's own values, and the inversion comes after it."""
    plain = read(edited(WindowCenter="700", WindowWidth="900"), voi=True).pixels
    centre = str(LOW + HIGH - 700 + 1)  # LINEAR is symmetric around center - 0.5
    twin = edited(PhotometricInterpretation="MONOCHROME1", PixelData=flipped(), WindowCenter=centre, WindowWidth="900")
    np.testing.assert_allclose(read(twin, voi=True).pixels, plain, atol=1e-6)
    assert 0 == plain.min() < plain.max() == 1


def test_a_jpeg_tagged_monochrome1_is_the_mirror_of_itself() -> None:
    """As X-rays of 8 bits are sent: the same stream, shown the other way round."""
    gray = Image.fromarray(photograph("china")).convert("L")
    stream = io.BytesIO()
    gray.save(stream, "JPEG", quality=90)
    plain, tagged = (read(coded_dicom(stream.getvalue(), gray.size, f"MONOCHROME{n}")).pixels for n in (2, 1))
    np.testing.assert_array_equal(tagged, 255 - plain)
    assert np.abs(plain[:, :, 0] - np.asarray(gray)).mean() < 5


def test_unsigned_pictures_are_mirrored_within_their_stored_bits() -> None:
    pixels = stored().astype(np.uint16)  # 127 to 2145
    image = edited(
        PixelRepresentation=0, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1",
        PixelData=pixels.tobytes(),
    )  # fmt: skip
    np.testing.assert_array_equal(values(read(image)), 4095.0 - pixels)


def test_window_is_the_linear_function_of_the_standard() -> None:
    """PS3.3 C.11.2.1.2.1, written out for each pixel."""
    center, width = 600.0, 1600.0
    expected = [
        0.0 if x <= center - 0.5 - (width - 1) / 2
        else 1.0 if x > center - 0.5 + (width - 1) / 2
        else (x - (center - 0.5)) / (width - 1) + 0.5
        for x in stored().ravel().tolist()
    ]  # fmt: skip
    found = values(read(edited(WindowCenter="600", WindowWidth="1600"), voi=True))
    np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=1e-6)


def test_of_several_windows_the_first_is_taken() -> None:
    several = edited(WindowCenter=["700", "100"], WindowWidth=["900", "50"])
    single = edited(WindowCenter="700", WindowWidth="900")
    np.testing.assert_array_equal(read(several, voi=True).pixels, read(single, voi=True).pixels)


def test_window_counts_in_modality_values_not_in_stored_ones() -> None:
    found = values(read(edited("CT_small.dcm", WindowCenter="40", WindowWidth="400"), voi=True))
    expected = np.clip((stored("CT_small.dcm") - 1024.0 - 39.5) / 399 + 0.5, 0, 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert 0.1 < found.mean() < 0.9


def scalar_window(x: float, center: float, width: float, function: str) -> float:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 as they are printed."""
    if function == "SIGMOID":
        exponent = -4 * (x - center) / width
        return 0.0 if exponent > 700 else 1 / (1 + math.exp(exponent))
    if function == "LINEAR_EXACT":
        low, high = center - width / 2, center + width / 2
        return 0.0 if x <= low else 1.0 if x > high else (x - center) / width + 0.5
    low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    return 0.0 if x <= low else 1.0 if x > high else (x - (center - 0.5)) / (width - 1) + 0.5


@given(
    x=st.integers(-40_000, 40_000),
    center=st.integers(-5000, 5000).map(lambda tenths: tenths / 10),
    width=st.integers(1, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_windows_agree_with_the_standard_value_by_value(x: int, center: float, width: int, function: str) -> None:
    found = apply_window(np.array([float(x)]), center, width, function)[0]
    assert found == pytest.approx(scalar_window(x, center, width, function), abs=1e-9)


def test_sigmoid_window_is_read_from_the_file() -> None:
    found = values(read(edited(WindowCenter="600", WindowWidth="300", VOILUTFunction="SIGMOID"), voi=True))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-4 * (stored() - 600.0) / 300)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("first", [-3, 0, 500])
def test_voi_lut_is_preferred_over_the_window(first: int) -> None:
    entries = [round(4095 * (i / 999) ** 2) for i in range(1000)]
    image = edited(VOILUTSequence=lut(first, entries, bits=12), WindowCenter="1", WindowWidth="2")
    expected = np.array(entries)[np.clip(stored().astype(int) - first, 0, 999)] / 4095
    np.testing.assert_allclose(values(read(image, voi=True)), expected, rtol=0, atol=1e-6)


def test_modality_lut_gives_the_values_and_is_mirrored_by_its_ends() -> None:
    entries = [7, 11, 13, 400, 401, 4000]
    kind = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11}
    plain = edited(ModalityLUTSequence=lut(800, entries, ModalityLUTType="US"), **kind)
    expected = np.array(entries)[np.clip(stored().astype(int) - 800, 0, 5)]
    np.testing.assert_array_equal(values(read(plain)), expected)
    inverted = edited(
        ModalityLUTSequence=lut(800, entries, ModalityLUTType="US"), PhotometricInterpretation="MONOCHROME1", **kind
    )
    np.testing.assert_array_equal(values(read(inverted)), 7 + 4000 - expected)


def test_values_above_the_stored_bits_are_gone() -> None:
    """Old files keep overlays in the unused bits; they would be read as huge pixels."""
    pixels = stored().astype(np.uint16)
    drawn = pixels | np.where(np.eye(64, dtype=bool), np.uint16(1 << 14), np.uint16(0))
    image = edited(PixelRepresentation=0, BitsStored=12, HighBit=11, PixelData=drawn.tobytes())
    np.testing.assert_array_equal(values(read(image)), pixels)


def test_padding_stays_as_stored() -> None:
    content = dataset()
    content.add_new(0x00280120, "SS", int(stored().min()))  # PixelPaddingValue
    np.testing.assert_array_equal(values(read(written(content))), stored())


def test_overlays_are_not_burned_in() -> None:
    path = bundled("examples_overlay.dcm")
    assert (0x6000, 0x0010) in dataset(path.name)
    found = values(read(path))
    data = path.read_bytes()
    start = data.rindex(b"\xe0\x7f\x10\0OW\0\0") + 12  # the first one is an icon's
    raw = np.frombuffer(data[start : start + found.size * 2], "<u2").reshape(found.shape)
    np.testing.assert_array_equal(found, raw & 4095)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_frame_is_read_when_it_is_named(compressed: bool) -> None:
    data = frames()
    if compressed:
        content = dataset_of(data)
        content.compress(RLELossless, generate_instance_uid=False)
        data = written(content)
    for number in (1, 2, 3):
        np.testing.assert_array_equal(values(read(data, frame=number)), np.roll(stored(), number - 1, axis=0))


def test_frames_of_an_enhanced_object_have_their_own_rescale_and_window() -> None:
    def group(intercept: int, center: int) -> Dataset:
        item, rescale, window = Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = "2", str(intercept)
        window.WindowCenter, window.WindowWidth = str(center), "1000"
        item.PixelValueTransformationSequence = Sequence([rescale])
        item.FrameVOILUTSequence = Sequence([window])
        return item

    per_frame = Sequence([group(-10, 900), Dataset(), group(-30, 1500)])
    data = frames(
        PerFrameFunctionalGroupsSequence=per_frame, SharedFunctionalGroupsSequence=Sequence([group(-20, 1200)])
    )
    for number, (intercept, center) in enumerate([(-10, 900), (-20, 1200), (-30, 1500)], 1):
        expected = np.roll(stored(), number - 1, axis=0) * 2.0 + intercept
        np.testing.assert_array_equal(values(read(data, frame=number)), expected)
        shown = np.clip((expected - (center - 0.5)) / 999 + 0.5, 0, 1)
        np.testing.assert_allclose(values(read(data, frame=number, voi=True)), shown, atol=1e-6)


def test_a_window_counts_for_the_frame_that_brings_it_and_for_no_other() -> None:
    """Judged by the first frame, a picture with a window would be refused, and one without called damaged."""
    window, of_second = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = "900", "1000"
    of_second.FrameVOILUTSequence = Sequence([window])
    content = dataset_of(frames(PerFrameFunctionalGroupsSequence=Sequence([Dataset(), of_second, Dataset()])))
    for keyword in ("WindowCenter", "WindowWidth"):
        if keyword in content:
            del content[keyword]
    data = written(content)
    shown = np.clip((np.roll(stored(), 1, axis=0) - 899.5) / 999 + 0.5, 0, 1)
    np.testing.assert_allclose(values(read(data, frame=2, voi=True)), shown, atol=1e-6)
    for number in (1, 3):
        with refused("image-window-missing", ImageError):
            read(data, frame=number, voi=True)


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_bigendian.dcm"])
def test_one_bit_frames_that_share_a_byte_are_taken_apart(name: str) -> None:
    """Big-endian files swap the bytes of each word of 16 bits (PS3.5 section 7.3)."""
    bits = np.random.default_rng(0).integers(0, 2, (3, 5, 3), np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little")
    data = edited(
        name, Rows=5, Columns=3, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0,
        PixelData=(packed.view(">u2").astype("<u2") if "big" in name else packed).tobytes(),
    )  # fmt: skip
    for number in (1, 2, 3):
        np.testing.assert_array_equal(values(read(data, frame=number)), bits[number - 1])


def test_float_pixels_are_read_as_stored() -> None:
    pixels = np.random.default_rng(0).normal(size=(4, 4)).astype("<f4")
    elements = picture(bits=32) + element(0x7FE0, 0x08, "OF", pixels.tobytes())
    elements = elements.replace(b"OF\x40\x00", b"OF\0\0\x40\0\0\0")
    np.testing.assert_array_equal(values(read(bare("1.2.840.10008.1.2.1", elements))), pixels)


def test_palette_becomes_its_colours() -> None:
    content = dataset("examples_palette.dcm")
    tables = [
        np.frombuffer(content[f"{c}PaletteColorLookupTableData"].value, "<u2") >> 8 for c in ("Red", "Green", "Blue")
    ]
    index = np.frombuffer(content.PixelData, np.uint8)[: 350 * 800].reshape(350, 800)
    image = read(bundled("examples_palette.dcm"))
    assert image.kind == "uint8"
    np.testing.assert_array_equal(image.pixels, np.stack([table[index] for table in tables], axis=2))


def test_ybr_becomes_rgb() -> None:
    """PS3.3 C.7.6.3.1.2, solved for R, G and B."""
    content = dataset("examples_rgb_color.dcm")
    rgb = np.frombuffer(content.PixelData, np.uint8).reshape(240, 320, 3).astype(float)
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    ybr = np.clip(np.rint(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)
    found = read(edited("examples_rgb_color.dcm", PhotometricInterpretation="YBR_FULL", PixelData=ybr.tobytes()))
    assert found.kind == "uint8"
    assert np.abs(found.pixels.astype(int) - rgb).max() <= 2
    plain = read(bundled("examples_rgb_color.dcm")).pixels
    np.testing.assert_array_equal(plain, rgb)
    planes = edited(
        "examples_rgb_color.dcm", PlanarConfiguration=1, PixelData=rgb.astype(np.uint8).transpose(2, 0, 1).tobytes()
    )
    np.testing.assert_array_equal(read(planes).pixels, rgb)


def test_colour_bytes_in_big_endian_words_stand_in_order() -> None:
    little, big = (read(bundled(f"SC_rgb_small_odd{end}.dcm")).pixels for end in ("", "_big_endian"))
    np.testing.assert_array_equal(big, little)


def test_compressed_pictures_of_devices_are_read(shared: Path) -> None:
    folder = shared / "data" / "dicom"
    ultrasound = read(folder / "US1_J2KI.dcm")
    assert (ultrasound.kind, ultrasound.pixels.shape) == ("uint8", (480, 640, 3))
    for name, shape in (("RG1_J2KI.dcm", (1955, 1841, 1)), ("JPGLosslessP14SV1_1s_1f_8b.dcm", (768, 1024, 1))):
        image = read(folder / name)
        assert image.pixels.shape == shape
        assert image.pixels.std() > 10


def test_deflated_file_is_its_inflated_twin() -> None:
    content = dataset()
    content.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    data = written(content)
    assert zlib.crc32(data) != zlib.crc32(bundled(MR).read_bytes())
    np.testing.assert_array_equal(values(read(data)), stored())
    assert probe(data).width == 64


def test_a_file_is_dicom_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "IM000001"
    path.write_bytes(bundled(MR).read_bytes())
    assert is_image(path)
    np.testing.assert_array_equal(values(read(path)), stored())
    renamed = path.rename(tmp_path / "scan.png")
    np.testing.assert_array_equal(values(read(renamed)), stored())


def test_probe_says_what_read_will_give_and_decodes_nothing() -> None:
    data = bundled(MR).read_bytes()
    header = probe(data[: data.index(b"\xe0\x7f\x10\0OW") + 12])
    assert (header.width, header.height, header.kind, header.gray) == (64, 64, "float32", True)
    assert (header.bits, header.frames, header.voi) == (16, 1, True)
    assert not probe(bundled("CT_small.dcm")).voi
    assert probe(edited("CT_small.dcm", VOILUTSequence=lut(0, [0, 1]))).voi
    colour = probe(bundled("examples_ybr_color.dcm"))
    assert (colour.kind, colour.gray, colour.frames, colour.voi) == ("uint8", False, 30, False)


@pytest.mark.parametrize(
    ("elements", "aspect"),
    [
        ({"PixelSpacing": [0.6, 0.3]}, 2),
        ({"PixelSpacing": [0.3, 0.6]}, 0.5),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.1]}, 2),
        ({"PixelSpacing": None, "PixelAspectRatio": [6, 5]}, 1.2),
        ({"PixelSpacing": None}, 1),
        ({"PixelSpacing": [0, 1]}, 1),
        ({"PixelSpacing": [0.5]}, 1),
        ({"PixelSpacing": [0.3, 0.3], "PixelAspectRatio": [6, 5]}, 1),
    ],
)
def test_probe_says_that_pixels_are_not_square(elements: dict[str, Any], aspect: float) -> None:
    data = edited(MR, **elements)
    assert probe(data).aspect == pytest.approx(aspect)
    np.testing.assert_array_equal(values(read(data)), stored())


def test_the_spacing_of_an_enhanced_object_lies_in_its_groups() -> None:
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = [0.6, 0.3]
    group.PixelMeasuresSequence = Sequence([measures])
    assert probe(edited(MR, PixelSpacing=None, SharedFunctionalGroupsSequence=Sequence([group]))).aspect == 2


def test_probe_knows_a_patient_without_saying_the_name() -> None:
    first, again, other, nobody = (probe(edited(PatientID=patient)).group for patient in ("4711", "4711 ", "4712", ""))
    assert first == again != other
    assert nobody is None
    assert first is not None
    assert len(first) == 64
    assert "4711" not in first


def test_probe_lists_what_is_personal_by_name() -> None:
    header = probe(edited(PatientName="Doe^Jane", PatientBirthDate="19610101", InstitutionName="  "))
    assert {"PatientName", "PatientBirthDate", "StudyDate"} <= set(header.personal)
    assert "InstitutionName" not in header.personal
    assert not any("Doe" in name for name in header.personal)


@pytest.mark.parametrize(
    ("source", "said", "listed"),
    [(MR, None, False), (MR, "YES", True), (MR, "NO", False),
     ("examples_ybr_color.dcm", None, True), ("examples_ybr_color.dcm", "NO", False)],
)  # fmt: skip
def test_burned_in_text_is_suspected_where_devices_write_it(source: str, said: str | None, listed: bool) -> None:
    content = dataset(source)
    if "BurnedInAnnotation" in content:
        del content.BurnedInAnnotation
    if said:
        content.BurnedInAnnotation = said
    assert ("BurnedInAnnotation" in probe(written(content)).personal) == listed


def test_threads_read_side_by_side_and_leave_warnings_and_logs_as_they_were() -> None:
    data = edited(WindowCenter="600.000000000000000001", WindowWidth="900")  # too long for DS: pydicom warns
    before = list(warnings.filters), logging.getLogger("pydicom").level
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: read(data, voi=True).pixels, range(24)))
    assert all((one == found[0]).all() for one in found)
    assert (list(warnings.filters), logging.getLogger("pydicom").level) == before


def test_pydicom_is_imported_for_dicom_files_only(tmp_path: Path) -> None:
    """It costs a device a third of a second and 30 MB."""
    from PIL import Image

    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    code = (
        "import sys, pathlib, zoo.edge, zoo.readers\n"
        "zoo.readers.read(sys.argv[1]); zoo.readers.is_image(pathlib.Path(sys.argv[2]))\n"
        "assert 'pydicom' not in sys.modules\n"
        "zoo.readers.read(sys.argv[2]); assert 'pydicom' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png"), str(bundled(MR))], check=True)


def dataset_of(data: bytes) -> Any:
    import pydicom

    return pydicom.dcmread(io.BytesIO(data))
