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
from pydicom.uid import UID, JPEGBaseline8Bit

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


def coded_dicom(
    stream: bytes,
    size: tuple[int, int],
    photometric: str = "MONOCHROME2",
    *,
    syntax: str = JPEGBaseline8Bit,
    bits: tuple[int, int] = (8, 8),
    signed: int = 0,
) -> bytes:
    """A coded picture of (width, height) as the one frame of a file; `bits`: allocated and stored."""
    content = dataset()
    content.file_meta.TransferSyntaxUID = UID(syntax)
    content.Columns, content.Rows = size
    content.BitsAllocated, content.BitsStored = bits
    content.HighBit, content.PixelRepresentation, content.PhotometricInterpretation = bits[1] - 1, signed, photometric
    if photometric.startswith(("RGB", "YBR")):
        content.SamplesPerPixel, content.PlanarConfiguration = 3, 0
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "RescaleSlope", "RescaleIntercept"):
        if keyword in content:
            del content[keyword]
    content.PixelData = encapsulate([stream])
    content["PixelData"].VR = "OB"
    return written(content)


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def lossless_jpeg(
    pixels: NDArray[Any],
    bits: int,
    *,
    predictor: int = 1,
    restart: int = 0,
    shift: int = 0,
    planes: bool = False,
    identities: bytes = b"\1\2\3",
) -> bytes:
    """A lossless JPEG (ITU-T T.81, annex H), sample by sample as it is printed; every category has a code of 5 bits.

    Args:
        pixels: (H, W) or (H, W, C).
        bits: of a sample.
        predictor: 1 to 7.
        restart: lines between two restarts; 0: none.
        shift: the point transform.
        planes: a scan for each component.
        identities: of the components.
    """
    samples = pixels.reshape(*pixels.shape[:2], -1).astype(int) >> shift
    height, width, count = samples.shape
    frame = struct.pack(">BHHB", bits, height, width, count) + b"".join(
        bytes((one, 0x11, 0)) for one in identities[:count]
    )
    table = b"\0" + bytes(17 if length == 5 else 0 for length in range(1, 17)) + bytes(range(17))
    parts = [b"\xff\xd8", segment(0xC3, frame), segment(0xC4, table)]
    if restart:
        parts.append(segment(0xDD, struct.pack(">H", restart * width)))
    for scan in [[one] for one in range(count)] if planes else [list(range(count))]:
        names = b"".join(bytes((identities[one], 0)) for one in scan)
        parts.append(segment(0xDA, bytes([len(scan)]) + names + bytes((predictor, 0, shift))))
        for number, first in enumerate(range(0, height, restart or height)):
            if number:
                parts.append(bytes((0xFF, 0xD0 + (number - 1) % 8)))
            code = "".join(
                _code(samples[:, :, one], first, y, x, predictor, bits - shift)
                for y in range(first, min(first + (restart or height), height))
                for x in range(width)
                for one in scan
            )
            code += "1" * (-len(code) % 8)
            parts.append(int(code, 2).to_bytes(len(code) // 8, "big").replace(b"\xff", b"\xff\0"))
    return b"".join([*parts, b"\xff\xd9"])


def _code(samples: NDArray[Any], first: int, y: int, x: int, predictor: int, bits: int) -> str:
    """The bits of one sample: category and, but for 16, as many bits of the difference."""
    left, above = samples[y, x - 1] if x else 0, samples[y - 1, x] if y > first else 0
    corner = samples[y - 1, x - 1] if x and y > first else 0
    if y == first:
        predicted = left if x else 1 << bits - 1
    elif not x:
        predicted = above
    else:
        predicted = (
            left, above, corner, left + above - corner, left + (above - corner >> 1), above + (left - corner >> 1),
            left + above >> 1,
        )[predictor - 1]  # fmt: skip
    difference = int(samples[y, x] - predicted + 32767) % 65536 - 32767
    category = abs(difference).bit_length()
    value = difference if difference > 0 else difference + (1 << category) - 1
    return f"{category:05b}" + (f"{value:0{category}b}" if 0 < category < 16 else "")


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
