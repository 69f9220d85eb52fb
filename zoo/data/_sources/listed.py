"""The rows of a published table, each with the path of its image: which column names it, and what its names mean.

A table whose first rows hold paths as they are is read as it is. For others the folder is walked once. A cell may hold
a path of another machine, a file name, a stem, or the name of a folder with the images of one study.
"""

from __future__ import annotations

import dataclasses
import itertools
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zoo._support.cells import Cells, column_key
from zoo._support.text import brief, format_count
from zoo.data._sources.columns import NAMES, Columns, check_roles, columns_of, position_of
from zoo.data._sources.group_columns import PATIENTS
from zoo.data._sources.neighbours import find_groups
from zoo.data._sources.places import Places, spell
from zoo.data._sources.repeats import Repeats
from zoo.data._sources.stacked import join_columns, joined_names, name_parts
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from zoo.spec import Reading

__all__ = ["Listed", "Match", "find_image", "list_images", "take_sample"]

_SAMPLE = 300
"""Rows at the beginning of a table that are looked at to find the column of images."""
_STRIDE = 97
"""Where none of them leads to a file, every so-many-th row is looked at: the images may be a part of the published."""
_LEAST = 0.5
"""Another column is as good where it finds so large a share of what the best one finds."""
_SHOWN = 5  # problems named in one error

_OTHER_ROLES = frozenset(name for role, names in NAMES.items() if role != "group" for name in names)
"""Names of columns that are not looked at when no column has a name of images: the class 'a' may be a folder's name."""

_PREFIXES = ("", "s", "p")
"""What folders of studies and patients put before the number that a table has (MIMIC-CXR: s50414267)."""

_PATIENT_FOLDER = re.compile(r"(?:patient|subject|case)[ _-]?\w*\d\w*", re.IGNORECASE)
"""A folder of one patient, such as patient00001 of CheXpert."""
_EYE = re.compile(r"(.+?)[ _-](?:left|right)", re.IGNORECASE)
"""The stem of a picture of one of two eyes, as EyePACS has them."""
_BOXES = frozenset({"x", "xmin", "x_min", "bbox"})
"""Columns of boxes: where a table has them, an image has a row for each of its boxes."""


