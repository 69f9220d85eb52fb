"""What a scan found out, kept for the next one, so that a folder that has not changed costs one stat a file.

One file for each data root, below the cache folder. A record is found by the identity of its image file (see
`zoo.data.scanning.examine.identity`): name, size, times, inode and device. A file that was changed, renamed, swapped or
replaced has another identity and is read again. What can not be used (damaged, foreign, of another version of the
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

from zoo.data.cachedir import limit, reader_version, spelled, sweep, used
from zoo.data.scanning.examine import ROW, identity
from zoo.errors import OutputError
from zoo.files import atomic_write
from zoo.places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["FEWEST", "Recalled", "recall", "remember"]

FEWEST = 256
"""Files below which reading them again takes no time worth a file."""

_MAGIC = b"zoo index 1\n"
_NOBODY = bytes(16)

log = logging.getLogger("zoo")


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """What stands before the rows."""

    root: str
    readers: str
    n: int
    fields: list[tuple[str, ...]]
    sha256: str
    """Of the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """What is known of the files of a scan before any is read.

    Attributes:
        known: (n,) bool, which of them.
        rows: (known.sum(),) `ROW`, theirs.
        others: (m,) `ROW` of files below the same root that were not asked about.
        fields: what "personal" counts in.
    """

    known: NDArray[np.bool_]
    rows: NDArray[np.void]
    others: NDArray[np.void]
    fields: tuple[tuple[str, ...], ...]


def recall(root: Path, names: Sequence[str]) -> Recalled | None:
    """Look up `names`; None where there is no cache for `root`, or it can not be used."""
    path = _place(root)
    if not limit() or len(names) < FEWEST or (found := _read(path, root)) is None:
        return None
    head, rows = found
    used(path)
    wanted = _identities(root, names)
    keys, asked = _short(rows["identity"]), _short(wanted)
    at = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
    known = (rows["identity"][at] == wanted).all(axis=1) if len(keys) else np.zeros(len(names), np.bool_)
    others = np.ones(len(rows), np.bool_)
    others[at[known]] = False
    return Recalled(known, rows[at[known]], rows[others], tuple(head.fields))


def remember(root: Path, rows: NDArray[np.void], fields: Sequence[tuple[str, ...]]) -> None:
    """Keep `rows`, those without an identity left out; where they can not be written, nothing happens."""
    size = limit()
    rows = rows[(rows["identity"] != 0).any(axis=1)]
    if not size or len(rows) < FEWEST or rows.nbytes > size:
        return
    _, first = np.unique(_short(rows["identity"]), return_index=True)  # a file may stand in several rows
    rows = rows[first]
    data = rows.tobytes()
    head = _Head(spelled(root), reader_version(), len(rows), list(fields), hashlib.sha256(data).hexdigest())
    text = msgspec.json.encode(head)
    try:
        sweep(len(data))
        atomic_write(_place(root), _MAGIC + len(text).to_bytes(4, "little") + text + data)
    except OutputError as problem:
        log.debug("the index is not kept: %s", problem)


def _place(root: Path) -> Path:
    return cache_folder("index") / f"{hashlib.sha256(spelled(root).encode()).hexdigest()[:32]}.index"


def _read(path: Path, root: Path) -> tuple[_Head, NDArray[np.void]] | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 4
    end = start + int.from_bytes(data[len(_MAGIC) : start], "little")
    try:
        head = msgspec.json.decode(data[start:end], type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    body = memoryview(data)[end:]
    sound = (
        data.startswith(_MAGIC)
        and (head.root, head.readers, head.n * ROW.itemsize) == (spelled(root), reader_version(), len(body))
        and hashlib.sha256(body).hexdigest() == head.sha256
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
            found += _NOBODY
    return np.frombuffer(found, np.uint8).reshape(-1, 16)


def _short(identities: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(n,) the first half of each identity, to sort and search by."""
    return np.ascontiguousarray(identities[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
