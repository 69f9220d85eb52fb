"""Write any data as tar shards (WebDataset) with an index: `zoo data shard`.

The bytes of image files stay as they are. Every image is decoded once here, so that a training on the shards need not
look at all of them before its first step. The same data, seed and size give the same bytes. A shard is written under
its name when it is whole, its listing after it, and the index of all last: the same command continues after a kill.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo._support.files import refuse_unwritable, remove_leftovers, sha256_file, suggest_remedy
from zoo._support.text import format_count, gigabytes
from zoo._urls import show_place
from zoo.data._index import SPLITS, Arrays, Files, SplitName
from zoo.data._several import Several
from zoo.data._shard_file import HEADER, Growing, say_columns
from zoo.data._sources.shard_index import INDEX, SCHEMA, Listing, ShardFile, ShardSet, open_set, seal
from zoo.data._sources.shards import Shards
from zoo.data._unusable import Unusable, refusal
from zoo.errors import DataError, OutputError
from zoo.spec import Display, Table
from zoo.store._cachedir import BUILDING, claim
from zoo.store.place import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.data._index import Pool, Source
    from zoo.data._threads import Progress

__all__ = ["DEFAULT_SIZE", "Plan", "ShardsResult", "divide", "write_shards"]

DEFAULT_SIZE = 256_000_000
"""Bytes of a shard: some seconds of a fast network, and some thousand pictures."""
_CLASSES = "classes.txt"
_LEFT = re.compile(
    rf"\.((?:{'|'.join(SPLITS)}|data)-\d+\.(?:tar|index)|{re.escape(_CLASSES)}|{re.escape(INDEX)})\.\w+{re.escape(BUILDING)}"
)
"""A file that was being written here, and the name that it was to get."""


class ShardsResult(Display, msgspec.Struct, frozen=True, kw_only=True):
    """Shards that were written."""

    path: str
    """The folder, or its address without secrets."""
    images: int
    size_bytes: int
    seed: int
    shards: tuple[ShardFile, ...]
    notes: tuple[str, ...]

    def headline(self) -> str:
        """Where they are, how many, and of how many images."""
        what = f"{format_count(self.images, 'image')} in {format_count(len(self.shards), 'shard')}"
        return f"{self.path}: {what}, {gigabytes(self.size_bytes)}"

    def tables(self) -> dict[str, Table]:
        """One row for each shard."""
        rows = ({"shard": one.name, "images": one.images, "size_bytes": one.size} for one in self.shards)
        return {"shards": Table(rows)}


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One shard that is to be written: its name, and positions of its images in the pool."""

    name: str
    split: SplitName | None
    rows: NDArray[np.int64]
    first: int
    """Number of its first image among those of its split."""


def write_shards(
    pool: Pool,
    plans: Sequence[Plan],
    out: str | Path,
    seed: int,
    *,
    overwrite: bool,
    skip_bad: bool,
    progress: Progress | None,
) -> ShardsResult:
    """Write images as shards, as `divide` dealt them.

    Raises:
        DataError: images cannot be read.
        OutputError: `out` holds something else, or cannot be written.
    """
    place = Place(out)
    _refuse_other(place, plans, overwrite=overwrite)
    _remove_leftovers(place)
    there = place.sizes()
    shards, done, left_out = [], 0, list[Unusable]()
    for plan in plans:
        mark = _mark(pool, plan, seed)
        shard, listing = _continue(place, there, plan, mark) or _write(place, pool, plan, mark, skip_bad=skip_bad)
        shards.append(shard)
        left_out += [Unusable(*one) for one in listing.left_out]
        done += len(plan.rows)
        if progress is not None:
            progress(done, len(pool.ids))
    count = sum(one.images for one in shards)
    if not count:
        raise refusal(left_out, len(pool.ids), of=pool.name)
    bad = len(left_out) + len(pool.skipped)
    said = (f"{format_count(bad, 'image')} left out of the shards: cannot be decoded",) if bad else ()
    notes = tuple(dict.fromkeys((*pool.notes, *said)))
    several = pool.targets.ndim == 2
    found = ShardSet(
        SCHEMA, pool.name, pool.labels, several, count, seed, tuple(shards), notes, dict(pool.passed_over), ""
    )
    place.write(_CLASSES, "".join(f"{label}\n" for label in pool.labels).encode())
    place.write(INDEX, seal(found))
    total = sum(one.size for one in shards)
    path = show_place(str(out))
    return ShardsResult(path=path, images=count, size_bytes=total, seed=seed, shards=found.shards, notes=notes)


