"""The image files below a folder: one order, one rule for links, one count of what is passed over, for every verb.

Training, the audit and prediction all walk here, so that what is trained on is what is predicted. The module lies in
`zoo.readers` because readers say what an image is, and because `zoo.edge` may import nothing above it.

- Files and folders of one folder have one natural order of their names: '2' before '10', case ignored.
- Hidden names, and what systems, programs and network storage leave (`IGNORED`), are not looked into. Folders of them,
  and hidden pictures, are counted.
- A link to a file is read as the file. A link to a folder is not followed, and counted.
- Heat maps, runs and bundles of this tool below the folder are passed over, and links to the last two: they hold plots.
- A file is an image by its suffix or by its first bytes. Whatever else is met is counted, what cannot be read too.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zoo._support.text import natural_bytes
from zoo.errors import ImageError
from zoo.readers._door import IMAGE_SUFFIXES, image_suffixes, is_image_head, read_head
from zoo.readers._foreign import RAW_SUFFIXES, find_suffix, is_picture_suffix, name_format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Set

__all__ = ["HEAT_MAP", "IGNORED", "MARK", "PassedOver", "Walk", "is_heat_map", "is_hidden", "join"]

IGNORED = frozenset(
    {
        "#recycle",  # Synology
        "#snapshot",
        "$recycle.bin",
        "@__thumb",  # QNAP
        "@eadir",  # Synology: thumbnails of the pictures beside it
        "@recently-snapshot",
        "@recycle",  # QNAP
        "@tmp",
        "__macosx",
        "__pycache__",
        "_thumbs",
        "desktop.ini",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "lost+found",
        "network trash folder",
        "picasa.ini",
        "recycler",
        "system volume information",
        "temporary items",
        "thumbnails",
        "thumbs.db",
        "zbthumbnail.info",
    }
)
"""Names, in lower case, of what operating systems, programs and network storage leave among pictures."""

_OWN = (frozenset({"run.json", "trained_on.npz"}), frozenset({"manifest.json", "golden.npz"}))
"""Files that a run holds, and a bundle: no folder of pictures has both."""
_OWN_NAMES = frozenset().union(*_OWN)

HEAT_MAP = ".heat.png"
"""End of the names of heat maps."""
MARK = "zoo explain"
"""Text `Software` of each heat map, so that it is known again and nobody else's picture is taken for one."""

_MOST = 100
"""Suffixes and links that are told apart; of a million files each may have its own."""


@dataclass(slots=True)
class PassedOver:
    """What walks met beside images.

    Attributes:
        pictures: suffix, or name of the format: files that are pictures of a format that no reader takes.
        others: suffix, or '' for none: files that are not pictures.
        links: links to folders, by their path; the first hundred.
        linked: how many links to folders there are.
        own: runs, bundles and heat maps of this tool, by their path.
        system: name: folders and files that systems and programs leave, hidden folders, and hidden pictures.
        unreadable: how many files could not be read, whose names do not say whether they are images.
    """

    pictures: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    linked: int = 0
    own: list[str] = field(default_factory=list)
    system: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0

    @property
    def is_loss(self) -> bool:
        """Whether there may be images among it that somebody misses."""
        return bool(self.pictures or self.links or self.unreadable)

    def count(self, name: str, head: bytes) -> None:
        """Count a file that is not an image, by its name and its first bytes."""
        suffix, form = find_suffix(name), name_format(head)
        known = is_picture_suffix(suffix)
        counter, key = (self.pictures, suffix if known else form or "") if known or form else (self.others, suffix)
        counter[key if key in counter or len(counter) < _MOST else "other"] += 1

    def add_link(self, path: str) -> None:
        """Take up a link to a folder."""
        self.linked += 1
        if len(self.links) < _MOST:
            self.links.append(path)

    def add_hidden(self, name: str, *, folder: bool) -> None:
        """Take up a name that is not looked into; other hidden files are not counted."""
        if name.lower() in IGNORED or folder:
            self.system[name if name in self.system or len(self.system) < _MOST else "other"] += 1
        elif find_suffix(name) in IMAGE_SUFFIXES:
            self.system[f"hidden {find_suffix(name)}"] += 1

    def formats(self) -> dict[str, int]:
        """Files that are not read as images, by their format, the most frequent first."""
        counts = self.pictures + self.others + Counter({"unreadable": self.unreadable})
        return {key or "without suffix": n for key, n in sorted(counts.items(), key=lambda one: (-one[1], one[0]))}

    def __str__(self) -> str:
        """'4 .heic and 1 .npy files are pictures of formats that are not read; 3 .txt'; '' where there is nothing."""
        parts = []
        if n := self.pictures.total():
            what = "files are pictures of formats that are" if n > 1 else "file is a picture of a format that is"
            parts.append(f"{_list_counts(self.pictures)} {what} not read")
        if n := self.unreadable:
            parts.append(f"{n} {'files' if n > 1 else 'file'} that cannot be read")
        if self.others:
            parts.append(_list_counts(self.others))
        if n := len(self.own):
            parts.append(f"{n} {'runs, bundles or heat maps' if n > 1 else 'run, bundle or heat map'} of this tool")
        if self.system:
            parts.append(f"{_list_counts(self.system)}, hidden or of the system")
        if self.linked:
            parts.append(f"{self.linked} {'links' if self.linked > 1 else 'link'} to folders, not followed")
        return "; ".join(parts)


