"""Folders of images: CLASS/image, or SPLIT/CLASS/image with splits train, val and test."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import brief, count_with_verb, format_count, name_each, natural_key, quote_path
from zoo.data._index import EVERY, SPLITS, Files, Pool, SplitName
from zoo.data._names import Names, one_line
from zoo.data._scanning.scan import one_form, scan
from zoo.data._sources.group_columns import group_images
from zoo.data._unusable import refusal
from zoo.errors import DataError, ImageError
from zoo.readers._walk import Walk, join

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.spec import Frames

__all__ = ["ALIASES", "are_parts", "index_folder", "split_of"]

ALIASES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",  # MIMIC-CXR
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of split folders, in lower case."""
_MASK = re.compile(r"[ _-](?:mask|seg|segmentation|annotation|label|roi)(?:[ _-]?\d+)?\.\w+$", re.IGNORECASE)
"""What the name of a mask has behind the name of its image."""
_PARTS = frozenset({
    "image", "images", "img", "imgs", "mask", "masks", "label", "labels", "annotation", "annotations", "gt",
    "segmentation", "segmentations",
})  # fmt: skip
"""Names of folders, in lower case, that two or more class folders do not have all."""
_NUMBERED = re.compile(
    r"(?:.*[\W_])?(?:part|parts|piece|image|images|imgs?|pictures?|photos?|scans?|slides?|files?|dicoms?|pngs?|jpe?gs?|"
    r"data|dataset|batch|fold|chunk|shard|set|subset|vol|volume|split|train|training|val|valid|validation|test|testing|"
    r"dis[ck]|dir|folder|archive|zip|tar|download|export|patient|subject|participant|case|study|series|session|visit)s?"
    r"(?:[\W_]*\d+\W*|[\W_]+[a-z]\W*)?",
    re.IGNORECASE,
)
"""A folder that a set was cut into, or that holds what one patient has: a word for that, then a number or a letter."""
_NUMBER = re.compile(r"(?:[\W_]*\d+|[\W_]+[a-z])\W*$", re.IGNORECASE)
_FEW = 20
"""Folders within class folders that may be the classes; more are rather patients."""
_LAYOUT = "expected CLASS/image files, or train, val and test folders of them"


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    split: SplitName | None
    label: str
    path: str


def index_folder(
    source: Path, *, skip_bad: bool, as_is: bool = False, sure: bool = False, frames: Frames = "one"
) -> Pool:
    """Index a folder: find its layout, read every header, hash every file.

    What is an image, and in which order, `zoo.readers._walk` says; subfolders of a class folder belong to it. Names
    are kept as `Names`, never as a list: a million files take no more than their text.
    `as_is` (for an audit): classes without an image and mixed pixel types pass; `Pool.kind` is the first image's.
    `sure`: the user says that the folders are the classes, whatever they are called.
    `frames`: what files that hold several pictures are, see `zoo.spec.TrainConfig.frames`.

    Raises:
        DataError: no such layout, a class folder without an image, images that cannot be read (unless
            `skip_bad`), 8-bit and deeper images mixed, or links to folders, which could be classes.
    """
    root = source.resolve()
    name = root.name or "folder"
    walk = Walk(str(root))
    counts: list[int] = []
    folders, stray = _class_folders(walk, name, sure=sure)
    ids = Names.of(one_line(name, _list_images(walk, folders, counts)))
    if walk.passed.links:
        raise DataError(
            f"{name}: {format_count(walk.passed.linked, 'link')} to folders, such as {brief(walk.passed.links[:1])}, "
            "which are not followed; replace them by the folders they mean",
            code="folder-links",
            links=walk.passed.linked,
        )
    whole = [bool(count) or not _holds_own(folder, walk) for folder, count in zip(folders, counts, strict=True)]
    folders, counts = list(compress(folders, whole)), list(compress(counts, whole))
    empty = [folder.path for folder, count in zip(folders, counts, strict=True) if not count]
    if empty and not as_is:
        beside = f" (of the set were passed over: {walk.passed})" if str(walk.passed) else ""
        raise DataError(
            f"{name}: {name_each('class folder', empty, 'holds', 'hold')} no image{beside}; add images or remove it",
            code="class-empty",
            labels=list(empty),
        )
    owners = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
    notes = (f"{count_with_verb(stray, 'image')} left out: outside class folders",) if stray else ()
    if said := str(walk.passed):
        notes = (*notes, f"passed over: {said}")
    notes = (*notes, *_note_nested(ids, folders), *_note_masks(ids))
    every = np.full(len(ids), EVERY, np.int64) if frames == "channels" else None
    pool = _pool(root, name, folders, ids, owners=owners, notes=notes, skip_bad=skip_bad, as_is=as_is, frames=every)
    return dataclasses.replace(pool, passed_over=walk.passed.formats())


