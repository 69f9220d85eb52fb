"""An index of images: which there are, what they are called, which class and which split they belong to.

Nothing here holds decoded pixels of files; an `ImageSet` reads an image when it is asked for it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from zoo._support.text import format_count
from zoo.data._names import Names
from zoo.data._sources.columns import ABOUT
from zoo.data._unusable import Unusable
from zoo.errors import DataError, ImageError
from zoo.readers import Kind, Probe, RawImage, from_array, probe, read
from zoo.readers._padding import adopt_padding
from zoo.spec import Display, Table, Voi, to_builtins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._advice import Advice
    from zoo.data._sources.group_columns import Grouping
    from zoo.spec import Fingerprint, Intensity, PreprocessSpec, Task

__all__ = ["EVERY", "SPLITS", "Arrays", "Files", "ImageSet", "Pool", "Source", "SplitName", "Splits"]

EVERY = -1
"""In the place of a picture's number: all pictures of the file, as channels."""

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


class Source(Protocol):
    """Where pixels come from, by position."""

    def read(self, row: int, *, voi: bool = False) -> RawImage:
        """The image at `row`, decoded; `voi` as in `zoo.readers.read`; raises ImageError."""
        ...

    def probe(self, row: int) -> Probe | None:
        """What the header of the image at `row` says, None where it has none; raises ImageError."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """Image files below one folder.

    Attributes:
        root: the folder.
        ids: their paths relative to it, with forward slashes.
        frames: (n,) int64, which picture of the file is meant, counted from 1; 0: it holds one; `EVERY`: all of them,
            as the channels of one image. None: all hold one.
    """

    root: Path
    ids: Sequence[str]
    frames: NDArray[np.int64] | None = None

    def read(self, row: int, *, voi: bool = False) -> RawImage:
        """Decode one file; errors name it by its id."""
        frame = 0 if self.frames is None else int(self.frames[row])
        path, name = self.root / self.ids[row], self.ids[row]
        if frame == EVERY:
            return read(path, name=name, voi=voi, stack=True)
        return read(path, name=name, frame=frame or None, voi=voi)

    def probe(self, row: int) -> Probe:
        """The header of one file; raises ImageError."""
        return probe(self.root / self.ids[row], name=self.ids[row])


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Images held in memory: one or more arrays (N, H, W) or (N, H, W, C), counted through."""

    parts: tuple[NDArray[Any], ...]

    def read(self, row: int, *, voi: bool = False) -> RawImage:
        """One image of the array; arrays bring no VOI."""
        if voi:
            raise ImageError(
                None,
                "arrays bring no VOI LUT or window, expected DICOM files; choose another intensity",
                code="image-window-missing",
            )
        for part in self.parts:
            if row < len(part):
                return from_array(part[row])
            row -= len(part)
        raise IndexError(row)

    def probe(self, row: int) -> None:
        """Arrays have no headers."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImageSet:
    """Images of one split, in a fixed order.

    Attributes:
        ids: a name for each image, unique in the data set: 'train/benign/benign_3.png', 'test/17'.
        targets: (n,) int64, positions in the labels of the `Splits`; or, where an image may have several labels or
            none (multilabel), (n, K) int64 of zeros, ones and UNKNOWN.
        source: where the pixels are.
        rows: (n,) int64, positions in `source`.
        digests: (n, 32) uint8, sha256 of each image's file or pixels.
        groups: (n,) int64, which patient, lesion or study an image belongs to; None where none are known.
        intensity: of the model that the images are read for: Voi reads them through their own VOI LUT or window (see
            `zoo.readers.read`), Percentile changes padding that it does not know (see `zoo.readers._padding`).
        columns: what a model is given beside each image: name of a column to (n,) cells; empty: nothing.
        kept: what else a table says of each image, such as age and sex: name of a role or column to (n,) texts, ""
            where it says nothing. Reports are divided by them.
    """

    ids: Sequence[str]
    targets: NDArray[np.int64]
    source: Source
    rows: NDArray[np.int64]
    digests: NDArray[np.uint8]
    groups: NDArray[np.int64] | None = None
    intensity: Intensity | None = None
    columns: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    kept: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"ImageSet({format_count(len(self), 'image')})"

    @property
    def blocks(self) -> NDArray[np.int64] | None:
        """(n,) which shard each image lies in; None: images are not in shards, and any is as near as any other."""
        shard = getattr(self.source, "shard", None)
        return None if shard is None else np.asarray(shard[self.rows], np.int64)

    @property
    def voi(self) -> bool:
        """Whether images are read through their own VOI LUT or window."""
        return isinstance(self.intensity, Voi)

    def read(self, i: int) -> RawImage:
        """Decode image `i`.

        Raises:
            ImageError: it cannot be read; it is never replaced by another.
        """
        image = self.source.read(int(self.rows[i]), voi=self.voi)
        return image if self.intensity is None else adopt_padding(image, self.intensity)

    def subset(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> ImageSet:
        """The images at `indices`, in that order."""
        chosen = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            ids=Names.of(self.ids).subset(chosen),
            targets=self.targets[chosen],
            rows=self.rows[chosen],
            digests=self.digests[chosen],
            groups=None if self.groups is None else self.groups[chosen],
            columns={name: Names.of(cells).subset(chosen) for name, cells in self.columns.items()},
            kept={name: Names.of(cells).subset(chosen) for name, cells in self.kept.items()},
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Splits(Display):
    """A data set, ready for training or evaluation.

    Attributes:
        labels: class names; targets are positions in it.
        train: images to learn from.
        val: images to choose the epoch and the temperature by.
        test: images to report on.
        fingerprint: which data this is.
        notes: decisions taken and defects found, in plain words; no path and no file name, so that they may
            be published with a report.
        kind: pixel type of every image.
        gray: every image is gray (uint8 pixels still have three equal channels).
        channels: of every image, where they are stacks (see `zoo.readers.RawImage`); None: colours or gray.
        largest_side: of any image, in pixels.
        voi: every image brings its own VOI LUT or window.
        paddings: ranges of values that are padding (see `zoo.readers.RawImage`): how many images name them.
        skipped: 'id: reason' of every image that was left out because it cannot be read or has no label. Holds file
            names.
        passed_over: as in `Pool`.
        ordered: labels are grades in order, the lowest first.
        unread: share of each split's images that were left out because they cannot be read, each group counted once;
            a split that is not named lost none. None: images were left out of which no split is known.
        advice: what the images ask of a training.
    """

    labels: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet
    fingerprint: Fingerprint
    notes: tuple[str, ...]
    kind: Kind
    gray: bool
    largest_side: int
    voi: bool = False
    channels: int | None = None
    paddings: Mapping[tuple[float, float], int] = dataclasses.field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    ordered: bool = False
    unread: Mapping[str, float] | None = dataclasses.field(default_factory=dict)
    advice: tuple[Advice, ...] = ()

    def headline(self) -> str:
        """Which data this is, and how many images of what."""
        sizes = ", ".join(f"{name} {len(images)}" for name, images in self._sets())
        stack = "" if self.channels is None else f", {self.channels} channels"
        return f"{self.fingerprint.name}: {sizes}; {len(self.labels)} classes, {self.kind}{stack}"

    def tables(self) -> dict[str, Table]:
        """One row for each split: its images, and those of each class."""
        from zoo.data._labels import count_labels  # which knows splits

        rows = []
        for name, images in self._sets():
            given = count_labels(images.targets, len(self.labels))
            rows.append({"split": name, "images": len(images)} | dict(zip(self.labels, given.tolist(), strict=True)))
        return {"splits": Table(rows)}

    def to_dict(self) -> dict[str, Any]:
        """What is known of the data without its images."""
        said = {name: getattr(self, name) for name in ("labels", "task", "kind", "channels", "fingerprint", "notes")}
        return {**to_builtins(said), "splits": list(self.tables()["splits"])}

    @property
    def task(self) -> Task:
        """multiclass: one label an image; multilabel: any number of them; ordinal: one, and labels are in order."""
        if self.train.targets.ndim == 2:
            return "multilabel"
        return "ordinal" if self.ordered else "multiclass"

    def split(self, name: str) -> ImageSet:
        """The split called `name`.

        Raises:
            DataError: no such split, or it holds no image.
        """
        sets = {"train": self.train, "val": self.val, "test": self.test}
        if name not in sets:
            raise DataError(f"no split {name!r}, expected one of train, val, test", code="split-unknown", split=name)
        if not len(sets[name]):
            there = ", ".join(f"{other} ({len(images)})" for other, images in sets.items() if len(images))
            raise DataError(
                f"{self.fingerprint.name}: split {name} holds no image; choose one of {there} with --split",
                code="split-empty",
                split=name,
                data=self.fingerprint.name,
            )
        return sets[name]

    def read_for(self, spec: PreprocessSpec) -> Splits:
        """The same images, read as a model with this preprocessing takes them."""
        sets = {name: dataclasses.replace(images, intensity=spec.intensity) for name, images in self._sets()}
        return dataclasses.replace(self, train=sets["train"], val=sets["val"], test=sets["test"])

    def relabel(self, labels: tuple[str, ...], order: NDArray[np.int64]) -> Splits:
        """The same images with new labels; old target `t` becomes `order[t]`."""
        moved = {
            name: dataclasses.replace(s, targets=_relabel(s.targets, order, len(labels))) for name, s in self._sets()
        }
        return dataclasses.replace(self, labels=labels, train=moved["train"], val=moved["val"], test=moved["test"])

    def _sets(self) -> tuple[tuple[SplitName, ImageSet], ...]:
        return (("train", self.train), ("val", self.val), ("test", self.test))


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Every image of a data set as its source gives it, before splits are made.

    Attributes:
        name: of the data set, never a path.
        labels: class names.
        ids: as in `ImageSet`.
        targets: as in `ImageSet`.
        source: where row i of `ids` is read.
        digests: as in `ImageSet`.
        rows: the splits that the data brings, each (m,) int64; empty when it brings none.
        kind: pixel type.
        gray: every image is gray.
        channels: as in `Splits`.
        largest_side: in pixels.
        voi: as in `Splits`.
        paddings: as in `Splits`.
        notes: as in `Splits`.
        skipped: every image that was left out because it cannot be read.
        groups: as in `ImageSet`.
        grouping: what is known of groups, and what was said of the choice; None: the data brings them as they are.
        folds: (n,) int64, which fold an image belongs to; None where the data brings none.
        columns: what else the data says of each image, such as site, age or sex: (n,) texts each.
        inputs: what a model is to be given of each image: name of a column to (n,) cells, "" where it says nothing.
        others: columns of a table without a meaning here: name to (n,) texts.
        unlabelled: rows of a table that were left out because they name no label, by their images.
        passed_over: files that are not read as images, by their format, such as {".heic": 4}.
        roles: what a column of a table was taken for: its name, or those of several.
        ignored: the name of a column that was taken for nothing: why.
        shows: (n,) uint8, what headers say of the pictures, as positions in `zoo.readers.SHOWN`; None: there are none.
        advice: what is asked of a training for the name of the set, beside what headers ask.
    """

    name: str
    labels: tuple[str, ...]
    ids: Sequence[str]
    targets: NDArray[np.int64]
    source: Source
    digests: NDArray[np.uint8]
    rows: dict[SplitName, NDArray[np.int64]]
    kind: Kind
    gray: bool
    largest_side: int
    voi: bool = False
    channels: int | None = None
    paddings: Mapping[tuple[float, float], int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: tuple[Unusable, ...] = ()
    groups: NDArray[np.int64] | None = None
    grouping: Grouping | None = None
    folds: NDArray[np.int64] | None = None
    columns: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    inputs: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    others: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    unlabelled: tuple[Unusable, ...] = ()
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    roles: Mapping[str, str | tuple[str, ...]] = dataclasses.field(default_factory=dict)
    ignored: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shows: NDArray[np.uint8] | None = None
    advice: tuple[Advice, ...] = ()

    @property
    def grouped_by(self) -> str | None:
        """What made the groups: a column, a pattern, or what files say; None: unknown, or there are none."""
        return None if self.grouping is None else self.grouping.chosen

    @property
    def kept(self) -> dict[str, Sequence[str]]:
        """`ImageSet.kept` of all images."""
        roles = {name: self.columns[name] for name in ABOUT if name in self.columns}
        return roles | {name: cells for name, cells in self.others.items() if name not in roles}


def _relabel(targets: NDArray[np.int64], order: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    if targets.ndim == 1:
        return order[targets]
    moved = np.zeros((len(targets), classes), np.int64)
    moved[:, order] = targets
    return moved
