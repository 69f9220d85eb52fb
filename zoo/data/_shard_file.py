"""One shard, written: members of a tar, and what the listing says of each image.

Every image is read, hashed and decoded once. What this module does not know: which images belong into which shard, and
where shards go.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.files import sha256_file
from zoo._support.machine import cores
from zoo.data._index import Arrays, Files
from zoo.data._pixels import digest_pixels
from zoo.data._scanning.examine import NOBODY, pack_row
from zoo.data._several import Several
from zoo.data._sources.shard_index import Listing
from zoo.data._sources.shards import Shards
from zoo.data._sources.tars import GROUPED
from zoo.data._unusable import Unusable
from zoo.errors import ImageError
from zoo.readers import IMAGE_SUFFIXES, probe, read
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._index import Pool, Source
    from zoo.readers import Probe

__all__ = ["HEADER", "Growing", "say_columns"]

_AT_ONCE = 64  # images in memory
HEADER = tarfile.BLOCKSIZE
_MAGIC = (
    (0, b"\x89PNG", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"II*\0", ".tif"),
    (0, b"MM\0*", ".tif"),
    (0, b"\x93NUMPY", ".npy"),
    (128, b"DICM", ".dcm"),
)
"""First bytes of formats, for images whose names have no suffix; readers go by the bytes anyway."""


class Growing:
    """A shard as far as it was written."""

    def __init__(self, stream: IO[bytes], pool: Pool, chosen: NDArray[np.int64], first: int) -> None:
        self.bad: list[Unusable] = []
        self._stream, self._pool, self._chosen, self._first = stream, pool, chosen, first
        self._rows = bytearray()
        self._fields: dict[tuple[str, ...], int] = {(): 0}
        self._places: list[tuple[int, int]] = []
        self._checks, self._pixels = bytearray(), bytearray()
        self._good: list[int] = []

    def fill(self) -> None:
        """Write all images: read, hashed and decoded by threads, a few ahead."""
        rows = self._chosen.tolist()
        with ThreadPoolExecutor(cores()) as threads:
            for start in range(0, len(rows), _AT_ONCE):
                piece = rows[start : start + _AT_ONCE]
                for at, (row, found) in enumerate(zip(piece, threads.map(self._look, piece), strict=True), start):
                    if isinstance(found, Unusable):
                        self.bad.append(found)
                    else:
                        self._add(at, row, *found)
        self._stream.write(bytes(2 * HEADER))

    def _look(self, row: int) -> tuple[bytes, str, Probe, bytes] | Unusable:
        name = self._pool.ids[row]
        try:
            data, suffix = _bytes_of(self._pool.source, row)
            image = read(data, name=name)
            source = _part(self._pool.source, row)
            checked = isinstance(source, Arrays) or (isinstance(source, Shards) and source.checks is not None)
            if not checked and hashlib.sha256(data).digest() != self._pool.digests[row].tobytes():
                return Unusable(name, "changed while shards were written")
            return data, suffix, probe(data, name=name), digest_pixels(image)
        except ImageError as problem:
            return Unusable(name, problem.reason)
        except OSError as problem:
            return Unusable(name, f"cannot be read ({(problem.strerror or 'i/o error').lower()})")

    def _add(self, at: int, row: int, data: bytes, suffix: str, header: Probe, pixels: bytes) -> None:  # noqa: PLR0917
        key = f"{self._first + at:09}"
        self._places.append((self._member(f"{key}{suffix}", data), len(data)))
        for extension, text in _labels(self._pool, row):
            self._member(f"{key}{extension}", text)
        self._rows += pack_row(header, self._pool.digests[row].tobytes(), NOBODY, self._fields)
        self._checks += hashlib.sha256(data).digest()
        self._pixels += pixels
        self._good.append(row)

    def _member(self, name: str, data: bytes) -> int:
        """Write one member; where its bytes begin."""
        told = tarfile.TarInfo(name)
        told.size, told.mode = len(data), 0o644
        self._stream.write(told.tobuf(tarfile.USTAR_FORMAT))
        at = self._stream.tell()
        self._stream.write(data + bytes(-len(data) % HEADER))
        return at

    def finish(self, mark: str, path: Path) -> Listing:
        """What the listing says."""
        pool, good = self._pool, np.array(self._good, np.int64)
        same = bytes(self._checks) == np.ascontiguousarray(pool.digests[good]).tobytes()
        places = np.array(self._places, "<i8").reshape(-1, 2)
        return Listing(
            plan=mark,
            size=path.stat().st_size,
            sha256=sha256_file(path),
            ids=[pool.ids[row] for row in self._good],
            rows=bytes(self._rows),
            fields=list(self._fields),
            offsets=places[:, 0].tobytes(),
            sizes=places[:, 1].tobytes(),
            targets=pool.targets[good].astype("<i4").tobytes(),
            checks=b"" if same else bytes(self._checks),
            pixels=bytes(self._pixels),
            groups=b"" if pool.groups is None else pool.groups[good].astype("<i8").tobytes(),
            folds=b"" if pool.folds is None else pool.folds[good].astype("<i8").tobytes(),
            columns={name: [cells[row] for row in self._good] for name, cells in pool.columns.items()},
            others={name: [cells[row] for row in self._good] for name, cells in pool.others.items()},
            left_out=[(one.name, one.reason) for one in self.bad],
        )


def _labels(pool: Pool, row: int) -> Iterator[tuple[str, bytes]]:
    """KEY.cls, the number of the class; KEY.json, whatever else is known."""
    said: dict[str, Any] = dict(say_columns(pool, row))
    if pool.groups is not None and "group" in pool.columns:
        said[GROUPED] = True
    if pool.targets.ndim == 1:
        yield ".cls", str(int(pool.targets[row])).encode()
    else:
        of_image = pool.targets[row].tolist()
        said = {"labels": [one for one, held in zip(pool.labels, of_image, strict=True) if held == 1]} | said
        if unknown := [one for one, held in zip(pool.labels, of_image, strict=True) if held == UNKNOWN]:
            said["unknown"] = unknown
    if said:
        yield ".json", msgspec.json.encode(said)


def say_columns(pool: Pool, row: int) -> dict[str, str]:
    """What columns say of an image, the group first."""
    return {name: cells[row] for name, cells in (*pool.columns.items(), *pool.others.items())}


def _part(source: Source, row: int) -> Source:
    return source.parts[int(source.part[row])] if isinstance(source, Several) else source


def _bytes_of(source: Source, row: int) -> tuple[bytes, str]:
    """The bytes of an image as a file, and their suffix; arrays become PNG, or .npy where PNG has no such pixels."""
    if isinstance(source, Several):
        return _bytes_of(source.parts[int(source.part[row])], int(source.rows[row]))
    if isinstance(source, Files):
        path = source.root / source.ids[row]
        data, suffix = path.read_bytes(), path.suffix.lower()
        return data, suffix if suffix in IMAGE_SUFFIXES else _suffix_of(data)
    if isinstance(source, Shards):
        data = source.file(row)
        return data, _suffix_of(data)
    if not isinstance(source, Arrays):
        raise TypeError(type(source))
    for part in source.parts:
        if row < len(part):
            return _encode(part[row])
        row -= len(part)
    raise IndexError(row)


def _suffix_of(data: bytes) -> str:
    return next((suffix for at, magic, suffix in _MAGIC if data[at : at + len(magic)] == magic), ".img")


def _encode(array: NDArray[Any]) -> tuple[bytes, str]:
    from PIL import Image

    stream = io.BytesIO()
    gray = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if (gray.dtype == np.uint8 and (gray.ndim == 2 or gray.shape[2] == 3)) or (
        gray.dtype == np.uint16 and gray.ndim == 2
    ):
        Image.fromarray(gray).save(stream, "PNG")
        return stream.getvalue(), ".png"
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue(), ".npy"
