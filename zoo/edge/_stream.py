"""From whatever the user named to groups of decoded images, in order and in bounded memory.

What this module does not know: labels, ONNX Runtime, what is answered.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from zoo._support.machine import cores
from zoo._urls import show_place
from zoo.edge._decoders import Decoders
from zoo.edge._intake import Array, Intake, Reason, Source
from zoo.errors import DataError, ImageError, UsageError
from zoo.readers._walk import Walk, join

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from zoo.readers._walk import PassedOver

__all__ = ["batches", "decode_ahead", "decode_batches", "expand"]

_AHEAD_IMAGES = 16
_AHEAD_BYTES = 64 * 2**20
"""Decoding runs ahead of the model by at most this much, except that every thread may hold one image."""
_MOST_THREADS = 4

log = logging.getLogger("zoo")

Found = TypeVar("Found")
"""Where an image is, before it is decoded."""


def decode_batches(
    items: Iterable[tuple[str, bytes | Source | ImageError]],
    intake: Intake,
    *,
    size: int,
    workers: int,
    frame: int | None,
) -> Generator[tuple[list[str], Array | Reason]]:
    """Decode ahead and stack equal-shaped neighbours.

    Args:
        items: name and source of each image, from `expand`.
        intake: intake of the model.
        size: most images in a group.
        workers: processes that decode; 0: threads do.
        frame: which picture of files that hold several, counted from 1. None: none is guessed.

    Yields:
        As `batches`.

    Raises:
        UsageError: a number is too small.
    """
    asked = (("batch size", size, 1), ("workers", workers, 0), ("frame", 1 if frame is None else frame, 1))
    for what, value, least in asked:
        if value < least:
            raise UsageError(
                f"{what} is {value}, expected {least} or more", code="option-value", option=what, value=value
            )
    with contextlib.ExitStack() as stack:
        load: Callable[[str, bytes | Source | ImageError], Array | Reason] = partial(intake.pixels, frame=frame)
        if workers:
            decoders = stack.enter_context(contextlib.closing(Decoders(intake, workers, frame)))
            load = decoders.pixels
        images = stack.enter_context(contextlib.closing(decode_ahead(items, load, threads=workers or None)))
        if workers:
            stack.callback(decoders.stop)  # first of all, so that no thread waits for an answer
        yield from batches(images, size)


def expand(
    sources: Iterable[Source] | Source, passed: list[tuple[str, PassedOver]] | None = None
) -> Iterator[tuple[str, Source | ImageError]]:
    """Name and source of every image; folders are walked as they are reached.

    Args:
        sources: one source or many; an array (N, H, W, C) is N images.
        passed: gets each folder that was walked, and what was met beside images; None: it is not kept.

    Yields:
        ("array N" or the path, the source), or an error in its place for a folder without images.

    Raises:
        DataError: the only source is a folder without images.
    """
    lone = isinstance(sources, str | Path) or (isinstance(sources, np.ndarray) and sources.ndim <= 3)
    many: Iterable[Source] = [sources] if lone else sources  # type: ignore[list-item, assignment]
    for index, source in enumerate(many):
        if not isinstance(source, str | Path):
            yield f"array {index}", source
        elif not os.path.isdir(source):  # noqa: PTH112 - a null byte in the path is not an exception here
            yield show_place(str(source)), source
        else:
            empty = True
            walk = Walk(os.fspath(source))
            for path, entry in _walk(walk):
                empty = False
                yield path, entry
            if passed is not None:
                passed.append((str(source), walk.passed))
            if empty:
                beside = f" ({walk.passed})" if str(walk.passed) else ""
                text = f"no images in folder {source}{beside}, expected files such as .png, .jpg or .tif"
                if lone:
                    raise DataError(text, code="data-empty", folder=str(source))
                yield str(source), ImageError(str(source), text, code="data-empty", folder=str(source))


def decode_ahead(
    items: Iterable[tuple[str, Found]],
    load: Callable[[str, Found], Array | Reason],
    *,
    threads: int | None = None,
) -> Generator[tuple[str, Array | Reason]]:
    """Decode ahead in threads.

    Args:
        items: name and source of each image, such as `expand` gives.
        load: called with each item in a thread: its pixels, or the reason why it cannot be used.
        threads: how many; None: as many as this process has CPUs, at most 4.

    Yields:
        (name, pixels), or (name, reason) for an image that cannot be used, in the order of `items`.
    """
    threads = threads or min(_MOST_THREADS, cores())
    pending: deque[tuple[str, Future[Array | Reason]]] = deque()
    allowed = threads  # until the first image has told how large they are
    source = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="zoo-decode")
    try:
        while True:
            while len(pending) < allowed and (item := next(source, None)) is not None:
                pending.append((item[0], pool.submit(load, *item)))
            if not pending:
                return
            name, future = pending.popleft()
            image = future.result()
            if not isinstance(image, str):
                allowed = max(threads, min(_AHEAD_IMAGES, _AHEAD_BYTES // max(1, image.nbytes)))
            yield name, image
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batches(images: Iterable[tuple[str, Array | Reason]], size: int) -> Iterator[tuple[list[str], Array | Reason]]:
    """Stack equal-shaped neighbours.

    Args:
        images: name and pixels of each image, from `decode_ahead`.
        size: most images in a group.

    Yields:
        (names, (n, …) array), or ([name], reason), in the order of `images`.
    """
    names: list[str] = []
    group: list[Array] = []
    for name, image in images:
        held = sum(one.nbytes for one in group)
        fits = not isinstance(image, str) and len(group) < size and held < _AHEAD_BYTES
        if group and not (fits and image.shape == group[0].shape):  # type: ignore[union-attr]
            yield names, np.stack(group)
            names, group = [], []
        if isinstance(image, str):
            yield [name], image
        else:
            names.append(name)
            group.append(image)
            if len(group) == size:  # answered now, not when the next image is decoded
                yield names, np.stack(group)
                names, group = [], []
    if group:
        yield names, np.stack(group)


def _walk(walk: Walk) -> Iterator[tuple[str, Path | ImageError]]:
    """Image files of a folder as `zoo.readers._walk` finds them; what was passed over goes into the log."""
    root = walk.root
    for found in walk.images():
        if isinstance(found, ImageError):
            path = join(root, found.name or "")
            yield path, found.rename(path)
        else:
            path = os.path.join(root, found)  # noqa: PTH118 - '.' stays as the user gave it
            yield path, Path(path)
    if said := str(walk.passed):
        level = logging.WARNING if walk.passed.is_loss else logging.INFO
        log.log(level, "%s: passed over: %s", root, said)
