"""DICOM files that lack their first 132 bytes, or more: known by their elements, and by nothing that looks alike."""

from __future__ import annotations

import io
import random
import struct
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from dicom_cases import bundled, element, picture, stored
from pydicom.filewriter import dcmwrite
from refusals import refused

from zoo.errors import ImageError
from zoo.readers import HEAD_BYTES, is_image, probe, read
from zoo.readers._dicom_start import BIG_ENDIAN, EXPLICIT, IMPLICIT, find_start
from zoo.readers._walk import Walk

if TYPE_CHECKING:
    from pathlib import Path

MR = "MR_small.dcm"


def without_meta(name: str, syntax: str) -> bytes:
    """The elements from group 0008 on, in a syntax that nothing names."""
    content = pydicom.dcmread(bundled(name))
    content.PixelData = content.PixelData if syntax != BIG_ENDIAN else content.pixel_array.astype(">i2").tobytes()
    del content.file_meta
    content.preamble = None
    stream = io.BytesIO()
    dcmwrite(
        stream,
        content,
        implicit_vr=syntax == IMPLICIT,
        little_endian=syntax != BIG_ENDIAN,
        enforce_file_format=False,
        force_encoding=True,
    )
    return stream.getvalue()


@pytest.mark.parametrize("name", ["", "_implicit", "_bigendian", "_RLE", "_jp2klossless"])
def test_a_file_without_its_preamble_is_read_by_its_transfer_syntax(name: str) -> None:
    data = bundled(f"MR_small{name}.dcm").read_bytes()[132:]
    np.testing.assert_array_equal(read(data).pixels[:, :, 0], stored())
    assert probe(data) == probe(bundled(f"MR_small{name}.dcm"))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_a_file_without_meta_information_is_read_by_the_look_of_its_elements(syntax: str) -> None:
    data = without_meta(MR, syntax)
    assert data[:2] == (b"\0\x08" if syntax == BIG_ENDIAN else b"\x08\0")
    for whole in (data, bytes(128) + b"DICM" + data):
        np.testing.assert_array_equal(read(whole).pixels[:, :, 0], stored())


def test_folders_are_searched_for_files_without_preamble_and_suffix(tmp_path: Path) -> None:
    data = bundled(MR).read_bytes()[132:]
    (tmp_path / "IM0001").write_bytes(data)
    (tmp_path / "DICOMDIR").write_bytes(data)
    (tmp_path / "notes").write_bytes(b"\x08\0 is a backspace")
    assert list(Walk(str(tmp_path)).images()) == ["IM0001"]
    assert is_image(tmp_path / "IM0001")


def test_compressed_pixels_without_a_transfer_syntax_are_refused_by_that() -> None:
    head = b"".join(element(8, number, "LO", b"ab") for number in (0x60, 0x70, 0x80))
    data = head + picture() + element(0x7FE0, 0x10, "OB", b"", 0xFFFFFFFF)
    with refused("image-transfer-syntax", ImageError):
        read(data)


def test_nothing_else_that_begins_alike_is_taken_for_dicom() -> None:
    generator = random.Random(0)  # noqa: S311
    heads = [
        b"\x08\0" + generator.randbytes(HEAD_BYTES - 2),
        struct.pack("<128i", *range(8, 136)),
        struct.pack("<256H", *[8] * 256),
        struct.pack("<64d", *range(64)),
        struct.pack(">256H", *range(8, 264)),
        b"\2\0\0\0UL\4\0",
        b"\x08\0\5\0CS\x0b\0" + bytes(500),
        b"\x08\0\5\0\x0a\0\0\0ISO_IR 100",
        b"\x08\0",
        b"",
    ]
    heads += [start + generator.randbytes(510) for start in (b"\x08\0", b"\2\0", b"\0\x08") for _ in range(2000)]
    assert not [head for head in heads if find_start(head) is not None]
