"""Write down how a data set is divided, as a table that every verb takes: the one way to fix splits."""

from __future__ import annotations

import csv
import io
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo._support.cells import column_key
from zoo._support.files import atomic_write, refuse_occupied
from zoo._support.text import format_count, inert
from zoo._urls import is_url, show_url
from zoo.data._groups import PATIENT, describe_alike, names_alike, regroup
from zoo.data._index import EVERY, Arrays, Files
from zoo.data._labels import count_labels, describe_spelled_alike
from zoo.data._named import find_named, index
from zoo.data._several import Several, Stacked
from zoo.data._sources.columns import ABOUT, MARK, NAMES
from zoo.data._sources.remote import find_base
from zoo.data._splitting.split import HELD_OUT, stratify, uneven
from zoo.data._splitting.split import folds as deal_folds
from zoo.data._unusable import note_skipped
from zoo.errors import DataError, UsageError
from zoo.readers import JOINT
from zoo.spec import Display, Table
from zoo.store.remote import is_listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from numpy.typing import NDArray

    from zoo.data._index import Pool, Source, SplitName
    from zoo.spec import Reading

__all__ = ["SplitTable", "split_table"]


class SplitTable(Display, msgspec.Struct, frozen=True, kw_only=True):
    """A division that was written down."""

    path: str
    n: int
    labels: tuple[str, ...]
    groups: int | None
    """How many groups were kept whole; None: none are known."""
    seed: int
    column: str
    """split or fold."""
    parts: dict[str, int]
    """Images of each split or fold."""
    per_class: dict[str, dict[str, int]]
    """For each part: images of each class, or with each label."""
    notes: tuple[str, ...]

    def headline(self) -> str:
        """The table, how many images it divides into what, and whether groups were kept whole."""
        parts = ", ".join(f"{part} {n}" for part, n in self.parts.items())
        whole = "no groups are known" if self.groups is None else f"{format_count(self.groups, 'group')} kept whole"
        return f"{self.path}: {format_count(self.n, 'image')} in {parts}; {whole}"

    def tables(self) -> dict[str, Table]:
        """One row for each split or fold: its images, and those of each class."""
        rows = ({self.column: part, "images": n} | self.per_class[part] for part, n in self.parts.items())
        return {"parts": Table(rows)}


