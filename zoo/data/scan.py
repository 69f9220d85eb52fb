"""Header and sha256 of many files, in arrays: no Python object is kept for a file that can be read."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.threads import over_chunks
from zoo.errors import DataError, ImageError
from zoo.files import sha256_file
from zoo.readers import Kind, Probe, probe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["KINDS", "Scanned", "frame_digest", "scan"]

KINDS: tuple[Kind, ...] = ("uint8", "uint16", "float32")

_SMALL = 16 * 1024**2  # bytes; larger files are hashed in pieces


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """What headers and bytes say of n files. A row of a file that can not be read holds zeros and stands in `bad`.

    Attributes:
        digests: (n, 32) uint8, sha256 of the file; of a frame of a file that holds several: see `frame_digest`.
        width: (n,) int32, pixels, after EXIF orientation.
        height: (n,) int32, pixels, after EXIF orientation.
        kind: (n,) uint8, positions in `KINDS`.
        gray: (n,) bool, one channel is stored.
        voi: (n,) bool, the file brings its own VOI LUT or window.
        bits: (n,) uint8, stored for each sample.
        frames: (n,) int32, pictures in the file.
        group: (n,) int64, a number for the patient that the file names; -1: it names none.
        personal: (n,) uint16, positions in `fields`.
        fields: the different lists of fields with personal data that were met: names, never values.
        bad: position: why the file can not be used, beginning with its id.
    """

    digests: NDArray[np.uint8]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    kind: NDArray[np.uint8]
    gray: NDArray[np.bool_]
    voi: NDArray[np.bool_]
    bits: NDArray[np.uint8]
    frames: NDArray[np.int32]
    group: NDArray[np.int64]
    personal: NDArray[np.uint16]
    fields: tuple[tuple[str, ...], ...]
    bad: dict[int, str]

    def good(self) -> NDArray[np.int64]:
        """Positions of the files that can be read, ascending."""
        return np.delete(np.arange(len(self.kind), dtype=np.int64), sorted(self.bad))

    def one_kind(self, rows: NDArray[np.int64], ids: Sequence[str], name: str) -> Kind:
        """The pixel type of the files at `rows` (at least one).

        Raises:
            DataError: they have different ones; an example of each is named.
        """
        codes, first = np.unique(self.kind[rows], return_index=True)
        if len(codes) > 1:
            found = sorted((KINDS[code], ids[int(rows[at])]) for code, at in zip(codes, first, strict=True))
            examples = " and ".join(f"{kind} ({identity})" for kind, identity in found)
            raise DataError(f"{name}: images of different pixel types, {examples}; convert them to one type")
        return KINDS[int(codes[0])]

    def groups(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
        """Patients as the files at `rows` name them.

        Returns:
            (m,) int64 counting from 0, None where no file names a patient; and notes. A file that names none is
            a group of its own.
        """
        found = self.group[rows]
        without = found < 0
        if not len(found) or without.all():
            return None, ()
        keys, groups = np.unique(found, return_inverse=True)
        groups = groups.astype(np.int64)
        alone = int(without.sum())
        groups[without] = len(keys) + np.arange(alone)
        # counted anew, so that the numbers have no gap
        groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
        if not alone:
            return groups, ()
        return groups, (f"{alone} of {len(found)} images name no patient; each of them counts as a patient of its own",)


def scan(root: Path, ids: Sequence[str], *, frames: NDArray[np.int64] | None = None) -> Scanned:
    """Read header and bytes of every file; no pixel is decoded.

    Args:
        root: the folder that `ids` are relative to.
        ids: paths with forward slashes.
        frames: (n,) int64, which picture of the file is meant, counted from 1; 0: it holds one.
    """
    rows = _Rows(len(ids))

    def work(chunk: range) -> None:
        for i in chunk:
            name = ids[i]
            try:
                header, digest = _examined(root / name, name)
                rows.put(i, header, _of_frame(header, digest, 0 if frames is None else int(frames[i]), name))
            except ImageError as problem:
                rows.bad[i] = str(problem)
            except OSError as problem:
                rows.bad[i] = f"{name}: can not be read ({(problem.strerror or 'i/o error').lower()})"

    over_chunks(work, len(ids))
    return rows.scanned()


def frame_digest(digest: bytes, frame: int) -> bytes:
    """What tells one picture of a file from the others: sha256 of the frame's number and the file's sha256."""
    return hashlib.sha256(b"frame %d of " % frame + digest).digest()


def _of_frame(header: Probe, digest: bytes, frame: int, name: str) -> bytes:
    """The digest of the picture that is meant; a choice is neither guessed nor passed over."""
    if header.frames == 1 and frame in (0, 1):
        return digest
    if frame == 0:
        raise ImageError(
            f"{name}: holds {header.frames} frames, expected one image; "
            "choose one in the frame column of a table, or save it as a file"
        )
    if frame > header.frames:
        raise ImageError(f"{name}: holds {header.frames} frames, frame {frame} was asked for")
    return frame_digest(digest, frame)


def _examined(path: Path, name: str) -> tuple[Probe, bytes]:
    # read once where that fits easily; what is not a plain file is refused by probe, unopened
    if path.is_file() and path.stat().st_size <= _SMALL:
        data = path.read_bytes()
        return probe(data, name=name), hashlib.sha256(data).digest()
    return probe(path, name=name), bytes.fromhex(sha256_file(path))


class _Rows:
    """Room for what is found, filled by row from any thread."""

    def __init__(self, n: int) -> None:
        self.table = np.zeros(n, _ROW)
        self.fields: dict[tuple[str, ...], int] = {(): 0}
        self.bad: dict[int, str] = {}
        self._numbering = threading.Lock()

    def put(self, i: int, header: Probe, digest: bytes) -> None:
        with self._numbering:  # two threads must not give one number to two lists
            personal = self.fields.setdefault(header.personal, len(self.fields))
        self.table[i] = (
            np.frombuffer(digest, np.uint8),
            header.width,
            header.height,
            KINDS.index(header.kind),
            header.gray,
            header.voi,
            header.bits,
            header.frames,
            -1 if header.group is None else _number(header.group),
            personal,
        )

    def scanned(self) -> Scanned:
        columns = {name: np.ascontiguousarray(self.table[name]) for name in _ROW.names or ()}
        return Scanned(**columns, fields=tuple(self.fields), bad=dict(sorted(self.bad.items())))


_ROW = np.dtype(
    [
        ("digests", np.uint8, 32),
        ("width", np.int32),
        ("height", np.int32),
        ("kind", np.uint8),
        ("gray", np.bool_),
        ("voi", np.bool_),
        ("bits", np.uint8),
        ("frames", np.int32),
        ("group", np.int64),
        ("personal", np.uint16),
    ]
)


def _number(group: str) -> int:
    """63 bits of a name's sha256: the same patient gets the same number in every file and every session."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") >> 1
