"""WebDataset shards: a tar, or a folder of them, read in place. For sets of more files than a disk likes to hold.

Splits go by the names of the shards (train-000000.tar, val-000000.tar) or of the folders they lie in. Samples are
described in `zoo.data._sources.tars`, their labels in `zoo.data._sources.shard_labels`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from zoo._support.text import brief, count_with_verb, natural_key
from zoo.data._groups import codes_of
from zoo.data._index import SPLITS, Pool, SplitName
from zoo.data._names import Names
from zoo.data._scanning.examine import ROW
from zoo.data._scanning.scan import one_form, renumber, split_columns
from zoo.data._sources.folder import ALIASES
from zoo.data._sources.group_columns import Grouping, group_images
from zoo.data._sources.shard_labels import names_beside, targets_of
from zoo.data._sources.tars import Shard, read_shard
from zoo.data._sources.values import find_missing
from zoo.data._unusable import refusal
from zoo.errors import DataError, ImageError
from zoo.readers import IMAGE_SUFFIXES, Probe, RawImage, probe, read
from zoo.readers._walk import is_hidden

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.store._shelf import Shelf

__all__ = ["Shards", "index_shards", "is_sharded"]

_TAR = re.compile(r"\.(tar|tgz|tbz2|txz|tar\.\w+)$", re.IGNORECASE)
_PREFIX = re.compile(r"[a-z]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Shards:
    """Images inside tar files below one folder, or of a store.

    Attributes:
        root: the folder.
        shards: paths of the tars relative to it.
        ids: name of each image; shard/key where no index says another.
        shard: (n,) int32, which tar.
        offsets: (n,) int64, where the image's bytes begin in it.
        sizes: (n,) int64, how many there are.
        checks: (n, 32) uint8, sha256 that these bytes must have; None: no index says so.
        pixels: (n, 32) uint8, `digest_pixels` of each image, which was decoded when the shards were written; None: it
            was not.
        shelf: where shards of a store are fetched; None: they lie in `root`.
    """

    root: Path
    shards: tuple[str, ...]
    ids: Sequence[str]
    shard: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    checks: NDArray[np.uint8] | None = None
    pixels: NDArray[np.uint8] | None = None
    shelf: Shelf | None = None

    def read(self, row: int, *, voi: bool = False) -> RawImage:
        """Decode one image; errors name it by its id. Safe in any number of threads."""
        return read(self.file(row), name=self.ids[row], voi=voi)

    def probe(self, row: int) -> Probe:
        """The header of one image; raises ImageError."""
        return probe(self.file(row), name=self.ids[row])

    def file(self, row: int) -> bytes:
        """The bytes of one image, compared with the index where there is one; raises ImageError."""
        name = self.ids[row]
        try:
            data = self._bytes(row)
            if self._is_other(row, data) and self.shelf is not None:
                self.shelf.forget(int(self.shard[row]))  # a copy that was damaged here
                data = self._bytes(row)
        except OSError as problem:
            raise ImageError(
                name, f"cannot be read ({(problem.strerror or 'i/o error').lower()})", code="image-io"
            ) from None
        if len(data) < self.sizes[row]:
            raise ImageError(
                name, "its shard is shorter than it was when it was indexed; restore it", code="image-truncated"
            )
        if self._is_other(row, data):
            raise ImageError(
                name,
                f"other bytes in {self.shards[int(self.shard[row])]} than its index says; restore the shard",
                code="shard-changed",
            )
        return data

    def is_unchanged(self, row: int, digest: bytes) -> bool:
        """Whether the image's bytes are still those of the index; without one, those of `digest`. Raises OSError.

        An image that was an array when it was sharded is known by the digest of its pixels, not of these bytes.
        """
        data = self._bytes(row)
        return hashlib.sha256(data).digest() == digest if self.checks is None else not self._is_other(row, data)

    def expect(self, rows: NDArray[np.int64]) -> None:
        """Say in which order images will be read, so that the shards of a store are fetched ahead."""
        if self.shelf is not None:
            first = np.unique(self.shard[rows], return_index=True)[1]
            self.shelf.expect(self.shard[rows[np.sort(first)]].tolist())

    def give_up(self) -> None:
        """Wait no longer for a store that does not answer."""
        if self.shelf is not None:
            self.shelf.give_up()

    def _is_other(self, row: int, data: bytes) -> bool:
        return self.checks is not None and hashlib.sha256(data).digest() != self.checks[row].tobytes()

    def _bytes(self, row: int) -> bytes:
        # a handle of its own: a shared one would have one position for all threads
        with self._open(int(self.shard[row])) as stream:
            stream.seek(int(self.offsets[row]))
            return stream.read(int(self.sizes[row]))

    def _open(self, number: int) -> IO[bytes]:
        if self.shelf is not None:
            return self.shelf.open(number)
        return (self.root / self.shards[number]).open("rb", buffering=0)


def is_sharded(path: Path) -> bool:
    """Whether `path` is a tar, or a folder whose only data are tars: in itself, or in folders named as splits."""
    if path.is_file():
        return _TAR.search(path.name) is not None
    if not path.is_dir():
        return False
    files, folders = _entries(path)
    if any(folder.name.lower() not in ALIASES for folder in folders):
        return False
    inside = [_entries(folder) for folder in folders]
    if any(deeper for _, deeper in inside):
        return False
    names = [file.name for file in (*files, *(file for held, _ in inside for file in held))]
    return any(map(_TAR.search, names)) and all(
        _TAR.search(name) or Path(name).suffix.lower() not in IMAGE_SUFFIXES for name in names
    )


def index_shards(path: Path, *, skip_bad: bool, as_is: bool = False) -> Pool:
    """Index a tar or a folder of them; every member is read once, none is decoded.

    Raises:
        DataError: a shard that cannot be used (see `tars.read_shard`), some in splits and some in none,
            labels that are missing, mixed or unknown, or samples that cannot be read (unless `skip_bad`).
    """
    path = path.resolve()
    name, root = (path.name, path) if path.is_dir() else (path.stem, path.parent)
    shards = _list_shards(path, name)
    read = [read_shard(root / shard, shard) for _, shard in shards]
    counts = [len(one.keys) for one in read]
    ids = Names.of(f"{shard}/{key}" for (_, shard), one in zip(shards, read, strict=True) for key in one.keys)
    if not len(ids):
        raise DataError(
            f"{name}: no sample with an image in {len(shards)} shards; expected KEY.jpg beside KEY.cls",
            code="data-empty",
            shards=len(shards),
        )
    starts = np.cumsum([0, *counts])
    bad = {int(start) + i: why for start, one in zip(starts, read, strict=False) for i, why in one.bad.items()}
    found = split_columns(*_table(read), bad, names=ids)
    if found.bad and not skip_bad:
        raise refusal(found.bad.values(), len(ids), of=name)
    good = found.good()
    if not len(good):
        raise refusal(found.bad.values(), len(ids), of=name)
    labels, targets = targets_of(read, good, names_beside(root, name), name)
    of_shard = np.repeat(np.arange(len(shards), dtype=np.int32), counts)[good]
    splits = np.array([SPLITS.index(split) if split else -1 for split, _ in shards])[of_shard]
    named = Names.of(group for one in read for group in one.groups).subset(good)
    grouping = _group(named, targets, found.hashes(good), final=all(one.grouped for one in read))
    kept = ids.subset(good)
    kind, channels = one_form(found.kind[good], found.channels[good], kept, name, as_is=as_is)
    ignored = sum(one.ignored for one in read)
    said = f"{count_with_verb(ignored, 'member')} ignored: links, devices, samples without an image"
    return Pool(
        name=name,
        labels=labels,
        ids=kept,
        targets=targets,
        source=Shards(
            root,
            tuple(shard for _, shard in shards),
            kept,
            of_shard,
            _join([one.offsets for one in read], np.int64)[good],
            _join([one.sizes for one in read], np.int64)[good],
        ),
        digests=found.digests[good],
        rows={split: np.flatnonzero(splits == i) for i, split in enumerate(SPLITS) if (splits == i).any()},
        kind=kind,
        channels=channels,
        gray=bool(found.gray[good].all()),
        largest_side=int(max(found.width[good].max(), found.height[good].max())),
        voi=bool(found.voi[good].all()),
        paddings=found.paddings(good),
        shows=found.shows[good],
        notes=(*((said,) if ignored else ()), *grouping.notes),
        skipped=tuple(found.bad.values()),
        groups=grouping.groups,
        grouping=grouping,
        columns=grouping.named,
    )


def _group(
    names: Names, targets: NDArray[np.int64], hashes: Mapping[str, NDArray[np.int64]], *, final: bool
) -> Grouping:
    """Groups as samples name them, and the patients of their files; `hashes` as in `group_images`.

    `final`: whoever wrote the samples had settled the groups, so patients of the files only fill blanks.
    """
    nobody = {""} if final else find_missing(names, groups=True)
    groups = Names.of("" if name in nobody else name for name in names)
    of_samples = {"group": codes_of(groups)} if any(groups) else {}
    return group_images(targets, hashes, of_samples, lambda _: groups, "group" if final and of_samples else None)


def _list_shards(path: Path, name: str) -> list[tuple[SplitName | None, str]]:
    """Split and relative path of each shard, by split, then in natural order."""
    if path.is_file():
        return [(None, path.name)]
    files, folders = _entries(path)
    found: list[tuple[SplitName | None, str]] = []
    for file in files:
        if _TAR.search(file.name):
            prefix = _PREFIX.match(file.name)
            found.append((ALIASES.get(prefix[0].lower()) if prefix else None, file.name))
    for folder in folders:
        held = [file.name for file in _entries(folder)[0] if _TAR.search(file.name)]
        found += [(ALIASES[folder.name.lower()], f"{folder.name}/{shard}") for shard in held]
    without = [shard for split, shard in found if split is None]
    if without and len(without) < len(found):
        raise DataError(
            f"{name}: some shards belong to a split and {brief(without, 1)} to none; "
            "name each as train-000000.tar, val-000000.tar or test-000000.tar",
            code="shard-splits",
            shards=list(without),
        )
    return sorted(found, key=lambda one: (SPLITS.index(one[0] or "train"), natural_key(one[1])))


def _table(read: Sequence[Shard]) -> tuple[NDArray[np.void], tuple[tuple[str, ...], ...]]:
    """All rows, their "personal" counting in the lists of fields that come with them."""
    fields: dict[tuple[str, ...], int] = {(): 0}
    tables = [np.frombuffer(one.rows, ROW) for one in read]
    table = np.concatenate(tables)
    personal = [renumber(part, one.fields, fields) for part, one in zip(tables, read, strict=True)]
    table["personal"] = np.concatenate(personal)
    return table, tuple(fields)


def _join(parts: Sequence[bytes], dtype: type[np.int64]) -> NDArray[np.int64]:
    return np.frombuffer(b"".join(parts), dtype)


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Visible files and folders of a folder."""
    visible = [path for path in folder.iterdir() if not is_hidden(path.name)]
    return [path for path in visible if path.is_file()], [path for path in visible if path.is_dir()]
