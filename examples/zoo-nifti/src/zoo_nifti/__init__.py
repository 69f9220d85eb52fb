"""Slices of NIfTI volumes (.nii, .nii.gz) for the zoo.

A slice is the plane of the first two axes, laid as DICOM viewers lay it by the affine matrix: columns run to the
patient's left, or to the back where the plane has no left; rows run to the back, or down. So two exports of one scan
are one picture, and left stays left. Nothing is interpolated: an oblique plane goes to its nearest axes. Slices are
counted from 1 as they are stored, along the third axis first.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from zoo.errors import ImageError
from zoo.readers import HEAD_BYTES, MAX_PIXELS, Kind, Probe, RawImage, from_array

__all__ = ["READER", "Nifti"]

_GZIP = b"\x1f\x8b"
_MOST_OFFSET = 2**26
"""Bytes of header and extensions before the voxels."""
_DIRECT: dict[str, Kind] = {"uint8": "uint8", "uint16": "uint16"}
"""Stored types that stay as they are where nothing is scaled; all other numbers become float32."""
_REAL = "biuf"
_ORDER = "LRPAIS"
"""Which axis of a plane becomes columns: the one whose letter comes first."""
_TARGETS = "LPI"
"""Where rows and columns run: to the left, to the back, down."""
_EXACT = 2**24
"""Whole numbers up to this one are exact in float32."""


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    personal: tuple[str, ...]
    towards: tuple[str, str]
    """Letters of where the first two axes run: two of L, R, A, P, S, I."""

    @property
    def lying(self) -> bool:
        """Whether the first axis becomes rows and the second columns."""
        return _ORDER.index(self.towards[0]) > _ORDER.index(self.towards[1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a picture."""
        first, second = self.shape[:2]
        return (second, first) if self.lying else (first, second)

    @property
    def slices(self) -> int:
        return math.prod(self.shape[2:])

    @property
    def scaled(self) -> bool:
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def kind(self) -> Kind:
        return "float32" if self.scaled else _DIRECT.get(self.dtype.name, "float32")


class Nifti:
    """The reader that pyproject.toml names; see `zoo.readers.Reader`."""

    suffixes = frozenset({".nii", ".nii.gz"})

    def recognise(self, head: bytes) -> bool:
        """NIfTI-1 and NIfTI-2 in one file, packed by gzip or not; no pairs of .hdr and .img."""
        if head.startswith(_GZIP):
            try:
                head = zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
            except zlib.error:
                return False
        return head[344:348] == b"n+1\0" or head[4:12] == b"n+2\0\r\n\x1a\n"

    def probe(self, stream: IO[bytes], name: str) -> Probe:
        """What the header says of every slice."""
        with _reading(stream, name) as (header, _):
            width, height = header.size
            return Probe(
                width,
                height,
                header.kind,
                gray=True,
                bits=8 * header.dtype.itemsize,
                frames=header.slices,
                personal=header.personal,
            )

    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        """One slice; of a volume of several it must be named."""
        if voi:
            raise ImageError(name, "NIfTI brings no VOI LUT or window, expected DICOM; choose another intensity")
        with _reading(stream, name) as (header, voxels):
            if frame is None and header.slices > 1:
                raise ImageError(
                    name, f"holds {header.slices} slices, expected one; name the one you mean with --frame N, from 1"
                )
            number = 1 if frame is None else frame
            if not 1 <= number <= header.slices:
                raise ImageError(name, f"slice {number} was asked for, expected 1 to {header.slices}")
            first, second = header.shape[:2]
            size = first * second * header.dtype.itemsize
            voxels.seek(header.offset + (number - 1) * size)
            data = voxels.read(size)
            if len(data) < size:
                raise ImageError(name, f"ends before slice {number} does; restore the file")
            stored = np.frombuffer(data, header.dtype).reshape(second, first)  # the first axis is stored fastest
            return _image(_lay(stored, header), header, name)


READER = Nifti()


