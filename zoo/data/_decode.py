"""Decode a set once, to the size the network wants; or only look at each image, where each epoch decodes it anew.

Where the result goes is decided before the first image is decoded, and can be said: see `Plan`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from zoo._support.machine import cores
from zoo._support.text import gigabytes
from zoo.data._cache import Building, Entry, Kept, entry_for
from zoo.data._names import Names
from zoo.data._pixels import digest_pixels, recall_pixels
from zoo.data._room import fits_memory, temporary, within_memory
from zoo.data._rows import FileRows, HeldRows, Rows, pack, unpack
from zoo.data._stream import StreamedRows
from zoo.data._threads import Progress, over_chunks
from zoo.data._unusable import Unusable, refusal, refuse_bad
from zoo.errors import DataError, ImageError
from zoo.preprocess import check_range, resize_image

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._index import ImageSet
    from zoo.spec import PreprocessSpec
    from zoo.spec._value import Cache

__all__ = ["Decoded", "Plan", "carry_out", "decode_all", "plan_decoding"]

WORTH_KEEPING = 2.0
"""Seconds that decoding has to take for its result to be kept unasked."""

_Place = Literal["kept", "memory", "file", "stream"]
_WHOLE: tuple[_Place, ...] = ("kept", "memory", "file")
_PLACES: dict[Cache, tuple[_Place, ...]] = {
    "auto": ("kept", "memory", "stream"),
    "disk": ("kept", "file"),
    "memory": ("memory",),
    "stream": ("stream",),
}
"""What is tried, in this order; the last one is taken where the others have no room."""

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A set after the geometric half of its preprocessing.

    Attributes:
        rows: (n, h, w, c), see `zoo.data._rows`.
        targets: (n,) int64, or (n, K) as in `ImageSet`.
        ids: (n,) names.
        contents: (n, 32) uint8, `zoo.data._pixels.digest_pixels` of each image as it was read.
        bad: each image that was left out, and why.
        kept: the file of the cache that `rows` are in, if they are.
        fresh: they were decoded now and not taken from the cache.
        columns: as in `ImageSet`, of the images that are here.
        blocks: as in `ImageSet`, wherever rows wait: the order of an epoch must not depend on that.
    """

    rows: Rows
    targets: NDArray[np.int64]
    ids: Sequence[str]
    contents: NDArray[np.uint8]
    bad: tuple[Unusable, ...] = ()
    kept: Path | None = None
    fresh: bool = True
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    blocks: NDArray[np.int64] | None = None

    @property
    def pixels(self) -> NDArray[Any]:
        """(n, h, w, c) float32: an array in memory, or a memory map of a file."""
        rows = self.rows
        if isinstance(rows, FileRows) and rows.dtype == np.float32:
            return rows.map()
        return unpack(rows.array if isinstance(rows, HeldRows) else rows.take(np.arange(len(self.ids))))


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Where the rows of a set will be, before they are made.

    Attributes:
        images: which.
        spec: its size, channels, denoise and resize are executed.
        place: kept (in the cache), memory, file (a temporary one), stream (nowhere: decoded each time).
        shape: (n, h, w, c) of all rows, bad images among them.
        dtype: of the rows.
        exact: they are float32, and not packed to learn from.
        entry: of the cache, where rows or the result of the first look are or will be kept; None: nowhere.
        found: what is kept already.
        bad: images that are known to be bad, and why.
        fallback: the same without the cache.
    """

    images: ImageSet
    spec: PreprocessSpec
    place: _Place
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    exact: bool
    entry: Entry | None
    found: Kept | None
    bad: Mapping[int, str]
    fallback: tuple[_Place, ...]

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        return math.prod(self.shape) * self.dtype.itemsize

    def describe(self) -> str:
        """What the rows take, and where."""
        if self.place == "stream":
            return f"decoded anew for each epoch instead of {gigabytes(self.size)} in memory or on disk"
        if self.place == "kept" and self.entry is not None:
            return (
                f"{gigabytes(self.size)} {'kept in' if self.found is None else 'taken from'} {self.entry.path.parent}"
            )
        return f"{gigabytes(self.size)} in {'memory' if self.place == 'memory' else 'a temporary file'}"


def decode_all(
    images: ImageSet,
    spec: PreprocessSpec,
    *,
    skip_bad: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    exact: bool = True,
    cache: Cache | None = None,
) -> Decoded:
    """Read every image, check its range, resize it; or take what an earlier call kept (see `zoo.data._cache`).

    Args:
        images: what to decode.
        spec: its size, channels, denoise and resize are executed here.
        skip_bad: leave out what cannot be read, and say so in `Decoded.bad`.
        workers: threads; default: one for each core.
        progress: called as images get done.
        exact: float32; no: packed to learn from.
        cache: where rows wait, see `plan_decoding`.

    Raises:
        DataError: images cannot be read (all of them are counted, five are named); with `skip_bad`, a class would be
            left without an image; or memory is too small for them.
        OutputError: no room for the temporary file of a large set.
    """
    plan = plan_decoding(images, spec, exact=exact, cache=cache)
    if plan.found is None and not fits_memory(plan.size):
        log.info("decoded images: %s", plan.describe())
    return carry_out(plan, skip_bad=skip_bad, workers=workers, progress=progress)


def plan_decoding(
    images: ImageSet,
    spec: PreprocessSpec,
    *,
    exact: bool = True,
    cache: Cache | None = None,
    places: tuple[_Place, ...] | None = None,
    among: ImageSet | None = None,
) -> Plan:
    """Decide where decoded images go; a few of them are decoded for it.

    Args:
        images: what will be decoded.
        spec: its size, channels, denoise and resize are executed.
        exact: float32; no: packed to learn from.
        cache: where rows wait, see `TrainConfig.cache`; None: never a stream, a temporary file where memory lacks room.
        places: what to try instead of what `cache` says.
        among: images of which `images` are a share; one of them tells the shape where none of the share can be read.

    Raises:
        DataError: nothing to decode, or nothing that can be read, `among` included.
    """
    if not len(images):
        raise DataError("no images to decode, expected at least one", code="data-empty")
    places = places or (_WHOLE if cache is None else _PLACES[cache])
    entry = entry_for(images, spec, "exact" if exact else "packed") if "kept" in places else None
    if entry is not None and (kept := _find_kept(images, spec, entry)) is not None:
        rows = kept[0].rows
        return Plan(images, spec, "kept", (len(images), *rows.shape[1:]), rows.dtype, exact, entry, *kept, ())
    bad: dict[int, str] = {}
    try:
        first = _first_good(images, spec, bad, exact=exact)
    except DataError:
        if among is None:
            raise
        first, entry = _first_good(among, spec, {}, exact=exact), None
    shape = (len(images), first.shape[0], first.shape[1], first.shape[2])
    size = math.prod(shape) * first.dtype.itemsize
    if entry is not None and (why := entry.lacks_room(size)) is not None:
        log.info("decoded images are not kept for the next training: %s", why)
        entry = None
    if entry is not None and not (cache == "disk" or _seconds(images, spec) >= WORTH_KEEPING):
        entry = None
    rest = tuple(place for place in places if place != "kept")
    place: _Place = "kept"
    if entry is None:
        place = rest[0] if len(rest) == 1 or fits_memory(size) else rest[1]
    if place == "stream" and recall_pixels(images) is None:
        entry = entry_for(images, spec, "checked")
        if entry is not None and (kept := _find_kept(images, spec, entry)) is not None:
            return Plan(images, spec, place, shape, first.dtype, exact, entry, *kept, rest)
    return Plan(images, spec, place, shape, first.dtype, exact, entry, None, bad, rest)


def carry_out(
    plan: Plan,
    *,
    skip_bad: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    refuse: bool = True,
) -> Decoded:
    """Decode as planned; arguments and errors as of `decode_all`. `refuse` off: the caller refuses by `refuse_bad`.

    With `skip_bad` a stream looks at all images first, also where shards were looked at when they were written.
    """
    images, spec, found = plan.images, plan.spec, plan.found
    if found is not None:
        if refuse:
            refuse_bad(images, plan.bad, skip_bad=skip_bad)
        if plan.place == "stream":
            stream = _stream(plan, _good(len(images), plan.bad), found.contents)
            return _result(plan, stream, found.contents, plan.bad)
        return _result(plan, found.rows, found.contents, plan.bad, kept=True)
    if plan.place == "stream" and not (plan.bad or skip_bad) and (known := recall_pixels(images)) is not None:
        return _result(plan, _stream(plan, _good(len(images), {}), None), known, {})
    bad = dict(plan.bad)
    contents = np.zeros((len(images), 32), np.uint8)
    with contextlib.ExitStack() as stack:
        building = None
        if plan.entry is not None:
            kept = plan.shape if plan.place == "kept" else (len(images), 0, 0, 0)
            building = stack.enter_context(plan.entry.building(kept, plan.dtype))
            if building is None and plan.place == "kept":
                other = plan_decoding(images, spec, exact=plan.exact, places=plan.fallback)
                return carry_out(other, skip_bad=skip_bad, workers=workers, progress=progress, refuse=refuse)
        room = _make_room(plan, building)

        def work(chunk: range) -> None:
            for i in chunk:
                try:
                    image = _decode_one(images, i, spec, contents, plan.exact)
                except ImageError as problem:
                    bad[i] = problem.reason
                    continue
                if (image.shape, image.dtype) != (plan.shape[1:], plan.dtype):
                    bad[i] = "8-bit among deeper images, or the reverse; expected one pixel type"
                    continue
                if building is not None:
                    building.put(images, i, image)
                elif plan.place != "stream":
                    room.put(i, image)

        over_chunks(work, len(images), workers=workers, progress=progress)
        bad = dict(sorted(bad.items()))
        if refuse:
            refuse_bad(images, bad, skip_bad=skip_bad)
        good = _good(len(images), bad)
        if bad and plan.place != "stream":
            for position, i in enumerate(good.tolist()):
                room.put(position, room.take(np.array([i]))[0])
        rows = None if building is None else building.finish(good, list(bad), contents[good])
        if plan.place == "stream":
            return _result(plan, _stream(plan, good, contents[good]), contents[good], bad)
        if rows is not None:
            return _result(plan, rows, contents[good], bad, kept=True)
        return _result(plan, room.first(len(good)), contents[good], bad)


def _make_room(plan: Plan, building: Building | None) -> FileRows | HeldRows:
    """For the rows; those of a stream take none."""
    if building is not None:
        return building.rows
    if plan.place == "stream":
        return HeldRows(np.empty((0, 0, 0, 0), plan.dtype))
    return within_memory(plan.shape, plan.dtype) if plan.place == "memory" else temporary(plan.shape, plan.dtype)


def _stream(plan: Plan, good: NDArray[np.int64], contents: NDArray[np.uint8] | None) -> StreamedRows:
    def decode(i: int, contents: MutableMapping[int, NDArray[np.uint8]]) -> NDArray[Any]:
        return _decode_one(plan.images, i, plan.spec, contents, plan.exact)

    return StreamedRows(plan.images, good, contents, decode, plan.shape[1:], plan.dtype)


def _result(
    plan: Plan, rows: Rows, contents: NDArray[np.uint8], bad: Mapping[int, str], *, kept: bool = False
) -> Decoded:
    images, good = plan.images, _good(len(plan.images), bad)
    return Decoded(
        rows,
        images.targets[good],
        Names.of(images.ids).subset(good),
        contents,
        _name_unusable(images, bad),
        plan.entry.path if kept and plan.entry is not None else None,
        plan.found is None,
        images.columns if not bad else images.subset(good).columns,
        None if images.blocks is None else images.blocks[good],
    )


def _find_kept(images: ImageSet, spec: PreprocessSpec, entry: Entry) -> tuple[Kept, dict[int, str]] | None:
    """What an entry holds, and why each of its bad images still is bad; None where nothing of it can be used."""
    if (found := entry.read()) is None:
        return None
    bad = _reasons(images, spec, found.bad)
    if len(bad) == len(found.bad):
        return found, bad
    entry.forget()  # a file that could not be read then, on a network that was away, can be now
    return None


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


def _seconds(images: ImageSet, spec: PreprocessSpec) -> float:
    """About how long decoding all of them takes, by a few of them."""
    some = np.linspace(0, len(images) - 1, 4).astype(int).tolist()
    start = time.perf_counter()
    _reasons(images, spec, some)
    return (time.perf_counter() - start) / len(some) * len(images) / cores()


def _decode_one(
    images: ImageSet,
    i: int,
    spec: PreprocessSpec,
    contents: MutableMapping[int, NDArray[np.uint8]] | NDArray[np.uint8] | None = None,
    exact: bool = True,
) -> NDArray[Any]:
    """(h, w, c) of image `i`: float32, or packed; the digest of its pixels goes into `contents`."""
    raw = images.read(i)
    if contents is not None:
        contents[i] = np.frombuffer(digest_pixels(raw), np.uint8)
    try:
        check_range(raw.pixels, spec)
        row = resize_image(raw.pixels, spec)
    except ImageError as problem:
        raise problem.rename(images.ids[i]) from None
    if exact:
        return row
    if raw.pixels.dtype == np.uint8:
        return pack(row)
    # one plane that is there three times, for a network that takes colours
    return np.ascontiguousarray(row[:, :, :1]) if raw.pixels.shape[2] == 1 else row


def _first_good(images: ImageSet, spec: PreprocessSpec, bad: dict[int, str], *, exact: bool) -> NDArray[Any]:
    """The first image that can be read: it tells shape and dtype before room is made."""
    for i in range(len(images)):
        try:
            return _decode_one(images, i, spec, None, exact)
        except ImageError as problem:
            bad[i] = problem.reason
    raise refusal(_name_unusable(images, bad), len(images))
