"""Tables beside images: a folder whose images a table lists is that table; where that is not clear it is refused."""

from __future__ import annotations

import itertools
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import brief, count_with_verb, format_count, quote_path
from zoo.data._index import Files
from zoo.data._several import Several, Stacked
from zoo.data._sources.columns import columns_of
from zoo.data._sources.folder import ALIASES, are_parts
from zoo.data._sources.listed import Match, find_image, take_sample
from zoo.data._sources.neighbours import list_spreadsheets, list_tables
from zoo.data._sources.places import Places, spell
from zoo.data._sources.stacked import join_columns
from zoo.data._sources.values import YES, read_mark
from zoo.errors import DataError
from zoo.readers import JOINT
from zoo.readers._walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from zoo._support.cells import Cells
    from zoo.data._index import Pool, Source
    from zoo.data._sources.columns import Columns

__all__ = ["FOLDERS", "Beside", "find_table", "note_left_out", "suggest_table"]

FOLDERS = {"label": "folder"}
"""What --columns says of a folder whose class folders are its classes, whatever they are called or lie beside them."""

_SAMPLE = 200
_MOSTLY = 0.5
"""Share of the rows of a table that must lead to images of the folder, or say what the folders of images say; and
share of the images that rows must name."""
_LOOKED_AT = 4
"""Subfolders in which an overlooked table may lie."""
_ENOUGH = 8
"""Images of a sample from which on folders with one or two of them each are patients, not classes."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies in a folder beside its images.

    Attributes:
        table: the one table that lists them; None: the folders are the classes.
        places: where the images are.
        notes: decisions, in plain words.
    """

    table: Path | None
    places: Places
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Claim:
    """A table that names images of the folder.

    Attributes:
        path: the table.
        cells: its header and rows.
        label: the columns that say what an image shows; none where that is unclear.
        problem: why it is not clear that the folder is this table; "": it is.
        unsaid: no column says what images show.
        classes: the folders may be classes.
    """

    path: Path
    cells: Cells
    label: tuple[int, ...] = ()
    problem: str = ""
    unsaid: bool = False
    classes: bool = False


def find_table(folder: Path, chosen: Mapping[str, str] | None = None) -> Beside:
    """Find the table whose rows name the images of a folder.

    Nothing below the top of the folder is looked at where no table lies there.

    Args:
        folder: what the user named.
        chosen: what the user says of columns, role to column.

    Raises:
        DataError: several tables list its images, or one does that does not fit; the line names the ways out.
    """
    places = Places(folder.resolve())
    claims: list[_Claim] = []
    notes: list[str] = []
    for path, found in list_tables(folder):
        try:
            cells = join_columns(found, path.name, chosen)
        except DataError:  # another table has the columns
            continue
        claim = _assess(path, cells, places, chosen or {})
        if isinstance(claim, str):
            notes.append(claim)
        elif claim is not None:
            claims.append(claim)
    claims = _without_constant(claims)
    clear = [claim for claim in claims if not claim.problem]
    if len(clear) == 1:
        return Beside(clear[0].path, places, ("a table in the folder names its images: the table was taken",))
    if claims:
        raise _unclear(folder, clear or claims)
    return Beside(None, places, tuple(notes))


def suggest_table(folder: Path) -> str:
    """The end of a refusal: a table above a folder, or in its subfolders, whose rows name its images; "": none."""
    here = folder.resolve()
    places = Places(here)
    inside = [here / name for name in Walk(str(here)).folders("")[:_LOOKED_AT]]
    for near in (here.parent, *inside):
        for path, cells in list_tables(near):
            image = _match(path, cells, places if near == here.parent else Places(near), {})
            if isinstance(image, Match) and image.share >= _MOSTLY and image.prefix is None:
                typed = folder / path.relative_to(here) if near != here.parent else folder.parent / path.name
                if typed.parent.resolve() != near:  # '.' has no parent by name
                    typed = path
                return f"; did you mean --data {quote_path(typed)}, whose rows name images of it?"
    if sheets := list_spreadsheets(here):
        return f"; {sheets[0]} is a spreadsheet: save its sheet as CSV (UTF-8), then it can be the table"
    return ""


