"""HDF5 files as PatchCamelyon has them: STEM_x.h5 with images under "x", STEM_y.h5 with class numbers under "y".

A word of the stem names the split (train, valid, test). STEM_meta.csv beside them may name the patient or slide
of each image. Images are read one by one, because the training images take 7 GB.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.cells import column_key, open_cells
from zoo._support.text import brief, format_count
from zoo.data._groups import codes_of
from zoo.data._index import SPLITS, Pool, SplitName
from zoo.data._labels import MAX_CLASSES
from zoo.data._names import Names
from zoo.data._several import Several
from zoo.data._sources.columns import NAMES
from zoo.data._sources.folder import ALIASES
from zoo.data._sources.group_columns import number_groups
from zoo.data._sources.npz import digests_of
from zoo.data._sources.values import find_missing
from zoo.errors import DataError, ImageError
from zoo.readers import RawImage, from_array, stack_of
from zoo.spec import MOST_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Hdf5", "index_hdf5", "is_hdf5"]

_SUFFIXES = (".h5", ".hdf5")
_IMAGES, _LABELS, _META = "_x", "_y", "_meta.csv"
_GROUPS = (*NAMES["group"], "wsi", "slide", "slide_id")
"""Columns of the table beside that name what splits must not share; a slide is as near as PatchCamelyon comes."""
_BATCH = 256  # images held at a time while they are hashed


@dataclass(frozen=True, slots=True)
class Hdf5:
    """Images of one file, read when they are asked for.

    Attributes:
        path: the file; its dataset "x" is uint8 (N, H, W) or (N, H, W, C), C from 1 to 16.
    """

    path: Path

    def read(self, row: int, *, voi: bool = False) -> RawImage:
        """One image; HDF5 brings no VOI."""
        if voi:
            raise ImageError(
                None,
                "HDF5 brings no VOI LUT or window, expected DICOM files; choose another intensity",
                code="image-window-missing",
            )
        try:
            with _open(self.path) as file:
                return from_array(np.asarray(file["x"][row]))
        except (OSError, KeyError, RuntimeError, ValueError):
            raise ImageError(
                None, f"{self.path.name}: image {row} cannot be read; restore the file", code="image-undecodable"
            ) from None

    def probe(self, row: int) -> None:
        """Arrays have no headers."""


def is_hdf5(path: Path) -> bool:
    """Whether a path is a file, or a folder with files, that `index_hdf5` reads."""
    if path.is_dir():
        return bool(_image_files(path))
    return path.is_file() and path.name.lower().removesuffix(".gz").endswith(_SUFFIXES)


def index_hdf5(path: Path) -> Pool:
    """Index a pair of files and the pairs of the other splits beside it, or all pairs of a folder; hash every image.

    Raises:
        DataError: h5py is not here, a file is packed or damaged, has other keys, shapes or types, or lacks its pair.
    """
    folder = path if path.is_dir() else path.parent
    stem = None if path.is_dir() else _without_split(path)
    files = [one for one in _image_files(folder) if stem is None or _without_split(one) == stem]
    if not files:
        raise DataError(
            f"{path.name}: expected a pair NAME{_IMAGES}.h5 with images and NAME{_LABELS}.h5 with class numbers",
            code="hdf5-pair",
            path=str(path),
        )
    packed = [one for one in files if one.suffix.lower() == ".gz"]
    if packed:
        raise _refuse_packed(packed[0])
    splits = [_split_of(one) for one in files]
    if len(files) > 1 and len({*splits, None}) <= len(files):
        raise DataError(
            f"{folder.name}: files {brief(one.name for one in files)}, expected one for each of train, val and test; "
            "move the others away",
            code="hdf5-pair",
            files=[one.name for one in files],
        )
    return _pool(folder.resolve().name if path.is_dir() else path.stem, files, splits)


def _refuse_packed(path: Path) -> DataError:
    return DataError(
        f"{path.name}: a packed file, which cannot be read image by image; unpack it with gunzip",
        code="data-format",
        path=str(path),
    )


def _pool(name: str, files: list[Path], splits: list[SplitName | None]) -> Pool:
    sizes, shapes, targets, digests, ids, groups = [], [], [], [], [], []
    notes: list[str] = []
    for path, split in zip(files, splits, strict=True):
        shape = _shape(path)
        targets.append(_labels(path, shape[0]))
        digests.append(digests_of(_each(path, shape[0])))
        named, remarks = _groups(path, shape[0])
        groups += named
        notes += remarks
        ids += [f"{split or path.stem}/{row}" for row in range(shape[0])]
        sizes.append(shape[0])
        shapes.append(shape)
    planes = [shape[3] if len(shape) == 4 else 1 for shape in shapes]
    stacked = {stack_of("uint8", channels) for channels in planes}
    if len(stacked) > 1:
        said = ", ".join(f"{path.name} {n}" for path, n in zip(files, planes, strict=True))
        raise DataError(f"{name}: images of different channels ({said}); expected as many", code="pixel-types")
    part = np.repeat(np.arange(len(files), dtype=np.int64), sizes)
    labels = np.concatenate(targets)
    if any(groups) and (alone := groups.count("")):
        notes.append(f"{alone} of {len(groups)} images have no group; each of them counts as a group of its own")
    rows = {split: np.flatnonzero(part == splits.index(split)) for split in SPLITS if split in splits}
    return Pool(
        name=name,
        labels=tuple(map(str, range(int(labels.max()) + 1))),
        ids=Names.of(ids),
        targets=labels,
        source=Several(tuple(map(Hdf5, files)), part, np.concatenate([np.arange(n, dtype=np.int64) for n in sizes])),
        digests=np.concatenate(digests),
        rows=rows,
        kind="uint8",
        gray=all(channels == 1 for channels in planes),
        channels=stacked.pop(),
        largest_side=max(max(shape[1:3]) for shape in shapes),
        notes=tuple(notes),
        groups=number_groups(codes_of(groups)) if any(groups) else None,
        columns={"group": Names.of(groups)} if any(groups) else {},
    )


def _image_files(folder: Path) -> list[Path]:
    ends = tuple(f"{_IMAGES}{suffix}{packed}" for suffix in _SUFFIXES for packed in ("", ".gz"))
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(ends) and path.is_file())


def _words(path: Path) -> list[str]:
    return re.split("[_.-]", path.name)


def _split_of(path: Path) -> SplitName | None:
    return next((ALIASES[word.lower()] for word in _words(path) if word.lower() in ALIASES), None)


def _without_split(path: Path) -> list[str]:
    """The words of a name that both files of a pair and all splits share."""
    return [word for word in _words(path) if word.lower() not in ALIASES and word not in ("x", "y")]


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name[: -len(_IMAGES + path.suffix)] + end)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise DataError(
            f"{path.name}: HDF5 needs h5py, which is not here; pip install 'edgezoo[hdf5]'",
            code="package-missing",
            package="h5py",
            extra="hdf5",
        ) from None
    with h5py.File(path, "r") as file:
        yield file


@contextlib.contextmanager
def _dataset(path: Path, key: str) -> Iterator[Any]:
    """One dataset of a file. A link to another file is not followed, because it could lead anywhere."""
    try:
        with _open(path) as file:
            import h5py

            plain_link = key in file and isinstance(file.get(key, getlink=True), h5py.HardLink)
            found = file[key] if plain_link else None
            if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
                raise DataError(
                    f"{path.name}: holds no array {key!r} of its own, but {brief(file)}; expected {key!r}",
                    code="hdf5-array",
                    key=key,
                )
            yield found
    except (OSError, RuntimeError, ValueError, KeyError) as problem:
        raise DataError(
            f"{path.name}: cannot be read as HDF5 ({type(problem).__name__}); restore the file", code="hdf5-unreadable"
        ) from None


def _shape(path: Path) -> tuple[int, ...]:
    with _dataset(path, "x") as found:
        shape, dtype = tuple(found.shape), found.dtype
    if dtype != np.uint8 or len(shape) not in (3, 4) or 0 in shape or shape[3:] > (MOST_CHANNELS,):
        raise DataError(
            f"{path.name}: 'x' is {dtype} of shape {shape}, expected uint8 (N, H, W) or (N, H, W, C), C at most "
            f"{MOST_CHANNELS}",
            code="hdf5-array",
            key="x",
            shape=list(shape),
            dtype=str(dtype),
        )
    return shape


def _each(path: Path, n: int) -> Iterator[NDArray[Any]]:
    with _dataset(path, "x") as found:
        for start in range(0, n, _BATCH):
            yield from np.asarray(found[start : start + _BATCH])


def _labels(path: Path, n: int) -> NDArray[np.int64]:
    pair = _beside(path, _LABELS + path.suffix)
    if not pair.is_file():
        raise DataError(
            f"{path.name}: has no {pair.name} beside it, expected the class of each image there; add it",
            code="hdf5-pair",
            path=str(pair),
        )
    with _dataset(pair, "y") as found:
        shape, dtype = tuple(found.shape), found.dtype
        right = dtype.kind in "uib" and shape[:1] == (n,) and max(shape[1:], default=1) == 1
        values = np.asarray(found).reshape(-1).astype(np.int64) if right else np.empty(0, np.int64)
    if not right or values.min() < 0 or values.max() >= MAX_CLASSES:
        raise DataError(
            f"{pair.name}: 'y' is {dtype} of shape {shape}, expected a class number, from 0, for each of {n} images",
            code="hdf5-array",
            key="y",
            shape=list(shape),
            dtype=str(dtype),
        )
    return values


def _groups(path: Path, n: int) -> tuple[list[str], tuple[str, ...]]:
    """The patient or slide of each image, as the table beside the file says; "" where there is none; and notes.

    Raises:
        DataError: the table has another number of rows, or is packed.
    """
    table = _beside(path, _META)
    if (packed := table.with_name(f"{table.name}.gz")).is_file() and not table.is_file():
        raise _refuse_packed(packed)
    if not table.is_file():
        return [""] * n, ()
    cells = open_cells(table, "text")
    where = {column_key(one): at for at, one in reversed(list(enumerate(cells.header)))}
    at = next((where[name] for name in _GROUPS if name in where), None)
    if at is None:
        named = brief(cells.header, 8)
        return [""] * n, (f"{table.name} names no patient or slide, so splits may share them; its columns are {named}",)
    found = [row[0].strip() for _, row in cells.rows([at])]
    if len(found) != n:
        raise DataError(
            f"{table.name}: column {cells.header[at]!r} has {format_count(len(found), 'row')}, {path.name} has "
            f"{format_count(n, 'image')}; expected a row for each image: mend the table, or move it away",
            code="hdf5-table",
            path=str(table),
            rows=len(found),
            images=n,
        )
    missing = find_missing(found, groups=True)
    return ["" if name in missing else name for name in found], ()