@dataclass(slots=True)
class Listed:
    """A table that can be read once, and what its columns mean.

    Attributes:
        columns: what they mean; positions are those of `cells`.
        cells: the rows, with the paths of their images.
        notes: decisions, in plain words; complete when the rows were read.
        doubted: of a column without a meaning, the rows, counted from 0, of whose images rows that were left out say
            something else; complete when the rows were read.
    """

    columns: Columns
    cells: Cells
    notes: list[str] = field(default_factory=list)
    doubted: dict[int, set[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """How the cells of one column lead to images.

    Attributes:
        column: its position.
        rows: cells of the sample that are not blank.
        found: how many of them lead to an image.
        images: the images they lead to.
        dropped: first folders of each cell that are not of this machine; -1: the cells are paths as they are.
        prefix: cells name folders, which put this before the name; None: they name files.
    """

    column: int
    rows: int
    found: int
    images: frozenset[str]
    dropped: int = 0
    prefix: str | None = None

    @property
    def share(self) -> float:
        """Share of the rows that lead to an image."""
        return self.found / max(self.rows, 1)


def list_images(
    table: Path,
    cells: Cells,
    reading: Reading,
    *,
    places: Places | None = None,
) -> Listed:
    """Find out what the columns mean, and where the images are.

    Args:
        table: its folder is where images are looked for.
        cells: its header and rows.
        reading: what the user says of columns.
        places: images below the table's folder, where they were walked already.

    Raises:
        DataError: as `columns_of` and `find_image`.
        UsageError: a role that is none.
    """
    chosen, also, inputs = reading.get("columns"), reading.get("group"), reading.get("inputs") or ()
    check_roles(chosen or {})
    cells = join_columns(cells, table.name, chosen)
    places = places or Places(table.resolve().parent)
    if first := next((name for name in cells.header if "." in name and places.has_as_written(spell(name))), None):
        raise DataError(
            f"{table.name}: its first row names an image, {first!r}, not columns; put the row image,label before it",
            code="table-columns",
            role="image",
            columns=[first],
        )
    sample = take_sample(cells, _SAMPLE)
    image = find_image(table.name, cells, sample, places, (chosen or {}).get("image"))
    columns = columns_of(cells.header, table.name, image.column, cells.rows, chosen=chosen, also=also, inputs=inputs)
    columns = name_parts(columns, joined_names(chosen, cells.header[:-1]))
    named = column_key(cells.header[image.column]) in NAMES["image"]
    several = image.prefix is not None or not named or not _BOXES.isdisjoint(map(str.lower, columns.ignored))
    known = {column_key(group) for group, _ in columns.groups} & {*NAMES["group"]}
    patient = None if known & {"group", *PATIENTS} else _find_patient(table, cells.header, sample, image, known)
    if image.dropped < 0 and not several and patient is None:
        return Listed(columns, cells)
    home = ""
    if image.dropped >= 0 and image.prefix is None:
        rows = itertools.chain(sample, take_sample(cells, 10 * _SAMPLE, _SAMPLE, _STRIDE))
        home = places.find_home((spell(row[image.column]) for row in rows), image.dropped, table.stem)
    return _Search(table.name, cells, columns, image, places, home, patient, once=several).listed()


def take_sample(cells: Cells, count: int, start: int = 0, step: int = 1) -> list[tuple[str, ...]]:
    """Up to `count` rows, whole; a column that holds neither text nor numbers is blank in them."""

    def take(columns: Sequence[int]) -> list[tuple[str, ...]]:
        rows = itertools.islice(cells.rows(columns), start, None, step)
        return [row for _, row in itertools.islice(rows, count)]

    try:
        return take(range(len(cells.header)))
    except DataError as problem:
        if problem.code != "table-cell":
            raise
    columns = []
    for at in range(len(cells.header)):
        try:
            columns.append([row[0] for row in take([at])])
        except DataError as problem:
            if problem.code != "table-cell":
                raise
            columns.append([])
    return list(itertools.zip_longest(*columns, fillvalue=""))


def find_image(file: str, cells: Cells, sample: Sequence[tuple[str, ...]], places: Places, chosen: str | None) -> Match:
    """The column that names the images, and how.

    Raises:
        DataError: none does, or several do and lead to different images.
    """
    header = cells.header
    if chosen is not None:
        at = position_of(chosen, header, file, "image")
        found = _match_as_written(at, sample, places) or _match(at, sample, places)
        return found if found.found else next(_match_folders(at, sample, places), found)
    where = {column_key(name): at for at, name in reversed(list(enumerate(header))) if name}
    known = [where[name] for name in NAMES["image"] if name in where]
    for at in known:
        if match := _match_as_written(at, sample, places):
            return match
    others = [at for at, name in enumerate(header) if name and column_key(name) not in _OTHER_ROLES]
    best = _best(file, header, known, sample, places) or _best(file, header, others, sample, places)
    if len(sample) == _SAMPLE and (best is None or best.dropped):
        sample = [*sample, *take_sample(cells, 10 * _SAMPLE, _SAMPLE, _STRIDE)]
        best = _best(file, header, known, sample, places) or _best(file, header, others, sample, places)
    if best is not None:
        return best
    if len(known) > 1 and "image" not in where:
        raise DataError(
            f"{file}: columns {brief(header[at] for at in known)} could each be the image, and none of their cells "
            "names a file below the table's folder; name one with --columns image=COLUMN",
            code="table-columns",
            role="image",
            columns=[header[at] for at in known],
        )
    if known:
        return Match(known[0], len(sample), 0, frozenset(), -1)
    folders = [match for at in others for match in _match_folders(at, sample, places)]
    if folders:
        return max(folders, key=lambda match: (match.found, len(set(_cells_of(match.column, sample)))))
    raise DataError(
        f"{file}: no column names the image; tried {brief((header[at] for at in others), 12)}, and no cell of theirs "
        "names an image below the table's folder; put the images there, or name the column with --columns image=COLUMN",
        code="table-column-missing",
        role="image",
        tried={header[at]: 0.0 for at in others},
    )


def _best(
    file: str, header: Sequence[str], columns: Sequence[int], sample: Sequence[tuple[str, ...]], places: Places
) -> Match | None:
    """The column whose cells lead to most images; None: no cell leads to one.

    Raises:
        DataError: several do, and to different images.
    """
    found = [match for at in columns if (match := _match(at, sample, places)).found]
    if not found:
        return None
    best = max(found, key=lambda match: (len(match.images), match.found, -columns.index(match.column)))
    plainly = column_key(header[best.column]) == "image"
    rivals = [
        match for match in found
        if match is not best and match.found >= _LEAST * best.found
        and len(match.images) >= _LEAST * len(best.images) and match.images != best.images
    ]  # fmt: skip
    if rivals and not plainly:
        shares = {header[match.column]: round(match.share, 3) for match in (best, *rivals)}
        said = ", ".join(f"{name!r} ({share:.0%} of the rows)" for name, share in shares.items())
        raise DataError(
            f"{file}: columns {said} name different images; name one with --columns image=COLUMN",
            code="table-columns",
            role="image",
            columns=list(shares),
            tried=shares,
        )
    return best


def _cells_of(at: int, sample: Sequence[tuple[str, ...]]) -> list[str]:
    return [cell for row in sample if (cell := spell(row[at]))]


def _match_as_written(at: int, sample: Sequence[tuple[str, ...]], places: Places) -> Match | None:
    """A match without a walk, where every cell is the path of a file."""
    texts = _cells_of(at, sample)
    if texts and all(map(places.has_as_written, texts)):
        return Match(at, len(texts), len(texts), frozenset(texts), -1)
    return None


def _match(at: int, sample: Sequence[tuple[str, ...]], places: Places) -> Match:
    """As few folders as possible are dropped, the same for all rows: 'a/0.png' never becomes 'b/0.png'."""
    texts = _cells_of(at, sample)
    deepest = max((text.count("/") for text in texts), default=0)
    for dropped in range(deepest + 1):
        images: set[str] = set()
        count = 0
        for text in texts:
            if found := places.find(text, dropped) or ([text] if places.has_as_written(text) else []):
                count += 1
                images.update(found)
        if count:
            return Match(at, len(texts), count, frozenset(images), dropped)
    return Match(at, len(texts), 0, frozenset())


def _match_folders(at: int, sample: Sequence[tuple[str, ...]], places: Places) -> Iterator[Match]:
    texts = _cells_of(at, sample)
    for prefix in _PREFIXES:
        found = [images for text in texts if (images := places.images_in(prefix + text))]
        if found and len(found) >= _LEAST * len(texts) and len(set(texts)) >= _LEAST * len(texts):
            yield Match(at, len(texts), len(found), frozenset(itertools.chain(*found)), prefix=prefix)


def _find_patient(
    table: Path, header: Sequence[str], sample: Sequence[tuple[str, ...]], image: Match, known: set[str]
) -> tuple[str, Callable[[str], str]] | None:
    """Where every path, or another table, says the patient: how, and that of a cell; `known`: groups of this table."""
    texts, column = _cells_of(image.column, sample), header[image.column]
    for what, patient in ((f"{column} (folders)", _patient_folder), (f"{column} (left and right)", _patient_of_eyes)):
        if texts and all(map(patient, texts)) and len(set(map(patient, texts))) > 1:
            return what, patient
    return find_groups(table, column, texts, [name for name in NAMES["group"] if name in PATIENTS or not known])


def _patient_folder(path: str) -> str:
    return next((part for part in path.split("/")[:-1] if _PATIENT_FOLDER.fullmatch(part)), "")


def _patient_of_eyes(path: str) -> str:
    match = _EYE.fullmatch(posixpath.basename(path).partition(".")[0])
    return match[1] if match else ""


@dataclass(slots=True)
class _Search:
    """Rows of a table with two more cells: the path of the image, and its patient where paths or another table say it.

    Attributes:
        file: name of the table, for errors.
        cells: the table as it is.
        columns: what its columns mean.
        image: how they lead to images.
        places: where images are.
        home: the folder whose images are meant where others have the same names; "": none.
        patient: what says the patient, and the patient of a cell.
        once: rows that say the same of one image are one.
        notes, doubted: as in `Listed`.
    """

    file: str
    cells: Cells
    columns: Columns
    image: Match
    places: Places
    home: str
    patient: tuple[str, Callable[[str], str]] | None
    once: bool
    notes: list[str] = field(default_factory=list)
    doubted: dict[int, set[int]] = field(default_factory=dict)

    def listed(self) -> Listed:
        """The table with its two more cells; they lie behind the last column."""
        width, name = len(self.cells.header), self.cells.header[self.image.column]
        columns = dataclasses.replace(self.columns, image=width)
        if self.patient is not None:
            columns = dataclasses.replace(columns, groups=((self.patient[0], width + 1), *columns.groups))
            self.notes.append(f"groups were found in column {self.patient[0]}")
        if isinstance(parts := columns.roles["image"], tuple):
            self.notes.append(f"columns {', '.join(parts)} are the channels of each image, in this order")
        elif column_key(name) not in NAMES["image"]:
            what = "files" if self.image.prefix is None else "folders of files"
            self.notes.append(f"column {name!r} was taken for the image: its cells name {what}")
        if self.image.dropped > 0:
            what = "folder" if self.image.dropped == 1 else f"{self.image.dropped} folders"
            self.notes.append(f"the first {what} of each path is not here; the images were found without it")
        if self.home:
            self.notes.append(f"images were taken from folder {self.home!r}: others have the same names")
        return Listed(columns, Cells(self.cells.header, self.rows), self.notes, self.doubted)

    def rows(self, wanted: Sequence[int]) -> Iterator[tuple[int, tuple[str, ...]]]:
        """As `Cells.rows`."""
        width = len(self.cells.header)
        order = sorted({*(at for at in wanted if at < width), self.image.column})
        place = {at: position for position, at in enumerate(order)}
        silent = {at for _, at in self.columns.others} - {at for _, at in self.columns.inputs}
        repeats = Repeats([k for k, at in enumerate(wanted) if at in silent])
        more = unclear = copies = 0
        shown: list[str] = []
        for number, row in self.cells.rows(order):
            cell = spell(row[place[self.image.column]])
            patient = self.patient[1](cell) if self.patient is not None else ""
            found = self._find(cell)
            if self.image.prefix is not None:
                more += len(found) - 1
            elif len(found) > 1 and self.places.are_copies(found):
                copies += 1
                found = found[:1]
            elif len(found) > 1:
                unclear += 1
                shown += [f"row {number}: {cell} may be {brief(found, 2)}"] if unclear <= _SHOWN else []
                found = [cell]
            for path in found:
                said = tuple(row[place[at]] if at < width else patient if at > width else path for at in wanted)
                if not (self.once and repeats.holds(path, said)):
                    yield number, said
        if copies:
            self.notes.append(
                f"{format_count(copies, 'image')} lie in several folders, byte for byte the same: the first was taken"
            )
        self._finish(more, unclear, shown)
        self.notes += repeats.notes([self.cells.header[at] if at < width else "" for at in wanted])
        self.doubted.update({wanted[k]: rows for k, rows in repeats.differing.items()})

    def _find(self, cell: str) -> list[str]:
        """Paths of the images that a cell means; the cell itself where there is none, which is refused later."""
        if self.image.prefix is not None:
            return self.places.images_in(self.image.prefix + cell) or [cell]
        found = [] if self.image.dropped < 0 else self.places.find(cell, self.image.dropped)
        at_home = [path for path in found if path.startswith(f"{self.home}/")] if self.home else []
        return at_home or found or [cell]

    def _finish(self, more: int, unclear: int, shown: Sequence[str]) -> None:
        if unclear:
            rest = f" and {unclear - _SHOWN} more" if unclear > _SHOWN else ""
            raise DataError(
                f"{self.file}: {format_count(unclear, 'row')} may mean several images: {' | '.join(shown)}{rest}; "
                "write folder and suffix into the table, or move the other images away",
                code="table-rows",
                rows=unclear,
            )
        if more:
            self.notes.append(f"rows name folders with several images: {format_count(more, 'image')} more than rows")
