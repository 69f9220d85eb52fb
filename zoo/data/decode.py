"""Decode a set once, to the size the network wants, into one array."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.data.threads import Progress, over_chunks
from zoo.data.wording import unusable
from zoo.errors import DataError, ImageError, OutputError
from zoo.preprocess import channels_of, check_range, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data.index import ImageSet
    from zoo.spec import PreprocessSpec

__all__ = ["IN_MEMORY", "Decoded", "decode_all"]

IN_MEMORY = 2 * 1024**3
"""Bytes of decoded pixels above which they go to a temporary file instead of memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A set after the geometric half of its preprocessing.

    Attributes:
        pixels: (n, h, w, c), as `zoo.preprocess.resized` gives them: float32. An array in memory, or a
            memory map of a temporary file that goes away with it.
        targets: (n,) int64, or (n, K) as in `ImageSet`.
        ids: (n,) names.
        bad: (id, reason) of each image that was left out.
    """

    pixels: NDArray[Any]
    targets: NDArray[np.int64]
    ids: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()


def decode_all(
    images: ImageSet,
    spec: PreprocessSpec,
    *,
    skip_bad: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Read every image, check its range, resize it.

    Args:
        images: what to decode.
        spec: its size, channels, denoise and resize are executed here.
        skip_bad: leave out what can not be read, and say so in `Decoded.bad`.
        workers: threads; default: one for each core.
        progress: called as images get done.

    Raises:
        DataError: images can not be read (all of them are counted, five are named); or, with `skip_bad`,
            a class would be left without an image.
        OutputError: no room for the temporary file of a large set.
    """
    if not len(images):
        raise DataError("no images to decode, expected at least one")
    bad: dict[int, str] = {}
    first = _first_good(images, spec, bad, skip_bad=skip_bad)
    pixels = _room((len(images), *spec.size, channels_of(spec)), first.dtype)

    def work(chunk: range) -> None:
        for i in chunk:
            try:
                image = _decoded(images, i, spec)
            except ImageError as problem:
                bad[i] = str(problem)
                continue
            if image.dtype != pixels.dtype:
                bad[i] = f"{images.ids[i]}: 8-bit among deeper images, or the reverse; expected one pixel type"
                continue
            pixels[i] = image

    over_chunks(work, len(images), workers=workers, progress=progress)
    if bad and not skip_bad:
        raise DataError(unusable([bad[i] for i in sorted(bad)], len(images)))
    good = [i for i in range(len(images)) if i not in bad]
    if lost := set(_held(images.targets)) - set(_held(images.targets[good])):
        example = next(images.ids[i] for i in sorted(bad) if lost & set(_held(images.targets[i : i + 1])))
        raise DataError(f"no readable image is left of the class of {example}; restore its files")
    for position, i in enumerate(good):
        if position != i:
            pixels[position] = pixels[i]
    return Decoded(
        pixels[: len(good)],
        images.targets[good],
        tuple(images.ids[i] for i in good),
        tuple((images.ids[i], bad[i]) for i in sorted(bad)),
    )


def _held(targets: NDArray[np.int64]) -> list[int]:
    """Classes, or labels, that some image has."""
    held: list[int] = (targets if targets.ndim == 1 else np.nonzero(targets)[1]).tolist()
    return held


def _decoded(images: ImageSet, i: int, spec: PreprocessSpec) -> NDArray[Any]:
    raw = images.read(i)
    try:
        check_range(raw.pixels, spec)
        return resized(raw.pixels, spec)
    except ImageError as problem:
        raise ImageError(f"{images.ids[i]}: {problem}") from None


def _first_good(images: ImageSet, spec: PreprocessSpec, bad: dict[int, str], *, skip_bad: bool) -> NDArray[Any]:
    """The first image that can be read: it tells the dtype before room is made."""
    for i in range(len(images)):
        try:
            return _decoded(images, i, spec)
        except ImageError as problem:
            bad[i] = str(problem)
    advice = "restore the files" if skip_bad else "check the data"
    raise DataError(f"none of {len(images)} images can be read: {bad[0]}; {advice}")


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    size = math.prod(shape) * dtype.itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    # Nameless where the system allows it: gone when the array is, even after a crash.
    with tempfile.TemporaryFile(prefix="zoo-") as stream:
        try:
            if hasattr(os, "posix_fallocate"):  # without it a full disk would show as a crash while writing
                os.posix_fallocate(stream.fileno(), 0, size)
            return np.memmap(stream, dtype=dtype, mode="r+" if os.fstat(stream.fileno()).st_size else "w+", shape=shape)
        except OSError as problem:
            raise OutputError(
                f"no room for {size / 1024**3:.1f} GiB of decoded images in {tempfile.gettempdir()} "
                f"({(problem.strerror or str(problem)).lower()}); free space, set TMPDIR or lower --size"
            ) from None