def _holds_own(folder: _ClassFolder, walk: Walk) -> bool:
    """Whether runs or bundles of this tool lie in a folder, or it is one."""
    return any(f"{path}/".startswith(f"{folder.path}/") for path in walk.passed.own)


def _note_nested(ids: Names, folders: Sequence[_ClassFolder]) -> tuple[str, ...]:
    """A note where the folders within class folders may be meant for classes, as in LC25000."""
    depth = folders[0].path.count("/") + 1
    inner: set[str] = set()
    for one in ids:
        parts = one.split("/")
        if len(parts) < depth + 2 or len(inner) > _FEW:
            return ()
        inner.add("/".join(parts[: depth + 1]))
    classes = len({folder.label for folder in folders})
    if not classes < len(inner) <= _FEW:
        return ()
    return (f"the {classes} outer folders are the classes; the {len(inner)} folders within them are not told apart",)


def _note_masks(ids: Names) -> tuple[str, ...]:
    """A note where drawings of findings lie beside the images that they belong to, as in BUSI."""
    masks = [one for one in ids if _MASK.search(one)]
    if not masks:
        return ()
    stems = {one.rpartition(".")[0] for one in ids}
    found = [one for one in masks if _MASK.sub("", one) in stems]
    if not found:
        return ()
    said = (
        f"{format_count(len(found), 'image')} may be masks, not pictures: their names are those of images beside them"
    )
    return (f"{said} and end in a word such as 'mask'; take masks out of the folder",)


def _list_images(walk: Walk, folders: Sequence[_ClassFolder], counts: list[int]) -> Iterator[str]:
    """Ids of all images, folder by folder; `counts` gets the number in each."""
    for folder in folders:
        n = 0
        for found in walk.images(folder.path):
            if isinstance(found, ImageError):
                raise _unreadable(found)
            n += 1
            yield found
        counts.append(n)


def _class_folders(walk: Walk, name: str, *, sure: bool) -> tuple[list[_ClassFolder], int]:
    """Decide the layout: the class folders in the order of the walk, and how many images lie outside of them."""
    try:
        folders, stray = _layout(walk, name, sure=sure)
    except ImageError as problem:
        raise _unreadable(problem) from None
    labels = list(dict.fromkeys(folder.label for folder in folders))
    if not sure and are_parts(labels):
        raise DataError(
            f"{name}: folders {brief(labels)} seem to be parts of one set, not classes: their names differ only by a "
            "number; give the table that lists the images, or say that they are the classes with "
            "--columns label=folder",
            code="folder-parts",
            folders=labels,
        )
    return folders, stray


def are_parts(names: Sequence[str]) -> bool:
    """Whether at least two folders, and most of some, are called alike but for a number after a word such as 'part'.

    'images_1' and 'images_2' are parts of one set, 'grade 1' and 'grade 2' are classes.
    """
    stems: Counter[str] = Counter()
    numbered: set[str] = set()
    for name in names:
        if _NUMBERED.fullmatch(name):
            stem = _NUMBER.sub("", name).casefold()
            stems[stem] += 1
            if _NUMBER.search(name):
                numbered.add(stem)
    return any(n > 1 and n > len(names) / 2 and stem in numbered for stem, n in stems.items())


def _unreadable(problem: ImageError) -> DataError:
    """A folder that cannot be read: its images would be missing."""
    return DataError(str(problem), code=problem.code, folder=problem.name)


def _layout(walk: Walk, name: str, *, sure: bool) -> tuple[list[_ClassFolder], int]:
    top, images = walk.entries()
    if not top and not walk.passed.links:
        if images:
            raise DataError(
                f"{name}: {len(images)} images lie in the folder itself, without a class; {_LAYOUT}",
                code="folder-without-classes",
                images=len(images),
            )
        beside = f" ({walk.passed})" if str(walk.passed) else ""
        raise DataError(
            f"{name}: holds no image and no class folder{beside}; {_LAYOUT}", code="folder-without-classes", images=0
        )
    stray = len(images)
    named = [folder for folder in top if folder.lower() in ALIASES]
    if not named or not (len(named) == len(top) or any(map(walk.folders, named))):
        if not sure:
            _refuse_no_classes(top, name)
        return _flat(walk, top, name), stray  # 'train' beside 'bus' and 'car' is a class
    found: list[_ClassFolder] = []
    by_split: dict[SplitName, str] = {}
    for folder in named:
        split = ALIASES[folder.lower()]
        if split in by_split:
            raise DataError(
                f"{name}: folders {by_split[split]!r} and {folder!r} both mean {split}; keep one of them",
                code="folder-splits",
                split=split,
                folders=[by_split[split], folder],
            )
        by_split[split] = folder
        classes, loose = walk.entries(folder)
        if not classes and not walk.passed.links:
            held = f"{len(loose)} images without a class folder" if loose else "no class folder"
            raise DataError(
                f"{name}: {folder} holds {held}; expected {folder}/CLASS/image files",
                code="folder-without-classes",
                folder=folder,
            )
        stray += len(loose)
        found += [_ClassFolder(split, label, join(folder, label)) for label in classes]
    for folder in top:
        if folder not in named and any(walk.images(folder)):
            raise DataError(
                f"{name}: holds split folders ({', '.join(by_split.values())}) and beside them {folder!r} "
                "with images; move it elsewhere, or into a split folder",
                code="folder-splits",
                folders=[*by_split.values(), folder],
            )
    return found, stray