def _refuse_source(pool: Pool) -> None:
    source = pool.source
    parts = source.parts if isinstance(source, Several) else (source,)
    for part in parts:
        several = isinstance(part, Files) and part.frames is not None and bool((part.frames != 0).any())
        if several or not isinstance(part, Files | Shards | Arrays):
            raise DataError(
                f"{pool.name}: its images are pictures of files that hold several, or stacks of files; save each as "
                "one file before you write shards",
                code="shard-source",
                data=pool.name,
            )


def divide(pool: Pool, seed: int, most: int, images: int | None) -> list[Plan]:
    """Which images go into which shard: mixed by the seed and their content, splits apart.

    Args:
        pool: the images.
        seed: seed of their order.
        most: most bytes of a shard, unless one image is larger.
        images: most images of a shard, instead of `most`; None: as many as fit.

    Raises:
        DataError: its images are not one file each.
    """
    _refuse_source(pool)
    n = len(pool.ids)
    keys = np.zeros((n, 16), np.uint8)
    salt = f"zoo shard {seed}".encode()
    for i in range(n):
        text = pool.digests[i].tobytes() + pool.ids[i].encode("utf-8", "surrogateescape")
        keys[i] = np.frombuffer(hashlib.blake2b(text, digest_size=16, key=salt).digest(), np.uint8)
    order = np.lexsort(keys.view(">u8").astype(np.uint64).T[::-1])
    split = np.full(n, -1, np.int64)
    for number, brought in enumerate(SPLITS):
        if brought in pool.rows:
            split[pool.rows[brought]] = number
    plans: list[Plan] = []
    for number in (0, 1, 2, -1):
        rows = order[split[order] == number]
        name: SplitName | None = None if number < 0 else SPLITS[number]
        first = 0
        for at, part in enumerate(_pieces(pool, rows, most, images)):
            plans.append(Plan(f"{name or 'data'}-{at:06}.tar", name, part, first))
            first += len(part)
    return plans


def _pieces(pool: Pool, rows: NDArray[np.int64], most: int, images: int | None) -> Iterator[NDArray[np.int64]]:
    if images is not None:
        for start in range(0, len(rows), images):
            yield rows[start : start + images]
        return
    start = used = 0
    for at, row in enumerate(rows.tolist()):
        needed = _size_of(pool.source, row) + 4 * HEADER  # headers of the image and its label, rounded up
        if used and used + needed > most:
            yield rows[start:at]
            start, used = at, 0
        used += needed
    if start < len(rows):
        yield rows[start:]


def _size_of(source: Source, row: int) -> int:
    if isinstance(source, Several):
        return _size_of(source.parts[int(source.part[row])], int(source.rows[row]))
    if isinstance(source, Files):
        return (source.root / source.ids[row]).stat().st_size
    if isinstance(source, Shards):
        return int(source.sizes[row])
    return source.read(row).pixels.nbytes


