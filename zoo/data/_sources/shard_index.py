"""The index beside shards that `zoo data shard` wrote: with it, opening them reads no shard.

    index.json          what the set is, and each shard with its size and sha256; it holds its own sha256
    train-000000.index  of each shard: where its images lie, what their headers say, their sha256 (msgpack)

What this module does not know: how shards are written, see `zoo.data._sharding`, and how they are read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo.data._index import SPLITS, SplitName
from zoo.data._names import Names
from zoo.data._scanning.examine import ROW
from zoo.data._scanning.scan import renumber
from zoo.data._sources.codes import Codes
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["INDEX", "Joined", "Listing", "ShardFile", "ShardSet", "join_listings", "open_listing", "open_set", "seal"]

INDEX = "index.json"
SCHEMA = 3
_NUMBER = "<i4"
_PARTS = ("offsets", "sizes", "targets", "checks", "pixels", "groups", "folds")
"""Fields of a listing that become one array each."""


class ShardFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One shard."""

    name: str
    """train-000000.tar; its listing is train-000000.index."""
    split: SplitName | None
    images: int
    size: int
    """Bytes."""
    sha256: str
    listing: str
    """Sha256 of its listing."""

    @property
    def listed(self) -> str:
        """Name of its listing."""
        return f"{self.name.removesuffix('.tar')}.index"


class ShardSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """index.json."""

    schema: int
    name: str
    """Of the data set."""
    labels: tuple[str, ...]
    several: bool
    """An image may have several labels or none."""
    images: int
    seed: int
    shards: tuple[ShardFile, ...]
    notes: tuple[str, ...]
    passed_over: dict[str, int]
    sha256: str
    """Of this document, with "" in this place."""


class Listing(msgspec.Struct, frozen=True, array_like=True):
    """One shard's images, in their order (n of them)."""

    plan: str
    """Sha256 of what was to be written: the same command continues after a kill."""
    size: int
    sha256: str
    """Of the shard."""
    ids: list[str]
    """What the images are called in the set that the shards were made of."""
    rows: bytes
    """(n,) `ROW`."""
    fields: list[tuple[str, ...]]
    offsets: bytes
    """(n,) int64."""
    sizes: bytes
    """(n,) int64."""
    targets: bytes
    """(n,) or (n, K) int32."""
    checks: bytes
    """(n, 32) sha256 of the bytes in the shard; empty: the digests in `rows`."""
    pixels: bytes
    """(n, 32) `digest_pixels`."""
    groups: bytes
    """(n,) int64; empty: none are known."""
    folds: bytes
    """(n,) int64; empty: there are none."""
    columns: dict[str, list[str]]
    others: dict[str, list[str]]
    left_out: list[tuple[str, str]]
    """Images that cannot be decoded, and why."""


class Joined(msgspec.Struct, frozen=True):
    """All listings, one after the other (n images)."""

    ids: Names
    table: NDArray[np.void]
    fields: tuple[tuple[str, ...], ...]
    shard: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    targets: NDArray[np.int64]
    checks: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    groups: NDArray[np.int64] | None
    folds: NDArray[np.int64] | None
    columns: dict[str, Names]
    others: dict[str, Names]
    splits: NDArray[np.int64]
    """(n,) positions in `SPLITS`; -1: none."""


def seal(found: ShardSet) -> bytes:
    """The text of index.json, with its own sha256."""
    bare = msgspec.structs.replace(found, sha256="")
    digest = hashlib.sha256(msgspec.json.encode(bare)).hexdigest()
    return msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(bare, sha256=digest)), indent=1) + b"\n"


