"""Writing files so that a crash, a full disk or a kill leaves either the old file or the new one, whole."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["atomic_path", "atomic_write", "hold_lock", "put_in_place", "replace_folder", "sha256_bytes", "sha256_file"]

log = logging.getLogger("zoo")


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place when the block ends well, and else is removed.

    The file is flushed to the disk before it is renamed, and so is the folder after.

    Raises:
        OutputError: the folder is missing or read-only, the disk is full, or `target` is not a regular file. A rename
            would replace a device such as /dev/null for the whole machine. `target` is unchanged.
    """
    try:
        if target.exists() and not target.is_file():
            raise OutputError(
                f"cannot write {target}: it exists and is not a file; choose another place",
                code="output-unwritable",
                path=str(target),
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        os.close(handle)
    except OSError as problem:
        raise OutputError(_cannot_write(target, problem), code="output-unwritable", path=str(target)) from None
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp made it private
        put_in_place(temporary, target)
    except OSError as problem:
        raise OutputError(_cannot_write(target, problem), code="output-unwritable", path=str(target)) from None
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(whole: Path, target: Path) -> None:
    """Rename a finished file, flushed to the disk before and its folder after; raises OSError."""
    with whole.open("rb+") as written:
        os.fsync(written.fileno())
    whole.replace(target)
    _sync_folder(target.parent)


def atomic_write(target: Path, data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `target` as `atomic_path` does."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def replace_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder, whole or not at all. A folder of that name is replaced, so the caller asks first whose it is.

    Args:
        target: the folder.
        files: name below it, "/" between its parts, to content.

    Raises:
        OutputError: the folder cannot be written; what was there is unchanged.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as problem:
        raise OutputError(_cannot_write(target, problem), code="output-unwritable", path=str(target)) from None
    try:
        fresh.chmod(0o755)  # mkdtemp makes it private
        for name, data in files.items():
            place = fresh.joinpath(*name.split("/"))
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        _swap(fresh, target)
    except OSError as problem:
        raise OutputError(_cannot_write(target, problem), code="output-unwritable", path=str(target)) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, target: Path) -> None:
    if not target.exists():
        fresh.rename(target)
        return
    old = fresh.with_name(f"{fresh.name}.old")
    target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def hold_lock(guard: Path, *, waiting: str = "") -> Iterator[None]:
    """Keep other processes and threads out until the block ends, by a lock on the file `guard`.

    The system lets go of the lock of a process that ends, however it ends.

    Args:
        guard: made when it is not there, with its folder.
        waiting: said to the log when another process is inside.

    Raises:
        OutputError: the folder is missing or read-only.
    """
    from filelock import FileLock, Timeout  # 40 ms, and a listing needs no lock

    lock = FileLock(guard)
    try:
        guard.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if waiting:
                log.info("%s", waiting)
            lock.acquire()
    except OSError as problem:
        raise OutputError(_cannot_write(guard, problem), code="output-unwritable", path=str(guard)) from None
    try:
        yield
    finally:
        lock.release()


def sha256_bytes(data: bytes | memoryview) -> str:
    """Hexadecimal sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(target: Path, problem: OSError) -> str:
    reason = (problem.strerror or str(problem)).lower()
    return f"cannot write {target}: {reason}; free space there or choose another place"