@dataclass(slots=True)
class Walk:
    """A pass over the folder `root`. Paths in it are relative to it, with forward slashes; '' is the folder itself."""

    root: str
    passed: PassedOver = field(default_factory=PassedOver)

    def images(self, folder: str = "") -> Iterator[str | ImageError]:
        """All images in a folder and its subfolders, each folder at the place of its name.

        Natural order needs all names of a directory at once: about 60 bytes and twice the name for each of its
        entries, 92 MB for a million names of 15 letters. Of other directories only those on the way are held.

        Yields:
            A path, or an error in the place of a folder that cannot be read.
        """
        return self._walk(folder, self._is_image)

    def files(self, suffixes: tuple[str, ...]) -> Iterator[str]:
        """All files whose names end in one of `suffixes`, in lower case; no reader is asked, nothing is counted."""

        def wanted(path: str, name: str, kind: str) -> bool:
            return name.lower().endswith(suffixes) and not (kind == "link" and _leads_to_folder(join(self.root, path)))

        return (found for found in self._walk("", wanted) if isinstance(found, str))

    def visible(self) -> Iterator[str | ImageError]:
        """All files that are not hidden, and links to files; nothing is opened or counted.

        Yields:
            As `images`.
        """

        def wanted(path: str, _name: str, kind: str) -> bool:
            return kind == "file" or not _leads_to_folder(join(self.root, path))

        return self._walk("", wanted)

    def is_image(self, path: str) -> bool:
        """Whether a file that `visible` gave is one; counts what is none.

        Raises:
            OSError: it cannot be read, and its name does not say it.
        """
        return self._tell(path, path.rpartition("/")[2])

    def _walk(self, folder: str, wanted: Callable[[str, str, str], bool]) -> Iterator[str | ImageError]:
        """As `images`, of the files that are `wanted` by path, name and kind."""
        pending: list[tuple[str, list[bytes]]] = []  # no recursion: folders may lie a thousand deep
        reached: str | None = folder
        while reached is not None or pending:
            if reached is not None:
                keys = self._listed(reached, count=wanted == self._is_image)
                if isinstance(keys, ImageError):
                    yield keys
                else:
                    pending.append((reached, keys))
                reached = None
                continue
            here, keys = pending[-1]
            if not keys:
                pending.pop()
                continue
            name, kind = _tell_kind(keys.pop())
            path = join(here, name)
            if kind == "folder":
                reached = path
            elif wanted(path, name, kind):
                yield path

    def entries(self, folder: str = "") -> tuple[list[str], list[str]]:
        """Names of the subfolders and of the images of one folder, both in natural order.

        Raises:
            ImageError: the folder cannot be read.
        """
        keys = self._listed(folder, count=True)
        if isinstance(keys, ImageError):
            raise keys
        named = [_tell_kind(key) for key in reversed(keys)]
        folders = [name for name, kind in named if kind == "folder"]
        return folders, [
            name for name, kind in named if kind != "folder" and self._is_image(join(folder, name), name, kind)
        ]

    def folders(self, folder: str) -> list[str]:
        """As `entries`, the subfolders only; no file is looked at.

        Raises:
            ImageError: the folder cannot be read.
        """
        keys = self._listed(folder, count=False)
        if isinstance(keys, ImageError):
            raise keys
        return [name for name, kind in map(_tell_kind, reversed(keys)) if kind == "folder"]

    def _listed(self, folder: str, *, count: bool) -> list[bytes] | ImageError:
        """`natural_bytes` of the visible names, last name first, '/' behind folders and '/@' behind links.

        No name holds a slash, so the order stays that of the names. `count`: count the other names.
        """
        keys = []
        own = set()
        try:
            with os.scandir(join(self.root, folder)) as found:
                for entry in found:
                    name = entry.name
                    if name in _OWN_NAMES:
                        own.add(name)
                    if not is_hidden(name):
                        end = b"/@" if entry.is_symlink() else b"/" if entry.is_dir(follow_symlinks=False) else b""
                        keys.append(natural_bytes(name) + end)
                    elif count:
                        self.passed.add_hidden(name, folder=entry.is_dir(follow_symlinks=False))
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            return ImageError(
                folder, f"folder cannot be read ({reason}); check its permissions", code="folder-unreadable"
            )
        if folder and _holds_own(own):
            if count:
                self.passed.own.append(folder)
            return []
        keys.sort(reverse=True)
        return keys

    def _is_image(self, path: str, name: str, kind: str) -> bool:
        """Whether a file is one; counts what is none."""
        full = join(self.root, path)
        if kind == "link" and _leads_to_folder(full):
            if _holds_own({name for name in _OWN_NAMES if os.path.lexists(join(full, name))}):
                self.passed.own.append(path)
            else:
                self.passed.add_link(path)
            return False
        try:
            return self._tell(path, name)
        except OSError:
            self.passed.unreadable += 1
            return False

    def _tell(self, path: str, name: str) -> bool:
        """As `is_image`."""
        full = join(self.root, path)
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - once for every file
        if suffix == ".png" and name.lower().endswith(HEAT_MAP) and is_heat_map(full):
            self.passed.own.append(path)
            return False
        if suffix in IMAGE_SUFFIXES:
            return True
        try:
            head = read_head(full)
            if head is not None and suffix not in RAW_SUFFIXES and is_image_head(full, head):
                return True
        except OSError:
            head, known = None, find_suffix(name)
            if known not in image_suffixes() and not is_picture_suffix(known):
                raise
        if find_suffix(name) in image_suffixes():  # damaged, or empty: an image that cannot be read
            return True
        self.passed.count(name, head or b"")
        return False