def open_set(data: bytes, name: str) -> ShardSet | None:
    """What index.json says; None: it is some other program's.

    Raises:
        DataError: it was changed, or is of another version.
    """
    try:
        head = msgspec.json.decode(data)
        ours = isinstance(head, dict) and {"schema", "shards", "sha256"} <= head.keys()
        if not ours:
            return None
        if head["schema"] != SCHEMA:
            raise _refuse(name, f"its schema is {head['schema']!r}, expected {SCHEMA}")
        found = msgspec.json.decode(data, type=ShardSet)
    except msgspec.ValidationError as problem:
        raise _refuse(name, str(problem).lower()) from None
    except msgspec.DecodeError:
        return None
    if seal(found) != data:
        raise _refuse(name, "it has another sha256 than it says")
    for one in found.shards:
        if "/" in one.name or "\\" in one.name or not one.name.endswith(".tar") or one.name.startswith("."):
            raise _refuse(name, f"{one.name!a} cannot be the name of a shard")
    return found


def open_listing(data: bytes, shard: ShardFile, name: str) -> Listing:
    """The listing of one shard.

    Raises:
        DataError: it is not the one that index.json means.
    """
    if hashlib.sha256(data).hexdigest() != shard.listing:
        raise _refuse(name, f"{shard.listed} has another sha256")
    try:
        found = msgspec.msgpack.decode(data, type=Listing)
    except msgspec.DecodeError as problem:
        raise _refuse(name, f"{shard.listed}: {str(problem).lower()}") from None
    if (len(found.ids), found.size, found.sha256) != (shard.images, shard.size, shard.sha256):
        raise _refuse(name, f"{shard.listed} is of another shard")
    return found


def _refuse(name: str, why: str) -> DataError:
    return DataError(
        f"{name}: the index of the shards cannot be used ({why}); restore it, or write the shards anew with "
        "'zoo data shard --overwrite'",
        code="shard-index",
        data=name,
    )


def join_listings(found: ShardSet, read: Callable[[ShardFile], Listing]) -> Joined:
    """All images of a set, one listing in memory at a time; `read` gives the listing of a shard."""
    fields: dict[tuple[str, ...], int] = {(): 0}
    parts: dict[str, list[bytes]] = {name: [] for name in _PARTS}
    tables: list[NDArray[np.void]] = []
    columns: dict[str, Codes] = {}
    others: dict[str, Codes] = {}

    def take() -> Iterator[str]:
        for shard in found.shards:
            one = read(shard)
            table = np.frombuffer(one.rows, ROW).copy()
            table["personal"] = renumber(table, one.fields, fields)
            tables.append(table)
            for name, held in parts.items():
                held.append(getattr(one, name))
            parts["checks"][-1] = one.checks or table["digests"].tobytes()
            for codes, texts in ((columns, one.columns), (others, one.others)):
                for name, cells in texts.items():
                    column = codes.setdefault(name, Codes())
                    for cell in cells:
                        column.add(cell)
            yield from one.ids

    ids = Names.of(take())
    counts, width = [one.images for one in found.shards], len(found.labels)
    targets = np.frombuffer(b"".join(parts["targets"]), _NUMBER).astype(np.int64)
    splits = [-1 if one.split is None else SPLITS.index(one.split) for one in found.shards]
    return Joined(
        ids=ids,
        table=np.concatenate(tables),
        fields=tuple(fields),
        shard=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        offsets=_numbers(parts["offsets"]),
        sizes=_numbers(parts["sizes"]),
        targets=targets.reshape(-1, width) if found.several else targets,
        checks=np.frombuffer(b"".join(parts["checks"]), np.uint8).reshape(-1, 32),
        pixels=np.frombuffer(b"".join(parts["pixels"]), np.uint8).reshape(-1, 32),
        groups=_numbers(parts["groups"]) if any(parts["groups"]) else None,
        folds=_numbers(parts["folds"]) if any(parts["folds"]) else None,
        columns={name: codes.values() for name, codes in columns.items()},
        others={name: codes.values() for name, codes in others.items()},
        splits=np.repeat(np.array(splits, np.int64), counts),
    )


def _numbers(parts: Sequence[bytes]) -> NDArray[np.int64]:
    return np.frombuffer(b"".join(parts), "<i8").astype(np.int64)