def _refuse_other(place: Place, plans: Sequence[Plan], *, overwrite: bool) -> None:
    """Raise OutputError where the folder holds what this command would not write there; remove an index that it may."""
    ours = {INDEX, _CLASSES, *(plan.name for plan in plans), *(_name_listing(plan.name) for plan in plans)}
    there, names = place.sizes(), place.names()
    damaged, before = False, None
    try:
        before = open_set(place.read(INDEX), str(place)) if INDEX in there else None
    except DataError:  # changed, or of another version: which shards it lists is not known
        if not overwrite:
            raise
        damaged = True
    old = {name for one in before.shards for name in (one.name, one.listed)} if before is not None else set()
    other = next((name for name in sorted(names) if name not in ours | old and not name.endswith(BUILDING)), None)
    if before is None and not damaged and INDEX in names:
        other = INDEX
    if other is not None or (before is not None and not overwrite):
        what = "shards are there already; give --overwrite to replace them"
        if other is not None:
            what = f"holds {other!a}, which does not belong to these shards; empty it"
        raise OutputError(f"{place}: {what}, or choose another place", code="out-occupied", path=str(place))
    place.remove([name for name in (INDEX, *sorted(old - ours)) if name in there])


def _remove_leftovers(place: Place) -> None:
    """Remove what calls that were killed left of files of shards, and nothing that another one writes."""
    if place.folder is not None:
        for name in {found[1] for found in map(_LEFT.fullmatch, place.names()) if found is not None}:
            remove_leftovers(place.folder / name)


def _name_listing(shard: str) -> str:
    return f"{shard.removesuffix('.tar')}.index"


def _mark(pool: Pool, plan: Plan, seed: int) -> str:
    """What a shard will hold: two commands that agree in it write the same bytes."""
    digest = hashlib.sha256(f"{SCHEMA} {seed} {plan.name} {plan.first}\n".encode())
    digest.update(msgspec.json.encode(pool.labels))
    digest.update(np.ascontiguousarray(pool.digests[plan.rows]).tobytes())
    digest.update(np.ascontiguousarray(pool.targets[plan.rows]).tobytes())
    for row in plan.rows.tolist():
        digest.update(msgspec.json.encode([ascii(pool.ids[row]), *say_columns(pool, row).items()]))
    for numbers in (pool.groups, pool.folds):
        digest.update(b"" if numbers is None else numbers[plan.rows].tobytes())
    return digest.hexdigest()


def _continue(place: Place, there: Mapping[str, int], plan: Plan, mark: str) -> tuple[ShardFile, Listing] | None:
    """A shard that an earlier call of the same command finished."""
    listed = _name_listing(plan.name)
    if listed not in there or plan.name not in there:
        return None
    data = place.read(listed)
    try:
        listing = msgspec.msgpack.decode(data, type=Listing)
    except msgspec.DecodeError:
        return None
    if listing.plan != mark or listing.size != there[plan.name]:
        return None
    if place.folder is not None and sha256_file(place.folder / plan.name) != listing.sha256:
        return None
    return _file(plan, listing, data), listing


def _file(plan: Plan, listing: Listing, data: bytes) -> ShardFile:
    digest = hashlib.sha256(data).hexdigest()
    return ShardFile(plan.name, plan.split, len(listing.ids), listing.size, listing.sha256, digest)


def _write(place: Place, pool: Pool, plan: Plan, mark: str, *, skip_bad: bool) -> tuple[ShardFile, Listing]:
    try:
        if place.folder is not None:
            place.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=place.folder, prefix=f".{plan.name}.", suffix=BUILDING, delete=False
        ) as stream:
            temporary = Path(stream.name)
        try:
            with claim(temporary):
                with temporary.open("wb") as stream:
                    growing = Growing(stream, pool, plan.rows, plan.first)
                    growing.fill()
                if growing.bad and not skip_bad:
                    raise refusal(growing.bad, len(plan.rows), of=pool.name)
                listing = growing.finish(mark, temporary)
            place.remove([_name_listing(plan.name)])  # else an old one might vouch for the new shard
            place.move(temporary, plan.name)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as problem:
        if place.folder is not None:
            raise refuse_unwritable(place.folder / plan.name, problem) from None
        remedy = f"{suggest_remedy(problem)}, in the temporary folder of this machine, or set TMPDIR to another"
        raise refuse_unwritable(f"{place}/{plan.name}", problem, remedy) from None
    data = msgspec.msgpack.encode(listing)
    place.write(_name_listing(plan.name), data)
    return _file(plan, listing, data), listing
