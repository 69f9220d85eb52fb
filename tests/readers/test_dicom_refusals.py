"""DICOM files that must not become pixels: each is refused in one line that says what it is and quotes nothing."""

from __future__ import annotations

import io
import logging
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dicom_cases import CANARY, bare, bundled, dataset, edited, element, frames, lut, picture, written
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless
from refusals import refused
from work import measured

from zoo.errors import ImageError
from zoo.readers import _boundary as boundary
from zoo.readers import _dicom_compressed as dicom_compressed
from zoo.readers import probe, read

if TYPE_CHECKING:
    from pathlib import Path

EXPLICIT, DEFLATED, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"


def refusal(data: bytes | Path, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read(data, name="scan.dcm", **options)
    assert caught.value.name == "scan.dcm"
    assert "\n" not in str(caught.value)
    return caught.value


def told(problem: ImageError) -> dict[str, Any]:
    return {"code": problem.code, **problem.fields}


def test_truncated_picture_is_refused_and_never_padded() -> None:
    """62 bytes are missing; filled with zeros they would be a dark stripe."""
    path = bundled("MR_truncated.dcm")
    assert told(refusal(path)) == {"code": "image-truncated", "there": 8130, "needed": 8192}
    assert probe(path).width == 64


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm"],
)
def test_truncated_compressed_picture_is_refused(name: str) -> None:
    data = bundled(name).read_bytes()
    assert refusal(data[: len(data) * 3 // 4]).code in {"image-undecodable", "image-truncated"}


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"])
def test_compressed_stream_cut_short_in_a_whole_file_is_refused(name: str) -> None:
    content = dataset(name)
    frame = get_frame(content.PixelData, 0, number_of_frames=1)
    content.PixelData = encapsulate([frame[: len(frame) * 2 // 3]])
    assert told(refusal(written(content))) == {"code": "image-truncated", "frame": 1}


def test_giant_picture_is_refused_before_anything_is_allocated() -> None:
    """65535 x 65535 RLE made pydicom ask for 8 GiB."""
    data = edited("MR_small_RLE.dcm", Rows=65535, Columns=65535)
    refusal(data)  # imports are paid for
    with measured() as work:
        assert told(refusal(data)) == {"code": "image-size", "width": 65535, "height": 65535, "most": 64_000_000}
    assert work.calls < 50_000
    assert work.peak < 2**20
    with refused("image-size", ImageError, width=65535, height=65535):
        probe(data)


@pytest.mark.parametrize(
    ("name", "at"), [("MR_small_jp2klossless.dcm", b"\xff\x4f\xff\x51"), ("SC_rgb_jpeg_dcmtk.dcm", b"\xff\xc0")]
)
def test_compressed_stream_that_claims_another_size_is_not_decoded(
    name: str, at: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small header before a stream of 65535 x 65535 would be a bomb."""
    data = bytearray(bundled(name).read_bytes())
    start = data.rindex(at)
    if at == b"\xff\xc0":
        data[start + 5 : start + 9] = b"\xff" * 4
    else:
        data[start + 8 : start + 16] = struct.pack(">II", 65535, 65535)

    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(dicom_compressed, "run_decoder", decoded)
    monkeypatch.setattr(Image, "open", decoded)
    assert refusal(bytes(data)).code == "image-size-differs"


def test_deflate_bomb_is_refused_while_it_grows() -> None:
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = picture(rows=8000, columns=8000, bits=8) + element(0x7FE0, 0x10, "OW", b"", 210_000_000)
    packed = compress.compress(head)
    packed += b"".join(compress.compress(bytes(10_000_000)) for _ in range(21)) + compress.flush()
    assert len(packed) < 300_000
    for action in (read, probe):
        with measured() as work, refused("image-bomb", ImageError):
            action(bare(DEFLATED, packed))
        assert work.peak < 160e6


def test_empty_picture_deflates_well_and_is_no_bomb() -> None:
    black = picture(rows=2000, columns=2000) + element(0x7FE0, 0x10, "OW", bytes(8_000_000))
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    assert not read(bare(DEFLATED, compress.compress(black) + compress.flush())).pixels.any()
    assert refusal(bare(DEFLATED, b"\xff" * 100)).code == "image-damaged"


def test_length_that_the_file_does_not_have_is_not_believed() -> None:
    lie = element(0x0028, 0x3006, "OW", b"\0\0", 0xFFFFFF00)
    with measured() as work:
        refusal(bare(EXPLICIT, lie))
    assert work.peak < 10e6


@pytest.mark.parametrize(
    ("name", "code", "fields"),
    [
        ("rtdose.dcm", "image-without-picture", {"found": "DICOM RT Dose"}),
        ("rtplan.dcm", "image-without-picture", {"found": "DICOM RT Plan"}),
        ("test-SR.dcm", "image-without-picture", {"found": "DICOM Comprehensive SR"}),
        ("waveform_ecg.dcm", "image-without-picture", {"found": "DICOM 12-lead ECG Waveform"}),
        ("meta_missing_tsyntax.dcm", "image-transfer-syntax", {}),
        ("dicomdirtests/DICOMDIR", "image-without-picture", {"found": "DICOMDIR"}),
        ("JPEG-lossy.dcm", "image-transfer-syntax", {"syntax": "JPEG Extended", "bits": 12}),
        ("SC_rgb_rle_16bit.dcm", "image-bit-depth", {"bits": 16}),
    ],
)
def test_what_is_no_readable_picture_is_refused_by_what_it_is(name: str, code: str, fields: dict[str, Any]) -> None:
    for action in (read, probe):
        with refused(code, ImageError, **fields):
            action(bundled(name))


@pytest.mark.parametrize(
    ("uid", "found"),
    [
        ("1.2.840.10008.5.1.4.1.1.104.1", "DICOM Encapsulated PDF"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "DICOM RT Structure Set"),
        ("1.2.3.4.5.6", "DICOM of no known kind"),
    ],
)
def test_object_without_pixels_is_named_by_its_class(uid: str, found: str) -> None:
    problem = refusal(edited(SOPClassUID=uid, PixelData=None))
    assert told(problem) == {"code": "image-without-picture", "found": found}
    assert "1.2.3.4" not in str(problem)


def test_number_of_frames_that_is_no_number_is_refused_without_quoting_it() -> None:
    data = bundled("MR_small.dcm").read_bytes()
    at = data.index(b"\x28\0\x10\0US")
    broken = data[:at] + element(0x28, 0x08, "IS", b"1A") + data[at:]
    problem = refusal(broken)
    assert told(problem) == {"code": "image-element", "element": "NumberOfFrames"}
    assert "1A" not in str(problem)
    assert refusal(bundled("badVR.dcm")).fields["found"] == "DICOM RT Dose"


def test_several_frames_need_a_choice() -> None:
    data = frames(3)
    assert told(refusal(data)) == {"code": "image-frames", "frames": 3}
    assert "--frame N" in str(refusal(data))
    for wrong in (0, 4, -1):
        assert told(refusal(data, frame=wrong)) == {"code": "image-frame-unknown", "frame": wrong, "frames": 3}
    assert refusal(edited(), frame=2).fields == {"frame": 2, "frames": 1}


@pytest.mark.parametrize(
    ("elements", "code", "fields"),
    [
        ({"Rows": 0}, "image-size", {"width": 64, "height": 0}),
        ({"Rows": None}, "image-element", {"element": "Rows"}),
        ({"SamplesPerPixel": 2}, "image-colours", {"samples": 2}),
        ({"PhotometricInterpretation": "ARGB"}, "image-colours", {"samples": 1}),
        ({"BitsStored": 17}, "image-bit-depth", {"bits": 17, "allocated": 16}),
        ({"BitsAllocated": 12, "BitsStored": 12}, "image-bit-depth", {"bits": 12, "allocated": 12}),
        ({"BitsStored": 12, "HighBit": 15}, "image-bit-depth", {"bits": 12, "high": 15}),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "image-bit-depth", {"bits": 32, "most": 24}),
        ({"RescaleSlope": "0", "RescaleIntercept": "1"}, "image-element", {"element": "RescaleSlope"}),
        ({"RescaleSlope": "1e400", "RescaleIntercept": "1"}, "image-element", {"element": "RescaleSlope"}),
        ({"ModalityLUTSequence": lut(0, [])}, "image-element", {"element": "LUTData"}),
        ({"NumberOfFrames": 0}, "image-frames", {"frames": 0}),
        ({"NumberOfFrames": 5}, "image-frames", {"frames": 5}),
    ],
)
def test_odd_header_is_one_line(elements: dict[str, Any], code: str, fields: dict[str, Any]) -> None:
    assert told(refusal(edited(**elements))) == {"code": code, **fields}


@pytest.mark.parametrize(
    ("elements", "code", "said"),
    [
        ({"WindowCenter": None}, "image-window-missing", ""),
        ({"WindowWidth": "0"}, "image-window", "width"),
        ({"WindowWidth": "-5", "VOILUTFunction": "SIGMOID"}, "image-window", "width"),
        ({"VOILUTFunction": "CUBIC"}, "image-window", "LINEAR"),
    ],
)
def test_window_that_can_not_be_applied_is_refused_and_the_picture_is_not(
    elements: dict[str, Any], code: str, said: str
) -> None:
    data = edited(**elements)
    assert (problem := refusal(data, voi=True)).code == code
    assert said in problem.reason
    assert read(data).kind == "float32"


def test_colour_has_no_window() -> None:
    assert refusal(bundled("examples_rgb_color.dcm"), voi=True).code == "image-window-missing"


def test_palette_of_real_sixteen_bit_colours_is_refused() -> None:
    content = dataset("examples_palette.dcm")
    content.RedPaletteColorLookupTableData = np.arange(256, dtype="<u2").tobytes()
    assert told(refusal(written(content))) == {"code": "image-bit-depth", "bits": 16}
    del content.RedPaletteColorLookupTableData
    assert refusal(written(content)).fields == {"element": "RedPaletteColorLookupTableData"}


def test_video_is_named() -> None:
    content = dataset("MR_small_RLE.dcm")
    content.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    assert told(refusal(written(content))) == {
        "code": "image-transfer-syntax",
        "syntax": "the transfer syntax MPEG-4 AVC/H.264 High Profile / Level 4.1",
    }


def test_missing_pydicom_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = edited()
    for module in [name for name in sys.modules if name.split(".")[0] == "pydicom"]:
        monkeypatch.setitem(sys.modules, module, None)
    assert told(refusal(data)) == {"code": "package-missing", "package": "pydicom", "extra": "dicom"}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("MR_small_jp2klossless.dcm", "pylibjpeg-openjpeg"),
        ("MR_small_jpeg_ls_lossless.dcm", "pyjpegls"),
        ("MR_small_RLE.dcm", "pylibjpeg-rle"),
    ],
)
def test_missing_decoder_names_the_extra(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    syntax = dataset(name).file_meta.TransferSyntaxUID
    monkeypatch.setattr(get_decoder(syntax), "_available", {})
    assert told(refusal(bundled(name))) == {"code": "package-missing", "package": package, "extra": "dicom"}


def test_no_decoder_under_the_gpl_is_ever_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """pylibjpeg-libjpeg answers to the name pylibjpeg for the JPEG and JPEG-LS syntaxes."""
    plugins = {family: plugin for plugin, _, family in dicom_compressed.COMPRESSED.values()}
    assert "pylibjpeg" not in {plugin for family, plugin in plugins.items() if family not in {"JPEG 2000", "RLE"}}

    def gpl(*_: object) -> bytes:
        raise AssertionError("decoded by pylibjpeg")

    for name in ("MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm"):
        decoder = get_decoder(dataset(name).file_meta.TransferSyntaxUID)
        monkeypatch.setitem(decoder._available, "pylibjpeg", gpl)
        assert read(bundled(name)).pixels.size


def test_nothing_of_a_patient_is_in_errors_logs_or_output(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    files = []
    for broken in (
        {"Rows": 0}, {"NumberOfFrames": 7}, {"PixelData": bytes(10)}, {"BitsStored": 99}, {"SOPClassUID": CANARY},
        {"WindowCenter": None}, {"VOILUTFunction": CANARY[:16]}, {"PhotometricInterpretation": CANARY[:16]},
        {"SpecificCharacterSet": CANARY[:16]}, {"BurnedInAnnotation": CANARY[:16]}, {},
    ):  # fmt: skip
        data = edited(PatientName=CANARY, PatientID=CANARY, InstitutionName=CANARY, StudyDescription=CANARY, **broken)
        # the second has a slope that no converter can read, with the name inside
        files += [
            data,
            data.replace(
                b"\x28\0\x00\x01US", element(0x28, 0x0008, "IS", CANARY.encode() + b" ") + b"\x28\0\x00\x01US"
            ),
        ]
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    said = []
    for data in files:
        for action in (read, probe, lambda one: read(one, voi=True), lambda one: read(one, frame=3)):
            try:
                said.append(repr(action(data)))
            except ImageError as problem:
                said.append(str(problem))
    out = "".join([*said, caplog.text, *capfd.readouterr()])
    assert len(said) == 88
    assert CANARY[:5] not in out


@pytest.mark.parametrize("after", [200, 700])
def test_a_disk_that_fails_is_one_line(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > after:
                raise OSError(5, "Input/output error")
            return super().read(size)

    monkeypatch.setattr(boundary, "_open", lambda *_: Failing(edited()))
    for action in (read, probe):
        with pytest.raises(ImageError) as caught:
            action(b"", name="scan")
        assert caught.value.name == "scan"
        assert caught.value.code in {"image-io", "image-damaged"}


@example(position=631, value=0, run=1)  # an empty element whose type (VR) does not exist
@given(position=st.integers(0, 9829), value=st.integers(0, 255), run=st.sampled_from([1, 4]))
@settings(max_examples=150, deadline=None)
def test_no_damaged_byte_raises_anything_but_image_error(position: int, value: int, run: int) -> None:
    """A stray exception would end a run over a thousand files; a quoted one could name a patient."""
    data = bytearray(_CANARY_FILE)
    data[position : position + run] = bytes([value]) * run
    for action in (read, probe):
        try:
            action(bytes(data))
        except ImageError as problem:
            assert CANARY[:5] not in str(problem)  # noqa: PT017 - most damage is harmless


@given(cut=st.integers(132, 9000))
@settings(max_examples=60, deadline=None)
def test_no_cut_raises_anything_but_image_error(cut: int) -> None:
    for source, end in (
        (_CANARY_FILE, len(_CANARY_FILE) - 200),
        (_RLE_FILE, _RLE_FILE.rindex(b"\xfe\xff\xdd\xe0") - 8),
    ):
        with pytest.raises(ImageError):
            read(source[: min(cut, end)])


_CANARY_FILE = edited(PatientName=CANARY, PatientID=CANARY)


def _rle() -> bytes:
    content = dataset()
    content.PatientName = CANARY
    content.compress(RLELossless, generate_instance_uid=False)
    return written(content)


_RLE_FILE = _rle()
