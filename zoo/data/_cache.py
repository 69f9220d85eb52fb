"""Decoded images kept on disk: the first training decodes, every later one maps the file.

An entry is one file: the rows (see `zoo.data._rows`), a checksum of each, the digest of the pixels that it was made of,
a mark for each image's name, and a footer that says what it is. One without rows remembers that every image was read
once, for those that are decoded anew for each epoch. An entry is found by a key over everything that its pixels depend
on: the images' own sha256 in their order, the geometric half of the preprocessing, the form of the rows, and the code
that reads and resizes. Whoever takes it compares every checksum first, so one flipped bit is seen wherever
it is: CRC-32 finds every change of 32 bits in a row or fewer (Peterson and Brown 1961), and reads 6 GB/s.

A file is written under another name and renamed when it is whole, so two processes that build the same entry both
end right, and one that is killed leaves only what the next `sweep` removes. While it is built, every image file is
hashed once more: a file that changed after it was indexed would be kept under the wrong name.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import shutil
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from zoo._support.files import sha256_file
from zoo._support.text import gigabytes
from zoo.data._index import Files
from zoo.data._rows import FileRows
from zoo.data._scanning.scan import frame_digest
from zoo.data._sources.shards import Shards
from zoo.data._threads import over_chunks
from zoo.errors import DataError
from zoo.spec import Percentile, Scale, encode, to_builtins
from zoo.store._cachedir import BUILDING, claim, entries, limit, mark_used, open_cached, reader_version, spell, sweep
from zoo.store._places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from zoo.data._index import ImageSet
    from zoo.spec import PreprocessSpec

__all__ = ["Building", "Entry", "Form", "Kept", "entry_for"]

Form = Literal["exact", "packed", "checked"]
"""What an entry holds: float32 rows, rows to learn from, or none."""

FEWEST = 64
"""Images below which nothing is kept, however long they take."""

_MAGIC = b"zoo decoded 4\n\0\0"
_DIGEST = 32
_TAIL = 8 + len(_MAGIC)
"""Bytes behind the footer: its length, its checksum, and what closes a whole entry."""

log = logging.getLogger("zoo")


class _Footer(msgspec.Struct, forbid_unknown_fields=True):
    """What an entry says of itself, at its end; no name of a file is in it."""

    key: str
    root: str
    content: str
    """Of the images' names and sha256, in their order."""
    shape: tuple[int, int, int, int]
    """(m, h, w, c) of the images that can be read; (m, 0, 0, 0): no rows are kept."""
    dtype: Literal["float32", "int16"]
    """Of the rows; int16: packed."""
    bad: list[int]
    """Positions, among all images, of those that cannot."""
    tables: int
    """CRC-32 of the checksums and the marks."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """An entry that was found.

    Attributes:
        rows: (m, h, w, c).
        contents: (m, 32) uint8, as in `zoo.data._decode.Decoded`.
        bad: positions of the images that are left out because they could not be read.
    """

    rows: FileRows
    contents: NDArray[np.uint8]
    bad: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Where the pixels of one set of images are kept, or will be.

    Attributes:
        path: the file, there or not.
        key: what its pixels depend on.
        root: the folder that the images lie in.
        content: see `_Footer`.
        marks: (n,) uint64, a hash of each image's name, ascending.
    """

    path: Path
    key: str
    root: str
    content: str
    marks: NDArray[np.uint64]

    def read(self) -> Kept | None:
        """What is kept, None where there is nothing that can be used; what is damaged is removed, and said."""
        try:
            with open_cached(self.path) as stream:
                footer = _footer(stream)
                if footer.key != self.key:
                    raise ValueError("the entry of another set")
                sums, contents, _ = _tables(stream, footer)
                rows = FileRows(stream, footer.shape, np.dtype(footer.dtype))
            _check_rows(rows, sums)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, msgspec.DecodeError, DataError) as problem:
            log.warning("decoded images that were kept are damaged (%s); decoding them again", problem)
            self.forget()
            return None
        mark_used(self.path)
        return Kept(rows, contents, footer.bad)

    def forget(self) -> None:
        """Remove it."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def lacks_room(self, size: int) -> str | None:
        """Why `size` bytes cannot be kept; None: they can."""
        folder = self.path.parent
        if size > limit():
            return f"they take {gigabytes(size)}, ZOO_CACHE_GB allows {limit() / 1e9:.1f}"
        there = next((one for one in (folder, *folder.parents) if one.is_dir()), folder)
        try:
            free = shutil.disk_usage(there).free
        except OSError as problem:
            return (problem.strerror or "i/o error").lower()
        return f"the disk of {folder} is nearly full" if free < 2 * size else None

    @contextlib.contextmanager
    def building(self, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> Iterator[Building | None]:
        """Room for (n, h, w, c) rows that becomes the entry by `Building.finish`, and else goes.

        None where the disk leaves none: then nothing is kept.
        """
        size = _size(shape, dtype)
        folder = self.path.parent
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                sweep(size)
                if shutil.disk_usage(folder).free < 2 * size:  # a cache must not be what fills the disk
                    raise OSError(f"the disk of {folder} is nearly full")
                handle, name = tempfile.mkstemp(dir=folder, prefix=f".{self.path.name}.", suffix=BUILDING)
                temporary = Path(name)
                stack.callback(temporary.unlink, missing_ok=True)
                stream = stack.enter_context(os.fdopen(handle, "r+b"))
                stack.enter_context(claim(temporary))
                if size and hasattr(os, "posix_fallocate"):  # the disk is full now, not after an hour of decoding
                    os.posix_fallocate(handle, 0, size)
                rows = FileRows(stream, shape, dtype)
            except OSError as problem:
                log.info("decoded images are not kept for the next training: %s", problem)
                yield None
                return
            yield Building(self, temporary, stream, rows, np.zeros(len(self.marks), "<u4"))

    def supersede(self) -> None:
        """Remove entries over the same images of the same folder, of which some changed, came or went."""
        for other in entries():
            if other.kind != "decoded" or other.path == self.path:
                continue
            with contextlib.suppress(OSError, ValueError, msgspec.DecodeError), open_cached(other.path) as stream:
                footer = _footer(stream)
                if footer.root != self.root or footer.content == self.content:
                    continue
                _, _, marks = _tables(stream, footer)
                if np.isin(marks, self.marks).any():
                    other.path.unlink()


@dataclass(slots=True, eq=False)
class Building:
    """An entry that is being written.

    Attributes:
        entry: what it will be.
        path: its file until then.
        stream: the open file.
        rows: (n, h, w, c), to be filled.
        sums: (n,) uint32, checksums of its rows.
        changed: an image differs from what was indexed.
    """

    entry: Entry
    path: Path
    stream: IO[bytes]
    rows: FileRows
    sums: NDArray[np.uint32]
    changed: bool = False

    def put(self, images: ImageSet, i: int, row: NDArray[Any]) -> None:
        """Write row `i`, note its checksum, and whether its file is still the one that was indexed."""
        if self.rows.shape[1]:
            self.rows.put(i, row)
            self.sums[i] = zlib.crc32(row.data)
        if not self.changed and not _is_unchanged(images, i):
            self.changed = True

    def finish(self, good: NDArray[np.int64], bad: list[int], contents: NDArray[np.uint8]) -> FileRows | None:
        """Make it the entry.

        Args:
            good: (m,) which rows count, ascending; `rows` already holds them at its front.
            bad: positions of the others.
            contents: (m, 32) as in `Kept`.

        Returns:
            (m, h, w, c) as `Kept.rows`; None where nothing is kept: they are in `rows`.
        """
        if self.changed:
            log.warning("images changed after they were indexed; the decoded ones are not kept")
            return None
        shape, dtype = (len(good), *self.rows.shape[1:]), self.rows.dtype
        name: Literal["float32", "int16"] = "int16" if dtype == np.int16 else "float32"
        tables = self.sums[good].tobytes() + contents.tobytes() + self.entry.marks.astype("<u8").tobytes()
        footer = _Footer(self.entry.key, self.entry.root, self.entry.content, shape, name, bad, zlib.crc32(tables))
        text = encode(footer)
        try:
            self.stream.seek(_size(shape, dtype))
            tail = len(text).to_bytes(4, "little") + zlib.crc32(text).to_bytes(4, "little") + _MAGIC
            for part in (tables, text, tail):
                self.stream.write(part)
            self.stream.truncate()
            self.stream.flush()
            os.fsync(self.stream.fileno())
            self.path.replace(self.entry.path)
        except OSError as problem:
            log.debug("decoded images are not kept: %s", problem)
            return None
        self.entry.supersede()
        return self.rows.first(len(good))


def entry_for(images: ImageSet, spec: PreprocessSpec, form: Form = "exact") -> Entry | None:
    """Where the decoded `images` are kept; None for images that are not files, a few of them, or no cache.

    The form is exact (float32), packed (to learn from), or checked (no rows).

    None on Windows, where a file that is mapped can be neither renamed nor removed.
    """
    source = images.source
    if not isinstance(source, Files | Shards) or len(images) < FEWEST or not limit() or sys.platform == "win32":
        return None
    digests = np.ascontiguousarray(images.digests).tobytes()
    content, marks = hashlib.sha256(), bytearray()
    for name in images.ids:
        mark = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        marks += mark
        content.update(mark)
    content.update(digests)
    recipe = {
        "version": _MAGIC.decode(),  # an entry of another version is not looked for
        "form": form,
        "preprocess": _geometric(spec),
        "voi": images.voi,
        "readers": reader_version(),
    }
    key = hashlib.sha256(encode(recipe) + digests).hexdigest()
    return Entry(
        cache_folder("decoded") / f"{key[:40]}.pixels",
        key,
        spell(source.root),
        content.hexdigest(),
        np.sort(np.frombuffer(marks, "<u8")),
    )


def _geometric(spec: PreprocessSpec) -> dict[str, Any]:
    """What `zoo.preprocess.resize_image` and `check_range` see of a spec."""
    fields: dict[str, Any] = to_builtins(spec)
    for arithmetic in ("mean", "std", "intensity"):
        fields.pop(arithmetic)
    intensity = spec.intensity
    return {
        **fields,
        "maximum": intensity.maximum if isinstance(intensity, Scale) else None,
        "padding": intensity.padding if isinstance(intensity, Percentile) else None,
    }


def _is_unchanged(images: ImageSet, i: int) -> bool:
    source, row = images.source, int(images.rows[i])
    wanted: bytes = images.digests[i].tobytes()
    try:
        if isinstance(source, Shards):
            return source.is_unchanged(row, wanted)
        if not isinstance(source, Files):
            return False
        now = bytes.fromhex(sha256_file(source.root / source.ids[row]))
    except OSError:
        return False
    return wanted == now or (source.frames is not None and wanted == frame_digest(now, int(source.frames[row])))


def _size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _footer(stream: IO[bytes]) -> _Footer:
    """Read the footer; raises OSError, ValueError or DecodeError where the file is not a whole entry."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, end - _TAIL))
    tail = stream.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[8:] != _MAGIC or length > end - _TAIL:
        raise ValueError("no entry, or not a whole one")
    stream.seek(end - _TAIL - length)
    text = stream.read(length)
    if zlib.crc32(text) != int.from_bytes(tail[4:8], "little"):
        raise ValueError("the footer has another checksum")
    footer = msgspec.json.decode(text, type=_Footer)
    rows = _size(footer.shape, np.dtype(footer.dtype)) + (4 + _DIGEST) * footer.shape[0]
    expected = rows + 8 * (footer.shape[0] + len(footer.bad)) + length + _TAIL
    if footer.shape[0] < 1 or min(footer.shape) < 0 or end != expected:
        raise ValueError(f"{end} bytes, expected {expected}")
    return footer


def _tables(stream: IO[bytes], footer: _Footer) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint64]]:
    """Checksums of the rows, (m,), digests of their pixels, (m, 32), and marks of all images, (n,).

    Raises OSError, or ValueError for other bytes.
    """
    rows, images = footer.shape[0], footer.shape[0] + len(footer.bad)
    stream.seek(_size(footer.shape, np.dtype(footer.dtype)))
    data = stream.read((4 + _DIGEST) * rows + 8 * images)
    if zlib.crc32(data) != footer.tables:
        raise ValueError("the table of checksums has another checksum")
    contents = np.frombuffer(data, np.uint8, _DIGEST * rows, 4 * rows).reshape(rows, _DIGEST)
    return np.frombuffer(data, "<u4", rows), contents, np.frombuffer(data, "<u8", images, (4 + _DIGEST) * rows)


def _check_rows(rows: FileRows, sums: NDArray[np.uint32]) -> None:
    """Compare the checksum of every row with what it was; raises ValueError."""

    def compare(chunk: range) -> None:
        for i in chunk:
            if zlib.crc32(rows.take(np.array([i])).data) != sums[i]:
                raise ValueError(f"row {i} of {len(sums)} has another checksum")

    over_chunks(compare, len(sums))
