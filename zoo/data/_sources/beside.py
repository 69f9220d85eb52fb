"""Tables that are overlooked, beside images whose labels they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.data._sources.columns import columns_of
from zoo.data._sources.folder import ALIASES
from zoo.data._sources.listed import find_image, take_sample
from zoo.data._sources.neighbours import list_tables
from zoo.data._sources.places import Places, spell
from zoo.data._sources.values import YES, read_mark
from zoo.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data._sources.cells import Cells

__all__ = ["refuse_folder_of_table"]

_SAMPLE = 200
_MOSTLY = 0.5
"""Share of the rows of a table that must lead to images of the folder, or say what the folders of images say."""


def refuse_folder_of_table(folder: Path) -> None:
    """Refuse a folder whose images are divided by a table in it and not by its subfolders.

    Raises:
        DataError: names the tables.
    """
    places = Places(folder.resolve())
    tables = [path.name for path, cells in list_tables(folder) if _divides(path, cells, places)]
    if tables:
        name = folder.resolve().name
        meant = " or ".join(f"'{folder / table}'" for table in tables[:3])
        raise DataError(
            f"{name}: its images are listed by a table, and no folder is a class; did you mean --data {meant}?",
            code="folder-without-classes",
            tables=tables,
        )


def _divides(path: Path, cells: Cells, places: Places) -> bool:
    """Whether a table says what images below its folder show, and their folders do not."""
    try:
        sample = take_sample(cells, _SAMPLE)
        image = find_image(path.name, cells, sample, places, None)
        if image.prefix is not None or image.share < _MOSTLY:
            return False
        columns = columns_of(cells.header, path.name, image.column, cells.rows)
    except DataError:
        return False
    label = columns.label if columns.label is not None else columns.labels
    named = 0
    pairs = set()
    for row in sample:
        text = spell(row[image.column])
        folders = [part.casefold() for part in (places.find(text, max(image.dropped, 0)) or [text])[0].split("/")[:-1]]
        if label is not None:
            said = row[label].strip().casefold()
        else:
            said = "|".join(name.casefold() for name, at in columns.marks if read_mark(row[at]) == YES)
        named += bool({*folders} & {*said.split("|")})
        pairs.add((said, next((part for part in folders if part not in ALIASES), "")))
    labels, parts = {said for said, _ in pairs}, {part for _, part in pairs}
    apart = len(labels) > 1 and len(parts) > 1 and len(pairs) == len(labels)  # each label lies in one folder
    return not apart and named < _MOSTLY * len(sample)
