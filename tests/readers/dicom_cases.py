"""DICOM files that tests make out of real ones."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANARY = "Zzyzx^Canaria"


def bundled(name: str) -> Path:
    """A file that comes inside pydicom's wheel."""
    return Path(pydicom.__path__[0]) / "data" / "test_files" / name


def dataset(name: str = "MR_small.dcm") -> Dataset:
    found = get_testdata_file(name, read=True, download=False)
    assert isinstance(found, Dataset)
    return found


def written(content: Dataset) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some edits are meant to be odd
        content.save_as(stream)
    return stream.getvalue()


def edited(name: str = "MR_small.dcm", **elements: Any) -> bytes:
    """A bundled file with other elements; None removes one."""
    content = dataset(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in elements.items():
            if value is None:
                del content[keyword]
            else:
                setattr(content, keyword, value)
    return written(content)


def jpeg_dicom(stream: bytes, size: tuple[int, int], photometric: str) -> bytes:
    """A gray baseline JPEG of (width, height) as the one frame of a file."""
    content = dataset()
    content.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    content.Columns, content.Rows = size
    content.BitsAllocated = content.BitsStored = 8
    content.HighBit, content.PixelRepresentation, content.PhotometricInterpretation = 7, 0, photometric
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "RescaleSlope", "RescaleIntercept"):
        if keyword in content:
            del content[keyword]
    content.PixelData = encapsulate([stream])
    content["PixelData"].VR = "OB"
    return written(content)


def stored(name: str = "MR_small.dcm") -> NDArray[np.int16]:
    """The pixel values of an uncompressed little-endian file, cut out of its bytes by hand."""
    data = bundled(name).read_bytes()
    rows, columns = (
        struct.unpack("<H", data[(at := data.index(tag + b"US\2\0")) + 8 : at + 10])[0]
        for tag in (b"\x28\0\x10\0", b"\x28\0\x11\0")
    )
    start = data.index(b"\xe0\x7f\x10\0OW\0\0") + 12
    return np.frombuffer(data[start : start + rows * columns * 2], "<i2").reshape(rows, columns)


def lut(first: int, entries: list[int], bits: int = 16, **more: Any) -> Sequence:
    """A Modality or VOI LUT of one item."""
    item = Dataset()
    item.add_new(0x00283002, "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new(0x00283006, "US", entries)
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return Sequence([item])


def frames(count: int = 3, **elements: Any) -> bytes:
    """MR_small, and `count` - 1 copies of it rolled by one row each, in one file."""
    pixels = np.stack([np.roll(stored(), shift, axis=0) for shift in range(count)])
    return edited(NumberOfFrames=count, PixelData=pixels.tobytes(), **elements)


def bare(syntax: str, elements: bytes) -> bytes:
    """A file of explicit little-endian elements, written by hand."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid if syntax else b""
    return bytes(128) + b"DICM" + meta + elements


def element(group: int, number: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One explicit little-endian element; `length` may lie."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", group, number, vr.encode())
    return head + (struct.pack("<HI", 0, size) if vr in {"OB", "OW", "SQ", "UN"} else struct.pack("<H", size)) + value


def picture(rows: int = 4, columns: int = 4, bits: int = 16) -> bytes:
    """The image pixel module of a gray picture, by hand."""
    numbers = {0x02: 1, 0x10: rows, 0x11: columns, 0x100: bits, 0x101: bits, 0x102: bits - 1, 0x103: 0}
    fields = {number: element(0x28, number, "US", struct.pack("<H", value)) for number, value in numbers.items()}
    fields[0x04] = element(0x28, 0x04, "CS", b"MONOCHROME2 ")
    return b"".join(fields[number] for number in sorted(fields))
