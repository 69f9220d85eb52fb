"""From whatever the user named to groups of decoded images, in order and in bounded memory.

What this module does not know: models, labels, ONNX Runtime.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, ImageError
from zoo.machine import cores
from zoo.readers import IMAGE_SUFFIXES, RawImage, from_array, is_image, read
from zoo.text import natural_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Source", "batches", "decoded", "expand", "pixels"]

Array = NDArray[Any]
Source = Path | str | Array
"""An image file, a folder of them, or one raw image (H, W[, C])."""

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
    ready: Callable[[RawImage], Array],
    *,
    frame: int | None = None,
    voi: bool = False,
) -> Iterator[tuple[str, Array | str]]:
    """Decode ahead in threads.

    Args:
        items: as `expand` gives them.
        ready: what else to do with an image in the thread that decoded it; may raise `ImageError`.
        frame: how files are read, see `zoo.readers.read`; arrays are taken as they are.
        voi: likewise.

    Yields:
        (name, pixels), or (name, reason) for an image that can not be used, in the order of `items`.
    """
    threads = min(_MOST_THREADS, cores())
    load = partial(read, frame=frame, voi=voi)
    pending: deque[tuple[str, Future[Array | str]]] = deque()
    allowed = threads  # until the first image has told how large they are
    source = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="zoo-decode")
    try:
        while True:
            while len(pending) < allowed and (item := next(source, None)) is not None:
                pending.append((item[0], pool.submit(pixels, *item, load, ready)))
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


def pixels(
    name: str,
    source: bytes | Source | ImageError,
    load: Callable[[bytes | Path | str], RawImage],
    ready: Callable[[RawImage], Array],
) -> Array | str:
    """One image as the graph takes it, or the reason why it can not be used, without `name` at its head."""
    try:
        if isinstance(source, ImageError):
            raise source
        return ready(load(source) if isinstance(source, str | bytes | Path) else from_array(source))
    except ImageError as problem:
        return str(problem).removeprefix(f"{name}: ")
    except MemoryError:
        return "not enough memory to decode it; give the image smaller or alone"


def _walk(folder: Path) -> Iterator[tuple[str, Path | ImageError]]:
    """Image files below `folder`, one directory at a time; linked folders and hidden names are left out."""
    pending: list[Path | os.DirEntry[str]] = [folder]  # no recursion: folders may lie a thousand deep
    while pending:
        here = pending.pop()
        if isinstance(here, os.DirEntry) and not here.is_dir(follow_symlinks=False):
            if _is_image(here):
                yield here.path, Path(here.path)
            continue
        try:
            with os.scandir(here) as found:
                visible = [one for one in found if not one.name.startswith(".")]
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            yield os.fspath(here), ImageError(f"folder can not be read ({reason}); check its permissions")
            continue
        pending += sorted(visible, key=lambda one: natural_key(one.name), reverse=True)


def _is_image(entry: os.DirEntry[str]) -> bool:
    """By its suffix; any other file, such as a DICOM file called IM0001, by its first bytes."""
    if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - once for every file
        return True
    try:
        return entry.is_file() and is_image(Path(entry.path))
    except OSError:  # a link that leads to itself
        return False
