"""Where the images are that a table names: by path, by file name or by stem, at any depth below its folder.

Names are compared in one Unicode form (NFC), their suffixes in lower case. Of a million images only their paths and
two numbers each are kept.
"""

from __future__ import annotations

import filecmp
import itertools
import posixpath
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from zoo.data._names import Names
from zoo.data._sources.folder import split_of
from zoo.readers import JOINT
from zoo.readers._walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ARCHIVE", "Places", "spell"]

ARCHIVE = ".npz#"
"""Divides the name of an archive from the place of an image in it."""

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


def spell(cell: str) -> str:
    """A path as a cell holds it, with forward slashes."""
    return cell.strip().replace("\\", "/")


@dataclass(slots=True)
class Places:
    """The images below one folder. The folder is walked once, when the first image is looked for.

    Attributes:
        root: the folder.
    """

    root: Path
    _names: Names | None = None
    _keys: dict[tuple[int, Callable[[str], str]], _Keys] = field(default_factory=dict)
    _folders: dict[str, dict[str, list[int]]] | None = None

    @property
    def names(self) -> Names:
        """Paths of all images, relative to `root`, in the order of the walk."""
        if self._names is None:
            found = Walk(str(self.root)).images()
            self._names = Names.of(path for path in found if isinstance(path, str))
        return self._names

    def has_as_written(self, path: str) -> bool:
        """Whether a path leads to a file, or into an archive, without any search; joined ones all must."""
        if JOINT in path:
            return all(part and self.has_as_written(part) for part in path.split(JOINT))
        try:
            return (self.root / (path.partition("#")[0] if ARCHIVE in path else path)).is_file()
        except ValueError:  # a null byte
            return False

    def find(self, path: str, dropped: int = 0) -> list[str]:
        """Images that a cell may mean.

        Args:
            path: from `spell`.
            dropped: so many of its first folders are not of this machine.

        Returns:
            Paths relative to `root`, or `path` itself where it leads out of `root`. More than one: several images
            end in this path, or have it as their stem. Of joined paths each is found alone, and they are joined again.
        """
        if JOINT in path:
            each = (self.find(part, dropped) for part in path.split(JOINT))
            return [JOINT.join(parts) for parts in itertools.islice(itertools.product(*each), 2)]
        if path.startswith(("/", "../")) or ARCHIVE in path:
            if self.has_as_written(path):
                return [path]
            if ARCHIVE in path:
                return []
        if "/" in path or path == ".":
            path = "/".join([part for part in posixpath.normpath(path).split("/") if part][dropped:])
        elif dropped:
            return []
        if not path or path == ".":
            return []
        depth = path.count("/") + 1
        found = [self.names[at] for at in self._of_depth(depth, _fold).find(_fold(path))]
        if len(found) > 1 and path in found:  # the whole path, beside longer ones that end in it
            return [path]
        stems = self._of_depth(depth, _stem)
        at_stem = stems.find(_compose(path))
        if not at_stem and _SUFFIX.search(path):  # the table says .dcm, and the pictures were converted
            at_stem = stems.find(_stem(path))
        return found or [self.names[at] for at in at_stem]

    def find_home(self, cells: Iterable[str], dropped: int, table: str) -> str:
        """The folder whose images a table means, where other folders have images of the same names.

        It is the one with exactly one image for every row that has any, and its name says the same split as the
        table's: `train.csv` means `train/`.

        Args:
            cells: paths in the column of images, from `spell`.
            dropped: number of first folders that are not of this machine.
            table: name of the table, without its suffix.

        Returns:
            Its path relative to `root`; "" where no name occurs twice, or where the folder cannot be told.
        """
        alone: Counter[str] = Counter()
        rows = 0
        several = False
        for found in (self.find(cell, dropped) for cell in cells if cell):
            rows += bool(found)
            several |= len(found) > 1
            here = Counter(folder for path in found for folder in _folders_of(path))
            alone.update(folder for folder, count in here.items() if count == 1)
        part = split_of(table)
        if not several or part is None:
            return ""
        homes = [folder for folder, count in alone.items() if count == rows and split_of(folder) == part]
        widest = min(homes, key=len, default="")
        return widest if all(f"{home}/".startswith(f"{widest}/") for home in homes) else ""

    def are_copies(self, paths: Sequence[str]) -> bool:
        """Whether files are the same, byte for byte."""
        try:
            return all(filecmp.cmp(self.root / paths[0], self.root / path, shallow=False) for path in paths[1:])
        except OSError:
            return False

    def images_in(self, folder: str) -> list[str]:
        """The images in the one folder of this name, at any depth; none where several are called so."""
        if self._folders is None:
            self._folders = {}
            for at, path in enumerate(self.names):
                parent = posixpath.dirname(path)
                self._folders.setdefault(posixpath.basename(parent), {}).setdefault(parent, []).append(at)
        folders = list(self._folders.get(folder, {}).values())
        return [self.names[at] for at in folders[0]] if len(folders) == 1 and folder else []

    def _of_depth(self, depth: int, key: Callable[[str], str]) -> _Keys:
        """Where images are, by the `key` of the last `depth` parts of their paths; "" for shorter paths."""
        keys = self._keys.get((depth, key))
        if keys is None:
            tails = (name.split("/")[-depth:] for name in self.names)
            keys = _Keys.of(key("/".join(parts)) if len(parts) == depth else "" for parts in tails)
            self._keys[depth, key] = keys
        return keys


@dataclass(frozen=True, slots=True, eq=False)
class _Keys:
    """Positions of texts by their hashes.

    Attributes:
        hashes: (n,) int64, ascending.
        order: (n,) int64, which text each hash is of.
    """

    hashes: NDArray[np.int64]
    order: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterator[str]) -> _Keys:
        hashes = np.fromiter(map(hash, texts), np.int64)
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], order)

    def find(self, text: str) -> list[int]:
        """Positions of a text. Two of a million names share one of 2^64 hashes once in ten million folders."""
        key = hash(text)
        at = int(self.hashes.searchsorted(key))
        found = []
        while at < len(self.hashes) and self.hashes[at] == key:
            found.append(int(self.order[at]))
            at += 1
        return found


def _folders_of(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _compose(path: str) -> str:
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def _fold(path: str) -> str:
    """A path as it is compared: composed, its suffix in lower case."""
    path = _compose(path)
    stem = _stem(path)
    return stem + path[len(stem) :].lower()


def _stem(path: str) -> str:
    """A path as it is compared without its suffix."""
    path = _compose(path)
    return path[:dot] if (dot := path.rfind(".")) > path.rfind("/") + 1 else path
