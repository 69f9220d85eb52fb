"""NAME.zoo: a bundle in a folder, in which every entry is a regular file of its own.

What this module does not know: manifests, hashes, models.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from typing import TYPE_CHECKING

from zoo.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Folder", "read_file"]


class Folder:
    """A folder as it was when it was opened.

    Attributes:
        names: names of all entries.
    """

    KIND = "a folder"

    def __init__(self, path: Path) -> None:
        """List the folder; raises ModelError where that cannot be done."""
        self._path = path
        try:
            self._entries = {entry.name: entry for entry in os.scandir(path)}
        except OSError as problem:
            raise ModelError(
                f"{path}: cannot be read ({_reason(problem)})", code="file-unreadable", cause=_reason(problem)
            ) from None
        self.names = frozenset(self._entries)

    def problems(self) -> list[tuple[str, str]]:
        """(name, line) of entries with which something is wrong, whatever they are called."""
        found = []
        folded: dict[str, str] = {}
        for name, entry in sorted(self._entries.items()):
            if entry.is_symlink():
                found.append((name, f"{name} is a symbolic link, expected a regular file"))
            elif not entry.is_file():
                found.append((name, f"{name} is not a regular file"))
            elif (self._path / name).lstat().st_nlink > 1:
                found.append((name, f"{name} has a second name elsewhere (hard link), expected a file of its own"))
            key = unicodedata.normalize("NFC", name).casefold()
            if key in folded:
                found.append((name, f"{name!r} and {folded[key]!r} are one name on other systems"))
            folded[key] = name
        return found

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of an entry, at most `limit`; raises ModelError, also for a link or a folder."""
        return read_file(self._path / name, limit, plain=True)


def read_file(path: Path, limit: int, *, plain: bool) -> bytes:
    """The bytes of a regular file; `plain` refuses links, on the open file so that no swap slips in.

    Raises:
        ModelError: not there, no regular file, or larger than `limit`.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags | (getattr(os, "O_NOFOLLOW", 0) if plain else 0))
        with open(handle, "rb") as stream:  # noqa: PTH123 - a handle, not a path
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or (plain and status.st_nlink > 1):
                raise ModelError(f"{path}: not a regular file of its own; copy it to one", code="model-not-file")
            if status.st_size > limit:
                raise ModelError(
                    f"{path}: {status.st_size} bytes, expected at most {limit}",
                    code="model-size",
                    bytes=status.st_size,
                    most=limit,
                )
            data = stream.read(status.st_size + 1)  # and no more, whoever writes to it meanwhile
            if len(data) != status.st_size:
                raise ModelError(
                    f"{path}: it changed while it was read; copy it to a place where nobody writes",
                    code="model-changed",
                )
            return data
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        raise ModelError(
            f"{path}: cannot be opened ({_reason(problem)}); expected a .onnx file or a bundle's folder",
            code="file-unreadable",
            cause=_reason(problem),
        ) from None


def _reason(problem: Exception) -> str:
    return (getattr(problem, "strerror", None) or str(problem)).lower()
