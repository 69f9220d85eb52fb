"""What the user named → its images, one after the other: folders, single files, tar shards, tables; by path or URL.

A URL's files are told by their suffixes, because a look at the first bytes of each would be a request each. Tar shards
in a folder are taken where it holds no images.

What this module does not know: parts, models, what is answered.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from zoo._support.cells import form_of, open_cells
from zoo._support.text import natural_key, read_inert
from zoo._urls import is_url, restore_secrets, show_place
from zoo.edge._beside import find_columns_of
from zoo.edge._stream import expand
from zoo.errors import DataError, ImageError
from zoo.readers._door import image_suffixes
from zoo.readers._foreign import find_suffix
from zoo.readers._walk import Walk, is_hidden
from zoo.store.place import read_bytes
from zoo.store.remote import asking, open_store
from zoo.tabular import missing_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zoo.readers._walk import PassedOver
    from zoo.spec import TableSpec

__all__ = ["Entry", "list_images", "size_of_source"]

_TABLES = (".csv", ".tsv", ".tab", ".parquet")
_BLOCK = 2**20
"""Bytes that are read at a time of a tar that is far away."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image that waits for its answer."""

    image: str
    """How its row names it."""
    at: str | None = None
    """Path or URL of its file, or of the tar that holds it, without the secrets of its source; None: `image` is it."""
    start: int | None = None
    size: int | None = None
    """Its bytes in the tar."""
    cells: tuple[str | None, ...] | None = None
    """What the model takes beside it, in the order of the manifest."""
    error: str | None = None
    """Why there is nothing to read."""
    source: int | None = None
    """Which of the sources that the user named has what opens the URL; None: it needs nothing of theirs."""


def list_images(
    sources: list[str], beside: TableSpec | None, passed: list[tuple[str, PassedOver]] | None = None
) -> Iterator[Entry]:
    """Every image of the sources, in their order; memory stays flat but for the names of one directory.

    Args:
        sources: paths and URLs as the user gave them.
        beside: columns that the model takes beside an image, which only a table has; None: none.
        passed: gets each folder of this machine that was walked, and what was met in it beside images.

    Raises:
        DataError: a source cannot be listed, or the only one holds no image.
    """
    for number, source in enumerate(sources):
        empty = True
        for entry in _list_source(source, beside, passed):
            empty = False
            yield _without_secrets(entry, number, source)
        if empty:
            problem = DataError(
                f"{show_place(source)}: holds no image; expected images, tar shards, or a table of their paths",
                code="data-empty",
                folder=show_place(source),
            )
            if len(sources) == 1:
                raise problem
            yield Entry(show_place(source), error=str(problem))


def _without_secrets(entry: Entry, number: int, source: str) -> Entry:
    """The entry as it may be written down: what opens it is given again by each call, but for what a table says."""
    if entry.at is None or not is_url(source):
        return entry
    shown = show_place(entry.at)
    if shown == entry.at or restore_secrets(shown, source) != entry.at:
        return entry
    return msgspec.structs.replace(entry, at=None if shown == entry.image else shown, source=number)


def size_of_source(source: str) -> int | None:
    """Bytes of a tar or table, by which a resumed call sees a change; None: of anything else, or not known."""
    if not _lower(source).endswith((*_TABLES, ".tar")) or _is_pattern(source):
        return None
    if is_url(source):
        with contextlib.suppress(Exception):
            system, path, _ = open_store(source, shared=True)
            return int(system.info(path)["size"])
        return None
    return Path(source).stat().st_size if Path(source).is_file() else None


def _list_source(source: str, beside: TableSpec | None, passed: list[tuple[str, PassedOver]] | None) -> Iterator[Entry]:
    lower = _lower(source)
    if lower.endswith(_TABLES) and (is_url(source) or Path(source).is_file()):
        yield from _list_table(source, beside)
        return
    if beside is not None:
        raise missing_columns(beside, beside.names)
    if lower.endswith(".tar") and not _is_pattern(source):
        yield from _list_tars([source])
    elif is_url(source):
        yield from _list_url(source)
    else:
        yield from _list_here(source, passed)


