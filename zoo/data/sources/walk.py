"""The image files below a folder, one folder at a time and in natural order."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import DataError
from zoo.readers import IMAGE_SUFFIXES, is_image
from zoo.text import natural_bytes, natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Walk", "join", "one_line"]


@dataclass(slots=True)
class Walk:
    """A pass over one folder, and what it saw beside images."""

    root: str
    ignored: int = 0
    stray: int = 0
    links: list[str] = field(default_factory=list)

    def folders(self, folder: str, real: tuple[str, ...]) -> list[tuple[str, str]]:
        """Visible subfolders (name, real path) of one folder, in natural order.

        `folder` is relative to the root; `real` holds the real paths of the folders it was reached through.
        """
        found = [(entry.name, target) for entry, target in self._visible(folder, real) if entry.is_dir()]
        return sorted(found, key=lambda pair: natural_key(pair[0]))

    def below(self, folder: str, real: tuple[str, ...]) -> Iterator[str]:
        """Ids of all images in a folder and its subfolders, in natural order; files before folders."""
        pending = [(folder, real)]  # no recursion: folders may lie a thousand deep
        while pending:
            here, reached = pending.pop()
            folders, images = self.entries(here, reached)
            for key in images:
                yield join(here, os.fsdecode(key[key.rindex(0) + 1 :]))
            del images
            pending += [(join(here, name), (*reached, target)) for name, target in reversed(folders)]

    def entries(self, folder: str, real: tuple[str, ...]) -> tuple[list[tuple[str, str]], list[bytes]]:
        """As `folders`, and `natural_bytes` of the image files: half the room of their names and their keys."""
        folders, images = [], []
        for entry, target in self._visible(folder, real):
            if entry.is_dir():
                folders.append((entry.name, target))
            elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES or _is_image(entry):  # noqa: PTH122 - many
                images.append(natural_bytes(entry.name))
            else:
                self.ignored += 1
        images.sort()
        return sorted(folders, key=lambda pair: natural_key(pair[0])), images

    def _visible(self, folder: str, real: tuple[str, ...]) -> Iterator[tuple[os.DirEntry[str], str]]:
        """What is not hidden and does not lead out, each with its real path."""
        with _scan(Path(self.root, folder), folder) as found:
            for entry in found:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                target = f"{real[-1]}{os.sep}{entry.name}"
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    inside = target.startswith(self.root.rstrip(os.sep) + os.sep)
                    if not inside or target in real or _endless(entry):
                        self.links.append(join(folder, entry.name))
                        continue
                yield entry, target


def join(folder: str, name: str) -> str:
    """The id of `name` in `folder`; '' is the root."""
    return f"{folder}/{name}" if folder else name


def one_line(name: str, ids: Iterable[str]) -> Iterator[str]:
    """Hand on `ids`, which go into tables and messages of one line.

    Raises:
        DataError: at the end, when some hold control characters or are not UTF-8.
    """
    bad, example = 0, ""
    for identity in ids:
        # the first question takes a tenth of the second, and says yes to a few that are fine
        if not identity.isprintable() and any(
            ord(c) < 32 or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in identity
        ):
            bad, example = bad + 1, example or identity
        yield identity
    if bad:
        raise DataError(f"{name}: {bad} file names hold control characters or are not UTF-8 ({example!a}); rename them")


def _endless(link: os.DirEntry[str]) -> bool:
    """Whether a link leads to itself."""
    try:
        link.stat()
    except OSError as problem:
        return problem.errno == errno.ELOOP
    return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file without an image's suffix is one by content, as DICOM files called IM0001 are."""
    return entry.is_file() and is_image(Path(entry.path))


def _scan(path: Path, shown: str) -> os._ScandirIterator[str]:
    try:
        return os.scandir(path)
    except OSError as problem:
        raise DataError(
            f"folder {shown or path}: can not be read ({(problem.strerror or 'i/o error').lower()}); check its rights"
        ) from None
