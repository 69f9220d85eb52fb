"""What the caches share: their folder, their limit, and what their content depends on.

Four kinds are kept: indexes of folders, decoded images, mirrors of object stores (a folder each) and shards.

$ZOO_CACHE_GB says how large all may get together, in 10^9 bytes (default 20; 0: nothing is kept). What was not used
for the longest time goes first. All of it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from zoo._support.entries import READERS, is_allowed, read_declared
from zoo._support.versions import find_version
from zoo.errors import UsageError
from zoo.store._places import cache_folder

__all__ = [
    "ABOUT",
    "BUILDING",
    "Kept",
    "claim",
    "clear",
    "entries",
    "keep_in_use",
    "limit",
    "mark_used",
    "name_of",
    "open_cached",
    "reader_version",
    "spell",
    "sweep",
]

KINDS = ("index", "decoded", "remote", "shards")
ABOUT = "about.json"
"""What a mirror says of itself: its size; the time of the file is when it was used last."""
IN_USE = "lock"
"""A lock in a mirror that processes hold while they may read its files."""
BUILDING = ".part"
"""Suffix of a file that is being written."""

_DEFAULT_GB = 20.0
_ABANDONED = 3600
"""Seconds without a change after which an unfinished file has no writer, where no lock can tell."""
_LIBRARIES = (
    "numpy",
    "pillow",
    "pydicom",
    "pyjpegls",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "python-gdcm",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of a cache, or one mirror."""

    kind: str
    path: Path
    size: int
    """Bytes."""
    used: float
    """When it was used last, in seconds since 1970."""


def limit() -> int:
    """Bytes that the caches may take together; 0: nothing is kept.

    Raises:
        UsageError: $ZOO_CACHE_GB is not a number, or is below 0.
    """
    text = os.environ.get("ZOO_CACHE_GB", "")
    try:
        size = float(text) if text.strip() else _DEFAULT_GB
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise UsageError(
            f"ZOO_CACHE_GB is {text!r}, expected gigabytes, such as 20, or 0 to keep nothing",
            code="option-value",
            option="ZOO_CACHE_GB",
            value=text,
        )
    return int(size * 1e9)


@functools.cache
def reader_version() -> str:
    """Changes whenever a file could be read or resized in another way: our code, a library, another reader."""
    here = Path(__file__).resolve().parents[1]
    sources = [
        *sorted((here / "readers").glob("*.py")),
        here / "preprocess.py",
        here / "_support" / "ranges.py",
        here / "data" / "_scanning" / "examine.py",
    ]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    for library in _LIBRARIES:
        if (found := find_version(library)) is not None:
            digest.update(f"{library} {found}\n".encode())
    for name, owners in read_declared().entries[READERS].items():
        if is_allowed(name):
            digest.update("".join(f"{one} {one.point.value}\n" for one in owners).encode())
    return digest.hexdigest()[:16]


def spell(root: Path) -> str:
    """The real path of a data root, as text that any encoding takes."""
    return str(root.resolve()).encode("utf-8", "backslashreplace").decode()


def entries() -> list[Kept]:
    """What is kept, the least recently used first."""
    found = []
    for kind, path in _files():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if path.is_dir():
                size = int(json.loads((path / ABOUT).read_bytes())["size"])
                found.append(Kept(kind, path, size, (path / ABOUT).stat().st_mtime))
            elif path.suffix not in {BUILDING, ".lock"}:
                status = path.stat()
                found.append(Kept(kind, path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda one: one.used)


def name_of(one: Kept) -> str:
    """How an entry is shown: a mirror by its address, others by their file."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if one.kind == "remote":
            return str(json.loads((one.path / ABOUT).read_bytes())["url"])
    return one.path.name


def open_cached(path: Path) -> IO[bytes]:
    """A file of a cache, to be read; raises OSError.

    Nothing but a regular file: a pipe in its place would be waited for, and a device has no end.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    stream = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        stream.close()
        raise OSError(f"{path} is not a regular file")
    return stream


def mark_used(path: Path) -> None:
    """Note that a file was used now."""
    with contextlib.suppress(OSError):
        os.utime(path)


def sweep(room: int = 0) -> None:
    """Remove what killed processes left, then the least recently used files until `room` bytes fit below the limit."""
    _sweep_unfinished()
    kept = entries()
    excess = sum(one.size for one in kept) + room - limit()
    for one in kept:
        if excess <= 0:
            return
        with contextlib.suppress(OSError):
            _remove(one.path)
            excess -= one.size


def clear() -> list[Kept]:
    """Remove everything that is kept; returns what went."""
    gone = []
    for one in entries():
        with contextlib.suppress(OSError):
            _remove(one.path)
            gone.append(one)
    _sweep_unfinished()
    return gone


def keep_in_use(mirror: Path) -> int:
    """The open handle of a lock on a mirror: nobody removes it until that is closed, or the process ends."""
    handle = os.open(mirror / IN_USE, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0))
    if sys.platform != "win32":  # there, nobody can remove a file that is open
        import fcntl

        with contextlib.suppress(OSError):  # a network folder without locks
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return handle


def _remove(path: Path) -> None:
    """Remove a file, or a mirror that no process reads; raises OSError."""
    if not path.is_dir():
        path.unlink()
        return
    with contextlib.ExitStack() as stack:
        if sys.platform != "win32" and (path / IN_USE).exists():
            import fcntl

            stream = stack.enter_context((path / IN_USE).open("rb"))
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (path / ABOUT).unlink(missing_ok=True)  # from now on nobody takes it for a mirror
        shutil.rmtree(path)


@contextlib.contextmanager
def claim(path: Path) -> Iterator[None]:
    """While the block runs, `path` (being written) is not taken for the leftover of a killed process."""
    with path.open("rb") as stream:
        if sys.platform != "win32":  # there, nobody can remove a file that is open
            import fcntl

            with contextlib.suppress(OSError):  # a network folder without locks
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _sweep_unfinished() -> None:
    for kind, path in _files():
        if path.suffix == BUILDING:
            with contextlib.suppress(OSError):
                if _is_abandoned(kind, path):
                    path.unlink()


def _is_abandoned(kind: str, path: Path) -> bool:
    """Whether the process that wrote `path` is gone: the lock of `claim` goes with it."""
    status = path.stat()
    # an empty one may have been made this very moment, and not be locked yet
    if kind == "decoded" and status.st_size and sys.platform != "win32":
        import fcntl

        with open_cached(path) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                pass
            else:
                return True
    return time.time() - status.st_mtime > _ABANDONED


def _files() -> Iterator[tuple[str, Path]]:
    for kind in KINDS:
        with contextlib.suppress(OSError):
            for path in sorted(cache_folder(kind).iterdir()):
                yield kind, path