def is_heat_map(path: str) -> bool:
    """Whether a file is a heat map that this tool made."""
    try:
        head = read_head(path)
    except OSError:
        return False
    return head is not None and b"tEXtSoftware\0" + MARK.encode() in head


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not looked into."""
    return name.startswith(".") or name.lower() in IGNORED


def join(folder: str, name: str) -> str:
    """The path of `name` in `folder`; '' is the root."""
    return f"{folder}/{name}" if folder and name else folder or name


def _tell_kind(key: bytes) -> tuple[str, str]:
    """Name and kind ('file', 'folder' or 'link') of the entry behind a key."""
    name = key[key.rindex(0) + 1 :]
    if name.endswith(b"/"):
        return os.fsdecode(name[:-1]), "folder"
    if name.endswith(b"/@"):
        return os.fsdecode(name[:-2]), "link"
    return os.fsdecode(name), "file"


def _holds_own(names: Set[str]) -> bool:
    """Whether a folder with these of `_OWN_NAMES` is a run or a bundle."""
    return any(whole <= names for whole in _OWN)


def _leads_to_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - a Path would double the time
    except (OSError, ValueError):  # a link that leads to itself, or nowhere
        return False


def _list_counts(counts: Counter[str]) -> str:
    """'4 .heic, 2 .jp2 and 1 without suffix', the most frequent first."""
    texts = [f"{n} {key or 'without suffix'}" for key, n in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    return " and ".join((", ".join(texts[:-1]), texts[-1])) if len(texts) > 1 else texts[0]
