"""Tables of images: a row for each, with its path, its class or labels, and what else is known of it.

`columns` says what columns mean, `cells` how files are read. Paths are relative to the table's folder, or
absolute; `archive.npz#train/17` is an image of an archive. Nothing but `Names` and arrays is kept of rows.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import brief, count_with_verb, format_count, natural_key
from zoo.data._groups import number_groups
from zoo.data._index import SPLITS, Pool, SplitName
from zoo.data._labels import check_count
from zoo.data._names import Names, one_line
from zoo.data._scanning.scan import one_kind
from zoo.data._sources.cells import form_of, open_cells
from zoo.data._sources.columns import MARK, Columns, columns_of
from zoo.data._sources.entries import Entries, find
from zoo.data._sources.folder import ALIASES
from zoo.data._unusable import Unusable, refusal
from zoo.errors import DataError
from zoo.spec import LABEL_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._sources.cells import Cells

__all__ = ["NO_LABEL", "index_table", "is_table"]

NO_LABEL = "No Finding"
"""In a column of joined labels: the image has none of them (as ChestX-ray14 writes it)."""

_SHOWN = 5  # problems named in one error
_BITS = {"0": "0", "1": "1", "0.0": "0", "1.0": "1", "false": "0", "true": "1"}


def is_table(path: Path) -> bool:
    """Whether a file looks like a table, by its first bytes and its suffix."""
    return form_of(path) is not None


def index_table(path: Path, *, skip_bad: bool, as_is: bool = False, column: str | None = None) -> Pool:
    """Index the images that a CSV, TSV or Parquet file lists: read every header, hash every file.

    Args:
        path: the table.
        skip_bad: leave out files that are missing or cannot be read.
        as_is: for an audit: mixed pixel types pass.
        column: one more column to keep in `Pool.columns`.

    Raises:
        DataError: no table, columns that do not say what is needed, rows that cannot be used (all are counted, five
            are named), or images that cannot be read (unless `skip_bad`).
    """
    form = form_of(path)
    if form is None:
        raise DataError(f"{path.name}: not a table; expected CSV, TSV or Parquet", code="data-format", path=str(path))
    cells = open_cells(path, form)
    columns = columns_of(cells.header, path.name, also=column)
    rows = _Rows(path.name, columns)
    ids = Names.of(one_line(path.name, rows.take(cells)))
    if not len(ids):
        raise DataError(f"{path.name}: lists no image, expected a row for each", code="data-empty")
    rows.refuse_double(ids)
    frames = np.asarray(rows.frames, np.int64) if columns.frame is not None else None
    entries = find(path, ids, frames)
    if entries.bad and (not skip_bad or len(entries.bad) == len(ids)):
        bad = (Unusable(f"row {rows.numbers[at]}: {one.name}", one.reason) for at, one in entries.bad.items())
        raise refusal(bad, len(ids), of=path.name)
    return _pool(path.name.rsplit(".", 1)[0], rows, entries, as_is=as_is)


@dataclass(slots=True)
class _Codes:
    """Values that occur again and again, as numbers in the order they were met."""

    numbers: dict[str, int] = field(default_factory=dict)
    codes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, value: str) -> None:
        self.codes.append(self.numbers.setdefault(value, len(self.numbers)))

    def values(self) -> Names:
        """The value of each row."""
        return Names.of(self.numbers).subset(self.array())

    def array(self) -> NDArray[np.int64]:
        return np.asarray(self.codes, np.int64)


class _Rows:
    """What the rows of a table say, collected in one pass."""

    def __init__(self, file: str, columns: Columns) -> None:
        self.file = file
        self.columns = columns
        self.numbers = array("q")
        self.labels = _Codes()
        self.splits = array("b")
        self.folds = array("q")
        self.frames = array("q")
        self.groups = _Codes()
        self.kept = {name: _Codes() for name, _ in columns.kept}
        self.problems: list[str] = []
        self.count = 0  # of problems

    def take(self, cells: Cells) -> Iterator[str]:
        """Go through the table: give the image of each row, and keep the rest."""
        columns = self.columns
        singles = (columns.label, columns.labels, columns.split, columns.fold, columns.group, columns.frame)
        wanted = [columns.image, *(at for at in singles if at is not None), *(at for _, at in columns.marks)]
        wanted += [at for _, at in columns.kept]
        order = sorted(set(wanted))
        place = {at: position for position, at in enumerate(order)}
        for number, row in cells.rows(order):
            self.numbers.append(number)
            self._class(number, row, place)
            if columns.split is not None:
                self._split(number, row[place[columns.split]].strip())
            if columns.fold is not None:
                self.folds.append(self._number(number, "fold", row[place[columns.fold]]))
            if columns.frame is not None:
                self.frames.append(self._number(number, "frame", row[place[columns.frame]] or "0"))
            if columns.group is not None:
                self.groups.add(row[place[columns.group]].strip())
            for name, at in columns.kept:
                self.kept[name].add(row[place[at]].strip())
            image = row[place[columns.image]].strip().replace("\\", "/")
            if not image:
                self._problem(number, "names no image")
            yield image
        if self.count:
            more = f" and {self.count - _SHOWN} more" if self.count > _SHOWN else ""
            raise DataError(
                f"{self.file}: {format_count(self.count, 'row')} cannot be used: "
                f"{' | '.join(self.problems)}{more}; mend the table",
                code="table-rows",
                rows=self.count,
            )

    def refuse_double(self, ids: Names) -> None:
        """Refuse rows that list the same picture twice."""
        keys = np.fromiter((hash(self._picture(ids, i)) for i in range(len(ids))), np.int64, len(ids))
        order = np.argsort(keys, kind="stable")
        likely = np.flatnonzero(np.diff(keys[order]) == 0)
        double = [(a, b) for a, b in zip(order[likely].tolist(), order[likely + 1].tolist(), strict=True)
                  if self._picture(ids, a) == self._picture(ids, b)]  # fmt: skip
        if not double:
            return
        shown = []
        for a, b in sorted(double)[:_SHOWN]:
            labels = "the same label" if self.labels.codes[a] == self.labels.codes[b] else "different labels"
            shown.append(f"rows {self.numbers[a]} and {self.numbers[b]}: {ids[a]}, with {labels}")
        more = f" and {len(double) - _SHOWN} more" if len(double) > _SHOWN else ""
        again = "1 row lists" if len(double) == 1 else f"{len(double)} rows list"
        raise DataError(
            f"{self.file}: {again} an image again: {' | '.join(shown)}{more}; "
            "keep one row for each, or tell pictures of one file apart by a frame column",
            code="table-image-twice",
        )

    def _picture(self, ids: Names, i: int) -> tuple[str, int]:
        return os.path.normpath(ids[i]), self.frames[i] if self.frames else 0

    def _class(self, number: int, row: tuple[str, ...], place: dict[int, int]) -> None:
        columns = self.columns
        if columns.marks:
            bits = [_BITS.get(row[place[at]].strip().lower(), "") for _, at in columns.marks]
            if "" in bits:
                name, at = columns.marks[bits.index("")]
                found = f"{name!r} holds {row[place[at]]!r}, expected 0 or 1"
                if columns.guessed:
                    raise DataError(
                        f"{self.file}: no column names the class, and row {number}: {found}; call the class column "
                        f"'label', or begin the names of columns of zeros and ones with '{MARK}'",
                        code="table-column-missing",
                        role="label",
                        row=number,
                    )
                self._problem(number, found)
            self.labels.add("".join(bits))
            return
        cell = columns.label if columns.label is not None else columns.labels
        text = row[place[cell]].strip() if cell is not None else ""
        if not text:
            none = f" ({NO_LABEL!r} says that there is none)" if columns.labels is not None else ""
            self._problem(number, f"has no label{none}")
        elif not text.isprintable():
            self._problem(number, f"has the label {text!a}, expected printable text")
        elif columns.label is not None and LABEL_SEPARATOR in text:
            self._problem(number, f"has the label {text!r}; a column of several labels is called 'labels'")
        self.labels.add(text)

    def _split(self, number: int, word: str) -> None:
        split = ALIASES.get(word.lower())
        if split is None:
            self._problem(number, f"has the split {word!r}, expected train, val or test")
        self.splits.append(-1 if split is None else SPLITS.index(split))

    def _number(self, number: int, what: str, text: str) -> int:
        text = text.strip().removesuffix(".0")
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            self._problem(number, f"has the {what} {text!r}, expected a whole number")
            return 0
        return int(text)

    def _problem(self, number: int, text: str) -> None:
        self.count += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(f"row {number} {text}")


def _pool(name: str, rows: _Rows, entries: Entries, *, as_is: bool) -> Pool:
    good, columns = entries.good, rows.columns
    labels, targets, notes = _targets(rows)
    groups, remarks = _groups(rows, entries)
    splits: dict[SplitName, NDArray[np.int64]] = {}
    if columns.split is not None:
        codes = np.asarray(rows.splits, np.int64)[good]
        splits = {split: np.flatnonzero(codes == code) for code, split in enumerate(SPLITS) if (codes == code).any()}
    unknown = columns.ignored  # by name: one of them may be a misspelt patient
    ignored = (f"{count_with_verb(len(unknown), 'column')} ignored: {brief(unknown)}",) if unknown else ()
    bad = (f"{count_with_verb(len(entries.bad), 'image')} left out: not readable",) if entries.bad else ()
    return Pool(
        name=name,
        labels=labels,
        ids=entries.ids,
        targets=targets[good],
        source=entries.source,
        digests=entries.digests,
        rows=splits,
        kind=one_kind(entries.kinds, entries.ids, name, as_is=as_is),
        gray=entries.gray,
        largest_side=entries.largest_side,
        voi=entries.voi,
        notes=(*bad, *ignored, *notes, *remarks),
        skipped=tuple(entries.bad.values()),
        groups=groups,
        folds=np.asarray(rows.folds, np.int64)[good] if columns.fold is not None else None,
        columns={**entries.patients(), **{name: codes.values().subset(good) for name, codes in rows.kept.items()}},
    )


def _targets(rows: _Rows) -> tuple[tuple[str, ...], NDArray[np.int64], tuple[str, ...]]:
    """Labels in natural order, (n,) classes or (n, K) zeros and ones, and notes."""
    columns, texts, codes = rows.columns, list(rows.labels.numbers), rows.labels.array()
    if columns.label is not None:
        check_count(len(texts), rows.file, several=False)
        labels = tuple(sorted(texts, key=natural_key))
        number = {label: position for position, label in enumerate(labels)}
        return labels, np.array([number[text] for text in texts], np.int64)[codes], ()
    notes: tuple[str, ...] = ()
    if columns.marks:
        names = [label for label, _ in columns.marks]
        check_count(len(names), rows.file, several=True)
        sets = [{names[k] for k, bit in enumerate(text) if bit == "1"} for text in texts]
        if columns.guessed:
            one = all(len(has) == 1 for has in sets)
            meant = "classes: exactly one is 1 in each row" if one else "labels, any number in each row"
            notes = (f"columns {brief(names)} hold zeros and ones and were taken for {meant}",)
            if one:
                labels = tuple(sorted(set.union(*sets), key=natural_key))
                return labels, np.array([labels.index(min(has)) for has in sets], np.int64)[codes], notes
    else:
        sets = [{one.strip() for one in text.split(LABEL_SEPARATOR)} - {NO_LABEL, ""} for text in texts]
        names = list(set().union(*sets))
        check_count(len(names), rows.file, several=True)
    labels = tuple(sorted(names, key=natural_key))
    return labels, np.array([[label in has for label in labels] for has in sets], np.int64)[codes], notes


def _groups(rows: _Rows, entries: Entries) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Groups as the table gives them, else as the files do; an image without one is a group of its own."""
    if rows.columns.group is None or not any(rows.groups.numbers):
        return entries.groups()
    codes = rows.groups.array()[entries.good]
    codes[codes == rows.groups.numbers.get("", -1)] = -1
    alone = int((codes < 0).sum())
    note = f"{alone} of {len(codes)} images have no group; each of them counts as a group of its own"
    return number_groups(codes), (note,) if alone else ()