def note_left_out(beside: Beside, pool: Pool) -> tuple[str, ...]:
    """A note on the images of the folder that no row of its table names.

    Args:
        beside: from `find_table`.
        pool: images that rows name; the files in its source count, because the id of one may end in the number of a
            picture.
    """
    unused = (part for one in (*pool.skipped, *pool.unlabelled) for part in one.name.split(JOINT))
    files = itertools.chain(_list_files(pool.source), unused)
    named = np.unique(np.fromiter((hash(posixpath.normpath(one)) for one in files), np.int64))
    there = np.fromiter(map(hash, beside.places.names), np.int64)
    left = int((~np.isin(there, named)).sum())
    return (f"{count_with_verb(left, 'image')} left out: no row of the table names them",) if left else ()


def _list_files(source: Source) -> Iterator[str]:
    if isinstance(source, Files):
        yield from source.ids
    elif isinstance(source, Several | Stacked):
        for part in source.parts:
            yield from _list_files(part)


def _match(path: Path, cells: Cells, places: Places, chosen: Mapping[str, str]) -> Match | DataError | None:
    """How rows lead to images; an error where several columns lead to different ones; None: none does."""
    try:
        sample = take_sample(cells, _SAMPLE)
        image = find_image(path.name, cells, sample, places, chosen.get("image"))
    except DataError as problem:
        return problem if problem.code == "table-columns" and "tried" in problem.fields else None
    return image if image.found else None


def _assess(path: Path, cells: Cells, places: Places, chosen: Mapping[str, str]) -> _Claim | str | None:
    """Whether a table is what the folder is: a claim; a note, where class folders say the same; None: it is not."""
    image = _match(path, cells, places, chosen)
    if isinstance(image, DataError):
        return _Claim(path, cells, problem=_reason(image))
    if image is None:
        return None
    sample = take_sample(cells, _SAMPLE)
    folders = [_folders_of(row, image, places) for row in sample]
    outer = [next((part for part in parts if part.casefold() not in ALIASES), "") for parts in folders if parts]
    if image.prefix is not None and any(row[image.column].strip() in outer for row in sample):
        return None  # it lists the classes themselves
    classes = _may_be_classes(outer)
    try:
        columns = columns_of(cells.header, path.name, image.column, cells.rows, chosen=chosen)
    except DataError as problem:
        if classes or len(set(outer)) < 2:  # one folder: what is in it may be classes
            return None
        return _Claim(path, cells, problem=_reason(problem), unsaid=True)
    if not chosen and _say_the_same(sample, folders, columns, classes=classes):
        return _note_groups(cells, columns)
    misfit = _find_misfit(cells, image, places, len(sample))
    if misfit == _OTHER:
        return None
    if not misfit and classes and columns.guessed:
        misfit = f"columns {brief(name for name, _ in columns.marks)} may be labels, and its folders may be classes"
    single = columns.label if columns.label is not None else columns.labels
    label = tuple(at for _, at in columns.marks) if single is None else (single,)
    return _Claim(path, cells, label, misfit, classes=classes)


def _folders_of(row: Sequence[str], image: Match, places: Places) -> list[str]:
    """The folders of the image that a row names, the outermost first; none where it names none."""
    text = spell(row[image.column])
    if image.prefix is not None:
        found = places.images_in(image.prefix + text)
    else:
        found = places.find(text, max(image.dropped, 0)) or ([text] if places.has_as_written(text) else [])
    return found[0].split("/")[:-1] or [""] if found else []


def _may_be_classes(outer: Sequence[str]) -> bool:
    """Whether the outermost folders of some images may be classes: not one, nor parts of one, nor one for each."""
    different = set(outer)
    one_each = len(outer) >= _ENOUGH and len(different) > len(outer) / 2
    return len(different) > 1 and not one_each and not are_parts(sorted(different))


