"""Writing files so that a crash, a full disk or a kill leaves either the old file or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "atomic_path",
    "atomic_write",
    "hold_lock",
    "is_held",
    "put_in_place",
    "refuse_file",
    "refuse_idle_overwrite",
    "refuse_occupied",
    "refuse_unwritable",
    "remove_leftovers",
    "replace_folder",
    "sha256_bytes",
    "sha256_file",
    "size_of",
    "suggest_remedy",
    "sync_folder",
]

_PART = ".part"
"""Ends the hidden names of files that are being written."""
_GLANCE = 0.4
"""Seconds that a lock may be held by somebody who only looks whether it is held, with `is_held`."""

_REMEDIES = (
    ({errno.ENOSPC, errno.EDQUOT}, "free space there"),
    ({errno.EACCES, errno.EPERM, errno.EROFS}, "check its rights"),
    ({errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}, "check the path"),
)
"""What helps against errors of the system."""

log = logging.getLogger("zoo")


def refuse_occupied(target: Path, *, overwrite: bool, **fields: str) -> None:
    """Refuse to write where something is already, unless it is to be replaced; to be asked before the work.

    Args:
        target: the place.
        overwrite: what is there may be replaced.
        **fields: what else the error says.

    Raises:
        OutputError: there is.
    """
    if not overwrite and os.path.lexists(target):
        raise OutputError(
            f"{target} is there already; give --overwrite to replace it, or choose another place",
            code="out-occupied",
            path=str(target),
            **fields,
        )


def refuse_idle_overwrite(place: object, option: str, *, overwrite: bool) -> None:
    """Refuse `overwrite` where nothing that could be replaced is named.

    Args:
        place: what the user named; None: nothing.
        option: that names it.
        overwrite: what is there may be replaced.

    Raises:
        UsageError: it changes nothing.
    """
    if overwrite and place is None:
        raise UsageError(
            f"--overwrite replaces what is in {option}; name that too, or leave --overwrite out",
            code="option-ignored",
            options=["--overwrite"],
        )


def refuse_file(folder: Path, option: str = "--out") -> None:
    """Refuse a file where a folder is to be written; to be asked before the work.

    Raises:
        UsageError: it is one.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"{option} {folder} is a file, and {option} takes a folder; choose another place",
            code="out-name",
            path=str(folder),
        )


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
            raise refuse_unwritable(target, "it exists and is not a file", "choose another place")
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=_PART)
        if not _claim(handle):  # held while the block runs, so that no other process takes it for a leftover
            os.close(handle)
            handle = -1
    except OSError as problem:
        raise refuse_unwritable(target, problem) from None
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp made it private
        put_in_place(temporary, target)
    except OSError as problem:
        raise refuse_unwritable(target, problem) from None
    finally:
        temporary.unlink(missing_ok=True)
        if handle >= 0:
            os.close(handle)


def remove_leftovers(target: Path, *, all_names: bool = False) -> None:
    """Remove what `atomic_path` left beside `target` in processes that were killed, and nothing that is being written.

    It looks through the whole folder, so a caller of many targets in one folder asks once, with `all_names`: what was
    left beside any file of the folder `target` goes.
    """
    folder, name = (target, "*") if all_names else (target.parent, glob.escape(target.name))
    with contextlib.suppress(OSError):
        for left in folder.glob(f".{name}.*{_PART}"):
            with contextlib.suppress(OSError):
                if sys.platform == "win32":  # which removes no file that is open
                    left.unlink()
                    continue
                with left.open("rb") as stream:
                    if _claim(stream.fileno()):
                        left.unlink()


def _claim(handle: int) -> bool:
    """Lock an open file for this process until it is closed; False: another has it, or the file system knows none."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def put_in_place(whole: Path, target: Path) -> None:
    """Rename a finished file, flushed to the disk before and its folder after; raises OSError."""
    with whole.open("rb+") as written:
        os.fsync(written.fileno())
    whole.replace(target)
    sync_folder(target.parent)


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
        raise refuse_unwritable(target, problem) from None
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
        raise refuse_unwritable(target, problem) from None
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
def hold_lock(
    guard: Path, *, waiting: str = "", refuse: Callable[[], Exception] | None = None, lenient: bool = False
) -> Iterator[None]:
    """Keep other processes and threads out until the block ends, by a lock on the file `guard`.

    The system lets go of the lock of a process that ends, however it ends.

    Args:
        guard: made when it is not there, with its folder.
        waiting: said to the log when another process is inside.
        refuse: makes the error to raise when another process is inside; None: wait for it.
        lenient: where no lock can be had, say so and run the block without one.

    Raises:
        OutputError: the folder is missing or read-only.
    """
    from filelock import FileLock, Timeout  # 40 ms, and a listing needs no lock

    lock = FileLock(guard)
    try:
        guard.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0 if refuse is None else _GLANCE, poll_interval=_GLANCE / 20)
        except Timeout:
            if not guard.exists():  # none can be made there; filelock takes that for somebody who removes it
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(guard)) from None
            if refuse is not None:
                raise refuse() from None
            if waiting:
                log.info("%s", waiting)
            lock.acquire()
    except (OSError, NotImplementedError) as problem:
        if not isinstance(problem, OSError) or lenient:
            log.warning("no lock at %s (%s); start no second process on it", guard, problem)
            yield
            return
        raise refuse_unwritable(guard, problem) from None
    try:
        yield
    finally:
        lock.release()


def is_held(guard: Path) -> bool:
    """Whether a process or thread holds the lock on the file `guard`; nothing is made where there is none."""
    from filelock import FileLock, Timeout

    if not guard.is_file():
        return False
    try:
        with FileLock(guard).acquire(blocking=False):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # a read-only place, where nobody writes
        return False


def sha256_bytes(*pieces: bytes | memoryview) -> str:
    """Hexadecimal sha256 of the pieces, one after the other."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size_of(place: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return (
        sum(one.lstat().st_size for one in place.rglob("*") if not one.is_dir())
        if place.is_dir()
        else place.stat().st_size
    )


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can; raises OSError."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as problem:  # SMB shares and FUSE know no such call for a folder
        if problem.errno not in {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}:
            raise
    finally:
        os.close(handle)


def suggest_remedy(problem: OSError) -> str:
    """What helps against a write that failed: space where there is none, rights where they are missing, or a path."""
    number = problem.errno or 0
    return next((remedy for numbers, remedy in _REMEDIES if number in numbers), "check that disk")


def refuse_unwritable(target: Path | str, why: OSError | str, remedy: str | None = None) -> OutputError:
    """The error of a place that cannot be written.

    Args:
        target: the place; text where it is an address, of which a path loses a slash.
        why: what the system says, or the reason in words.
        remedy: what to do; None: as `suggest_remedy`, or choose another place.
    """
    if remedy is None:
        check = "check its space and rights" if isinstance(why, str) else suggest_remedy(why)
        remedy = f"{check} or choose another place"
    reason = why if isinstance(why, str) else (why.strerror or str(why)).lower()
    return OutputError(
        f"cannot write {target}: {reason}; {remedy}", code="output-unwritable", path=str(target), cause=reason
    )
