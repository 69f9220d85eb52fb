"""Decoding in processes, for files whose decoding is Python's own work, which threads can not share.

A process that dies takes one image with it and not the whole prediction: the image is tried once more in a new
process, and then it is a row that says so.
"""

from __future__ import annotations

import os
import queue
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo import processes
from zoo.edge.intake import Array, Intake, Source
from zoo.processes import Companion
from zoo.spec import Manifest

if TYPE_CHECKING:
    from zoo.errors import ImageError

__all__ = ["Decoders", "serve"]

_TASK = f"{__name__}:serve"
_TRIES = 2


class _Order(msgspec.Struct, array_like=True):
    """One file to decode."""

    path: bytes
    """As the file system spells it."""
    name: bytes
    frame: int | None
    manifest: bytes | None
    """In the first order to a process only."""


class _Head(msgspec.Struct, array_like=True):
    """What stands before the pixels of an answer."""

    reason: bytes | None
    dtype: str = ""
    shape: tuple[int, ...] = ()


class Decoders:
    """So many processes; a process is started when the first image waits for it.

    Args:
        intake: of the model.
        count: how many, at least 1. As many threads may ask at a time.
        frame: as `Intake.pixels` takes it.
    """

    def __init__(self, intake: Intake, count: int, frame: int | None) -> None:
        self._intake = intake
        self._frame = frame
        self._manifest = msgspec.json.encode(intake.manifest)
        self._places: queue.SimpleQueue[Companion | None] = queue.SimpleQueue()
        self._started: list[Companion] = []
        self._stopped = False
        for _ in range(count):
            self._places.put(None)

    def stop(self) -> None:
        """End all processes now, whatever they are at; nobody waits for their answers any more."""
        self._stopped = True
        for companion in self._started:
            companion.kill()

    def close(self) -> None:
        """Give back what the processes held; no thread may be asking any more."""
        self.stop()
        for companion in self._started:
            companion.close()

    def pixels(self, name: str, source: Source | ImageError) -> Array | str:
        """As `Intake.pixels`; where no process can be started, this one does the work."""
        path = _spelt(source)
        if path is None or not processes.possible():
            return self._intake.pixels(name, source, self._frame)
        companion = self._places.get()
        ending = ""
        try:
            for _ in range(_TRIES):
                manifest = None
                if companion is None:
                    try:
                        companion, manifest = Companion(_TASK), self._manifest
                    except OSError:
                        return self._intake.pixels(name, source, self._frame)
                    self._started.append(companion)
                    if self._stopped:
                        companion.kill()
                order = _Order(path, name.encode("utf-8", "surrogatepass"), self._frame, manifest)
                answer = companion.ask(msgspec.msgpack.encode(order))
                if answer is not None:
                    return _unpacked(answer)
                ending = companion.ending()
                self._started.remove(companion)
                companion = None
                if self._stopped:
                    break
        finally:
            self._places.put(companion)
        return f"the process that decoded it ended {_TRIES} times ({ending}); leave the image out, or free memory"


def _spelt(source: Source | ImageError) -> bytes | None:
    """A path as the file system spells it; None: it is no path, or one that no file can have."""
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
        order = msgspec.msgpack.decode(message, type=_Order)
        if order.manifest is not None:
            intake = Intake(msgspec.json.decode(order.manifest, type=Manifest))
        assert intake is not None  # noqa: S101 - the first order brings it
        name = order.name.decode("utf-8", "surrogatepass")
        return _packed(intake.pixels(name, Path(os.fsdecode(order.path)), order.frame))

    processes.serve(answer)


def _packed(image: Array | str) -> list[bytes | memoryview]:
    if isinstance(image, str):
        head = _Head(image.encode("utf-8", "surrogatepass"))
        return _headed(head)
    whole = np.ascontiguousarray(image)
    return [*_headed(_Head(None, whole.dtype.str, whole.shape)), whole.data]


def _headed(head: _Head) -> list[bytes | memoryview]:
    data = msgspec.msgpack.encode(head)
    return [len(data).to_bytes(4, "little"), data]


def _unpacked(answer: bytes) -> Array | str:
    end = 4 + int.from_bytes(answer[:4], "little")
    head = msgspec.msgpack.decode(memoryview(answer)[4:end], type=_Head)
    if head.reason is not None:
        return head.reason.decode("utf-8", "surrogatepass")
    return np.frombuffer(answer, head.dtype, offset=end).reshape(head.shape)