def _lower(source: str) -> str:
    """What ends with the suffix, which a web address may have before a query, such as a signature."""
    return (source.partition("?")[0] if source.lower().startswith("http") else source).lower()


def _list_here(source: str, passed: list[tuple[str, PassedOver]] | None) -> Iterator[Entry]:
    """A file or a folder of this machine, as `zoo predict` walks it."""
    some = False
    try:
        for name, found in expand(source, passed):
            some = True
            yield Entry(name, error=found.reason) if isinstance(found, ImageError) else Entry(name)
    except DataError as problem:
        if problem.code != "data-empty":  # which `list_images` says
            raise
    if not some:
        tars = Walk(source).files((".tar",))
        yield from _list_tars(os.path.join(source, tar) for tar in tars)  # noqa: PTH118 - '.' stays as the user gave it


def _list_url(url: str) -> Iterator[Entry]:
    system, path, _ = open_store(url, shared=True)
    asked = url.partition("?")[2] if url.startswith("http") else ""
    with _reading(url):
        if _is_pattern(url):
            found = [system.unstrip_protocol(one) for one in sorted(system.glob(path), key=natural_key)]
            known: dict[str, Any] = {}
            for one in found:
                if _is_tar(one):
                    yield from _list_tars([one], known)
                elif _is_image(one):
                    yield Entry(show_place(one), one)
        elif _is_image(path.partition("?")[0]) or (asked and system.isfile(path)):
            yield Entry(show_place(url), url)
        else:
            yield from _list_folder(system, path)


def _is_pattern(source: str) -> bool:
    """Whether a URL is a pattern for several; a '?' is, but not in https://, where it begins a query."""
    return is_url(source) and any(mark in source for mark in ("*[" if source.startswith("http") else "*?["))


def _list_folder(system: Any, root: str) -> Iterator[Entry]:
    """Images below a folder that is far, a directory at a time; without any, its tars."""
    tars, some = list[str](), False
    for folder, inside, files in system.walk(root, on_error="raise"):
        inside[:] = sorted((name for name in inside if not is_hidden(name)), key=natural_key)
        for name in sorted((name for name in files if not is_hidden(name)), key=natural_key):
            place = system.unstrip_protocol(f"{folder}/{name}")
            if _is_image(name):
                some = True
                yield Entry(show_place(place), place)
            elif _is_tar(name):
                tars.append(place)
    if not some:
        yield from _list_tars(tars)


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar")


def _is_image(name: str) -> bool:
    return find_suffix(name) in image_suffixes()


def _list_tars(tars: Iterable[str], known: dict[str, Any] | None = None) -> Iterator[Entry]:
    """Images of tars, by the index that `zoo data shard` wrote beside them, or by all their headers.

    Args:
        tars: paths or URLs.
        known: gets the index of each folder, which is read once; None: of these tars alone.

    Raises:
        DataError: a tar or its index cannot be used, or one is not of the size that its index says.
    """
    import numpy as np

    from zoo.data._sources.shard_index import INDEX, open_listing, open_set
    from zoo.data._sources.shard_set import check_size

    known = {} if known is None else known
    for tar in tars:
        place, query, rest = tar.partition("?") if is_url(tar) else (tar, "", "")
        folder, _, name = place.replace(os.sep, "/").rpartition("/")
        beside = partial(_read_beside, f"{folder}/" if folder else "", query + rest)
        if folder not in known:
            data = beside(INDEX)
            known[folder] = None if data is None else open_set(data, show_place(f"{folder}/{INDEX}"))
        listed = known[folder]
        shard = next((one for one in listed.shards if one.name == name), None) if listed is not None else None
        data = None if shard is None else beside(shard.listed)
        if shard is None or data is None:
            yield from _list_members(tar)
            continue
        shown = show_place(tar)
        if (size := _size_of(tar)) is not None:
            check_size(show_place(folder), name, size, shard.size)
        found = open_listing(data, shard, show_place(folder))
        places = (np.frombuffer(one, "<i8").tolist() for one in (found.offsets, found.sizes))
        for image, start, size in zip(found.ids, *places, strict=True):
            yield Entry(f"{shown}/{image}", tar, start, size)


