"""Folders of images: CLASS/image, or SPLIT/CLASS/image with splits train, val and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.index import SPLITS, Files, Pool, SplitName
from zoo.data.names import Names
from zoo.data.scanning.scan import one_kind, scan
from zoo.data.sources.walk import Walk, join, one_line
from zoo.errors import DataError
from zoo.text import brief, counted, natural_key, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ALIASES", "index_folder"]

ALIASES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of split folders, in lower case."""
_LAYOUT = "expected CLASS/image files, or train, val and test folders of them"


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    split: SplitName | None
    label: str
    path: str
    real: tuple[str, ...]


def index_folder(source: Path, *, skip_bad: bool, as_is: bool = False) -> Pool:
    """Index a folder: find its layout, read every header, hash every file.

    Hidden files and files that are no image, by suffix or by content, are ignored; subfolders of a class folder
    belong to it. Names are kept as `Names`, never as a list: a million files take no more than their text.
    `as_is` (for an audit): classes without an image and mixed pixel types pass; `Pool.kind` is the first image's.

    Raises:
        DataError: no such layout, a class folder without an image, images that can not be read (unless
            `skip_bad`), 8-bit and deeper images mixed, or links that lead out of the folder.
    """
    root = source.resolve()
    name = root.name or "folder"
    walk = Walk(str(root))
    folders = _class_folders(walk, name)
    counts: list[int] = []
    ids = Names.of(one_line(name, _listed(walk, folders, counts)))
    if walk.links:
        raise DataError(
            f"{name}: {len(walk.links)} links lead out of it or in a circle ({brief(walk.links, 1)}); "
            "replace them by the files they mean"
        )
    empty = [folder.path for folder, count in zip(folders, counts, strict=True) if not count]
    if empty and not as_is:
        raise DataError(f"{name}: class folder {brief(empty)} holds no image; add images or remove it")
    owners = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
    return _pool(root, name, walk, folders, ids, owners=owners, skip_bad=skip_bad, as_is=as_is)


def _listed(walk: Walk, folders: Sequence[_ClassFolder], counts: list[int]) -> Iterator[str]:
    """Ids of all images, folder by folder; `counts` gets the number in each."""
    for folder in folders:
        n = 0
        for identity in walk.below(folder.path, folder.real):
            n += 1
            yield identity
        counts.append(n)


def _class_folders(walk: Walk, name: str) -> list[_ClassFolder]:
    """Decide the layout: the class folders, by split, then class."""
    here = (walk.root,)
    top, images = walk.entries("", here)
    if not top:
        if images:
            raise DataError(f"{name}: {len(images)} images lie in the folder itself, without a class; {_LAYOUT}")
        raise DataError(f"{name}: holds no image and no class folder; {_LAYOUT}")
    walk.stray += len(images)
    named = [(folder, target) for folder, target in top if folder.lower() in ALIASES]
    peek = Walk(walk.root)  # apart, so that nothing is counted twice
    deeper = any(peek.folders(folder, (*here, target)) for folder, target in named)
    if not named or not (len(named) == len(top) or deeper):  # 'train' beside 'bus' and 'car' is a class
        return _flat(walk, top, name)
    found: list[_ClassFolder] = []
    by_split: dict[SplitName, str] = {}
    for folder, target in named:
        split = ALIASES[folder.lower()]
        if split in by_split:
            raise DataError(f"{name}: folders {by_split[split]!r} and {folder!r} both mean {split}; keep one of them")
        by_split[split] = folder
        classes, loose = walk.entries(folder, (*here, target))
        if not classes:
            held = f"{len(loose)} images without a class folder" if loose else "no class folder"
            raise DataError(f"{name}: {folder} holds {held}; expected {folder}/CLASS/image files")
        walk.stray += len(loose)
        for label, inside in classes:
            found.append(_ClassFolder(split, label, join(folder, label), (*here, target, inside)))
    for folder, target in top:
        if (folder, target) not in named and any(walk.below(folder, (*here, target))):
            raise DataError(
                f"{name}: holds split folders ({', '.join(by_split.values())}) and beside them {folder!r} "
                "with images; move it elsewhere, or into a split folder"
            )
    return sorted(found, key=lambda one: (SPLITS.index(one.split or "train"), natural_key(one.label)))


def _flat(walk: Walk, top: Sequence[tuple[str, str]], name: str) -> list[_ClassFolder]:
    if len(top) == 1:
        folder, target = top[0]
        nested = Walk(walk.root).entries(folder, (walk.root, target))
        if nested[0] and not nested[1]:
            raise DataError(
                f"{name}: holds only the folder {folder!r}, which holds folders itself; did you mean {name}/{folder}?"
            )
    return [_ClassFolder(None, label, label, (walk.root, target)) for label, target in top]


def _pool(
    root: Path,
    name: str,
    walk: Walk,
    folders: Sequence[_ClassFolder],
    ids: Names,
    *,
    owners: NDArray[np.int32],
    skip_bad: bool,
    as_is: bool,
) -> Pool:
    """`owners`: (n,) positions in `folders`."""
    labels = tuple(sorted({folder.label for folder in folders}, key=natural_key))
    numbers = {label: number for number, label in enumerate(labels)}
    found = scan(root, ids)
    if found.bad and not skip_bad:
        raise DataError(f"{name}: {unusable(list(found.bad.values()), len(ids))}")
    good = found.good()
    owners = owners[good]
    lost = sorted(set(range(len(folders))) - set(np.unique(owners).tolist()))
    if lost and (not as_is or not len(good)):
        shown = brief(folders[number].path for number in lost)
        raise DataError(f"{name}: class folder {shown} holds no readable image; restore its files or remove it")
    groups, remarks = found.groups(good)
    names = ids.subset(good) if found.bad else ids
    return Pool(
        name=name,
        labels=labels,
        ids=names,
        targets=np.array([numbers[folder.label] for folder in folders], np.int64)[owners],
        source=Files(root, names),
        digests=found.digests[good],
        rows=_rows([folder.split for folder in folders], owners),
        kind=one_kind(found.kind[good], names, name, as_is=as_is),
        gray=bool(found.gray[good].all()),
        largest_side=int(max(found.width[good].max(), found.height[good].max())),
        voi=bool(found.voi[good].all()),
        notes=(*_notes(walk, len(found.bad)), *remarks),
        skipped=tuple(found.bad.values()),
        groups=groups,
        columns=found.patients(good),
    )


def _rows(splits: Sequence[SplitName | None], owners: NDArray[np.int32]) -> dict[SplitName, NDArray[np.int64]]:
    """Positions of the images of each split that is there; `owners` are their class folders' positions in `splits`."""
    rows: dict[SplitName, NDArray[np.int64]] = {}
    for split in SPLITS:
        chosen = np.flatnonzero(np.isin(owners, [number for number, one in enumerate(splits) if one == split]))
        if len(chosen):
            rows[split] = chosen
    return rows


def _notes(walk: Walk, bad: int) -> tuple[str, ...]:
    notes = (
        (bad, f"{counted(bad, 'image')} left out: not readable"),
        (walk.stray, f"{counted(walk.stray, 'image')} left out: outside class folders"),
        (walk.ignored, f"{counted(walk.ignored, 'file')} ignored: no image suffix"),
    )
    return tuple(note for n, note in notes if n)
