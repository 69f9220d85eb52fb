"""Other tables in the folder of a table, and the patients or lesions that one of them names for the same images.

ISIC 2019 is published so: one table says what each image shows, another which lesion it shows.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from zoo._support.cells import column_key, form_of, open_cells
from zoo.data._sources.places import spell
from zoo.data._sources.values import find_missing
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from zoo._support.cells import Cells

__all__ = ["find_groups", "list_spreadsheets", "list_tables"]

_SUFFIXES = (".csv", ".tsv", ".parquet", ".tab", "")
_SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
_MOST = 20
"""Tables of one folder that are looked at."""
_WIDEST = 1000
"""Columns of a table that is looked at; one with more holds pixels or measurements."""
_NEARLY = 0.99
"""Share of the images that the other table must hold: one of another set has a few of the same names at most."""


def list_tables(folder: Path) -> Iterator[tuple[Path, Cells]]:
    """The tables of a folder that can be opened; files that are called so come before files without a suffix."""
    names = sorted(_files(folder, _SUFFIXES), key=lambda name: ("." not in name, name))
    for path in (folder / name for name in names[:_MOST]):
        try:
            form = form_of(path)
            if form is not None:
                cells = open_cells(path, form)
                if len(cells.header) <= _WIDEST:
                    yield path, cells
        except (DataError, OSError):
            continue


def list_spreadsheets(folder: Path) -> list[str]:
    """Names of the spreadsheets of a folder, which are not read."""
    return sorted(_files(folder, _SHEETS))


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Names of the visible files of a folder with one of the suffixes; a folder may hold a million others."""
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in suffixes  # noqa: PTH122 - once for every file
            and not entry.name.startswith(".")
            and _is_file(entry)
        ]


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def find_groups(
    table: Path, image: str, sample: Sequence[str], names: Sequence[str]
) -> tuple[str, Callable[[str], str]] | None:
    """Groups of images that another table names, where this one names none.

    Args:
        table: the table of the images.
        image: name of its column of images, which the other must have too.
        sample: cells of that column, as `spell` gives them.
        names: what the column of groups may be called, as in `NAMES`.

    Returns:
        How notes call the column, which is never by the name of a file, and the group of a cell, "" where there is
        none; None: no other table names groups.
    """
    for path, cells in list_tables(table.parent):
        if path.name == table.name or image not in cells.header:
            continue
        there = {column_key(name): name for name in cells.header}
        group = next((there[name] for name in names if name in there and there[name] != image), None)
        if group is None:
            continue
        try:
            rows = cells.rows([cells.header.index(image), cells.header.index(group)])
            groups = {spell(key): value.strip() for _, (key, value) in rows}
        except DataError:
            continue
        if len({*groups.values()} - find_missing(groups.values())) < 2:
            continue
        if sample and sum(cell in groups for cell in sample) >= _NEARLY * len(sample):
            return f"{group} (of another table in the folder)", partial(_look_up, groups)
    return None


def _look_up(groups: Mapping[str, str], cell: str) -> str:
    return groups.get(cell, "")
