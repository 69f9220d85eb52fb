"""Folders of images: CLASS/image, or SPLIT/CLASS/image with splits train, val and test."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.index import SPLITS, Files, Pool, SplitName
from zoo.data.labels import natural_key
from zoo.data.names import Names
from zoo.data.scan import KINDS, scan
from zoo.data.wording import brief, counted, unusable
from zoo.errors import DataError
from zoo.readers import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["index_folder"]

_ALIASES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_LAYOUT = "expected CLASS/image files, or train, val and test folders of them"


@dataclass(slots=True)
class _Walk:
    """A pass over one folder, and what it saw beside images."""

    root: str
    ignored: int = 0
    stray: int = 0
    links: list[str] = field(default_factory=list)

    def entries(self, folder: str, real: tuple[str, ...]) -> tuple[list[tuple[str, str]], list[str]]:
        """Visible subfolders (name, real path) and image file names of one folder, in natural order.

        `folder` is relative to the root; `real` holds the real paths of the folders it was reached through.
        """
        folders, images = [], []
        with _scan(Path(self.root, folder), folder) as found:
            for entry in found:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                target = f"{real[-1]}{os.sep}{entry.name}"
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    inside = target.startswith(self.root.rstrip(os.sep) + os.sep)
                    if not inside or target in real:
                        self.links.append(_join(folder, entry.name))
                        continue
                if entry.is_dir():
                    folders.append((entry.name, target))
                elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                    images.append(entry.name)
                else:
                    self.ignored += 1
        return sorted(folders, key=lambda pair: natural_key(pair[0])), sorted(images, key=natural_key)

    def below(self, folder: str, real: tuple[str, ...]) -> Iterator[str]:
        """Ids of all images in a folder and its subfolders."""
        folders, images = self.entries(folder, real)
        for name in images:
            yield _join(folder, name)
        for name, target in folders:
            yield from self.below(_join(folder, name), (*real, target))


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    split: SplitName | None
    label: str
    path: str
    ids: list[str]


def index_folder(source: Path, *, skip_bad: bool, as_is: bool = False) -> Pool:
    """Index a folder: find its layout, read every header, hash every file.

    Hidden files and files without an image suffix are ignored; subfolders of a class folder belong to it.
    `as_is` (for an audit): classes without an image and mixed pixel types pass; `Pool.kind` is the first image's.

    Raises:
        DataError: no such layout, a class folder without an image, images that can not be read (unless
            `skip_bad`), 8-bit and deeper images mixed, or links that lead out of the folder.
    """
    root = source.resolve()
    name = root.name or "folder"
    walk = _Walk(str(root))
    folders = _class_folders(walk, name)
    _check_names(name, [identity for folder in folders for identity in folder.ids])
    if walk.links:
        raise DataError(
            f"{name}: {len(walk.links)} links lead out of it or in a circle ({brief(walk.links, 1)}); "
            "replace them by the files they mean"
        )
    empty = [folder.path for folder in folders if not folder.ids]
    if empty and not as_is:
        raise DataError(f"{name}: class folder {brief(empty)} holds no image; add images or remove it")
    return _pool(root, name, walk, folders, skip_bad=skip_bad, as_is=as_is)


def _class_folders(walk: _Walk, name: str) -> list[_ClassFolder]:
    """Decide the layout and list the images of each class folder, by split, then class."""
    here = (walk.root,)
    top, images = walk.entries("", here)
    if not top:
        if images:
            raise DataError(f"{name}: {len(images)} images lie in the folder itself, without a class; {_LAYOUT}")
        raise DataError(f"{name}: holds no image and no class folder; {_LAYOUT}")
    walk.stray += len(images)
    named = [(folder, target) for folder, target in top if folder.lower() in _ALIASES]
    peek = _Walk(walk.root)  # apart, so that nothing is counted twice
    deeper = any(peek.entries(folder, (*here, target))[0] for folder, target in named)
    if not named or not (len(named) == len(top) or deeper):  # 'train' beside 'bus' and 'car' is a class
        return _flat(walk, top, name)
    found: list[_ClassFolder] = []
    by_split: dict[SplitName, str] = {}
    for folder, target in named:
        split = _ALIASES[folder.lower()]
        if split in by_split:
            raise DataError(f"{name}: folders {by_split[split]!r} and {folder!r} both mean {split}; keep one of them")
        by_split[split] = folder
        classes, loose = walk.entries(folder, (*here, target))
        if not classes:
            held = f"{len(loose)} images without a class folder" if loose else "no class folder"
            raise DataError(f"{name}: {folder} holds {held}; expected {folder}/CLASS/image files")
        walk.stray += len(loose)
        for label, inside in classes:
            path = _join(folder, label)
            found.append(_ClassFolder(split, label, path, list(walk.below(path, (*here, target, inside)))))
    for folder, target in top:
        if (folder, target) not in named and list(walk.below(folder, (*here, target))):
            raise DataError(
                f"{name}: holds split folders ({', '.join(by_split.values())}) and beside them {folder!r} "
                "with images; move it elsewhere, or into a split folder"
            )
    return sorted(found, key=lambda one: (SPLITS.index(one.split or "train"), natural_key(one.label)))


def _flat(walk: _Walk, top: Sequence[tuple[str, str]], name: str) -> list[_ClassFolder]:
    if len(top) == 1:
        folder, target = top[0]
        nested = _Walk(walk.root).entries(folder, (walk.root, target))
        if nested[0] and not nested[1]:
            raise DataError(
                f"{name}: holds only the folder {folder!r}, which holds folders itself; did you mean {name}/{folder}?"
            )
    return [_ClassFolder(None, label, label, list(walk.below(label, (walk.root, target)))) for label, target in top]


def _pool(root: Path, name: str, walk: _Walk, folders: Sequence[_ClassFolder], *, skip_bad: bool, as_is: bool) -> Pool:
    labels = tuple(sorted({folder.label for folder in folders}, key=natural_key))
    numbers = {label: number for number, label in enumerate(labels)}
    ids = [identity for folder in folders for identity in folder.ids]
    owners = np.repeat(np.arange(len(folders)), [len(folder.ids) for folder in folders])
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
    names = Names.of(ids).subset(good)
    return Pool(
        name=name,
        labels=labels,
        ids=names,
        targets=np.array([numbers[folder.label] for folder in folders], np.int64)[owners],
        source=Files(root, names),
        digests=found.digests[good],
        rows=_rows([folder.split for folder in folders], owners),
        kind=KINDS[found.kind[good[0]]] if as_is else found.one_kind(good, ids, name),
        gray=bool(found.gray[good].all()),
        largest_side=int(max(found.width[good].max(), found.height[good].max())),
        voi=bool(found.voi[good].all()),
        notes=(*_notes(walk, len(found.bad)), *remarks),
        skipped=tuple(found.bad.values()),
        groups=groups,
    )


def _rows(splits: Sequence[SplitName | None], owners: NDArray[np.int64]) -> dict[SplitName, NDArray[np.int64]]:
    """Positions of the images of each split that is there; `owners` are their class folders' positions in `splits`."""
    rows: dict[SplitName, NDArray[np.int64]] = {}
    for split in SPLITS:
        chosen = np.flatnonzero(np.isin(owners, [number for number, one in enumerate(splits) if one == split]))
        if len(chosen):
            rows[split] = chosen
    return rows


def _notes(walk: _Walk, bad: int) -> tuple[str, ...]:
    notes = (
        (bad, f"{counted(bad, 'image')} left out: not readable"),
        (walk.stray, f"{counted(walk.stray, 'image')} left out: outside class folders"),
        (walk.ignored, f"{counted(walk.ignored, 'file')} ignored: no image suffix"),
    )
    return tuple(note for n, note in notes if n)


def _check_names(name: str, ids: Sequence[str]) -> None:
    """Ids go into tables and messages of one line."""
    bad = [i for i in ids if any(ord(c) < 32 or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in i)]
    if bad:
        shown = ascii(bad[0])
        raise DataError(
            f"{name}: {len(bad)} file names hold control characters or are not UTF-8 ({shown}); rename them"
        )


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _scan(path: Path, shown: str) -> os._ScandirIterator[str]:
    try:
        return os.scandir(path)
    except OSError as problem:
        raise DataError(
            f"folder {shown or path}: can not be read ({(problem.strerror or 'i/o error').lower()}); check its rights"
        ) from None