def _say_the_same(
    sample: Sequence[Sequence[str]], folders: Sequence[Sequence[str]], columns: Columns, *, classes: bool
) -> bool:
    """Whether folders say what the rows say: by the same words, or, where they may be classes, a label in each."""
    label = columns.label if columns.label is not None else columns.labels
    named = 0
    pairs = set()
    for row, parts in zip(sample, folders, strict=True):
        inside = [part.casefold() for part in parts]
        if label is not None:
            said = row[label].strip().casefold()
        else:
            said = "|".join(name.casefold() for name, at in columns.marks if read_mark(row[at]) == YES)
        named += bool({*inside} & {*said.split("|")})
        pairs.add((said, next((part for part in inside if part not in ALIASES), "")))
    labels, outer = {said for said, _ in pairs}, {part for _, part in pairs}
    apart = len(labels) > 1 and len(outer) > 1 and len(pairs) == len(labels)  # each label lies in one folder
    return (apart and classes) or named >= _MOSTLY * len(sample)


_OTHER = "another set"


def _find_misfit(cells: Cells, image: Match, places: Places, sampled: int) -> str:
    """Why a table does not fit the folder; "": it does; `_OTHER`: it is about other images."""
    rows = sum(1 for _ in cells.rows([image.column]))
    images = {part for path in image.images for part in path.split(JOINT)}
    tops = {path.partition("/")[0] for path in images}
    there = sum(path.partition("/")[0] in tops for path in places.names)
    likely = min(round(rows * len(images) / max(sampled, 1)), there)
    covered = not there or likely >= _MOSTLY * there
    if image.share < _MOSTLY:
        return f"{1 - image.share:.0%} of its rows name none that is here" if covered else _OTHER
    return "" if covered else f"only about {likely} of {format_count(there, 'image')}"


def _note_groups(cells: Cells, columns: Columns) -> str | None:
    """A note, without the name of a file, where class folders are taken and a table of the same classes has groups."""
    if not columns.groups:
        return None
    names = brief(cells.header[at] for _, at in columns.groups)
    return f"a table in the folder names the same classes, and groups ({names}) that folders do not; it was not taken"


def _without_constant(claims: list[_Claim]) -> list[_Claim]:
    """Leave out a table that says one thing of all its rows, as a form for answers does, beside one that says more."""
    if len(claims) < 2:
        return claims
    telling = [claim for claim in claims if not claim.label or _says_more_than_one(claim)]
    return telling if any(claim.label for claim in telling) else claims


def _says_more_than_one(claim: _Claim) -> bool:
    first = None
    for _, row in claim.cells.rows(claim.label):
        first = first or row
        if row != first:
            return True
    return False


def _reason(problem: DataError) -> str:
    """Why a table that names images is not clear."""
    role, columns = problem.fields.get("role"), problem.fields.get("columns")
    if columns:
        return f"columns {brief(columns)} could each be its {role}"
    if column := problem.fields.get("column"):
        return f"it has no column {column!r}"
    return "no column says what they show"


def _unclear(folder: Path, claims: Sequence[_Claim]) -> DataError:
    name = folder.resolve().name or "folder"
    first = claims[0]
    what = " or ".join(f"--data {quote_path(folder / claim.path.name)}" for claim in claims[:3])
    if len(claims) > 1:
        found = f"{len(claims)} tables list its images ({brief((claim.path.name for claim in claims), 3)})"
    else:
        found = f"the table {first.path.name!r} names its images, but {first.problem}"
    if first.unsaid:
        what += " --columns label=COLUMN"
    elif first.problem and not first.label:
        what += " --columns image=COLUMN"
    if any(claim.classes for claim in claims):
        what += f", or --data {quote_path(folder)} --columns label=folder where its folders are the classes"
    return DataError(
        f"{name}: {found}; say which is meant: {what}",
        code="folder-tables",
        tables=[claim.path.name for claim in claims],
    )