def split_of(name: str) -> SplitName | None:
    """The split that a word of a name says, such as 'train_images'; None: none does."""
    return next((ALIASES[word] for word in re.split("[^a-z]+", name.lower()) if word in ALIASES), None)


def _refuse_no_classes(top: Sequence[str], name: str) -> None:
    """Refuse folders that are called after splits, or after what a set for segmentation holds."""
    splits = {split_of(folder) for folder in top}
    if None not in splits and len(splits) > 1:
        raise DataError(
            f"{name}: folders {brief(top)} are named after splits, not classes; {_LAYOUT}, or a table that lists them",
            code="folder-splits",
            folders=list(top),
        )
    if len(top) > 1 and all(folder.lower() in _PARTS for folder in top):
        raise DataError(
            f"{name}: folders {brief(top)} are the parts of a set for segmentation, not classes; {_LAYOUT}, "
            "or a table that lists them",
            code="folder-without-classes",
            folders=list(top),
        )


def _flat(walk: Walk, top: Sequence[str], name: str) -> list[_ClassFolder]:
    if len(top) == 1 and walk.folders(top[0]) and not Walk(walk.root).entries(top[0])[1]:
        folder = top[0]
        while len(inside := walk.folders(folder)) == 1 and not Walk(walk.root).entries(join(folder, inside[0]))[1]:
            folder = join(folder, inside[0])
        raise DataError(
            f"{name}: holds only the folder {folder!r}, which holds folders itself; "
            f"did you mean {quote_path(join(walk.root, folder))}?",
            code="folder-nested",
            folder=folder,
        )
    return [_ClassFolder(None, label, label) for label in top]


def _pool(
    root: Path,
    name: str,
    folders: Sequence[_ClassFolder],
    ids: Names,
    *,
    owners: NDArray[np.int32],
    notes: tuple[str, ...],
    skip_bad: bool,
    as_is: bool,
    frames: NDArray[np.int64] | None,
) -> Pool:
    """`owners`: (n,) positions in `folders`; `frames` as in `Files`."""
    labels = tuple(sorted({folder.label for folder in folders}, key=natural_key))
    numbers = {label: number for number, label in enumerate(labels)}
    found = scan(root, ids, frames=frames)
    if found.bad and not skip_bad:
        raise refusal(found.bad.values(), len(ids), of=name)
    good = found.good()
    owners = owners[good]
    lost = sorted(set(range(len(folders))) - set(np.unique(owners).tolist()))
    if lost and (not as_is or not len(good)):
        shown = name_each("class folder", (folders[number].path for number in lost), "holds", "hold")
        raise DataError(
            f"{name}: {shown} no readable image; restore its files or remove it",
            code="class-unreadable",
        )
    targets = np.array([numbers[folder.label] for folder in folders], np.int64)[owners]
    grouping = group_images(targets, found.hashes(good))
    names = ids.subset(good) if found.bad else ids
    kind, channels = one_form(found.kind[good], found.channels[good], names, name, as_is=as_is)
    return Pool(
        name=name,
        labels=labels,
        ids=names,
        targets=targets,
        source=Files(root, names, None if frames is None else frames[good]),
        digests=found.digests[good],
        rows=_rows([folder.split for folder in folders], owners),
        kind=kind,
        channels=channels,
        gray=bool(found.gray[good].all()),
        largest_side=int(max(found.width[good].max(), found.height[good].max())),
        voi=bool(found.voi[good].all()),
        paddings=found.paddings(good),
        shows=found.shows[good],
        notes=(*notes, *grouping.notes),
        skipped=tuple(found.bad.values()),
        groups=grouping.groups,
        grouping=grouping,
        columns=grouping.named,
    )


def _rows(splits: Sequence[SplitName | None], owners: NDArray[np.int32]) -> dict[SplitName, NDArray[np.int64]]:
    """Positions of the images of each split that is there; `owners` are their class folders' positions in `splits`."""
    rows: dict[SplitName, NDArray[np.int64]] = {}
    for split in SPLITS:
        chosen = np.flatnonzero(np.isin(owners, [number for number, one in enumerate(splits) if one == split]))
        if len(chosen):
            rows[split] = chosen
    return rows
