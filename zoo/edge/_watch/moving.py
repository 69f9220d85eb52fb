"""Moving an answered file to another folder: nothing that lies there is replaced, and nothing is lost on the way."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from zoo._support.files import atomic_path, refuse_unwritable, sha256_file, sync_folder
from zoo.edge._watch.arrivals import stamp_of

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.edge._watch.arrivals import Arrival

__all__ = ["move"]


def move(source: Path, folder: Path, arrival: Arrival, sha256: str) -> bool:
    """Move a file that was answered, by a rename where the file system allows it, else by a whole copy.

    Args:
        source: the file.
        folder: where it goes, under its name below the watched folder. Where another file has that name, the first
            digits of `sha256` are put before its suffix.
        arrival: the file as it was answered.
        sha256: hash of the content that was answered; "": it could not be read.

    Returns:
        Whether it was moved. A link is not, nor a file that is another one by now.

    Raises:
        OutputError: it cannot be; the file is where it was.
    """
    if source.is_symlink() or stamp_of(str(source)) != arrival.stamp:
        return False
    target = folder / arrival.name
    try:
        if os.path.lexists(target) and not _holds(target, sha256):
            target = target.with_name(f"{target.stem}-{sha256[:12] or 'unread'}{target.suffix}")
        if _holds(target, sha256):  # moved before: a copy whose original a kill left, or the same file sent again
            source.unlink()
            sync_folder(source.parent)
            return True
        if os.path.lexists(target):
            raise refuse_unwritable(target, "it exists and is another file", "move it away")
        target.parent.mkdir(parents=True, exist_ok=True)
        return _rename(source, target, arrival) or (bool(sha256) and _copy(source, target, arrival, sha256))
    except OSError as problem:
        raise refuse_unwritable(target, problem) from None


class _Changed(Exception):  # noqa: N818 - what happened, said to `_copy` alone
    """The file is another one than the one that was answered."""


def _rename(source: Path, target: Path, arrival: Arrival) -> bool:
    """Rename; False where source and target lie on two file systems."""
    try:
        source.rename(target)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        return False
    if _lasting(stamp_of(str(target))) != _lasting(arrival.stamp):  # somebody replaced it between look and rename
        if not os.path.lexists(source):
            target.rename(source)
        return True
    sync_folder(target.parent)
    sync_folder(source.parent)
    return True


def _copy(source: Path, target: Path, arrival: Arrival, sha256: str) -> bool:
    try:
        with atomic_path(target) as temporary:
            shutil.copy2(source, temporary)
            if sha256_file(temporary) != sha256 or stamp_of(str(source)) != arrival.stamp:
                raise _Changed
    except _Changed:
        return False
    source.unlink()
    sync_folder(source.parent)
    return True


def _holds(target: Path, sha256: str) -> bool:
    """Whether there is a file with this content."""
    return bool(sha256) and target.is_file() and not target.is_symlink() and sha256_file(target) == sha256


def _lasting(stamp: str | None) -> tuple[str, ...]:
    """Size, time of content and inode, which a rename leaves as they are."""
    parts = (stamp or "").split(":")
    return (*parts[:2], *parts[3:])
