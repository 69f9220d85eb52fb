"""Decode a set once, to the size the network wants, into one array."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.machine import cores
from zoo._support.memory import free_memory, lies_in_memory
from zoo.data._cache import entry_for
from zoo.data._names import Names
from zoo.data._pixels import digest_pixels
from zoo.data._threads import Progress, over_chunks
from zoo.data._unusable import Unusable, refusal
from zoo.errors import DataError, ImageError, OutputError
from zoo.preprocess import channels_of, check_range, resize_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.data._index import ImageSet
    from zoo.spec import PreprocessSpec

__all__ = ["IN_MEMORY", "Decoded", "decode_all"]

WORTH_KEEPING = 2.0
"""Seconds that decoding has to take for its result to be kept."""

IN_MEMORY = 2 * 1024**3
"""Bytes of decoded pixels above which they go to a temporary file instead of memory; so do those that would take more
than half of the memory which is free."""

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A set after the geometric half of its preprocessing.

    Attributes:
        pixels: (n, h, w, c), as `zoo.preprocess.resize_image` gives them: float32. An array in memory, or a
            memory map of a temporary file that goes away with it.
        targets: (n,) int64, or (n, K) as in `ImageSet`.
        ids: (n,) names.
        contents: (n, 32) uint8, `zoo.data._pixels.digest_pixels` of each image as it was read.
        bad: each image that was left out, and why.
        kept: the file of the cache that `pixels` map, if they do.
        fresh: they were decoded now and not taken from the cache.
    """

    pixels: NDArray[Any]
    targets: NDArray[np.int64]
    ids: Sequence[str]
    contents: NDArray[np.uint8]
    bad: tuple[Unusable, ...] = ()
    kept: Path | None = None
    fresh: bool = True


