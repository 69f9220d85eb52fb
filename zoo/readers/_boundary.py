"""One file, opened, with the reader that takes it; whatever is raised over it leaves as one error."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from zoo.errors import ImageError, ZooError
from zoo.readers._door import choose
from zoo.readers._reader import HEAD_BYTES, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Opened", "open_image"]


class Opened(NamedTuple):
    """A file and its reader.

    Attributes:
        reader: the one that takes it.
        stream: the file, at its start.
        name: how errors name it.
    """

    reader: Reader
    stream: IO[bytes]
    name: str


@contextlib.contextmanager
def open_image(source: Path | str | bytes, name: str | None) -> Iterator[Opened]:
    """The file and its reader; inside, and on the way there, only `ZooError` and `MemoryError` can be raised.

    Args:
        source: a path, or the file's bytes.
        name: how errors name the image; None: the path as given.

    Raises:
        ImageError: the file cannot be opened, no reader takes it, or anything that was raised inside.
    """
    shown = name or ("image" if isinstance(source, bytes) else os.fspath(source))
    with _refusing(shown), _open(source, shown) as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        if not head:
            raise ImageError(
                shown, "empty file (0 bytes), expected an image; restore it or leave it out", code="image-empty"
            )
        yield Opened(choose(head, shown), stream, shown)


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """The type of what was raised is said and never its text, which may quote the file.

    EINVAL is what a damaged file gives, which leads to a place before its start.
    """
    try:
        yield
    except (ZooError, MemoryError):
        raise
    except BaseException as problem:
        if isinstance(problem, OSError) and problem.strerror and problem.errno != errno.EINVAL:
            raise ImageError(name, f"cannot be read ({problem.strerror.lower()})", code="image-io") from None
        if not isinstance(problem, Exception | SystemExit) and type(problem).__module__ != _PANICS:
            raise  # Ctrl-C, and what other frameworks end a task with
        kind = type(problem).__name__
        raise ImageError(
            name,
            f"its reader failed with {kind}, expected an image; restore the file or leave it out",
            code="image-undecodable",
            cause=kind,
        ) from None


_PANICS = "pyo3_runtime"
"""Module of what extensions written in Rust raise when they panic; it is not an Exception."""


def _open(source: Path | str | bytes, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    path = Path(source)
    try:
        # asked first: opening a pipe would wait for ever
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(name, "not a regular file, expected an image", code="image-not-file")
        return path.open("rb")
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ImageError(
            name, f"cannot be opened ({reason.lower()}); check the path", code="image-unopened", cause=reason.lower()
        ) from None