def _size_of(tar: str) -> int | None:
    """Bytes of a tar; None: the server does not say."""
    with _reading(tar):
        if not is_url(tar):
            return Path(tar).stat().st_size
        system, path, _ = open_store(tar, shared=True)
        size = system.info(path)["size"]
        return None if size is None else int(size)


def _read_beside(folder: str, query: str, name: str) -> bytes | None:
    """A file beside a tar; None: there is none, or whoever may read the tar may not read it."""
    try:
        return read_bytes(f"{folder}{name}{query}")
    except OSError:
        return None
    except DataError as problem:
        if problem.code not in {"remote-missing", "remote-denied"}:
            raise
        return None


def _list_members(tar: str) -> Iterator[Entry]:
    """Members of a tar that are images by their suffixes; nothing is unpacked, no image is read."""
    from zoo.data._sources.tar_headers import members

    shown = show_place(tar)
    try:
        with _reading(tar), _open(tar) as stream:
            for member in members(stream):
                name = member.name.removeprefix("./")
                if member.regular and _is_image(name) and not any(map(is_hidden, name.split("/"))):
                    yield Entry(f"{shown}/{name}", tar, member.offset, member.size)
            at = stream.tell()
            if at == 0 or stream.read(1) not in (b"", b"\0"):
                raise DataError(
                    f"{shown}: not a tar, a compressed one, or damaged at byte {at}; restore or unpack it",
                    code="shard-damaged",
                    offset=at,
                )
    except tarfile.TarError as problem:
        raise DataError(f"{shown}: cannot be read as a tar ({problem}); restore it", code="shard-damaged") from None


def _list_table(table: str, beside: TableSpec | None) -> Iterator[Entry]:
    """Images that a table lists; a path in it is relative to the table's own folder."""
    shown, home = show_place(table), table.partition("?")[0].rpartition("/")[0]
    with contextlib.ExitStack() as stack:
        place = Path(table)
        if is_url(table):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="zoo-"))
            place = Path(folder, table.partition("?")[0].rpartition("/")[2])
            system, path, _ = open_store(table, shared=True)
            with _reading(table):
                system.get_file(path, str(place))
        with _reading(table):
            form = form_of(place)
        if form is None:
            raise DataError(f"{shown}: not a table; expected CSV, TSV or Parquet", code="data-format", path=shown)
        cells = open_cells(place, form)
        image, others = find_columns_of(shown, cells.header, beside)
        for number, (cell, *values) in cells.rows([image, *others]):
            at = read_inert(cell).strip()
            if not at:
                raise DataError(f"{shown}: row {number} names no image; mend it", code="table-rows", row=number)
            if not is_url(at):
                at = f"{home}/{at}" if is_url(table) else os.path.join(place.parent, at.replace("\\", "/"))  # noqa: PTH118 - as written
            held = tuple(read_inert(value).strip() for value in values) if beside is not None else None
            name = show_place(at)
            yield Entry(name, None if name == at else at, cells=held)


def _open(where: str) -> Any:
    if not is_url(where):
        return Path(where).open("rb", buffering=1 << 18)
    system, path, _ = open_store(where, shared=True)
    stream: IO[bytes] = system.open(path, "rb", block_size=_BLOCK)
    return stream


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    """Errors of a disk or of a store's client in this block become errors of ours.

    Raises:
        DataError: there is nothing, or it cannot be read.
    """
    if is_url(where):
        with asking(where):
            try:
                yield
            except FileNotFoundError as problem:  # fsspec says so of every refusal of a web server
                raise (problem.__cause__ if where.startswith("http") and problem.__cause__ else problem) from None
        return
    try:
        yield
    except OSError as problem:
        reason = (problem.strerror or type(problem).__name__).lower()
        missing = isinstance(problem, FileNotFoundError)
        raise DataError(
            f"{where}: {'no such file' if missing else f'cannot be read ({reason})'}; check the path and its rights",
            code="file-missing" if missing else "file-unreadable",
            path=where,
        ) from None
