"""Decoding in processes, for files whose decoding is Python's own work, which threads cannot share.

A process that dies takes one image with it and not the whole prediction: the image is tried once more in a new
process, and then it is a row that says so.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np

from zoo._support import processes
from zoo._support.processes import Companions, Ended
from zoo.edge._intake import Array, Intake, Reason, Source
from zoo.errors import ImageError
from zoo.spec import Manifest

__all__ = ["Decoders", "serve"]

_TASK = f"{__name__}:serve"
_TRIES = 2


class _Order(msgspec.Struct, array_like=True):
    """One file to decode."""

    path: bytes
    """The path, as the file system spells it."""
    name: bytes
    frame: int | None


class _Head(msgspec.Struct, array_like=True):
    """The head of an answer, before its pixels."""

    reason: bytes | None
    dtype: str = ""
    shape: tuple[int, ...] = ()
    code: str = ""
    """Of the reason."""


class Decoders:
    """So many processes; a process is started when the first image waits for it.

    Args:
        intake: intake of the model.
        count: how many, at least 1. As many threads may ask at a time.
        frame: number of the picture in files that hold several; see `Intake.pixels`.
    """

    def __init__(self, intake: Intake, count: int, frame: int | None) -> None:
        self._intake = intake
        self._frame = frame
        self._companions = Companions(_TASK, count, greeting=msgspec.json.encode(intake.manifest), tries=_TRIES)

    def stop(self) -> None:
        """End all processes now, whatever they are at; nobody waits for their answers any more."""
        self._companions.stop()

    def close(self) -> None:
        """Give back what the processes held; no thread may be asking any more."""
        self._companions.stop()
        self._companions.close()

    def pixels(self, name: str, source: bytes | Source | ImageError) -> Array | Reason:
        """Decode an image as `Intake.pixels` does; this process does it if no other can be started."""
        path = _spell(source)
        if path is None:
            return self._intake.pixels(name, source, self._frame)
        order = _Order(path, name.encode("utf-8", "surrogatepass"), self._frame)
        try:
            answer = self._companions.ask(msgspec.msgpack.encode(order))
        except Ended as how:
            reason = f"the process that decoded it ended {_TRIES} times ({how}); leave the image out, or free memory"
            return Reason(reason, "image-decoder-killed" if how.outside else ImageError.default_code)
        return self._intake.pixels(name, source, self._frame) if answer is None else _unpack(answer)


def _spell(source: bytes | Source | ImageError) -> bytes | None:
    """A path as the file system spells it; None: it is not a path, or no file can have it."""
    if not isinstance(source, str | Path):
        return None
    try:
        return os.fsencode(source)
    except UnicodeEncodeError:
        return None


def serve() -> None:
    """What a process does: answer orders."""
    intake: Intake | None = None

    def answer(message: bytes) -> list[bytes | memoryview]:
        nonlocal intake
        if intake is None:  # the greeting
            intake = Intake(msgspec.json.decode(message, type=Manifest))
            return [b"ready"]
        order = msgspec.msgpack.decode(message, type=_Order)
        name = order.name.decode("utf-8", "surrogatepass")
        return _pack(intake.pixels(name, Path(os.fsdecode(order.path)), order.frame))

    processes.serve(answer)


def _pack(image: Array | Reason) -> list[bytes | memoryview]:
    if isinstance(image, Reason):
        head = _Head(image.encode("utf-8", "surrogatepass"), code=image.code)
        return processes.join(msgspec.msgpack.encode(head))
    whole = np.ascontiguousarray(image)
    return processes.join(msgspec.msgpack.encode(_Head(None, whole.dtype.str, whole.shape)), whole.data)


def _unpack(answer: bytes) -> Array | Reason:
    first, rest = processes.divide(answer)
    head = msgspec.msgpack.decode(first, type=_Head)
    if head.reason is not None:
        return Reason(head.reason.decode("utf-8", "surrogatepass"), head.code)
    return np.frombuffer(rest, head.dtype).reshape(head.shape)