@contextlib.contextmanager
def _reading(stream: IO[bytes], name: str) -> Iterator[tuple[_Header, IO[bytes]]]:
    """The header, and the stream of unpacked bytes; whatever goes wrong is one line."""
    try:
        packed = stream.read(2) == _GZIP
        stream.seek(0)
        voxels: Any = gzip.GzipFile(fileobj=stream) if packed else stream
        yield _header(voxels, name), voxels
    except (ImageError, MemoryError):
        raise
    except Exception as problem:  # nibabel and gzip raise OSError, EOFError, ValueError, KeyError and more
        reason = " ".join(str(problem).split())[:100].lower() or type(problem).__name__
        raise ImageError(name, f"cannot be decoded ({reason}); restore it or leave it out") from None


def _header(voxels: IO[bytes], name: str) -> _Header:
    from nibabel import Nifti1Header, Nifti2Header  # half a second, paid when the first volume comes

    head = voxels.read(540)
    second = head[4:8] == b"n+2\0"
    if len(head) < (540 if second else 348):
        raise ImageError(name, f"ends after {len(head)} bytes, within its header; restore the file")
    told = Nifti2Header(head, check=False) if second else Nifti1Header(head[:348], check=False)
    shape = tuple(int(n) for n in told.get_data_shape())
    dtype = told.get_data_dtype()
    slope, inter = (1.0 if told["scl_slope"] == 0 else float(told["scl_slope"])), float(told["scl_inter"])
    if told["scl_slope"] == 0:
        inter = 0.0  # NIfTI-1: a slope of 0 says that nothing is scaled
    offset = float(told["vox_offset"])
    if len(shape) < 2 or min(shape) < 1:
        raise ImageError(name, f"a volume of {'x'.join(map(str, shape)) or 'no'} voxels, expected two axes or more")
    if shape[0] * shape[1] > MAX_PIXELS:
        raise ImageError(name, f"slices of {shape[0]}x{shape[1]} pixels, expected at most {MAX_PIXELS}; shrink them")
    if math.prod(shape[2:]) >= 2**31:
        raise ImageError(name, "more slices than can be counted; restore the file")
    if dtype.kind not in _REAL or dtype.itemsize > 8:
        raise ImageError(name, f"voxels of type {dtype.name}, expected one number each; save them as float32")
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise ImageError(name, "a scale that is not finite; restore the file")
    if not 0 <= offset <= _MOST_OFFSET:
        raise ImageError(name, "voxels at a place where no file has them; restore the file")
    # NIfTI-1 keeps this field of Analyze 7.5, which may hold a patient's name
    personal = ("db_name",) if not second and bytes(told["db_name"].tobytes()).strip(b"\0 ") else ()
    return _Header(shape, dtype, int(offset), slope, inter, personal, _find_axes(told, name))


def _find_axes(told: Any, name: str) -> tuple[str, str]:
    """Where the first two axes run.

    Raises:
        ImageError: the header does not say it; then left may be right.
    """
    from nibabel import aff2axcodes

    affine = told.get_best_affine()
    known = told["sform_code"] > 0 or told["qform_code"] > 0
    codes = aff2axcodes(affine)[:2] if known and np.isfinite(affine).all() else (None, None)
    if None in codes:
        raise ImageError(name, "says no orientation, so left may be right; set its sform or qform, then read it again")
    return codes[0], codes[1]


def _lay(stored: np.ndarray[Any, Any], header: _Header) -> np.ndarray[Any, Any]:
    """(height, width) as DICOM viewers lay the plane, of (second axis, first axis)."""
    first, second = (1 if code in _TARGETS else -1 for code in header.towards)
    turned = stored[::second, ::first]
    return np.ascontiguousarray(turned.T if header.lying else turned)


def _image(stored: np.ndarray[Any, Any], header: _Header, name: str) -> RawImage:
    if header.kind != "float32":
        return from_array(stored)
    if not header.scaled and stored.dtype.kind in "iu" and np.abs(stored.astype(np.float64)).max() > _EXACT:
        raise ImageError(name, f"whole numbers beyond {_EXACT}, which float32 would round; save them as float32")
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored.astype(np.float64) * header.slope + header.inter
        pixels = values.astype(np.float32)
    if not np.isfinite(pixels).all():
        raise ImageError(name, "holds values that are not finite; replace them before using the volume")
    return from_array(pixels)
