"""A folder by path or by URL: its files are read whole or in part, and written whole or not at all.

A folder of this machine needs no fsspec. Every other one is a URL that fsspec knows: s3://, gs://, az://. What this
module does not know: what the files are, and which belong together.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zoo._support.files import atomic_path, atomic_write, refuse_unwritable, suggest_remedy
from zoo._urls import HERE, is_url, show_place
from zoo.errors import DataError, OutputError
from zoo.store._urls import HTTP, asking, insist, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Place", "read_bytes"]

T = TypeVar("T")
_AT_ONCE = 1000
"""Small files that are asked for together."""


def read_bytes(where: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file from `start` to before `end`, all where they are None.

    Raises:
        FileNotFoundError: no such file.
        OSError: a file of this machine cannot be read.
        DataError: a URL cannot be read, see `insist`.
    """
    if start is not None and start == end:
        return b""
    if is_url(where):
        system, path, _ = open_store(where, shared=True)
        return insist(lambda: bytes(system.cat_file(path, start=start, end=end)), where)
    with Path(where).open("rb") as stream:
        stream.seek(start or 0)
        return stream.read() if end is None else stream.read(end - (start or 0))


class Place:
    """A folder.

    Attributes:
        where: path, absolute, or URL; `str(place)` is what may be shown.
        folder: its path, if it is on this machine; else None.
    """

    def __init__(self, where: str | Path) -> None:
        """It need not be there.

        Raises:
            OutputError: a web server, which takes no files.
            UsageError: no such protocol, or its package is missing.
            DataError: the network is switched off.
        """
        text = str(where)
        if text.startswith(HERE):
            text = open_store(text)[1]
        self._system: Any = None
        self._root = ""
        self.folder: Path | None = None
        if is_url(text):
            self.where = text.rstrip("/")
            self._system, root, scheme = open_store(self.where, shared=True)
            self._root = root.rstrip("/")
            if scheme in HTTP:
                raise OutputError(
                    f"{self}: a web server takes no files; give a folder, or an address such as s3://bucket/set",
                    code="output-unwritable",
                    path=str(self),
                )
        else:
            self.where = os.path.abspath(text)  # noqa: PTH100 - no link is followed
            self.folder = Path(self.where)

    def __str__(self) -> str:
        return show_place(self.where)

    def file(self, name: str) -> str:
        """Path or URL of a file in it."""
        return f"{self.where}/{name}"

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """As `read_bytes`.

        Raises:
            FileNotFoundError: no such file.
            OutputError: a file of this machine cannot be read.
            DataError: one of a store cannot be read, see `insist`.
        """
        try:
            return read_bytes(self.file(name), start, end)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(self.file(name)) from None
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise OutputError(
                f"{self}/{name}: cannot be read ({reason}); {suggest_remedy(problem)} or choose another place",
                code="output-unwritable",
                path=str(self),
                cause=reason,
            ) from None

    def holds(self, name: str) -> bool:
        """Whether a file is there; raises as `read`."""
        try:
            self.read(name, 0, 1)
        except FileNotFoundError:
            return False
        return True

    def read_all(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Many small files, side by side where they are far; raises OutputError."""
        if self._system is None:
            yield from ((name, self.read(name)) for name in names)
            return
        for start in range(0, len(names), _AT_ONCE):
            paths = {f"{self._root}/{name}": name for name in names[start : start + _AT_ONCE]}
            for path, data in self._ask("read", names[start], partial(self._cat, list(paths))).items():
                yield paths[path if path in paths else path.lstrip("/")], bytes(data)

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place, whole or not at all: by a rename here, by one PUT in object storage.

        Raises:
            OutputError: it cannot be written.
        """
        if self._system is None:
            atomic_write(Path(self.file(name)), data)
        else:
            self._send(name, len(data), lambda to: self._system.pipe_file(to, data))

    def move(self, path: Path, name: str) -> None:
        """Make a finished file of this machine one of the folder, whole or not at all; raises OutputError."""
        if self._system is None:
            with atomic_path(Path(self.file(name))) as temporary:
                shutil.move(path, temporary)
        else:
            self._send(name, path.stat().st_size, lambda to: self._sender.put_file(str(path), to))

    @cached_property
    def _sender(self) -> Any:
        """A client that sends pieces of a file side by side; a new one for each file would cost a quarter second."""
        return open_store(self.where)[0]

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Name and size of each file in a folder of it; hidden ones, and folders, are left out.

        Raises:
            OutputError: the folder cannot be listed.
        """
        if self._system is None:
            try:
                with self._listing(), os.scandir(self.file(folder)) as found:
                    files = [one for one in found if one.is_file() and not one.name.startswith(".")]
                    return {one.name: one.stat().st_size for one in files}
            except (FileNotFoundError, NotADirectoryError):
                return {}
        return {name: int(one["size"]) for name, one in self._list(folder).items() if one["type"] == "file"}

    def names(self) -> set[str]:
        """Names of all that is in it.

        Raises:
            OutputError: it is a file, or cannot be listed.
        """
        if self._system is not None:
            return set(self._list(""))
        try:
            with self._listing():
                return set(os.listdir(self.where))  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return set()
        except NotADirectoryError:
            raise refuse_unwritable(self.where, "it exists and is not a folder", "choose another place") from None

    def remove(self, names: Sequence[str]) -> None:
        """Remove files that are there, and a folder with all that it holds.

        Raises:
            OutputError: one cannot be removed.
        """
        for name in names:
            if self._system is not None:
                with contextlib.suppress(FileNotFoundError):
                    self._ask("removed", name, partial(self._system.rm, f"{self._root}/{name}", recursive=True))
                continue
            path = Path(self.file(name))
            try:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as problem:
                raise refuse_unwritable(path, problem) from None

    def _cat(self, paths: list[str]) -> dict[str, bytes]:
        with asking(self.where):
            return dict(self._system.cat(paths))

    def _list(self, folder: str) -> dict[str, dict[str, Any]]:
        """What a store says of all in a folder of it, by name."""
        root = f"{self._root}/{folder}".rstrip("/")

        def ask() -> list[dict[str, Any]]:
            self._system.invalidate_cache()
            return list(self._system.ls(root, detail=True))

        paths: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            paths = {one["name"].rstrip("/"): one for one in self._ask("listed", folder or "it", ask)}
        return {path.rpartition("/")[2]: one for path, one in paths.items() if path.strip("/") != root.strip("/")}

    @contextlib.contextmanager
    def _listing(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as problem:
            raise refuse_unwritable(self.where, problem) from None

    def _send(self, name: str, size: int, send: Callable[[str], object]) -> None:
        to = f"{self._root}/{name}"

        def whole() -> None:
            with asking(self.where):
                send(to)
                arrived = self._system.info(to)["size"]
                if arrived != size:
                    raise OSError(f"{arrived} of {size} bytes arrived")

        self._ask("written", name, whole)

    def _ask(self, what: str, name: str, ask: Callable[[], T]) -> T:
        """What a store gives to `ask`; raises OutputError, or FileNotFoundError."""
        try:
            return insist(ask, self.where)
        except DataError as problem:
            raise OutputError(
                f"{name} cannot be {what}: {problem}", code="output-unwritable", path=str(self), cause=problem.code
            ) from None
