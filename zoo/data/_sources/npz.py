"""NumPy archives with the keys of MedMNIST: train_images, train_labels, and the same for val and test."""

from __future__ import annotations

import difflib
import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.text import brief, count_with_verb, join_lines
from zoo.data._index import SPLITS, Arrays, Pool, SplitName
from zoo.data._labels import MAX_CLASSES, check_count
from zoo.data._names import Names
from zoo.errors import DataError
from zoo.readers import KINDS, stack_of
from zoo.spec import MOST_CHANNELS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["array_pool", "channels_of_array", "digests_of", "index_npz", "open_images"]

NAMES = "label_names"
"""Optional key: (K,) strings, the class names."""

_UNPACKED_FREELY = 256 * 2**20
_RATIO_MOST = 200
"""An array may become 256 MiB; from there on at most 200 times what it takes in the archive, where a picture takes
hardly a third of itself and labels a hundredth."""

_FEW = 4
"""Rows of which a picture has more: such an array has its channels first."""

_KEYS = tuple(f"{split}_{part}" for split in SPLITS for part in ("images", "labels"))


def index_npz(path: Path) -> Pool:
    """Read an archive whole; nothing in it is ever unpickled.

    Images are uint8, uint16 or float32, (N, H, W) or (N, H, W, C) with C from 1 to 16, see `from_array`; labels are
    integers (N,) or (N, 1), counting from 0, or for several labels an image zeros and ones (N, L), L > 1, as
    ChestMNIST has them. Classes are called "0", "1", … unless `label_names` names them.

    Raises:
        DataError: damaged or pickled content, missing or misspelled keys, other shapes or types.
    """
    name = path.stem
    content = _load(path)
    notes = _check_keys(content, path.name)
    images: dict[SplitName, NDArray[Any]] = {}
    labels: dict[SplitName, NDArray[np.int64]] = {}
    for split in SPLITS:
        if f"{split}_images" in content:
            where = f"{path.name}: {split}"
            images[split] = _images(content[f"{split}_images"], where)
            labels[split] = _labels(content[f"{split}_labels"], len(images[split]), where)
    kinds = {split: array.dtype for split, array in images.items()}
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{split} {dtype}" for split, dtype in kinds.items())
        raise DataError(
            f"{path.name}: images of different pixel types ({found}); expected one type", code="pixel-types"
        )
    forms = {split: stack_of(array.dtype.name, channels_of_array(array)) for split, array in images.items()}
    if len(set(forms.values())) > 1:
        found = ", ".join(f"{split} {channels or 'colours or gray'}" for split, channels in forms.items())
        raise DataError(f"{path.name}: images of different channels ({found}); expected as many", code="pixel-types")
    columns = {split: array.shape[1:] for split, array in labels.items()}
    if len(set(columns.values())) > 1:
        found = ", ".join(f"{split} {width[0] if width else 1}" for split, width in columns.items())
        raise DataError(
            f"{path.name}: labels of different columns ({found}); expected as many in every split", code="npz-labels"
        )
    names = _names(content, labels, path.name)
    return array_pool(name, images, labels, names, (*notes, *_exclusive(labels)))


def open_images(path: Path) -> dict[SplitName, NDArray[Any]]:
    """The images of an archive by split, without their labels; as `index_npz` reads them.

    Raises:
        DataError: as `index_npz`.
    """
    content = _load(path)
    _check_keys(content, path.name)
    return {
        split: _images(content[f"{split}_images"], f"{path.name}: {split}")
        for split in SPLITS
        if f"{split}_images" in content
    }


def array_pool(
    name: str,
    images: Mapping[SplitName, NDArray[Any]] | NDArray[Any],
    labels: Mapping[SplitName, NDArray[np.int64]] | NDArray[np.int64],
    names: tuple[str, ...],
    notes: tuple[str, ...] = (),
) -> Pool:
    """A pool over arrays, by split or, when single arrays are given, without splits."""
    by_split = isinstance(images, Mapping)
    parts: dict[str, NDArray[Any]] = dict(images.items()) if isinstance(images, Mapping) else {name: images}
    targets = list(labels.values()) if isinstance(labels, Mapping) else [labels]
    rows: dict[SplitName, NDArray[np.int64]] = {}
    start = 0
    for split in SPLITS:
        if by_split and split in parts:
            rows[split] = np.arange(start, start + len(parts[split]), dtype=np.int64)
            start += len(parts[split])
    arrays = tuple(parts.values())
    kind = KINDS[KINDS.index(arrays[0].dtype.name)]
    return Pool(
        name=name,
        labels=names,
        ids=Names.of(f"{part}/{i}" for part, array in parts.items() for i in range(len(array))),
        targets=np.concatenate(targets),
        source=Arrays(arrays),
        digests=digests_of(image for array in arrays for image in array),
        rows=rows,
        kind=kind,
        gray=all(array.ndim == 3 or array.shape[3] == 1 for array in arrays),
        channels=stack_of(kind, channels_of_array(arrays[0])),
        largest_side=max(max(array.shape[1:3]) for array in arrays),
        notes=notes,
    )


