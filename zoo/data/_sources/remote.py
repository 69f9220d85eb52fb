"""Data at an address, brought here: a folder whole, a table with the images that it names.

A table may name its images by paths from its own place, or by addresses. What this module does not know: how an object
is fetched and checked, see `zoo.store.remote`.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from zoo._support.cells import form_of, open_cells
from zoo._support.files import atomic_write
from zoo._urls import HERE, is_url, show_url
from zoo.readers import JOINT
from zoo.store import remote

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["bring", "bring_listed", "find_base"]

_TABLES = (".csv", ".tsv", ".tab", ".parquet")
_ROWS = 20
"""Rows of a table that are looked at to see whether it names images by addresses."""
_GLANCE = 1 << 16
"""Bytes of a table that are looked at first."""
_WORD = re.compile(r"[|;,'\"\[\]]+")
"""What divides the names in a cell."""
_ADDED = re.compile(r"[?#]")
"""Before a signature, or the place of an image in an archive."""


def bring(url: str, listing: remote.Listing | None = None, *, verify: bool = False) -> Path:
    """The data at an address, here.

    Args:
        url: address of a folder, a table, an archive, or a shard.
        listing: objects at the address, where they were listed already.
        verify: hash what is here already.

    Raises:
        As `zoo.store.remote.fetch_tree`.
    """
    if not _is_table(url) or url.startswith(HERE):
        return remote.fetch_tree(url, listing=listing, verify=verify)
    table = remote.fetch_tree(url, listing=listing, verify=verify)
    if _has_addresses(table):
        return table
    named = _names_in(table)

    def choose(keys: Iterable[str]) -> list[str]:
        return [key for key in keys if _is_named(key, named) or key == table.name]

    return remote.fetch_tree(f"{remote.parent_url(url)}/", choose=choose, about=table.name, verify=verify) / table.name


def find_base(url: str) -> str:
    """The address that images of the data at an address are named from: that of the folder."""
    return remote.parent_url(url) if _is_table(url) else show_url(url).rstrip("/")


def bring_listed(table: Path) -> Path | None:
    """A table whose cells are addresses, again, with paths to the files that were brought; None for any other table."""
    if not table.is_file() or not _has_addresses(table):
        return None
    form = form_of(table)
    if form is None:
        return None
    cells = open_cells(table, form)
    every = range(len(cells.header))
    named = remote.name_listed(
        part.partition("#")[0] for _, row in cells.rows(every) for cell in row for part in _addresses(cell)
    )
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(cells.header)
    for _, row in cells.rows(every):
        writer.writerow([_named(cell, named) for cell in row])
    folder = remote.fetch_listed(named, str(table.resolve()))
    again = folder / f"{table.stem}.csv"
    if not again.is_file() or again.read_text("utf-8") != stream.getvalue():
        atomic_write(again, stream.getvalue())
    return again


def _is_table(url: str) -> bool:
    return remote.last_part(url).lower().endswith(_TABLES)


def _addresses(cell: str) -> list[str]:
    return [part for part in cell.strip().split(JOINT) if is_url(part)]


def _named(cell: str, names: dict[str, str]) -> str:
    """A cell with the name here of each address in it, and what follows its # kept."""
    parts = cell.strip().split(JOINT)
    if not any(map(is_url, parts)):
        return cell
    split = (part.partition("#") for part in parts)
    return JOINT.join(names.get(url, url) + mark + place for url, mark, place in split)


def _has_addresses(table: Path) -> bool:
    """Whether one of the first rows names an address in a cell of its own."""
    form = form_of(table)
    if form is None or (form == "text" and not _mentions_address(table)):
        return False
    cells = open_cells(table, form)
    for at, (_, row) in enumerate(cells.rows(range(len(cells.header)))):
        if any(_addresses(cell) and posixpath.splitext(_ADDED.split(cell.strip())[0])[1] for cell in row):
            return True
        if at >= _ROWS:
            return False
    return False


def _mentions_address(table: Path) -> bool:
    """Whether the first bytes hold what every address holds: a glance, for tables of very many columns."""
    with table.open("rb") as stream:
        return b"://" in stream.read(_GLANCE).replace(b"\0", b"")  # in UTF-16 every other byte is null


def _names_in(table: Path) -> set[str]:
    """The last parts of all cells, with and without suffix: what a row may call its image, or its folder."""
    form = form_of(table)
    found: set[str] = set()
    if form is None:
        return found
    cells = open_cells(table, form)
    for _, row in cells.rows(range(len(cells.header))):
        for cell in row:
            for part in _WORD.split(cell):
                name = posixpath.basename(normalize("NFC", part).strip().replace("\\", "/").partition("#")[0])
                found.update((name, posixpath.splitext(name)[0]))
    return found - {""}


def _is_named(key: str, named: set[str]) -> bool:
    """Whether a table may mean this object: by its name, its stem or a folder; or it is a table beside the first."""
    *folders, name = normalize("NFC", key).split("/")
    stem = posixpath.splitext(name)[0]
    beside = not folders and name.lower().endswith(_TABLES)
    return beside or name in named or stem in named or any(one in named or one[1:] in named for one in folders)
