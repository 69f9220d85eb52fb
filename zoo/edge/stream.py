"""From whatever the user named to groups of decoded images, in order and in bounded memory.

What this module does not know: models, labels, ONNX Runtime.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.edge.intake import Array, Source
from zoo.errors import DataError, ImageError
from zoo.machine import cores
from zoo.readers import IMAGE_SUFFIXES, is_image
from zoo.text import natural_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

__all__ = ["Source", "batches", "decoded", "expand"]

_AHEAD_IMAGES = 16
_AHEAD_BYTES = 64 * 2**20
"""Decoding runs ahead of the model by at most this much, except that every thread may hold one image."""
_MOST_THREADS = 4


def expand(sources: Iterable[Source] | Source) -> Iterator[tuple[str, Source | ImageError]]:
    """Name and source of every image; folders are walked as they are reached.

    Args:
        sources: one source or many; an array (N, H, W, C) is N images.

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
            yield str(source), source
        else:
            empty = True
            for path, entry in _walk(Path(source)):
                empty = False
                yield path, entry
            if empty:
                text = f"no images in folder {source}, expected files such as .png, .jpg or .tif"
                if lone:
                    raise DataError(text)
                yield str(source), ImageError(text)


def decoded(
    items: Iterable[tuple[str, Source | ImageError]],
    load: Callable[[str, Source | ImageError], Array | str],
    *,
    threads: int | None = None,
) -> Generator[tuple[str, Array | str]]:
    """Decode ahead in threads.

    Args:
        items: as `expand` gives them.
        load: called with each item in a thread: its pixels, or the reason why it can not be used.
        threads: how many; None: as many as this process has CPUs, at most 4.

    Yields:
        (name, pixels), or (name, reason) for an image that can not be used, in the order of `items`.
    """
    threads = threads or min(_MOST_THREADS, cores())
    pending: deque[tuple[str, Future[Array | str]]] = deque()
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


def batches(images: Iterable[tuple[str, Array | str]], size: int) -> Iterator[tuple[list[str], Array | str]]:
    """Stack equal-shaped neighbours.

    Args:
        images: as `decoded` gives them.
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


def _walk(folder: Path) -> Iterator[tuple[str, Path | ImageError]]:
    """Image files below `folder`, one directory at a time; linked folders and hidden names are left out.

    Natural order needs all names of a directory at once: about 60 bytes and twice the name for each of its entries,
    92 MB for a million names of 15 letters. Of other directories only those on the way here are held.
    """
    pending: list[tuple[str, list[bytes]]] = []  # no recursion: folders may lie a thousand deep
    reached: str | None = os.fspath(folder)
    while reached is not None or pending:
        if reached is not None:
            try:
                pending.append((reached, _listed(reached)))
            except OSError as problem:
                yield reached, _unread(problem)
            reached = None
            continue
        here, names = pending[-1]
        if not names:
            pending.pop()
            continue
        key = names.pop()
        path = os.path.join(here, os.fsdecode(key.rpartition(b"\0")[2].removesuffix(b"/")))  # noqa: PTH118
        if key.endswith(b"/"):
            reached = path
        elif _is_image(path):
            yield path, Path(path)


def _listed(folder: str) -> list[bytes]:
    """`natural_bytes` of the visible names in a folder, last name first; those of folders in it end in "/"."""
    with os.scandir(folder) as found:
        keys = [
            natural_bytes(one.name) + (b"/" if one.is_dir(follow_symlinks=False) else b"")
            for one in found
            if not one.name.startswith(".")
        ]
    keys.sort(reverse=True)
    return keys


def _unread(problem: OSError) -> ImageError:
    reason = (problem.strerror or str(problem)).lower()
    return ImageError(f"folder can not be read ({reason}); check its permissions")


def _is_image(path: str) -> bool:
    """By its suffix; any other file, such as a DICOM file called IM0001, by its first bytes."""
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - once for every file
        return True
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and is_image(Path(path))  # noqa: PTH116
    except OSError:  # a link that leads to itself
        return False
