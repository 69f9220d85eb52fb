"""Columns beside the image at a device: cells to what the graph takes, and a table of them as a file.

What this module does not know: ONNX Runtime, command lines, what the columns mean to the network.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo._support.cells import IMAGE_COLUMNS, column_key, form_of, open_cells
from zoo._support.files import sha256_file
from zoo._support.text import brief, read_inert
from zoo.errors import DataError, UsageError
from zoo.readers._walk import Walk
from zoo.tabular import check_cells, missing_columns, note_unusual, parse_cells

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zoo.spec import Manifest, TableSpec

__all__ = [
    "Beside",
    "Cells",
    "FindRow",
    "TableRows",
    "find_columns",
    "find_columns_of",
    "is_table",
    "numbers_of",
    "refuse_unasked",
]

log = logging.getLogger("zoo")

Row = Mapping[str, Any]
"""One image's columns, by name: text, a number, or None where there is nothing."""

FindRow = Callable[[str], Row]
"""From an image's name, as answers have it, to its columns. Raises DataError where it has none."""

Cells = Mapping[str, Sequence[Any]] | NDArray[Any]
"""Columns of several images: by name, a cell for each image; or (N, C) numbers as `zoo.tabular.parse_cells` gives."""


def refuse_unasked(manifest: Manifest, given: object) -> None:
    """Refuse columns for a model that takes none, and a model that takes some without them.

    Raises:
        UsageError: the model sees the image alone.
        DataError: columns are wanted and not given.
    """
    table = manifest.table
    if table is None and given is not None:
        raise UsageError(
            f"{manifest.name} sees the image alone, columns beside it were given; leave them out",
            code="inputs-unwanted",
            model=manifest.name,
        )
    if table is not None and given is None:
        raise missing_columns(table, table.names)


def numbers_of(manifest: Manifest, columns: Cells | None, images: int) -> NDArray[np.float32] | None:
    """(images, C) as the graph takes them; None: it takes none; raises as `refuse_unasked` and `parse_cells`."""
    refuse_unasked(manifest, columns)
    table = manifest.table
    if table is None or columns is None:
        return None
    if isinstance(columns, np.ndarray):
        return check_cells(table, columns, images)
    return parse_cells(table, columns, images)


class Beside:
    """The columns of the images of one call, taken name by name.

    Args:
        table: what the model takes; None: nothing.
        find: where the columns of an image are.
    """

    def __init__(self, table: TableSpec | None, find: FindRow | None) -> None:
        self._table, self._find = table, find
        self._seen: list[NDArray[np.float32]] = []

    def take(self, names: Sequence[str]) -> tuple[NDArray[np.float32] | None, dict[int, str]]:
        """(N, C) numbers as the graph takes them, and why some images have none: position to reason."""
        if self._table is None or self._find is None:
            return None, {}
        found, wrong = np.zeros((len(names), len(self._table.columns)), np.float32), {}
        for at, name in enumerate(names):
            try:
                row = self._find(name)
                found[at] = parse_cells(self._table, {key: [cell] for key, cell in row.items()}, 1)[0]
            except DataError as problem:
                wrong[at] = str(problem)
            except LookupError:  # of a dictionary
                wrong[at] = "no columns were given for it, and the model takes some beside the image"
        self._seen.append(np.delete(found, list(wrong), axis=0))
        return found, wrong

    def say(self) -> None:
        """Tell of values, over all images, that the model does not know."""
        if self._table is not None and self._seen:
            for note in note_unusual(self._table, np.concatenate(self._seen)):
                log.warning("%s", note)


def is_table(place: str) -> bool:
    """Whether a path names a table of images and no image."""
    return place.lower().endswith((".csv", ".tsv", ".parquet")) and Path(place).is_file()


def find_columns_of(shown: str, header: Sequence[str], table: TableSpec | None) -> tuple[int, list[int]]:
    """Where a table has its images, and what the model takes beside them.

    Args:
        shown: how errors name the table.
        header: names of its columns.
        table: what the model takes; None: nothing.

    Raises:
        DataError: no column is of images, or one that the model takes is missing.
    """
    places = {column_key(name): at for at, name in reversed(list(enumerate(header)))}
    exact = {name: at for at, name in enumerate(header)}
    image = next((places[name] for name in IMAGE_COLUMNS if name in places), None)
    if image is None:
        raise DataError(
            f"{shown}: has no column of images; call it {brief(IMAGE_COLUMNS, 3)}",
            code="table-column-missing",
            role="image",
        )
    where = {} if table is None else {one: exact.get(one, places.get(column_key(one))) for one in table.names}
    if table is not None and (lost := [name for name, at in where.items() if at is None]):
        raise missing_columns(table, lost)
    return image, [at for at in where.values() if at is not None]


