"""Other tables in the folder of a table, and the patients or lesions that one of them names for the same images.

ISIC 2019 is published so: one table says what each image shows, another which lesion it shows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from zoo.data._sources.cells import form_of, open_cells
from zoo.data._sources.columns import NAMES, plain
from zoo.data._sources.places import spell
from zoo.data._sources.values import find_missing
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from zoo.data._sources.cells import Cells

__all__ = ["find_groups", "list_tables"]

_SUFFIXES = (".csv", ".tsv", ".parquet", ".tab", "")
_MOST = 20
"""Tables of one folder that are looked at."""
_WIDEST = 1000
"""Columns of a table that is looked at; one with more holds pixels or measurements."""
_NEARLY = 0.99
"""Share of the images that the other table must hold: one of another set has a few of the same names at most."""


def list_tables(folder: Path) -> Iterator[tuple[Path, Cells]]:
    """The tables of a folder that can be opened."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    for path in paths[:_MOST]:
        try:
            form = form_of(path)
            if form is not None and not path.name.startswith("."):
                cells = open_cells(path, form)
                if len(cells.header) <= _WIDEST:
                    yield path, cells
        except (DataError, OSError):
            continue


def find_groups(table: Path, image: str, sample: Sequence[str]) -> tuple[str, Callable[[str], str]] | None:
    """Groups of images that another table names, where this one names none.

    Args:
        table: the table of the images.
        image: name of its column of images, which the other must have too.
        sample: cells of that column, as `spell` gives them.

    Returns:
        How notes call the column, which is never by the name of a file, and the group of a cell, "" where there is
        none; None: no other table names groups.
    """
    for path, cells in list_tables(table.parent):
        if path.name == table.name or image not in cells.header:
            continue
        there = {plain(name): name for name in cells.header}
        group = next((there[name] for name in NAMES["group"] if name in there and there[name] != image), None)
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
