"""Files by path or by URL: read whole or in part, written whole or not at all.

A place on this machine needs no fsspec. Every other one is a URL that fsspec knows: s3://, gs://, az://, https://.

What this module does not know: images, parts, which file means what.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from zoo._support.files import atomic_write, refuse_unwritable
from zoo.store.remote import asking, is_url, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zoo.errors import OutputError

__all__ = ["Place", "read_bytes", "show_place", "try_again"]

_SECRET = frozenset(
    {"sig", "signature", "token", "key", "secret", "credential", "credentials", "password", "passwd", "pwd"}
    | {"auth", "authorization", "apikey", "accesskey", "accesstoken", "jwt"}
)
"""Words in the names of parameters that open an address."""
_SIGNED = re.compile(
    r"x-(amz|goog)-.*|expires|policy|googleaccessid|s[veprt]|spr|sip|srt|ss|skoid|sktid|sk[tesv]", re.IGNORECASE
)
"""Parameters that go with a signature: when it ends, what it allows."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z_-]+")
TRIES = 3
_WAIT = 0.5
"""Seconds before the second try; each later wait is twice as long."""


def show_place(where: str) -> str:
    """`where` without what may open it, as the name of an image: a query that tells images apart stays.

    User and password go, and of a query the parameters that bear a key or a signature, with what goes with those.
    """
    if not is_url(where):
        return where
    said = urlsplit(where)
    names = {one: unquote(one.partition("=")[0]) for one in said.query.split("&")}
    secret = {one for one, name in names.items() if _SECRET & {word.lower() for word in _WORD.findall(name)}}
    if secret:
        secret |= {one for one, name in names.items() if _SIGNED.fullmatch(name)}
    query = "&".join(one for one in said.query.split("&") if one not in secret)
    return urlunsplit((said.scheme, said.netloc.rpartition("@")[2], said.path, query, said.fragment))


def try_again(read: Callable[[], bytes], where: str) -> bytes:
    """What `read` gives, tried three times with waits between: a network fails for a moment.

    Raises:
        FileNotFoundError: the file is not there, which is final.
        DataError: it failed three times.
    """
    for tried in range(1, TRIES + 1):
        try:
            return read()
        except FileNotFoundError:
            raise
        except Exception:
            if tried == TRIES:
                with asking(where):
                    raise
            time.sleep(_WAIT * 2 ** (tried - 1))
    raise AssertionError


def read_bytes(where: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file from `start` to before `end`, all where they are None.

    Raises:
        FileNotFoundError: no such file.
        OSError: a file of this machine cannot be read.
        DataError: a URL cannot be read, three times.
    """
    if start is not None and start == end:
        return b""
    if is_url(where):
        system, path, _ = open_store(where, shared=True)
        return try_again(lambda: bytes(system.cat_file(path, start=start, end=end)), where)
    with Path(where).open("rb") as stream:
        stream.seek(start or 0)
        return stream.read() if end is None else stream.read(end - (start or 0))


class Place:
    """A folder, by path or URL.

    Attributes:
        where: as it was given; `str(place)` is what may be shown.
    """

    def __init__(self, where: str) -> None:
        self.where = where.rstrip("/") if is_url(where) else os.path.abspath(where)  # noqa: PTH100 - no link is followed
        self._system: Any = None
        self._root = ""
        if is_url(where):
            self._system, self._root, _ = open_store(self.where, shared=True)

    def __str__(self) -> str:
        return show_place(self.where)

    @property
    def folder(self) -> Path | None:
        """The folder, if it is on this machine."""
        return Path(self.where) if self._system is None else None

    def file(self, name: str) -> str:
        """Path or URL of a file in it."""
        return f"{self.where}/{name}"

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """As `read_bytes`."""
        return read_bytes(self.file(name), start, end)

    def holds(self, name: str) -> bool:
        """Whether a file is there; raises as `read`."""
        try:
            self.read(name, 0, 1)
        except FileNotFoundError:
            return False
        return True

    def read_all(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Many small files, side by side where they are far."""
        if self._system is None:
            yield from ((name, self.read(name)) for name in names)
            return
        for start in range(0, len(names), 1000):
            paths = {f"{self._root}/{name}": name for name in names[start : start + 1000]}
            try:
                found = self._system.cat(list(paths))
            except Exception as problem:
                raise self._unreadable(problem) from None
            for path, data in found.items():
                yield paths[path if path in paths else path.lstrip("/")], bytes(data)

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place, whole or not at all: by a rename here, by one PUT in object storage.

        Raises:
            OutputError: it cannot be written.
        """
        if self._system is None:
            atomic_write(Path(self.file(name)), data)
            return
        for tried in range(1, TRIES + 1):
            try:
                self._system.pipe_file(f"{self._root}/{name}", data)
            except Exception as problem:
                if tried == TRIES:
                    reason = f"{type(problem).__name__}, tried {TRIES} times"
                    raise refuse_unwritable(show_place(self.file(name)), reason) from None
                time.sleep(_WAIT * 2 ** (tried - 1))
            else:
                return

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Name and size of each file in a folder of it; hidden ones, and folders, are left out.

        Raises:
            OutputError: the folder cannot be listed.
        """
        try:
            if self._system is None:
                with os.scandir(self.file(folder)) as found:
                    return {
                        one.name: one.stat().st_size for one in found if one.is_file() and not one.name.startswith(".")
                    }
            self._system.invalidate_cache()
            listed = self._system.ls(f"{self._root}/{folder}".rstrip("/"), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except Exception as problem:
            raise self._unreadable(problem) from None
        named = ((one["name"].rstrip("/").rpartition("/")[2], one) for one in listed if one["type"] == "file")
        return {name: int(one["size"]) for name, one in named if name}

    def names(self) -> set[str]:
        """Names of all that is in it.

        Raises:
            OutputError: it is a file, or cannot be listed.
        """
        try:
            if self._system is None:
                return set(os.listdir(self.where))  # noqa: PTH208 - names, not paths
            self._system.invalidate_cache()
            found = {path.rstrip("/").rpartition("/")[2] for path in self._system.ls(self._root, detail=False)}
        except FileNotFoundError:
            return set()
        except NotADirectoryError:
            raise refuse_unwritable(Path(self.where), "it exists and is not a folder", "choose another place") from None
        except Exception as problem:
            raise self._unreadable(problem) from None
        return found - {"", self._root.rpartition("/")[2]}

    def remove(self, names: Sequence[str]) -> None:
        """Remove files that are there, and a folder with all that it holds.

        Raises:
            OutputError: one cannot be removed.
        """
        try:
            for name in names:
                if self._system is not None:
                    with contextlib.suppress(FileNotFoundError):
                        self._system.rm(f"{self._root}/{name}", recursive=True)
                elif Path(self.file(name)).is_dir():
                    shutil.rmtree(self.file(name))
                else:
                    Path(self.file(name)).unlink(missing_ok=True)
        except Exception as problem:
            raise self._unreadable(problem) from None

    def _unreadable(self, problem: Exception) -> OutputError:
        reason = (
            problem.strerror.lower() if isinstance(problem, OSError) and problem.strerror else type(problem).__name__
        )
        return refuse_unwritable(str(self), reason, "check the address, the network and its rights")
