"""Which reader a place is for: a named set, an address, shards, arrays, a folder or a table."""

from __future__ import annotations

import dataclasses
import difflib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from zoo._support.text import brief, is_utf8
from zoo._urls import is_url
from zoo.data._advice import Advice, advise_by_name
from zoo.data._sources.beside import FOLDERS, find_table, note_left_out, suggest_table
from zoo.data._sources.digits import index_digits
from zoo.data._sources.folder import index_folder
from zoo.data._sources.hdf5 import index_hdf5, is_hdf5
from zoo.data._sources.npz import index_npz
from zoo.data._sources.remote import bring, bring_listed
from zoo.data._sources.shard_set import index_remote, index_set
from zoo.data._sources.shards import index_shards, is_sharded
from zoo.data._sources.table import index_table, is_table
from zoo.errors import DataError
from zoo.store import sets
from zoo.store.remote import survey

if TYPE_CHECKING:
    from zoo.data._index import Pool
    from zoo.spec import Reading

__all__ = ["find_named", "index_source"]

_SPREADSHEETS = frozenset({".xlsx", ".xlsm", ".xls", ".ods"})
_NO_CLASSES = frozenset({"folder-without-classes", "folder-parts", "folder-splits", "class-empty"})
"""Codes of folders whose images a table near them may list."""


def index_source(source: str | Path, *, skip_bad: bool, as_is: bool, verify: bool, reading: Reading) -> Pool:
    """By the reader of its layout; arguments as `zoo.data._named.index`."""
    if source == "":  # a variable of the shell that is not set; a path of no parts would be the working directory
        raise DataError("'' names no data; name a set, a folder or a table", code="data-missing", source="")
    path, pool = Path(source), None
    if is_url(source):
        listing = survey(str(source))
        pool = None if listing is None else index_remote(str(source), listing, reading)
        path = path if pool else bring(str(source), listing, verify=verify)
    pool = pool or _index_place(source, path, skip_bad=skip_bad, as_is=as_is, reading=reading)
    return pool if pool.advice else dataclasses.replace(pool, advice=advise_by_name(pool.name, path))


def _index_place(source: str | Path, path: Path, *, skip_bad: bool, as_is: bool, reading: Reading) -> Pool:
    try:
        if known := find_named(source):
            return _index_named(known, path, skip_bad=skip_bad, as_is=as_is)
        if not is_utf8(str(path.absolute())):
            raise DataError(
                f"{path.name!a}: a name in the path of the data is not UTF-8; rename it", code="file-name", files=1
            )
        if (found := index_set(path, reading)) is not None:
            return found
        if is_sharded(path):
            return index_shards(path, skip_bad=skip_bad, as_is=as_is)
        if is_hdf5(path):
            return index_hdf5(path)
        if path.is_dir():
            return _index_directory(path, skip_bad=skip_bad, as_is=as_is, reading=reading)
        if path.is_file():
            if path.suffix.lower() == ".npz":
                return index_npz(path)
            if is_table(path):
                path = bring_listed(path) or path
                return index_table(path, skip_bad=skip_bad, as_is=as_is, reading=reading)
            raise _no_data(path)
        raise DataError(_not_found(str(source)), code="data-missing", source=str(source))
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise DataError(
            f"{path.name}: cannot be read ({reason.lower()}); check the path and its rights",
            code="file-unreadable",
            path=str(path),
            cause=reason.lower(),
        ) from None


def _index_directory(path: Path, *, skip_bad: bool, as_is: bool, reading: Reading) -> Pool:
    """The table that a folder holds, where its rows name its images; else its class folders."""
    columns, frames = reading.get("columns"), reading.get("frames") or "one"
    if columns == FOLDERS:
        pool = index_folder(path, skip_bad=skip_bad, as_is=as_is, sure=True, frames=frames)
        return dataclasses.replace(pool, roles=FOLDERS)
    beside = find_table(path, columns)
    if beside.table is not None:
        pool = index_table(beside.table, skip_bad=skip_bad, as_is=as_is, reading=reading, places=beside.places)
        return dataclasses.replace(pool, notes=(*beside.notes, *note_left_out(beside, pool), *pool.notes))
    try:
        pool = index_folder(path, skip_bad=skip_bad, as_is=as_is, frames=frames)
    except DataError as problem:
        if problem.code not in _NO_CLASSES or not (way := suggest_table(path)):
            raise
        raise DataError(f"{problem}{way}", code=problem.code, **problem.fields) from None
    if len(pool.labels) == 1 and (way := suggest_table(path)):
        raise DataError(
            f"{pool.name}: one class folder only ({pool.labels[0]!r}){way}",
            code="folder-without-classes",
            folder=pool.labels[0],
        )
    return dataclasses.replace(pool, notes=(*beside.notes, *pool.notes))


def find_named(source: str | Path) -> sets.Variant | None:
    """The set that `source` is the name of, here or not; a folder of the same name is meant by './NAME'.

    Raises:
        DataError: a size that the set is not published at.
    """
    if not isinstance(source, str) or is_url(source):
        return None
    try:
        return sets.lookup(source)
    except DataError:
        if Path(source).exists():
            return None
        raise


def _index_named(known: sets.Variant, path: Path, *, skip_bad: bool, as_is: bool) -> Pool:
    """The pool of a named set under its own name, with the catalogue's class names and the licence as a note."""
    about = known.about
    if about.format == "embedded":
        pool = index_digits()
    else:
        try:
            stored = sets.resolve(known)
        except DataError as problem:
            if path.exists():
                raise DataError(
                    f"{problem}; what lies here under that name is given as {shlex.quote(f'./{path}')}",
                    code=problem.code,
                    **problem.fields,
                ) from None
            raise
        if about.format == "zip":
            pool = index_folder(stored, skip_bad=skip_bad, as_is=as_is)
        else:
            pool = dataclasses.replace(index_npz(stored), labels=about.labels)
    licence = f"data licence: {about.licence}{', non-commercial' if about.non_commercial else ''}"
    advice = (Advice(about.train, about.because),) if about.train else ()
    return dataclasses.replace(pool, name=known.name, notes=(licence, *pool.notes), advice=advice)


def _not_found(source: str) -> str:
    """The line for a name that is nothing: where was looked, and the nearest names that are something."""
    path = Path(source)
    there = next(folder for folder in (*path.parents, Path()) if folder.is_dir())
    beside = [entry.name for entry in there.iterdir() if not entry.name.startswith(".")]
    wanted = path.parts[len(there.parts)] if there != path and path.parts else path.name
    nearest = [str(there / name) for name in difflib.get_close_matches(wanted, beside, n=2)]
    if path.name == source:
        nearest += difflib.get_close_matches(source, sets.catalogue(), n=1, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(name) for name in nearest)}?" if nearest else ""
    hint = hint or f"expected a path or {brief(sets.catalogue(), most=3)}"
    return f"no data set, folder or file {source!r}, looked in {shlex.quote(str(there.resolve()))}; {hint}"


def _no_data(path: Path) -> DataError:
    """The error of a file that is none of the forms."""
    if path.suffix.lower() in _SPREADSHEETS:
        what = "a spreadsheet, expected a table; save its sheet as CSV (UTF-8)"
    else:
        names = brief(sets.catalogue(), most=3)
        what = f"not a data set; expected a folder, an .npz file or {names}, or a table (.csv, .tsv, .parquet)"
    return DataError(f"{path.name}: {what}", code="data-format", path=str(path))
