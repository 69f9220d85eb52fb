"""Arrays that numpy wrote: NAME.npy, and NAME.npz with one array in it. Nothing in them is ever unpickled.

A file says its shape before its values, so that a false one costs no memory: the values are counted first. Archives
of whole data sets, with MedMNIST's keys, are not images.
"""

from __future__ import annotations

import math
import zipfile
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zoo.errors import ImageError
from zoo.readers._image import KINDS, Kind, Probe, RawImage, check_frame, stack_of
from zoo.readers._modes import name_array
from zoo.readers._raster import MAX_PIXELS
from zoo.spec import MOST_CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "probe", "read", "recognise"]

SUFFIXES = frozenset({".npy"})
""".npz is left out: whole data sets are called so, too; the first bytes tell."""

_MAGIC = b"\x93NUMPY"
_LOCAL = b"PK\x03\x04"
"""Begins a member of a zip archive (PKWARE APPNOTE 4.3.7); its name follows 30 bytes in."""
_NAME_SIZE, _NAME = 26, 30
_OF_SETS = frozenset(f"{split}_{part}" for split in ("train", "val", "test") for part in ("images", "labels")) | {
    "label_names"
}
"""Keys of MedMNIST's archives, and of ours."""
_MOST_HEADER = 10_000
"""Bytes of the text that says type and shape; numpy's own bound."""


class _Head(NamedTuple):
    """What an array file says of itself.

    Attributes:
        kind: pixel type.
        dtype: of the values as stored.
        shape: (H, W) or (H, W, C).
        columns_first: in the order of Fortran.
    """

    kind: Kind
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    columns_first: bool


def recognise(head: bytes) -> bool:
    """Whether a file begins as an array, or as an archive whose first member is one and not of a data set."""
    if head.startswith(_LOCAL):
        size = int.from_bytes(head[_NAME_SIZE:_NAME], "little") & 0xFFFF
        name = head[_NAME : _NAME + size].decode("utf-8", "replace")
        return name.endswith(".npy") and name.removesuffix(".npy") not in _OF_SETS
    return head.startswith(_MAGIC)


def probe(stream: IO[bytes], name: str) -> Probe:
    """What the header says; raises as `read`."""
    found = _read_head(_open(stream, name), name)
    channels = found.shape[2] if len(found.shape) == 3 else 1
    height, width = found.shape[:2]
    bits = 8 * found.dtype.itemsize
    return Probe(width, height, found.kind, channels == 1, bits, channels=stack_of(found.kind, channels))


def read(stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
    """The array as an image, see `zoo.readers.from_array`.

    Raises:
        ImageError: damaged, another type or shape, several arrays, too large, or a window is asked for.
    """
    if voi:
        reason = "an array brings no VOI LUT or window, expected DICOM; choose another intensity"
        raise ImageError(name, reason, code="image-window-missing", form="NumPy")
    check_frame(frame, 1, name)
    source = _open(stream, name)
    found = _read_head(source, name)
    size = math.prod(found.shape) * found.dtype.itemsize
    try:
        data = source.read(size + 1)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError):
        raise _damage(name) from None
    except Exception as problem:  # zlib.error and lzma.LZMAError have no base in common
        raise _damage(name) from problem
    if len(data) != size:
        reason = "truncated: fewer values than its header says" if len(data) < size else "more values than it says"
        raise ImageError(name, f"{reason}; write the file again", code="image-truncated")
    values: NDArray[Any] = np.frombuffer(data, found.dtype)
    return name_array(values.reshape(found.shape, order="F" if found.columns_first else "C"), name)


def _open(stream: IO[bytes], name: str) -> IO[bytes]:
    """The stream of the one array."""
    stream.seek(0)
    if not stream.read(len(_LOCAL)).startswith(_LOCAL):
        stream.seek(0)
        return stream
    try:
        archive = zipfile.ZipFile(stream)
        members = archive.namelist()
        if len(members) != 1:
            raise ImageError(
                name,
                f"holds {len(members)} arrays, expected one of an image; save it alone, as .npy",
                code="image-array",
                found=f"{len(members)} arrays",
            )
        return archive.open(members[0])
    except ImageError:
        raise
    except Exception as problem:  # on damaged bytes zipfile raises what it likes
        raise _damage(name) from problem


def _read_head(stream: IO[bytes], name: str) -> _Head:
    try:
        version = np.lib.format.read_magic(stream)
        of_version = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, columns_first, dtype = of_version[version](stream, max_header_size=_MOST_HEADER)
    except Exception as problem:  # on damaged bytes numpy, tokenize and zlib raise what they like
        raise _damage(name) from problem
    native = dtype.newbyteorder("=")
    found = f"array of shape {'x'.join(map(str, shape)) or '()'} and dtype {dtype}"
    kind = next((kind for kind in KINDS if native == np.dtype(kind)), None)
    if kind is None or len(shape) not in (2, 3) or 0 in shape:
        expected = "expected (H, W) or (H, W, C) of uint8, uint16 or float32"
        raise ImageError(name, f"{found}, {expected}; convert it without loss", code="image-array", found=found)
    if shape[2:] > (MOST_CHANNELS,):
        turned = "; channels come last" if shape[0] <= MOST_CHANNELS else ""
        reason = f"{found}, expected at most {MOST_CHANNELS} channels{turned}"
        raise ImageError(name, reason, code="image-array", found=found)
    if math.prod(shape) > MAX_PIXELS * (3 if kind == "uint8" and shape[2:] == (3,) else 1):
        reason = f"{found}, expected at most {MAX_PIXELS // 10**6} million values; shrink it"
        raise ImageError(name, reason, code="image-size", height=shape[0], width=shape[1], most=MAX_PIXELS)
    return _Head(kind, dtype, tuple(shape), bool(columns_first))


def _damage(name: str) -> ImageError:
    return ImageError(name, "not an array that numpy wrote; write the file again", code="image-damaged")