def channels_of_array(images: NDArray[Any]) -> int:
    """Channels of each image of (N, H, W) or (N, H, W, C)."""
    return images.shape[3] if images.ndim == 4 else 1


def digests_of(images: Iterable[NDArray[Any]]) -> NDArray[np.uint8]:
    """(n, 32) uint8, `_digest` of each."""
    return np.frombuffer(b"".join(map(_digest, images)), np.uint8).reshape(-1, 32)


def _digest(image: NDArray[Any]) -> bytes:
    """Sha256 of shape, type and pixels: the same bytes in another shape are another picture."""
    head = f"{image.dtype.name} {'x'.join(map(str, image.shape))}\n"
    return hashlib.sha256(head.encode() + np.ascontiguousarray(image).tobytes()).digest()


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays we know, and empty ones for keys we do not: those are never read."""
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{path.name}: a single array, expected an npz archive of {_KEYS[0]} and {_KEYS[1]}",
                    code="npz-unreadable",
                )
            _check_sizes(archive, path.name)
            return {key: archive[key] if key in (*_KEYS, NAMES) else np.empty(0) for key in archive.files}
    except MemoryError:
        raise DataError(
            f"{path.name}: larger than this machine's memory; use a folder of images instead", code="npz-size"
        ) from None
    except DataError:
        raise
    except Exception as problem:  # on damaged bytes numpy, tokenize, zipfile and zlib raise what they like
        text = str(problem)
        if "allow_pickle" in text or "pickled" in text:
            raise DataError(
                f"{path.name}: holds pickled objects, which could run code and are never loaded; "
                "save plain arrays with numpy.savez",
                code="npz-pickle",
            ) from None
        reason = join_lines(text, 100).lower() or type(problem).__name__
        raise DataError(
            f"{path.name}: cannot be read as an npz archive ({reason}); restore the file",
            code="npz-unreadable",
            cause=reason,
        ) from None


def _check_sizes(archive: np.lib.npyio.NpzFile, file: str) -> None:
    """Refuse what would fill the memory, before it does: `zipfile` ends at the sizes that are compared here."""
    members = [one for one in archive.zip.infolist() if one.filename.removesuffix(".npy") in (*_KEYS, NAMES)]  # type: ignore[union-attr]
    for one in members:
        if one.file_size > _UNPACKED_FREELY and one.file_size > _RATIO_MOST * max(one.compress_size, 1):
            raise DataError(
                f"{file}: {one.filename} unpacks to {one.file_size // one.compress_size} times its size, "
                f"expected at most {_RATIO_MOST} times, as images do; save the archive anew from its source",
                code="npz-size",
                array=one.filename,
            )
    if sum(one.file_size for one in members) > _memory():
        raise MemoryError


def _memory() -> float:
    """Bytes that this machine has, infinite where it does not say."""
    if not hasattr(os, "sysconf"):
        return math.inf
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _check_keys(content: Mapping[str, NDArray[Any]], file: str) -> tuple[str, ...]:
    unknown = [key for key in content if key not in (*_KEYS, NAMES)]
    for key in unknown:
        close = difflib.get_close_matches(key, [*_KEYS, NAMES], n=1, cutoff=0.8)
        if close and close[0] not in content:
            raise DataError(
                f"{file}: key {key!r} is unknown, did you mean {close[0]!r}? rename it",
                code="npz-keys",
                key=key,
                meant=close[0],
            )
    if not any(f"{split}_images" in content for split in SPLITS):
        raise DataError(
            f"{file}: holds keys {brief(content)}, expected {_KEYS[0]}, {_KEYS[1]} and so on for val, test",
            code="npz-keys",
            keys=list(content),
        )
    for split in SPLITS:
        pair = {part for part in ("images", "labels") if f"{split}_{part}" in content}
        if len(pair) == 1:
            (there,) = pair
            other = "labels" if there == "images" else "images"
            raise DataError(
                f"{file}: holds {split}_{there} but no {split}_{other}; add it", code="npz-keys", key=f"{split}_{other}"
            )
    return (f"{count_with_verb(len(unknown), 'unknown array')} ignored",) if unknown else ()


def _images(array: NDArray[Any], where: str) -> NDArray[Any]:
    found = f"{where}_images is {array.dtype} of shape {array.shape}"
    native = array.dtype.newbyteorder("=")
    turned = array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] <= _FEW < array.shape[2]
    if array.ndim not in (3, 4) or native.name not in KINDS or channels_of_array(array) > MOST_CHANNELS or turned:
        raise DataError(
            f"{found}, expected (N, H, W) or (N, H, W, C) of uint8, uint16 or float32, C at most {MOST_CHANNELS}; "
            "channels come last",
            code="npz-images",
            shape=list(array.shape),
            dtype=str(array.dtype),
        )
    if 0 in array.shape:
        raise DataError(
            f"{found}, expected at least one image with at least one pixel",
            code="npz-images",
            shape=list(array.shape),
            dtype=str(array.dtype),
        )
    return array.astype(native, copy=False)


def _labels(array: NDArray[Any], n: int, where: str) -> NDArray[np.int64]:
    if array.ndim not in (1, 2) or 0 in array.shape[1:] or array.dtype.kind not in "uib":
        raise DataError(
            f"{where}_labels is {array.dtype} of shape {array.shape}, expected integers (N,) or (N, 1), or zeros and "
            "ones (N, L)",
            code="npz-labels",
            shape=list(array.shape),
            dtype=str(array.dtype),
        )
    if len(array) != n:
        raise DataError(
            f"{where}_labels has {len(array)} entries for {n} images; expected one each",
            code="npz-labels",
            entries=len(array),
            images=n,
        )
    if array.ndim == 2 and array.shape[1] > 1:
        check_count(array.shape[1], where, several=True)
        if array.min() < 0 or array.max() > 1:
            raise DataError(
                f"{where}_labels has {array.shape[1]} columns with values from {array.min()} to {array.max()}; "
                "expected zeros and ones, or class numbers in one column",
                code="npz-labels",
                low=int(array.min()),
                high=int(array.max()),
                columns=array.shape[1],
            )
        return array.astype(np.int64)
    if int(array.min()) < 0 or int(array.max()) >= MAX_CLASSES:
        raise DataError(
            f"{where}_labels goes from {array.min()} to {array.max()}, expected 0 to number of classes - 1",
            code="npz-labels",
            low=int(array.min()),
            high=int(array.max()),
        )
    return array.reshape(-1).astype(np.int64)


def _names(
    content: Mapping[str, NDArray[Any]], labels: Mapping[SplitName, NDArray[np.int64]], file: str
) -> tuple[str, ...]:
    several = any(array.ndim == 2 for array in labels.values())
    count = max(array.shape[1] if several else 1 + int(array.max()) for array in labels.values())
    if NAMES not in content:
        return tuple(map(str, range(count)))
    names = content[NAMES]
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names) or "" in names:
        raise DataError(
            f"{file}: {NAMES} is {names.dtype} of shape {names.shape}, expected (K,) different strings",
            code="npz-names",
            shape=list(names.shape),
        )
    if several and len(names) != count:
        raise DataError(
            f"{file}: {NAMES} has {len(names)} names for {count} columns of labels; expected one each",
            code="npz-names",
            names=len(names),
            labels=count,
        )
    if len(names) < count:
        raise DataError(
            f"{file}: {NAMES} has {len(names)} names but labels go up to {count - 1}; add names",
            code="npz-names",
            names=len(names),
            labels=count,
        )
    return tuple(names.tolist())


def _exclusive(labels: Mapping[SplitName, NDArray[np.int64]]) -> tuple[str, ...]:
    """A note where columns of zeros and ones may be one class an image in another spelling."""
    if any(array.ndim == 1 or (array.sum(axis=1) != 1).any() for array in labels.values()):
        return ()
    note = (
        "every image has exactly one of several labels; they are learned independently of each other: "
        "if one excludes the others, give class numbers in one column"
    )
    return (note,)
