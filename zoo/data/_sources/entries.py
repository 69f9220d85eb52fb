"""The images that a table lists, found: files, pictures of files that hold several, and images of npz archives."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data._groups import codes_of
from zoo.data._index import Arrays, Files, Source
from zoo.data._names import Names
from zoo.data._scanning.scan import Scanned, scan
from zoo.data._several import Several, Stacked
from zoo.data._sources.group_columns import FILE, PATIENT_ID, STUDY_UID
from zoo.data._sources.npz import channels_of_array, digests_of, open_images
from zoo.data._sources.places import ARCHIVE
from zoo.data._splitting.deal import units
from zoo.data._unusable import Unusable
from zoo.errors import DataError
from zoo.readers import JOINT, KINDS, stack_of
from zoo.spec import MOST_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


__all__ = ["Entries", "find", "list_same_files"]


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Images that can be used, and why the others cannot.

    Attributes:
        good: (m,) int64, positions in the table, ascending.
        ids: (m,) as the table names them; with '#3' for the third picture of a file.
        source: where the pixels are.
        digests: (m, 32) uint8.
        kinds: (m,) uint8, positions in `zoo.readers.KINDS`.
        gray: every image is gray.
        largest_side: of any image, in pixels.
        voi: every image brings its own VOI LUT or window.
        channels: (m,) uint8, as in `Scanned`.
        shows: (m,) uint8, as in `Scanned`.
        paddings: as in `zoo.data.Splits`.
        bad: position in the table: the image and why it cannot be used.
        hashes: what files say of groups, for `zoo.data._sources.group_columns.group_images`.
    """

    good: NDArray[np.int64]
    ids: Names
    source: Source
    digests: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    gray: bool
    largest_side: int
    voi: bool
    channels: NDArray[np.uint8]
    shows: NDArray[np.uint8]
    paddings: dict[tuple[float, float], int]
    bad: dict[int, Unusable]
    hashes: dict[str, NDArray[np.int64]]


def find(table: Path, ids: Names, frames: NDArray[np.int64] | None) -> Entries:
    """Look at every image.

    Args:
        table: paths are relative to its folder.
        ids: what the rows of the table name.
        frames: (n,) which picture of a file is meant, from 1; 0: it holds one.

    Raises:
        DataError: an archive is not an npz archive of images.
    """
    root = table.resolve().parent
    if stacked := find_stacked(root, ids, frames):
        return stacked
    archived = np.fromiter((ARCHIVE in identity for identity in ids), bool, len(ids))
    files, arrays = np.flatnonzero(~archived), np.flatnonzero(archived)
    names = Names.of(_below(root, ids.subset(files)))
    chosen = None if frames is None else frames[files]
    found = scan(root, names, frames=chosen)
    # the scan names a file by its path from the table; the table's own spelling may differ
    bad = {int(files[at]): Unusable(ids[int(files[at])], one.reason) for at, one in found.bad.items()}
    digests = np.zeros((len(ids), 32), np.uint8)
    kinds = np.zeros(len(ids), np.uint8)
    channels, shows = np.zeros(len(ids), np.uint8), np.zeros(len(ids), np.uint8)
    digests[files], kinds[files], channels[files] = found.digests, found.kind, found.channels
    shows[files] = found.shows
    hashes = {name: np.full(len(ids), -1, np.int64) for name in (PATIENT_ID, STUDY_UID, FILE)}
    for name, of_files in found.hashes(np.arange(len(files))).items():
        hashes[name][files] = of_files
    readable = found.good()
    sides = [int(max(found.width[readable].max(), found.height[readable].max()))] if len(readable) else []
    gray = bool(found.gray[readable].all())
    source: Files | Several = Files(root, names, chosen)
    if len(arrays):
        held = _Archives(root, ids, arrays)
        bad |= held.bad
        digests[held.good], kinds[held.good], channels[held.good] = held.digests(), held.kinds(), held.channels()
        gray = gray and held.gray()
        sides += held.sides()
        part, rows = held.parts.copy(), held.rows.copy()
        part[files], rows[files] = 0, np.arange(len(files))
        source = Several((source, *held.sources()), part, rows)
    good = np.delete(np.arange(len(ids), dtype=np.int64), sorted(bad))
    return Entries(
        good=good,
        ids=_tell_apart(ids, frames).subset(good),
        source=source if not bad else _subset(source, good),
        digests=digests[good],
        kinds=kinds[good],
        gray=gray,
        largest_side=max(sides, default=0),
        voi=not len(arrays) and bool(found.voi[readable].all()),
        channels=channels[good],
        shows=shows[good],
        paddings=found.paddings(readable),
        bad=dict(sorted(bad.items())),
        hashes={name: of_all[good] for name, of_all in hashes.items()},
    )


