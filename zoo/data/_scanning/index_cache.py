"""What a scan found out, kept for the next one, so that a folder that has not changed costs one stat a file.

One file for each data root, below the cache folder. A record is found by the identity of its image file (see
`identity` of examine.py): name, size, times, inode and device. A file that was changed, renamed, swapped or
replaced has another identity and is read again. What cannot be used (damaged, foreign, of another version of the
readers) is passed over and written anew; without a place to write to, everything is just read again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo._support.files import atomic_path
from zoo.data._scanning.examine import NOBODY, ROW, identity
from zoo.errors import OutputError
from zoo.store._cachedir import limit, mark_used, open_cached, reader_version, spell, sweep
from zoo.store._places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["FEWEST", "Recalled", "recall", "remember"]

FEWEST = 256
"""Files below which reading them again takes no time worth a file."""

_MAGIC = b"zoo index 5\n"
_PIECE = 65_536

log = logging.getLogger("zoo")


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """What the file holds before the rows."""

    root: str
    readers: str
    n: int
    fields: list[tuple[str, ...]]
    sha256: str
    """Of the fields and the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """What is known of the n files of a scan before any is read.

    Attributes:
        rows: (m,) `ROW`, all that is kept for this root.
        at: (n,) int64, which of `rows` is a file's; -1: none is.
        fields: what "personal" counts in.
    """

    rows: NDArray[np.void]
    at: NDArray[np.int64]
    fields: tuple[tuple[str, ...], ...]

    def others(self, most: int) -> NDArray[np.void]:
        """Rows of files that were not asked about: another table over the same folder asks for others."""
        unasked = np.ones(len(self.rows), np.bool_)
        unasked[self.at[self.at >= 0]] = False
        return self.rows[np.flatnonzero(unasked)[:most]]


def recall(root: Path, names: Sequence[str]) -> Recalled | None:
    """Look up `names`; None where `root` has no cache, or its cache cannot be used."""
    path = _place(root)
    if not limit() or len(names) < FEWEST or (found := _read(path, root)) is None or not len(found[1]):
        return None
    head, rows = found
    mark_used(path)
    wanted = _identities(root, names)
    at = np.searchsorted(_short(rows["identity"]), _short(wanted))
    at[at == len(rows)] = 0
    for part in _pieces(len(at)):
        at[part][(rows["identity"][at[part]] != wanted[part]).any(axis=1)] = -1
    return Recalled(rows, at, tuple(head.fields))


def remember(root: Path, rows: NDArray[np.void], fields: Sequence[tuple[str, ...]]) -> None:
    """Keep `rows`, those without an identity left out; where they cannot be written, nothing happens."""
    size = limit()
    known = np.flatnonzero((rows["identity"] != 0).any(axis=1))
    if not size or len(known) < FEWEST or len(known) * ROW.itemsize > size:
        return
    _, first = np.unique(_short(rows["identity"][known]), return_index=True)  # a file may have several rows
    order = known[first]
    digest = hashlib.sha256(msgspec.json.encode(list(fields)))
    for part in _pieces(len(order)):
        digest.update(rows[order[part]].tobytes())
    text = msgspec.json.encode(_Head(spell(root), reader_version(), len(order), list(fields), digest.hexdigest()))
    try:
        sweep(len(order) * ROW.itemsize)
        with atomic_path(_place(root)) as temporary, temporary.open("wb") as stream:
            stream.write(_MAGIC + len(text).to_bytes(4, "little") + text)
            for part in _pieces(len(order)):
                stream.write(rows[order[part]].tobytes())
    except OutputError as problem:
        log.debug("the index is not kept: %s", problem)


def _pieces(n: int) -> Iterator[slice]:
    """0..n in pieces, so that what is gathered for one does not double the memory of all."""
    return (slice(start, min(start + _PIECE, n)) for start in range(0, n, _PIECE))


def _place(root: Path) -> Path:
    return cache_folder("index") / f"{hashlib.sha256(spell(root).encode()).hexdigest()[:32]}.index"


def _read(path: Path, root: Path) -> tuple[_Head, NDArray[np.void]] | None:
    try:
        with open_cached(path) as stream:
            data = stream.read()
    except OSError:
        return None
    start = len(_MAGIC) + 4
    end = start + int.from_bytes(data[len(_MAGIC) : start], "little")
    try:
        head = msgspec.json.decode(data[start:end], type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    body = memoryview(data)[end:]
    digest = hashlib.sha256(msgspec.json.encode(head.fields))
    digest.update(body)
    sound = (
        data.startswith(_MAGIC)
        and (head.root, head.readers, head.n * ROW.itemsize) == (spell(root), reader_version(), len(body))
        and digest.hexdigest() == head.sha256
    )
    return (head, np.frombuffer(body, ROW)) if sound else None


def _identities(root: Path, names: Sequence[str]) -> NDArray[np.uint8]:
    """(n, 16) uint8, zeros for what is not there."""
    found = bytearray()
    base = f"{root}{os.sep}"
    for name in names:
        try:
            found += identity(name, os.stat(base + name))  # noqa: PTH116 - a Path would double the time
        except (OSError, ValueError):
            found += NOBODY
    return np.frombuffer(found, np.uint8).reshape(-1, 16)


def _short(identities: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(n,) the first half of each identity, to sort and search by."""
    return np.ascontiguousarray(identities[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