class TableRows:
    """A table with a column of images, as the columns of each: CSV, TSV or Parquet.

    An image is found by its place, which the table gives from its own folder or whole; or by its file name where the
    table gives names without a folder and no two images of the call have the same.

    Attributes:
        path: the table.
        images: places of the images, in the order of its rows.
        sha256: of the file.
    """

    def __init__(self, path: Path, table: TableSpec) -> None:
        try:
            form = form_of(path)
            if form is None:
                raise DataError(
                    f"{path}: not a table; expected CSV, TSV or Parquet", code="data-format", path=str(path)
                )
            cells = open_cells(path, form)
            image, others = find_columns_of(str(path), cells.header, table)
            home = os.path.realpath(path.parent)
            self.path = path
            self.images: list[str] = []
            self._rows: dict[str, Row] = {}
            self._by_name: dict[str, Row | None] = {}
            for number, written in cells.rows([image, *others]):
                cell, *values = (read_inert(one).strip() for one in written)
                self._add(number, cell.replace("\\", "/"), dict(zip(table.names, values, strict=True)), home)
            self.sha256 = sha256_file(path)
        except OSError as problem:
            raise DataError(
                f"{path}: cannot be read ({(problem.strerror or str(problem)).lower()}); check the path and its rights",
                code="file-unreadable",
                path=str(path),
            ) from None
        if not self.images:
            raise DataError(f"{path}: lists no image, expected a row for each", code="data-empty", path=str(path))

    def _add(self, number: int, cell: str, row: Row, home: str) -> None:
        if not cell:
            raise DataError(f"{self.path}: row {number} names no image; mend it", code="table-rows", row=number)
        place = os.path.normpath(os.path.join(home, cell))  # noqa: PTH118 - an absolute cell stays as it is
        if self._rows.get(place, row) != row:
            raise DataError(
                f"{self.path}: row {number} lists {cell!r} again, with other columns; keep one row for each image",
                code="table-image-twice",
                row=number,
            )
        if place not in self._rows:
            self.images.append(os.path.join(self.path.parent, cell))  # noqa: PTH118 - as the user wrote it
        self._rows[place] = row
        if "/" not in cell:
            self._by_name[cell] = row

    def expect(self, sources: Iterable[str]) -> None:
        """Find out which file names the images of a call share, so that none of them gets the row of another."""
        counts: Counter[str] = Counter()
        for source in sources:
            if not os.path.isdir(source):  # noqa: PTH112 - as zoo.edge._stream asks
                counts[os.path.basename(source)] += 1  # noqa: PTH119 - as above
                continue
            walk = Walk(source)
            counts.update(os.path.basename(str(found)) for found in walk.images())  # noqa: PTH119 - as above
        for name, count in counts.items():
            if count > 1 and name in self._by_name:
                self._by_name[name] = None

    def __call__(self, name: str) -> Row:
        """The columns of an image.

        Raises:
            DataError: the table has no row for it, or two images could be the one that a row means.
        """
        home, base = os.path.split(name)
        here = os.path.join(os.path.realpath(home), base)  # noqa: PTH118 - the image itself may be a link
        row = self._rows.get(here) or self._rows.get(os.path.realpath(name))
        if row is None:
            if base in self._by_name and self._by_name[base] is None:
                raise DataError(
                    f"several images are called {base!r} and {self.path.name} names them without a folder; write their "
                    "places into it",
                    code="inputs-row-unclear",
                    table=self.path.name,
                )
            row = self._by_name.get(base)
        if row is None:
            raise DataError(
                f"{self.path.name} has no row for it, and the model takes columns beside the image; add one",
                code="inputs-row-missing",
                table=self.path.name,
            )
        return row


def find_columns(manifest: Manifest, images: list[str], table: Path | None) -> tuple[list[str], TableRows | None]:
    """The images, and the table of their columns, which may be given instead of them.

    Args:
        manifest: what the model says of itself.
        images: places of images; or one table, where `table` is None and the model takes columns.
        table: table of the columns.

    Raises:
        UsageError: there is a table, and the model sees the image alone.
        DataError: there is none, and the model takes columns.
    """
    wanted = manifest.table
    instead = wanted is not None and table is None and len(images) == 1 and is_table(images[0])
    place = Path(images[0]) if instead else table
    refuse_unasked(manifest, place)
    if wanted is None or place is None:
        return images, None
    rows = TableRows(place, wanted)
    if instead:
        return rows.images, rows
    rows.expect(images)
    return images, rows
