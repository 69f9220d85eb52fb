"""Several columns of a table that name the channels of one image, as one column."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from zoo._support.cells import Cells, column_key
from zoo.data._sources.columns import Columns, position_of
from zoo.data._sources.places import spell
from zoo.readers import JOINT

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["join_columns", "joined_names", "name_parts"]


def joined_names(chosen: Mapping[str, str] | None, header: Sequence[str]) -> tuple[str, ...]:
    """The columns that the user joins to one image, 'dapi+gfp+rfp' or 'dapi|gfp|rfp'; none where it is one column."""
    text = (chosen or {}).get("image", "").strip()
    if text in header or not re.search(r"[+|]", text):
        return ()
    return tuple(name.strip() for name in text.split("|" if "|" in text else "+"))


def name_parts(columns: Columns, parts: tuple[str, ...]) -> Columns:
    """What columns mean, where `parts` make one image: none of them is ignored."""
    if not parts:
        return columns
    ignored = {name: why for name, why in columns.ignored.items() if column_key(name) not in map(column_key, parts)}
    return dataclasses.replace(columns, roles={**columns.roles, "image": parts}, ignored=ignored)


def join_columns(cells: Cells, file: str, chosen: Mapping[str, str] | None) -> Cells:
    """The table with one more column, whose cells join those that the user joins; as it is where there are none.

    Args:
        cells: header and rows.
        file: name of the table, for errors.
        chosen: what the user says, role to column.

    Raises:
        DataError: one of the columns is not there.
    """
    names = joined_names(chosen, cells.header)
    if not names:
        return cells
    places = [position_of(name, cells.header, file, "image") for name in names]
    width = len(cells.header)

    def rows(wanted: Sequence[int]) -> Iterator[tuple[int, tuple[str, ...]]]:
        order = sorted({*(at for at in wanted if at < width), *places})
        place = {at: position for position, at in enumerate(order)}
        for number, row in cells.rows(order):
            parts = [spell(row[place[at]]) for at in places]
            joined = JOINT.join(parts) if any(parts) else ""
            yield number, tuple(joined if at == width else row[place[at]] for at in wanted)

    return Cells((*cells.header, (chosen or {})["image"].strip()), rows)
