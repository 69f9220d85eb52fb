"""Which files of a folder are there, whole, and images; found by looking again and again.

A file counts as whole when two looks, a settling time or more apart, saw the same stamp: size, times of content and
of inode, inode. Only this program's own clock is asked, because that of a network share may be another. A file that was
moved in by a rename is whole at once, and waits the same time, because no system says how a file came. Where all
senders rename, a settling time of 0 is right.

What this module does not know: models, answers.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.errors import ImageError
from zoo.readers._walk import Walk, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["TEMPORARY", "Arrival", "Arrivals", "stamp_of"]

TEMPORARY = (".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", "~")
"""Ends of the names, in lower case, under which programs write what is not whole. Hidden names are not seen at all."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A whole file.

    Attributes:
        name: path below the watched folder, with forward slashes.
        path: path as predict would name it.
        stamp: what tells it from another file of that name, and from itself with other content.
    """

    name: str
    path: str
    stamp: str


class Arrivals:
    """What waits between two looks at one folder.

    Args:
        folder: the folder, as the user gave it.
        settle: settling time in seconds.

    Attributes:
        files: number of files that the last look met.
        waiting: number of files that are not known to be whole.
        seconds: what the last look itself took, without what the caller did meanwhile.
        troubles: folders, and files that may be images, that the last look could not read, a line each.
    """

    def __init__(self, folder: str, settle: float) -> None:
        self.folder = folder
        self.settle = settle
        self.files = self.waiting = 0
        self.seconds = 0.0
        self.troubles: list[str] = []
        self._seen: dict[str, tuple[str, float]] = {}
        """Stamp of each file that waits, and when it was first seen so."""
        self._others: dict[str, str] = {}
        """Stamp of each file that is not an image."""
        self._answered: dict[int, int] = {}
        """Hash of the name of each file that was answered, to that of its stamp: a tenth of the texts themselves."""

    def look(self, known: Callable[[str], str | None], *, all_of_them: bool = False) -> Iterator[tuple[Arrival, bool]]:
        """One pass over the folder, as far as the caller goes.

        Args:
            known: from a name to the stamp that was answered; None: no file of that name was. It is asked once for
                each file.
            all_of_them: also give files that were answered.

        Yields:
            Whole files, and whether this one was answered.
        """
        walk = Walk(self.folder)
        before, self._seen = self._seen, {}
        others, self._others = self._others, {}
        answered, self._answered = self._answered, {}
        self.files = self.waiting = 0
        self.troubles = []
        self.seconds, begun = 0.0, time.perf_counter()
        for name in walk.visible():
            if isinstance(name, ImageError):
                self.troubles.append(f"{join(self.folder, name.name or '')}: {name.reason}")
                continue
            if name.lower().endswith(TEMPORARY):
                continue
            path = os.path.join(self.folder, name)  # noqa: PTH118 - '.' stays as the user gave it
            stamp = stamp_of(path)
            if stamp is None:  # gone again, or no file
                continue
            self.files += 1
            key, mark = hash(name), hash(stamp)
            done = answered.get(key) == mark or known(name) == stamp
            if done:
                self._answered[key] = mark
                if not all_of_them:
                    continue
            elif others.get(name) == stamp:
                self._others[name] = stamp
                continue
            elif not self._is_whole(walk, name, stamp, before.get(name)):
                continue
            self.seconds += time.perf_counter() - begun
            yield Arrival(name, path, stamp), done
            begun = time.perf_counter()
        self.seconds += time.perf_counter() - begun

    def wait_again(self, arrival: Arrival) -> None:
        """The file changed while it was answered, or could not be read just now."""
        self._seen[arrival.name] = (arrival.stamp, time.monotonic())
        self.waiting += 1

    def ask_again(self, arrival: Arrival) -> None:
        """The file is whole, and could not be answered; the next look gives it again."""
        self._seen[arrival.name] = (arrival.stamp, float("-inf"))

    def _is_whole(self, walk: Walk, name: str, stamp: str, before: tuple[str, float] | None) -> bool:
        now = time.monotonic()
        since = before[1] if before is not None and before[0] == stamp else now
        if now - since < self.settle:
            self._seen[name] = (stamp, since)
            self.waiting += 1
            return False
        try:
            if walk.is_image(name):
                return True
        except OSError as problem:  # it may be one: a share fails for a moment
            self.troubles.append(f"{join(self.folder, name)} cannot be read ({(problem.strerror or '').lower()})")
            self._seen[name] = (stamp, since)
            return False
        self._others[name] = stamp
        return False


def stamp_of(path: str) -> str | None:
    """Size, times and inode of a regular file in one text; None: it is not there, or is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked of very many files
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"