def split_table(
    source: str | Path,
    out: str | Path | None = None,
    *,
    folds: int | None = None,
    val: float | None = None,
    test: float | None = None,
    seed: int = 0,
    again: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    **reading: Unpack[Reading],
) -> SplitTable:
    """Divide a data set into splits or folds, and write the table image, label, split or fold, and group.

    Args:
        source: a folder, a table or an .npz file.
        out: the table to write; its paths are relative to it. None: NAME-split.csv in the working directory.
        folds: so many folds of equal size instead of splits.
        val: share of all images for validation; None: `HELD_OUT`.
        test: share of all images for testing; None: `HELD_OUT`.
        seed: another seed, another division.
        again: divide data that brings splits or folds already.
        overwrite: replace a table that is there already.
        skip_bad: leave out images that cannot be read, and rows without a label.
        **reading: columns, group (images that must stay together), keep_na, uncertain, frames; see
            `zoo.spec.Reading`. The table holds what labels of -1 are taken for.

    Raises:
        UsageError: impossible shares, shares of folds, an impossible number of folds, or another suffix than .csv.
        DataError: no such data, data that is divided already, a group that is none, or too few images or groups.
        OutputError: the table is there already, or cannot be written.
    """
    if folds is not None and (val is not None or test is not None):
        raise UsageError(
            "--folds makes parts of equal size; leave out --val and --test",
            code="option-conflict",
            options=["--folds", "--val", "--test"],
        )
    val, test = (HELD_OUT if share is None else share for share in (val, test))
    _check(val, test, folds)
    known = find_named(source)
    if known is not None:
        raise DataError(
            f"{known.name} is a named set, divided by its publisher or by --set split_seed; "
            "expected a folder, a table or an .npz file",
            code="split-source",
            data=known.name,
        )
    pool = index(source, skip_bad=skip_bad, **reading)
    if group := reading.get("group"):
        pool = regroup(pool, group)
    if (pool.rows or pool.folds is not None) and not again:
        brought = " and ".join(pool.rows) if pool.rows else "folds"
        raise DataError(
            f"{pool.name}: brings {brought} already; --again divides all its images anew",
            code="split-present",
            data=pool.name,
        )
    target = Path(out) if out is not None else Path(f"{pool.name}-split.csv")
    if target.suffix.lower() != ".csv":
        raise UsageError(
            f"--out {target}: the table is written as CSV, expected a name that ends in .csv",
            code="option-value",
            option="--out",
            value=str(target),
        )
    refuse_occupied(target, overwrite=overwrite)
    names = next((pool.columns[name] for name in ("group", PATIENT) if name in pool.columns), None)
    parts, shares = _divide(pool, count=folds, val=val, test=test, seed=seed)
    column = "split" if folds is None else "fold"
    atomic_write(target, _table(pool, _paths(pool, source, target), column, parts, names))
    wanted = [(name if folds is None else f"fold {name}", shares[name], rows) for name, rows in parts.items()]
    notes = () if pool.groups is None else uneven(pool.targets, wanted, pool.labels)
    if alike := names_alike(pool):
        notes = (*notes, describe_alike(alike, named=True))
    if same := describe_spelled_alike(pool.labels):
        notes = (*notes, *same)
    per_class = {
        part: dict(zip(pool.labels, count_labels(pool.targets[rows], len(pool.labels)).tolist(), strict=True))
        for part, rows in parts.items()
    }
    return SplitTable(
        path=str(target),
        n=len(pool.ids),
        labels=pool.labels,
        groups=None if pool.groups is None else len(np.unique(pool.groups)),
        seed=seed,
        column=column,
        parts={part: len(rows) for part, rows in parts.items()},
        per_class=per_class,
        notes=(*note_skipped(len(pool.skipped)), *pool.notes, *notes),
    )


def _check(val: float, test: float, count: int | None) -> None:
    if count is not None and not 3 <= count <= 1000:
        raise UsageError(
            f"{count} folds, expected at least 3: one each for test and validation, the rest to train on",
            code="option-value",
            option="--folds",
            value=count,
        )
    if not (0 <= val < 1 and 0 <= test < 1 and 0 < val + test < 1):
        raise UsageError(
            f"shares {val:g} for val and {test:g} for test, expected fractions that leave some for train",
            code="option-value",
            option="--val",
            value=val,
            test=test,
        )


def _divide(
    pool: Pool, *, count: int | None, val: float, test: float, seed: int
) -> tuple[dict[str, NDArray[np.int64]], dict[str, float]]:
    """Images of each split or fold, and the shares that were wanted."""
    if count is not None:
        fold = deal_folds(
            pool.targets, pool.digests, count,
            groups=pool.groups, grouped_by=pool.grouped_by, labels=pool.labels, name=pool.name, seed=seed,
        )  # fmt: skip
        parts = {str(number): np.flatnonzero(fold == number) for number in range(count)}
        return parts, dict.fromkeys(parts, 1 / count)
    held_out: dict[SplitName, float] = {}
    if val:
        held_out["val"] = val
    if test:
        held_out["test"] = test
    everything = np.arange(len(pool.ids), dtype=np.int64)
    made = stratify(
        everything, pool.targets, pool.digests, held_out,
        groups=pool.groups, grouped_by=pool.grouped_by, labels=pool.labels, name=pool.name, seed=seed,
    )  # fmt: skip
    wanted: dict[SplitName, float] = {"train": 1 - val - test, **held_out}
    return {split: made[split] for split in made}, {split: wanted[split] for split in wanted}


