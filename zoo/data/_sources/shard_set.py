"""Shards with their index, on the disk or in a store: opened by the index alone.

What this module does not know: the form of the index, see `zoo.data._sources.shard_index`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.cells import column_key
from zoo._urls import show_url
from zoo.data._index import SPLITS, Pool
from zoo.data._scanning.scan import one_form, split_columns
from zoo.data._sources.codes import Codes
from zoo.data._sources.columns import ABOUT, NAMES, find_inputs
from zoo.data._sources.shard_index import INDEX, ShardSet, join_listings, open_listing, open_set
from zoo.data._sources.shards import Shards
from zoo.data._sources.values import find_missing
from zoo.errors import DataError
from zoo.store import remote
from zoo.store._mirror import Remote
from zoo.store._places import cache_folder
from zoo.store._shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from zoo.data._names import Names
    from zoo.spec import Reading

__all__ = ["check_size", "index_remote", "index_set"]


def index_set(path: Path, reading: Reading) -> Pool | None:
    """The images of a folder of shards by its index; None: there is none.

    Raises:
        DataError: the index was changed, or a shard is missing or of another size.
    """
    if not (path / INDEX).is_file():
        return None
    found = open_set((path / INDEX).read_bytes(), path.name)
    if found is None:
        return None
    for one in found.shards:
        there = (path / one.name).stat().st_size if (path / one.name).is_file() else None
        check_size(path.name, one.name, there, one.size)
    return _pool(path.resolve(), path, found, None, reading)


def index_remote(url: str, listing: remote.Listing, reading: Reading) -> Pool | None:
    """The images of shards at an address by their index; None: there is none. Shards come when images are read.

    Raises:
        As `index_set` and `zoo.store.remote.fetch_tree`.
    """
    if listing.is_file or INDEX not in listing.objects:
        return None

    def choose(keys: object) -> list[str]:
        del keys
        return [key for key in listing.objects if "/" not in key and (key == INDEX or key.endswith(".index"))]

    folder = remote.fetch_tree(url, listing=listing, choose=choose, about=INDEX)
    found = open_set((folder / INDEX).read_bytes(), folder.name)
    if found is None:
        return None
    files = []
    for one in found.shards:
        there = listing.objects.get(one.name)
        check_size(folder.name, one.name, None if there is None else there.size, one.size)
        if there is not None:
            files.append(Remote(there.system, there.path, url, there.scheme, one.size, there.mark, "", one.sha256))
    root = cache_folder("shards") / hashlib.sha256(show_url(url).encode()).hexdigest()[:16]
    return _pool(root, folder, found, Shelf(files), reading)


def check_size(name: str, shard: str, found: int | None, expected: int) -> None:
    """Refuse a shard of a set that is not there, or has another size than its index says; raises DataError."""
    if found is None:
        raise DataError(
            f"{name}: {shard} is not there, and the index lists it; restore it", code="shard-missing", shard=shard
        )
    if found != expected:
        raise DataError(
            f"{name}: {shard} has {found} bytes, its index says {expected}; restore it, or write the shards anew with "
            "'zoo data shard'",
            code="shard-changed",
            object=shard,
            expected=expected,
            found=found,
        )


def _pool(root: Path, folder: Path, found: ShardSet, shelf: Shelf | None, reading: Reading) -> Pool:
    joined = join_listings(found, lambda one: open_listing((folder / one.listed).read_bytes(), one, folder.name))
    scanned = split_columns(joined.table, joined.fields, {}, names=joined.ids)
    kind, channels = one_form(scanned.kind, scanned.channels, joined.ids, found.name, as_is=False)
    everything = np.arange(len(joined.ids), dtype=np.int64)
    inputs, notes = _inputs(found.name, {**joined.others, **joined.columns}, reading)
    return Pool(
        name=found.name,
        labels=found.labels,
        ids=joined.ids,
        targets=joined.targets,
        source=Shards(
            root,
            tuple(one.name for one in found.shards),
            joined.ids,
            joined.shard,
            joined.offsets,
            joined.sizes,
            joined.checks,
            joined.pixels,
            shelf,
        ),
        digests=scanned.digests,
        rows={
            split: np.flatnonzero(joined.splits == i) for i, split in enumerate(SPLITS) if (joined.splits == i).any()
        },
        kind=kind,
        channels=channels,
        gray=bool(scanned.gray.all()),
        largest_side=int(max(scanned.width.max(), scanned.height.max())),
        voi=bool(scanned.voi.all()),
        paddings=scanned.paddings(everything),
        shows=scanned.shows,
        notes=(*found.notes, *notes),
        groups=joined.groups,
        folds=joined.folds,
        columns=joined.columns,
        inputs=inputs,
        others=joined.others,
        passed_over=found.passed_over,
    )


def _inputs(name: str, about: Mapping[str, Names], reading: Reading) -> tuple[dict[str, Names], tuple[str, ...]]:
    """Columns that a model is to be given, as the table gives them that was sharded; and notes.

    An index holds columns with a role under the name of the role, so each name that the role may have finds them.

    Raises:
        As `zoo.data._sources.columns.find_inputs`.
    """
    header = list(about)
    if not header:
        return {}, ()
    who: dict[int | None, str] = {at: "group" for at, one in enumerate(header) if column_key(one) in NAMES["group"]}
    places = {role: header.index(role) for role in (*ABOUT, "group") if role in about}
    own = set(map(column_key, header)) - places.keys()  # 'hospital' beside 'site' is a column of its own
    spelled = {alias: at for role, at in places.items() for alias in NAMES[role] if alias not in own}
    inputs, notes = {}, []
    for column, at in find_inputs(reading.get("inputs") or (), header, name, spelled, who).items():
        codes = Codes()
        for cell in about[header[at]]:
            codes.add(cell)
        if not reading.get("keep_na") and (words := find_missing(codes.numbers) - {""}):
            notes.append(codes.empty(words, column))
        inputs[column] = codes.values()
    return inputs, tuple(notes)
