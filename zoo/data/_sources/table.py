"""Tables of images: a row for each, with its path, its class or labels, and what else is known of it.

`columns` says what columns mean, `listed` where their images are, `cells` how files are read. Paths are relative to the
table's folder, or absolute; `archive.npz#train/17` is an image of an archive. Nothing but `Names` and arrays is kept of
rows.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from array import array
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.cells import form_of, open_cells
from zoo._support.text import brief, count_with_verb, format_count, natural_key, read_inert
from zoo.data._index import EVERY, SPLITS, Pool, SplitName
from zoo.data._labels import check_count
from zoo.data._names import Names, one_line
from zoo.data._scanning.scan import one_form
from zoo.data._sources.codes import Codes, refuse_unlabelled
from zoo.data._sources.columns import MARK, Columns
from zoo.data._sources.entries import Entries, find, list_same_files
from zoo.data._sources.folder import ALIASES
from zoo.data._sources.group_columns import group_images, say_columns
from zoo.data._sources.joined import divide_labels
from zoo.data._sources.listed import Listed, list_images
from zoo.data._sources.places import spell
from zoo.data._sources.values import EMPTY, UNSURE, YES, find_missing, read_mark
from zoo.data._unusable import Unusable, refusal
from zoo.errors import DataError, UsageError
from zoo.readers import JOINT
from zoo.spec import LABEL_SEPARATOR, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._sources.group_columns import Grouping
    from zoo.data._sources.places import Places
    from zoo.spec import Reading

__all__ = ["NO_LABEL", "index_table", "is_table"]

NO_LABEL = "No Finding"
"""In a column of joined labels: the image has none of them (as ChestX-ray14 writes it)."""

_SHOWN = 5  # problems named in one error
_MOST_DIFFERENT = 100_000  # values of a column without a meaning, which beyond it names images; 20 MB


def is_table(path: Path) -> bool:
    """Whether a file looks like a table, by its first bytes and its suffix."""
    return form_of(path) is not None


def index_table(
    path: Path, *, skip_bad: bool, as_is: bool = False, reading: Reading, places: Places | None = None
) -> Pool:
    """Index the images that a CSV, TSV or Parquet file lists: read every header, hash every file.

    Args:
        path: the table.
        skip_bad: leave out files that are missing or cannot be read, and rows without a label.
        as_is: for an audit: mixed pixel types pass.
        reading: what columns mean, whether 'NA' and the like are names of classes and groups, and one more column to
            keep in `Pool.columns`: its group, which need not be there.
        places: images below the table's folder, where they were walked already.

    Raises:
        UsageError: `reading` names a role that is none.
        DataError: no table, columns that do not say what is needed, rows that cannot be used (all are counted, five
            are named), or images that cannot be read (unless `skip_bad`).
    """
    form = form_of(path)
    if form is None:
        raise DataError(f"{path.name}: not a table; expected CSV, TSV or Parquet", code="data-format", path=str(path))
    cells = open_cells(path, form)
    listed = list_images(path, cells, reading, places=places)
    columns = listed.columns
    rows = _Rows(path.name, columns, reading, skip_bad=skip_bad, as_is=as_is)
    ids = rows.without_unlabelled(Names.of(one_line(path.name, rows.take(listed))))
    if not len(ids):
        raise DataError(f"{path.name}: lists no image, expected a row for each", code="data-empty")
    rows.refuse_double(ids)
    frames = np.asarray(rows.frames, np.int64) if columns.frame is not None else None
    if reading.get("frames") == "channels":
        if frames is not None or any(JOINT in name for name in itertools.islice(ids, 1)):
            given = "a frame column" if frames is not None else "columns of channels"
            raise UsageError(
                f"--frames channels and {given}: each says what the channels are; leave one out",
                code="option-conflict",
                options=["--frames", "--columns"],
            )
        frames = np.full(len(ids), EVERY, np.int64)
    entries = find(path, ids, frames)
    if entries.bad and (not skip_bad or len(entries.bad) == len(ids)):
        bad = (Unusable(f"row {rows.numbers[at]}: {one.name}", one.reason) for at, one in entries.bad.items())
        raise refusal(bad, len(ids), of=path.name)
    rows.refuse_pairs(ids, list_same_files(entries))
    pool = _pool(path.name.rsplit(".", 1)[0], rows, entries, as_is=as_is)
    return dataclasses.replace(pool, notes=(*listed.notes, *pool.notes))


class _Rows:
    """What the rows of a table say, collected in one pass."""

    def __init__(self, file: str, columns: Columns, reading: Reading, *, skip_bad: bool, as_is: bool) -> None:
        self.file = file
        self.columns = columns
        self.skip_bad = skip_bad
        self.keep_na = reading.get("keep_na", False if as_is else None)
        self.group = str(columns.roles["group"]) if "group" in (reading.get("columns") or {}) else None
        self.also = reading.get("group")
        self.numbers = array("q")
        self.labels = Codes()
        self.splits = array("b")
        self.folds = array("q")
        self.frames = array("q")
        self.groups = {name: Codes() for name, _ in columns.groups}
        self.kept = {name: Codes() for name, _ in columns.kept}
        self.inputs = {name: Codes() for name, _ in columns.inputs}
        self.others = {name: Codes() for name, _ in columns.others}
        self.problems: list[str] = []
        self.count = 0  # of problems
        self.unlabelled: tuple[Unusable, ...] = ()
        self.notes: tuple[str, ...] = ()

    def take(self, listed: Listed) -> Iterator[str]:
        """Go through the table: give the image of each row, and keep the rest."""
        columns = self.columns
        singles = (columns.label, columns.labels, columns.split, columns.fold, columns.frame)
        wanted = [columns.image, *(at for at in singles if at is not None), *(at for _, at in columns.marks)]
        wanted += [at for _, at in (*columns.groups, *columns.kept, *columns.inputs, *columns.others)]
        order, where = sorted(set(wanted)), dict(columns.others)
        place = {at: position for position, at in enumerate(order)}
        for number, written in listed.cells.rows(order):
            row = tuple(map(read_inert, written))
            self.numbers.append(number)
            self._class(number, row, place)
            if columns.split is not None:
                self._split(number, row[place[columns.split]].strip())
            if columns.fold is not None:
                self.folds.append(self._number(number, "fold", row[place[columns.fold]]))
            if columns.frame is not None:
                self.frames.append(self._number(number, "frame", row[place[columns.frame]] or "0"))
            for name, at in columns.groups:
                self.groups[name].add(row[place[at]].strip())
            for name, at in columns.kept:
                self.kept[name].add(row[place[at]].strip())
            for name, at in columns.inputs:
                self.inputs[name].add(row[place[at]].strip())
            for name, codes in list(self.others.items()):
                codes.add(row[place[where[name]]].strip())
                if len(codes.numbers) > _MOST_DIFFERENT:
                    del self.others[name]
                    self.notes += (f"column {name!r} is not kept: more than {_MOST_DIFFERENT} different values",)
            image = spell(row[place[columns.image]])
            if not image:
                self._problem(number, "names no image")
            yield image
        for name, codes in self.others.items():
            codes.blank(listed.doubted.get(where[name], ()))
        ways = self._settle_missing()
        if self.count:
            more = f" and {self.count - _SHOWN} more" if self.count > _SHOWN else ""
            raise DataError(
                f"{self.file}: {format_count(self.count, 'row')} cannot be used: "
                f"{' | '.join(self.problems)}{more}; mend the table{ways}",
                code="table-rows",
                rows=self.count,
            )

    def _settle_missing(self) -> str:
        """Find rows without a label, and empty the cells of other columns that mean nothing; what may be done."""
        for name, codes in (*self.groups.items(), *self.kept.items(), *self.inputs.items()):
            if words := self._missing(codes, groups=name in {*self.groups, self.also}) - {""}:
                self.notes += (codes.empty(words, name),)
        if self.columns.marks:
            return ""
        missing = self._missing(self.labels)
        rows = np.flatnonzero(self.labels.find(missing)).tolist()
        if self.skip_bad or not rows:
            return ""
        texts = list(self.labels.numbers)
        none = f" ({NO_LABEL!r} says that there is none)" if self.columns.labels is not None else ""
        for row in rows[:_SHOWN]:
            text = texts[self.labels.codes[row]]
            self._problem(self.numbers[row], f"has {f'{text!r} for a label' if text else 'no label'}{none}")
        self.count += max(0, len(rows) - _SHOWN)
        gaps = sorted(missing - {""})
        keep = f" --no-keep-na, or take {brief(gaps)} for a class with --keep-na" if gaps else ""
        return f", leave rows without a label out with --skip-bad{keep}"

    def _missing(self, codes: Codes, *, groups: bool = False) -> set[str]:
        return {""} & codes.numbers.keys() if self.keep_na else find_missing(codes.numbers, groups=groups)

    def without_unlabelled(self, ids: Names) -> Names:
        """Leave out the rows without a label; `ids` are their images."""
        missing = set() if self.columns.marks else self._missing(self.labels)
        keep = ~self.labels.find(missing)
        if keep.all():
            return ids
        refuse_unlabelled(self.file, self.labels, missing, settled=self.keep_na is not None)
        words = f" ({brief(sorted(missing - {''}))})" if missing - {""} else ""
        lost = np.flatnonzero(~keep).tolist()
        self.unlabelled = tuple(Unusable(ids[row], f"row {self.numbers[row]} has no label") for row in lost)
        self.notes += (f"{count_with_verb(len(lost), 'row')} left out: no label{words}",)
        self.labels = self.labels.subset(keep)
        self.groups = {name: codes.subset(keep) for name, codes in self.groups.items()}
        self.kept = {name: codes.subset(keep) for name, codes in self.kept.items()}
        self.inputs = {name: codes.subset(keep) for name, codes in self.inputs.items()}
        self.others = {name: codes.subset(keep) for name, codes in self.others.items()}
        for name in ("numbers", "splits", "folds", "frames"):
            values = getattr(self, name)
            if values:
                setattr(self, name, array(values.typecode, np.asarray(values)[keep].tobytes()))
        return ids.subset(np.flatnonzero(keep))

    def refuse_double(self, ids: Names) -> None:
        """Refuse rows that list the same picture twice."""
        keys = np.fromiter((hash(self._picture(ids, i)) for i in range(len(ids))), np.int64, len(ids))
        order = np.argsort(keys, kind="stable")
        likely = np.flatnonzero(np.diff(keys[order]) == 0)
        double = [(a, b) for a, b in zip(order[likely].tolist(), order[likely + 1].tolist(), strict=True)
                  if self._picture(ids, a) == self._picture(ids, b)]  # fmt: skip
        self.refuse_pairs(ids, double)

    def refuse_pairs(self, ids: Names, double: Sequence[tuple[int, int]]) -> None:
        """Refuse rows, two by two, that list the same picture."""
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
            bits = [read_mark(row[place[at]]) or "" for _, at in columns.marks]
            if "" in bits:
                name, at = columns.marks[bits.index("")]
                found = f"{name!r} holds {row[place[at]]!r}, expected 0, 1, -1 (uncertain) or nothing"
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
        if not text.isprintable():
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
    kind, channels = one_form(entries.kinds, entries.channels, entries.ids, name, as_is=as_is)
    grouping = _group(rows, entries, targets[good])
    splits: dict[SplitName, NDArray[np.int64]] = {}
    if columns.split is not None:
        codes = np.asarray(rows.splits, np.int64)[good]
        splits = {split: np.flatnonzero(codes == code) for code, split in enumerate(SPLITS) if (codes == code).any()}
    unknown = columns.ignored  # by name: one of them may be a misspelt patient
    ignored = (f"{count_with_verb(len(unknown), 'column')} ignored: {brief(unknown)}",) if unknown else ()
    return Pool(
        name=name,
        labels=labels,
        ids=entries.ids,
        targets=targets[good],
        source=entries.source,
        digests=entries.digests,
        rows=splits,
        kind=kind,
        channels=channels,
        gray=entries.gray,
        largest_side=entries.largest_side,
        voi=entries.voi,
        paddings=entries.paddings,
        shows=entries.shows,
        notes=tuple(dict.fromkeys((*ignored, *rows.notes, *notes, *grouping.notes))),
        skipped=tuple(entries.bad.values()),
        groups=grouping.groups,
        grouping=grouping,
        folds=np.asarray(rows.folds, np.int64)[good] if columns.fold is not None else None,
        columns=dict(grouping.named) | {name: codes.values().subset(good) for name, codes in rows.kept.items()},
        inputs={name: codes.values().subset(good) for name, codes in rows.inputs.items()},
        others={name: codes.values().subset(good) for name, codes in rows.others.items()},
        unlabelled=rows.unlabelled,
        **say_columns(columns, grouping.chosen),
    )


def _targets(rows: _Rows) -> tuple[tuple[str, ...], NDArray[np.int64], tuple[str, ...]]:
    """Labels in natural order, (n,) classes or (n, K) zeros, ones and UNKNOWN, and notes."""
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
        sets = [{names[k] for k, bit in enumerate(text) if bit == YES} for text in texts]
        unsure = [{names[k] for k, bit in enumerate(text) if bit == UNSURE} for text in texts]
        if empty := int(np.bincount(codes) @ np.array([text.count(EMPTY) for text in texts])):
            notes = (f"{count_with_verb(empty, 'empty cell')} taken for 0 in columns of zeros and ones: not mentioned",)
        if columns.guessed:
            one = all(len(has) == 1 for has in sets) and not any(unsure)
            meant = "classes: exactly one is 1 in each row" if one else "labels, any number in each row"
            notes += (f"columns {brief(names)} hold zeros and ones and were taken for {meant}",)
            if one:
                labels = tuple(sorted(set.union(*sets), key=natural_key))
                return labels, np.array([labels.index(min(has)) for has in sets], np.int64)[codes], notes
    else:
        sets, notes = divide_labels(texts)
        unsure = [set() for _ in sets]
        names = list(set().union(*sets))
        check_count(len(names), rows.file, several=True)
    labels = tuple(sorted(names, key=natural_key))
    values = [
        [UNKNOWN if label in doubtful else label in has for label in labels]
        for has, doubtful in zip(sets, unsure, strict=True)
    ]
    return labels, np.array(values, np.int64)[codes], notes


def _group(rows: _Rows, entries: Entries, targets: NDArray[np.int64]) -> Grouping:
    """Groups of the images of `entries.good`, as the table and the files give them."""
    found = {name: codes.array()[entries.good] for name, codes in rows.groups.items()}
    for name, codes in rows.groups.items():
        found[name][found[name] == codes.numbers.get("", -1)] = -1

    def texts(name: str) -> Sequence[str]:
        return rows.groups[name].values().subset(entries.good)

    return group_images(targets, entries.hashes, found, texts, rows.group)