def _table(
    pool: Pool,
    image: Callable[[int], str],
    column: str,
    parts: dict[str, NDArray[np.int64]],
    names: Sequence[str] | None,
) -> str:
    """The text of the table, images in the order of the data."""
    part = np.zeros(len(pool.ids), np.int64)
    for number, rows in enumerate(parts.values()):
        part[rows] = number
    words = list(parts)
    several = pool.targets.ndim == 2
    frames = _frames(pool.source)
    if frames is not None and (frames == EVERY).all():  # the table is read with --frames channels, too
        frames = None
    known = {name for names in NAMES.values() for name in names}  # read again, they would be the label or the group
    kept = {name: cells for name, cells in pool.kept.items() if name in ABOUT or not _has_meaning(name, known)}
    labels = [MARK + label for label in pool.labels] if several else ["label"]
    head = ["image", *(["frame"] if frames is not None else []), *labels, column, *(["group"] if names else []), *kept]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    for i in range(len(part)):
        shows = pool.targets[i].tolist() if several else [pool.labels[pool.targets[i]]]
        frame = [] if frames is None else [frames[i] or ""]
        of_group = [names[i]] if names else []
        texts = (image(i), *frame, *shows, words[part[i]], *of_group, *(v[i] for v in kept.values()))
        writer.writerow(inert(str(text)) for text in texts)
    return stream.getvalue()


def _frames(source: Source) -> NDArray[np.int64] | None:
    """(n,) as in `Files`, 0 for an image of an archive; None: each file holds one picture."""
    if isinstance(source, Files):
        return source.frames
    files = source.parts[0] if isinstance(source, Several) else None
    if not isinstance(source, Several) or not isinstance(files, Files) or files.frames is None:
        return None
    of_files = source.part == 0
    frames = np.zeros(len(of_files), np.int64)
    frames[of_files] = files.frames[source.rows[of_files]]
    return frames


def _has_meaning(name: str, known: set[str]) -> bool:
    return column_key(name) in known or name.lower().startswith(MARK)


def _paths(pool: Pool, source: str | Path, target: Path) -> Callable[[int], str]:
    """How the table names image i: by a path from its own folder, or by the address that it has in a store."""
    here = target.resolve().parent
    images = pool.source
    files = images.parts[0] if isinstance(images, Several | Stacked) else images
    if is_url(source):
        return _addresses(pool, show_url(str(source)))
    source = Path(source)
    root = files.root if isinstance(files, Files) else source.resolve().parent
    base = os.path.relpath(root, here).replace(os.sep, "/")

    def below(name: str) -> str:
        path = name if base == "." else f"{base}/{name}"
        return posixpath.normpath(path) if ".." in name else path

    if isinstance(images, Files):
        return lambda i: below(images.ids[i])
    if isinstance(images, Stacked):
        return lambda i: JOINT.join(below(part.ids[i]) for part in images.parts)
    if isinstance(images, Arrays):
        return lambda i: f"{below(source.name)}#{pool.ids[i]}"
    if not isinstance(images, Several) or not isinstance(files, Files):
        raise DataError(
            f"{pool.name}: cannot be listed in a table; expected a folder, a table or an .npz file",
            code="split-source",
            data=pool.name,
        )
    return lambda i: below(files.ids[int(images.rows[i])] if images.part[i] == 0 else pool.ids[i])


def _addresses(pool: Pool, url: str) -> Callable[[int], str]:
    """As `_paths`, of images in a store: a copy in the cache may go at any time."""
    images, base = pool.source, find_base(url)
    if isinstance(images, Arrays):
        return lambda i: f"{url}#{pool.ids[i]}"
    if not isinstance(images, Files) or is_listed(images.root):
        raise DataError(
            f"{pool.name}: cannot be listed in a table; bring the files here and divide them here",
            code="split-source",
            data=pool.name,
        )
    return lambda i: f"{base}/{images.ids[i]}"
