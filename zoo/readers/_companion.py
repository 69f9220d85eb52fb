"""Native decoders in a companion process: one that dies is one error.

A C library that is given a hostile file may end its process: by a signal, an abort, a flood of memory. So a file that
one of them decodes is read whole in a companion, a bare interpreter that calls the same reader and sends back the
pixels or the refusal.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import math
import os
import signal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support import processes
from zoo._support.machine import cores
from zoo._support.processes import Companions, Ended
from zoo.errors import ImageError
from zoo.readers._boundary import open_image
from zoo.readers._built_in import damage_said, decodes_natively
from zoo.readers._image import Kind, RawImage
from zoo.readers._stderr import catch_stderr, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.readers._boundary import Opened

__all__ = ["LIMIT_S", "read", "serve"]

LIMIT_S = 60.0
"""Seconds that one file may take; 64 million pixels of JPEG 2000 take six."""
_TRIES = 2
_MOST = 8
"""Companions at most; a core each."""
_OWN_FILES = ("/dev/", "/proc/")
"""Places whose names mean another file in another process."""

log = logging.getLogger("zoo")


class _Order(msgspec.Struct, array_like=True):
    """One file to read; its bytes follow where it has no path."""

    name: bytes
    frame: int | None
    voi: bool
    path: bytes | None


class _Answer(msgspec.Struct, array_like=True):
    """What came of an order; the pixels follow."""

    said: list[str]
    """Lines of the native decoder."""
    logged: list[tuple[int, bytes]]
    """Level and text of our own log."""
    kind: Kind = "uint8"
    dtype: str = ""
    shape: tuple[int, ...] = ()
    padding: tuple[float, float] | None = None
    reason: bytes | None = None
    code: str = ""
    fields: dict[str, Any] = {}


def read(file: Opened, *, frame: int | None, voi: bool) -> RawImage:
    """Decode a file, in a companion if a native decoder would see it and if a process can be started.

    Raises:
        ImageError: what the reader raises; or its process ended twice, or gave no answer for `LIMIT_S`.
    """
    if not decodes_natively(file.reader, file.stream, file.name, frame):
        return file.reader.read(file.stream, file.name, frame=frame, voi=voi)
    answer = None if processes.is_companion() else _ask(file, frame, voi=voi)
    if answer is not None:
        return _unpack(answer, file.name)
    said: list[str] = []
    try:
        return _decode(file, said, frame=frame, voi=voi)
    finally:
        say(file.name, said)


def _ask(file: Opened, frame: int | None, *, voi: bool) -> bytes | None:
    """A companion's answer; None where there can be none. The stream is left at its start."""
    path = _find_path(file.stream)
    order = _Order(_spell(file.name), None if frame is None else int(frame), voi, path)
    content = b"" if path is not None else file.stream.read()
    file.stream.seek(0)
    try:
        return _companions().ask(*processes.join(msgspec.msgpack.encode(order), content))
    except Ended as how:
        reason = f"its decoder failed ({how}), expected an image"
        if how.outside:
            raise ImageError(
                file.name, f"{reason}; free memory, and ask again", code="image-decoder-killed", ending=str(how)
            ) from None
        raise ImageError(file.name, f"{reason}; leave it out", code="image-decoder-ended", ending=str(how)) from None


def _decode(file: Opened, said: list[str], *, frame: int | None, voi: bool) -> RawImage:
    """Decode a file in this process.

    Args:
        file: the file.
        said: takes the lines that the decoder writes to stderr.
        frame: which picture of a file that holds several, counted from 1.
        voi: apply the file's own window, see `zoo.readers.read`.
    """
    with catch_stderr(said):
        image = file.reader.read(file.stream, file.name, frame=frame, voi=voi)
    if damage := damage_said(file.reader, said):
        said.clear()  # the refusal says it
        raise ImageError(
            file.name,
            f"the decoder says {damage[:100]!r}; restore the file or leave it out",
            code="image-damaged",
            said=damage,
        )
    return image