def list_same_files(entries: Entries) -> list[tuple[int, int]]:
    """Rows of the table, two by two, whose paths lead to one file: over a link, or spelled in two ways.

    Such files have the same digest, so that no other file is looked at.
    """
    files = entries.source.parts[0] if isinstance(entries.source, Several) else entries.source
    if not isinstance(files, Files):
        return []
    words = np.ascontiguousarray(entries.digests).view(np.uint64)[:, 0]
    _, same, times = np.unique(words, return_inverse=True, return_counts=True)
    first: dict[tuple[int, int, int], int] = {}
    pairs = []
    for at in np.flatnonzero(times[same] > 1).tolist():
        if isinstance(entries.source, Several) and entries.source.part[at]:
            continue  # of an archive
        row = int(entries.source.rows[at]) if isinstance(entries.source, Several) else at
        status = os.stat(files.root / files.ids[row])  # noqa: PTH116 - a link is followed
        frame = 0 if files.frames is None else int(files.frames[row])
        position = int(entries.good[at])
        before = first.setdefault((status.st_dev, status.st_ino, frame), position)
        if before != position and status.st_ino:  # 0: a file system that does not number its files
            pairs.append((before, position))
    return pairs


def _below(root: Path, ids: Names) -> Iterator[str]:
    """Paths relative to `root`, which is how files are scanned and read."""
    for identity in ids:
        yield os.path.relpath(identity, root).replace(os.sep, "/") if Path(identity).is_absolute() else identity


def _tell_apart(ids: Names, frames: NDArray[np.int64] | None) -> Names:
    if frames is None or not (frames > 0).any():
        return ids
    return Names.of(f"{name}#{frame}" if frame > 0 else name for name, frame in zip(ids, frames.tolist(), strict=True))


def _subset(source: Files | Several, good: NDArray[np.int64]) -> Source:
    if isinstance(source, Files):
        frames = None if source.frames is None else source.frames[good]
        return Files(source.root, Names.of(source.ids).subset(good), frames)
    return Several(source.parts, source.part[good], source.rows[good])


def find_stacked(root: Path, ids: Names, frames: NDArray[np.int64] | None) -> Entries | None:
    """Look at images whose channels lie in files of their own; None where the rows name one file each.

    Every file is examined; files of one image that are of different size, kind or colour are refused here, where the
    header says so.
    """
    counts = np.fromiter((name.count(JOINT) for name in ids), np.int64, len(ids))
    if not counts.any() or (root / ids[int(counts.argmax())]).is_file():
        return None
    parts = [name.split(JOINT) for name in ids]
    bad = {
        i: Unusable(ids[i], f"names {len(part)} files, the first row names {len(parts[0])}")
        for i, part in enumerate(parts)
        if len(part) != len(parts[0])
    }
    if len(parts[0]) > MOST_CHANNELS:
        bad = {
            i: Unusable(name, f"names {len(parts[0])} files, expected 2 to {MOST_CHANNELS}")
            for i, name in enumerate(ids)
        }
    names = [
        Names.of(_below(root, Names.of(part[k] if k < len(part) else part[0] for part in parts)))
        for k in range(len(parts[0]))
    ]
    scanned = [scan(root, names_of_channel, frames=frames) for names_of_channel in names]
    first = scanned[0]
    for at, one in enumerate(scanned, 1):
        for i, problem in one.bad.items():
            bad.setdefault(i, Unusable(ids[i], f"file {at}: {problem.reason}"))
        alike = (one.width == first.width) & (one.height == first.height) & (one.kind == first.kind)
        for i in np.flatnonzero(~alike | ~one.gray).tolist():
            what = "is not gray" if alike[i] else "has another size or pixel type than the first"
            bad.setdefault(i, Unusable(ids[i], f"file {at} of {len(names)} to stack {what}"))
    good = np.delete(np.arange(len(ids), dtype=np.int64), sorted(bad))
    joined = [
        hashlib.sha256(b"stack of " + b"".join(one.digests[i].tobytes() for one in scanned)).digest() for i in good
    ]
    chosen = None if frames is None else frames[good]
    return Entries(
        good=good,
        ids=_tell_apart(ids, frames).subset(good),
        source=Stacked(ids.subset(good), tuple(Files(root, part.subset(good), chosen) for part in names)),
        digests=np.frombuffer(b"".join(joined), np.uint8).reshape(-1, 32),
        kinds=first.kind[good],
        gray=False,
        largest_side=int(max(first.width[good].max(), first.height[good].max())) if len(good) else 0,
        voi=bool(len(good)) and all(bool(one.voi[good].all()) for one in scanned),
        channels=np.full(len(good), len(names), np.uint8),
        shows=first.shows[good],
        paddings=first.paddings(good),
        bad=dict(sorted(bad.items())),
        hashes=_hashes_of_stacks(scanned, names, good),
    )