def decode_all(
    images: ImageSet,
    spec: PreprocessSpec,
    *,
    skip_bad: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Read every image, check its range, resize it; or take what an earlier call kept (see `zoo.data._cache`).

    Args:
        images: what to decode.
        spec: its size, channels, denoise and resize are executed here.
        skip_bad: leave out what cannot be read, and say so in `Decoded.bad`.
        workers: threads; default: one for each core.
        progress: called as images get done.

    Raises:
        DataError: images cannot be read (all of them are counted, five are named); with `skip_bad`, a class would be
            left without an image; or memory is too small for them.
        OutputError: no room for the temporary file of a large set.
    """
    if not len(images):
        raise DataError("no images to decode, expected at least one", code="data-empty")
    entry = entry_for(images, spec)
    if entry is not None and (kept := entry.read()) is not None:
        reasons = _reasons(images, spec, kept.bad)
        if len(reasons) == len(kept.bad):
            _refuse(images, reasons, skip_bad=skip_bad)
            return _result(images, kept.pixels, kept.contents, reasons, kept=entry.path, fresh=False)
        entry.forget()  # a file that could not be read then, on a network that was away, can be now
    bad: dict[int, str] = {}
    first = _first_good(images, spec, bad)
    contents = np.zeros((len(images), 32), np.uint8)
    shape = (len(images), *spec.size, channels_of(spec))
    with contextlib.ExitStack() as stack:
        building = None
        if entry is not None and _seconds(images, spec, workers or cores()) >= WORTH_KEEPING:
            building = stack.enter_context(entry.building(shape))
            size = 4 * math.prod(shape)
            if building is not None and size > IN_MEMORY:
                log.info("decoded images take %.1f GB in %s, kept for the next training", size / 1e9, entry.path.parent)
        pixels = _room(shape, first.dtype) if building is None else building.pixels

        def work(chunk: range) -> None:
            for i in chunk:
                try:
                    image = _decode_one(images, i, spec, contents)
                except ImageError as problem:
                    bad[i] = problem.reason
                    continue
                if image.dtype != pixels.dtype:
                    bad[i] = "8-bit among deeper images, or the reverse; expected one pixel type"
                    continue
                pixels[i] = image
                if building is not None:
                    building.check(images, i)

        over_chunks(work, len(images), workers=workers, progress=progress)
        bad = dict(sorted(bad.items()))
        _refuse(images, bad, skip_bad=skip_bad)
        good = _good(len(images), bad)
        if bad:
            for position, i in enumerate(good.tolist()):
                pixels[position] = pixels[i]
        if building is not None and (mapped := building.finish(good, list(bad), contents[good])) is not None:
            return _result(images, mapped, contents[good], bad, kept=building.entry.path)
        return _result(images, pixels[: len(good)], contents[good], bad)


def _refuse(images: ImageSet, bad: Mapping[int, str], *, skip_bad: bool) -> None:
    """Raise DataError where images cannot be read and that is not allowed, or takes a whole class."""
    if bad and not skip_bad:
        raise refusal(_name_unusable(images, bad), len(images))
    left = images.targets[_good(len(images), bad)]
    if lost := set(_find_present(images.targets)) - set(_find_present(left)):
        example = next(images.ids[i] for i in bad if lost & set(_find_present(images.targets[i : i + 1])))
        raise DataError(
            f"no readable image is left of the class of {example}; restore its files",
            code="class-unreadable",
            image=example,
        )


def _result(
    images: ImageSet,
    pixels: NDArray[Any],
    contents: NDArray[np.uint8],
    bad: Mapping[int, str],
    *,
    kept: Path | None = None,
    fresh: bool = True,
) -> Decoded:
    good = _good(len(images), bad)
    return Decoded(
        pixels,
        images.targets[good],
        Names.of(images.ids).subset(good),
        contents,
        _name_unusable(images, bad),
        kept,
        fresh,
    )


def _name_unusable(images: ImageSet, bad: Mapping[int, str]) -> tuple[Unusable, ...]:
    return tuple(Unusable(images.ids[i], reason) for i, reason in bad.items())


def _good(n: int, bad: Mapping[int, str]) -> NDArray[np.int64]:
    return np.delete(np.arange(n, dtype=np.int64), list(bad))


def _reasons(images: ImageSet, spec: PreprocessSpec, suspects: Sequence[int]) -> dict[int, str]:
    """Why each of the `suspects` cannot be read; those that can be are missing."""
    reasons: dict[int, str] = {}
    for i in suspects:
        try:
            _decode_one(images, i, spec)
        except ImageError as problem:
            reasons[i] = problem.reason
    return reasons


def _seconds(images: ImageSet, spec: PreprocessSpec, workers: int) -> float:
    """About how long decoding all of them takes, by a few of them."""
    some = np.linspace(0, len(images) - 1, 4).astype(int).tolist()
    start = time.perf_counter()
    _reasons(images, spec, some)
    return (time.perf_counter() - start) / len(some) * len(images) / workers


def _find_present(targets: NDArray[np.int64]) -> list[int]:
    """Classes, or labels, that some image has."""
    held: list[int] = (targets if targets.ndim == 1 else np.nonzero(targets == 1)[1]).tolist()
    return held


def _decode_one(
    images: ImageSet, i: int, spec: PreprocessSpec, contents: NDArray[np.uint8] | None = None
) -> NDArray[Any]:
    raw = images.read(i)
    if contents is not None:
        contents[i] = np.frombuffer(digest_pixels(raw), np.uint8)
    try:
        check_range(raw.pixels, spec)
        return resize_image(raw.pixels, spec)
    except ImageError as problem:
        raise problem.rename(images.ids[i]) from None


def _first_good(images: ImageSet, spec: PreprocessSpec, bad: dict[int, str]) -> NDArray[Any]:
    """The first image that can be read: it tells the dtype before room is made."""
    for i in range(len(images)):
        try:
            return _decode_one(images, i, spec)
        except ImageError as problem:
            bad[i] = problem.reason
    raise refusal(_name_unusable(images, bad), len(images))


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Room for what is not kept: memory, or a temporary file where that takes too much of it, which is said."""
    size = math.prod(shape) * dtype.itemsize
    if size <= min(IN_MEMORY, free_memory() / 2):
        try:
            return np.empty(shape, dtype)
        except MemoryError:
            raise DataError(
                f"no memory for {size / 1e9:.1f} GB of decoded images; lower --size or free some",
                code="decoded-memory",
                needed=size,
            ) from None
    folder = Path(tempfile.gettempdir())
    of_memory = lies_in_memory(folder)
    free = min(shutil.disk_usage(folder).free, free_memory() if of_memory else math.inf)
    if size > free:
        kind = "memory" if of_memory else "disk"
        raise _full(size, folder, f"{free / 1e9:.1f} GB of {kind} are free", free=int(free))
    log.info("decoded images take %.1f GB in a temporary file in %s; TMPDIR names another place", size / 1e9, folder)
    if of_memory:
        log.warning("%s is made of memory, which these %.1f GB take; set TMPDIR to a disk", folder, size / 1e9)
    # Nameless where the system allows it: gone when the array is, even after a crash.
    with tempfile.TemporaryFile(prefix="zoo-", dir=folder) as stream:
        try:
            if hasattr(os, "posix_fallocate"):  # without it a full disk would show as a crash while writing
                os.posix_fallocate(stream.fileno(), 0, size)
            return np.memmap(stream, dtype=dtype, mode="r+" if os.fstat(stream.fileno()).st_size else "w+", shape=shape)
        except OSError as problem:
            raise _full(size, folder, (problem.strerror or str(problem)).lower()) from None


def _full(size: int, folder: Path, reason: str, **fields: int) -> OutputError:
    return OutputError(
        f"no room for {size / 1e9:.1f} GB of decoded images in {folder} ({reason}); free space, set TMPDIR or lower "
        "--size",
        code="output-full",
        needed=size,
        folder=str(folder),
        **fields,
    )