@functools.cache
def _companions() -> Companions:
    """The companions of this process; each is started when the first file waits for it."""
    companions = Companions(f"{__name__}:serve", min(cores(), _MOST), greeting=b"hello", tries=_TRIES, limit_s=LIMIT_S)
    atexit.register(_end, companions, os.getpid())
    return companions


def _end(companions: Companions, owner: int) -> None:
    if os.getpid() == owner:
        companions.stop()
        companions.close()


def _forget() -> None:
    """In a process that was forked off: it gets companions of its own."""
    if _companions.cache_info().currsize:
        _companions().forget()
        _companions.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _find_path(stream: IO[bytes]) -> bytes | None:
    """The absolute path of a stream's file; None where another process cannot open it by name."""
    name = getattr(stream, "name", None)
    if not isinstance(name, str | Path):
        return None
    path = os.path.abspath(name)  # noqa: PTH100 - `resolve` looks at each folder
    return None if path.startswith(_OWN_FILES) else os.fsencode(path)


def _unpack(answer: bytes, name: str) -> RawImage:
    first, rest = processes.divide(answer)
    head = msgspec.msgpack.decode(first, type=_Answer)
    say(name, head.said)
    for level, text in head.logged:
        log.log(level, "%s", _read_text(text))
    if head.reason is not None:
        raise ImageError(name, _read_text(head.reason), code=head.code, **head.fields)
    return RawImage(np.frombuffer(rest, head.dtype).reshape(head.shape), head.kind, head.padding)


def serve() -> None:
    """What a companion does: answer orders, after a greeting."""
    logged = _Logged()
    log.addHandler(logged)
    log.setLevel(logging.INFO)
    log.propagate = False
    greeted = False

    def answer(message: bytes) -> list[bytes | memoryview]:
        nonlocal greeted
        if not greeted:
            greeted = True
            return [b"hello"]
        return _answer(message, logged)

    processes.serve(answer)


def _answer(message: bytes, logged: _Logged) -> list[bytes | memoryview]:
    first, content = processes.divide(message)
    order = msgspec.msgpack.decode(first, type=_Order)
    said: list[str] = []
    head = _Answer(said, logged.lines)
    pixels = memoryview(b"")
    try:
        source = bytes(content) if order.path is None else Path(os.fsdecode(order.path))
        with open_image(source, _read_text(order.name)) as file:
            try:
                with _mortal():
                    image = _decode(file, said, frame=order.frame, voi=order.voi)
            except MemoryError:
                reason = "not enough memory to decode it; give the image smaller or alone"
                raise ImageError(file.name, reason, code="image-memory") from None
        whole = np.ascontiguousarray(image.pixels)
        head.kind, head.dtype, head.shape, pixels = image.kind, whole.dtype.str, whole.shape, whole.data
        head.padding = image.padding
    except ImageError as problem:
        head.reason, head.code, head.fields = _spell(problem.reason), problem.code, problem.fields
    answer = processes.join(msgspec.msgpack.encode(head), pixels)
    logged.lines.clear()
    return answer


@contextlib.contextmanager
def _mortal() -> Iterator[None]:
    """A decoder that never ends ends its process by itself, also when the owner that would kill it is gone."""
    if not hasattr(signal, "alarm"):
        yield
        return
    signal.alarm(math.ceil(2 * LIMIT_S))  # nobody handles it, so the system ends the process
    try:
        yield
    finally:
        signal.alarm(0)


class _Logged(logging.Handler):
    """What was logged while a file was read; the owner of the companion says it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, bytes]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append((record.levelno, _spell(record.getMessage())))


def _spell(text: str) -> bytes:
    """A text with names in it, as the file system may spell them."""
    return text.encode("utf-8", "surrogatepass")


def _read_text(spelled: bytes) -> str:
    return spelled.decode("utf-8", "surrogatepass")