def _hashes_of_stacks(
    scanned: Sequence[Scanned], names: Sequence[Names], good: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """As `Entries.hashes`: the first patient and study that files of an image name, and images that share a file."""
    found = scanned[0].hashes(good)
    for one in scanned[1:]:
        for name, hashes in one.hashes(good).items():
            found[name] = np.where(found[name] < 0, hashes, found[name])
    files = codes_of([os.path.normpath(name) for of_channel in names for name in of_channel.subset(good)])
    images = np.tile(np.arange(len(good), dtype=np.int64), len(names))
    return {**found, FILE: units(images, files)[: len(good)]}


class _Archives:
    """Images of npz archives, each opened once."""

    def __init__(self, root: Path, ids: Names, wanted: NDArray[np.int64]) -> None:
        self.arrays: list[NDArray[np.generic]] = []
        self.parts = np.zeros(len(ids), np.int64)  # from 1; 0: a file, not an archive
        self.rows = np.zeros(len(ids), np.int64)
        self.bad: dict[int, Unusable] = {}
        places: dict[str, dict[str, int]] = {}
        for i in wanted.tolist():
            archive, _, place = ids[i].partition("#")
            if archive not in places:
                places[archive] = self._open(root, archive)
            split, _, number = place.partition("/")
            part = places[archive].get(split)
            size = len(self.arrays[part - 1]) if part else 0
            if not (part and number.isascii() and number.isdigit() and len(number) < 20 and int(number) < size):
                there = ", ".join(f"{name}/0 to {len(self.arrays[at - 1]) - 1}" for name, at in places[archive].items())
                self.bad[i] = Unusable(ids[i], f"is not in the archive, which has {there}")
                continue
            self.parts[i], self.rows[i] = part, int(number)
        self.good = wanted[~np.isin(wanted, list(self.bad))]

    def _open(self, root: Path, archive: str) -> dict[str, int]:
        path = root / archive
        if not path.is_file():
            raise DataError(
                f"{archive}: no such archive; check the paths of the table, which are relative to its folder",
                code="archive-missing",
                archive=archive,
            )
        first = len(self.arrays) + 1
        images = open_images(path)
        self.arrays += images.values()
        return {split: first + position for position, split in enumerate(images)}

    def sources(self) -> tuple[Source, ...]:
        return tuple(Arrays((part,)) for part in self.arrays)

    def digests(self) -> NDArray[np.uint8]:
        """(m, 32), of the images of `good`."""
        return digests_of(self.arrays[self.parts[i] - 1][self.rows[i]] for i in self.good.tolist())

    def kinds(self) -> NDArray[np.uint8]:
        """(m,) positions in `KINDS`, of the images of `good`."""
        codes = np.array([[kind == part.dtype.name for kind in KINDS].index(True) for part in self.arrays], np.uint8)
        return codes[self.parts[self.good] - 1]

    def channels(self) -> NDArray[np.uint8]:
        """(m,) as in `Scanned`, of the images of `good`."""
        found = [stack_of(part.dtype.name, channels_of_array(part)) or 0 for part in self.arrays]
        return np.array(found, np.uint8)[self.parts[self.good] - 1]

    def gray(self) -> bool:
        return all(part.ndim == 3 or part.shape[3] == 1 for part in self.arrays)

    def sides(self) -> list[int]:
        return [max(part.shape[1:3]) for part in self.arrays]
