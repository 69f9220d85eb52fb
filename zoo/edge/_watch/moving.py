"""Moving an answered file to another folder: nothing that lies there is replaced, and nothing is lost on the way.

Between a look at a file and what is done to it, another file may take its name. So a file is first renamed, then
looked at under the name that nobody else uses, and put back where it is not the one that was answered. A file that is
to be removed goes through the hidden folder `ASIDE` beside it. A kill leaves it there, and `restore` puts it back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from zoo._support.files import atomic_path, refuse_unwritable, sha256_file, sync_folder
from zoo.edge._watch.arrivals import stamp_of
from zoo.readers._walk import is_hidden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.edge._watch.arrivals import Arrival
    from zoo.errors import OutputError

__all__ = ["ASIDE", "move", "restore", "takes_nothing"]

ASIDE = ".zoo-moving"
"""Name of the hidden folder through which a file goes when it is removed."""


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
    target = folder / arrival.name
    if source.is_symlink() or stamp_of(str(source)) != arrival.stamp:
        return False
    try:
        if os.path.lexists(target) and not _holds(target, sha256):
            target = target.with_name(f"{target.stem}-{sha256[:12] or 'unread'}{target.suffix}")
        if _holds(target, sha256):  # moved before: a copy whose original a kill left, or the same file sent again
            _discard(source, arrival)
            return True
        if os.path.lexists(target):
            raise refuse_unwritable(target, "it exists and is another file", "move it away")
        target.parent.mkdir(parents=True, exist_ok=True)
        return _rename(source, target, arrival) or (bool(sha256) and _copy(source, target, arrival, sha256))
    except _Changed:
        return False
    except OSError as problem:
        raise refuse_unwritable(target, problem) from None


def restore(folder: Path) -> Iterator[str]:
    """Put back what a kill left in hidden folders `ASIDE` below a folder.

    Yields:
        A line for each file that cannot be put back.
    """
    for place, folders, _ in os.walk(folder):
        aside = Path(place, ASIDE)
        if ASIDE in folders and not aside.is_symlink():
            try:
                for hidden in aside.iterdir():
                    _put_back(hidden, Path(place, hidden.name))
                aside.rmdir()
            except OSError as problem:
                yield f"{aside} holds files that cannot be put back: {problem.strerror or problem}"
        folders[:] = [one for one in folders if not is_hidden(one)]


def takes_nothing(folder: Path, problem: OutputError) -> bool:
    """Whether no other file can be written to a folder either, after one could not: it is full, or unwritable."""
    cause = problem.__context__
    if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True  # a small file may still have room
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return False
    except OSError:
        return True


class _Changed(Exception):  # noqa: N818 - what happened, said to `move` alone
    """The file is another one than the one that was answered."""


def _rename(source: Path, target: Path, arrival: Arrival) -> bool:
    """Rename; False where source and target lie on two file systems."""
    try:
        source.rename(target)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        return False
    if not _is_answered(target, arrival):
        _put_back(target, source)
        raise _Changed
    sync_folder(target.parent)
    sync_folder(source.parent)
    return True


def _copy(source: Path, target: Path, arrival: Arrival, sha256: str) -> bool:
    with atomic_path(target) as temporary:
        shutil.copy2(source, temporary)
        if sha256_file(temporary) != sha256 or stamp_of(str(source)) != arrival.stamp:
            raise _Changed
    _discard(source, arrival)
    return True


def _discard(source: Path, arrival: Arrival) -> None:
    """Remove a file whose content lies in the other folder by now."""
    aside = source.parent / ASIDE
    hidden = aside / source.name
    aside.mkdir(exist_ok=True)
    try:
        if aside.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, f"{ASIDE} is a link")
        if os.path.lexists(hidden):
            _put_back(hidden, source)
        source.rename(hidden)
        try:
            if not _is_answered(hidden, arrival):
                raise _Changed
            hidden.unlink()
        except (OSError, _Changed):
            _put_back(hidden, source)
            raise
    finally:
        with contextlib.suppress(OSError):  # not empty: it is looked into at the next start
            aside.rmdir()
    sync_folder(source.parent)


def _put_back(hidden: Path, place: Path) -> None:
    """Give a file its name again, or a longer one where another file has that; nothing is replaced."""
    for name in (place, place.with_name(f"{uuid.uuid4().hex[:12]}-{place.name[-50:]}")):
        try:
            os.link(hidden, name, follow_symlinks=False)  # unlike a rename, it replaces nothing
        except FileExistsError:
            if not os.path.samestat(hidden.lstat(), name.lstat()):
                continue
        except (NotImplementedError, OSError):  # no hard links here
            if os.path.lexists(name):
                continue
            hidden.rename(name)
            return
        hidden.unlink()
        return


def _is_answered(path: Path, arrival: Arrival) -> bool:
    """Whether a file that was renamed is the one that was answered."""
    return _lasting(stamp_of(str(path))) == _lasting(arrival.stamp)


def _holds(target: Path, sha256: str) -> bool:
    """Whether there is a file with this content."""
    return bool(sha256) and target.is_file() and not target.is_symlink() and sha256_file(target) == sha256


def _lasting(stamp: str | None) -> tuple[str, ...]:
    """Size, time of content and inode, which a rename leaves as they are."""
    parts = (stamp or "").split(":")
    return (*parts[:2], *parts[3:])
