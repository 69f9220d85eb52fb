"""A folder that files are written into, here or in an object store: each whole, or not at all.

What this module does not know: what the files are.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo._support.files import atomic_path, atomic_write, refuse_unwritable
from zoo.errors import DataError, OutputError
from zoo.store._urls import HTTP, asking, is_url, open_store, show_url

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Target"]


class Target:
    """The folder.

    Attributes:
        shown: how it is named.
        sizes: bytes of each file that is there, by its name.
        scratch: where a file may be made that is moved here; None: wherever there is room.
    """

    def __init__(self, place: str | Path) -> None:
        self.shown = show_url(str(place))
        self._system: Any = None
        self._root = str(place)
        self.scratch = None if is_url(place) else Path(place)
        if is_url(place):
            self._system, root, scheme = open_store(str(place))
            self._root = root.rstrip("/")
            if scheme in HTTP:
                raise OutputError(
                    f"{self.shown}: a web server takes no files; give a folder, or an address such as s3://bucket/set",
                    code="output-unwritable",
                    path=self.shown,
                )
        self.sizes = self._list()

    def read(self, name: str) -> bytes:
        """The bytes of one small file."""
        if self._system is None:
            return (Path(self._root) / name).read_bytes()
        with asking(self.shown):
            found: bytes = self._system.cat_file(f"{self._root}/{name}")
        return found

    def write(self, name: str, data: bytes) -> None:
        """One small file; raises OutputError."""
        if self._system is None:
            atomic_write(Path(self._root) / name, data)
        else:
            self._send(name, len(data), lambda to: self._system.pipe_file(to, data))

    def move(self, path: Path, name: str) -> None:
        """Make a finished file of this machine one of the folder; raises OutputError."""
        if self._system is None:
            with atomic_path(Path(self._root) / name) as temporary:
                shutil.move(path, temporary)
        else:
            self._send(name, path.stat().st_size, lambda to: self._system.put_file(str(path), to))

    def remove(self, name: str) -> None:
        """Remove one file; raises OutputError."""
        try:
            if self._system is None:
                (Path(self._root) / name).unlink(missing_ok=True)
            else:
                with asking(self.shown):
                    self._system.rm_file(f"{self._root}/{name}")
        except OSError as problem:
            raise refuse_unwritable(Path(self._root) / name, problem) from None
        except DataError as problem:
            raise self._refuse(name, "removed", problem) from None

    def _send(self, name: str, size: int, send: Callable[[str], object]) -> None:
        to = f"{self._root}/{name}"
        try:
            with asking(self.shown):
                send(to)
                arrived = self._system.info(to)["size"]
                if arrived != size:
                    raise OSError(f"{arrived} of {size} bytes arrived")
        except DataError as problem:
            raise self._refuse(name, "written", problem) from None

    def _refuse(self, name: str, what: str, problem: DataError) -> OutputError:
        return OutputError(
            f"{name} cannot be {what}: {problem}", code="output-unwritable", path=self.shown, cause=problem.code
        )

    def _list(self) -> dict[str, int]:
        if self._system is None:
            root = Path(self._root)
            try:
                root.mkdir(parents=True, exist_ok=True)
                return {one.name: one.stat().st_size for one in root.iterdir()}
            except OSError as problem:
                raise refuse_unwritable(root, problem) from None
        with asking(self.shown):
            found = self._system.find(self._root, detail=True)
        start = len(self._root) + 1
        return {str(name)[start:]: int(one["size"]) for name, one in found.items() if one["type"] == "file"}
