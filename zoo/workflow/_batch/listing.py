"""The listing of a batch: images, in their order, dealt into numbered parts. It is made once, and every call reads it.

Chunks of some megabytes hold a line for each image. An index says where in them the lines of each part are, so that
whoever answers a part reads no other. Memory stays flat but for the index, a hundred bytes a part.

What this module does not know: where images come from, what is answered.
"""

from __future__ import annotations

import hashlib
import json
import platform
from typing import TYPE_CHECKING

import msgspec

from zoo._urls import show_place
from zoo.errors import DataError, OutputError, ResumeError, UsageError
from zoo.spec import decode
from zoo.workflow._batch.sources import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zoo.store.place import Place

__all__ = [
    "INDEX",
    "Listing",
    "Part",
    "digest_names",
    "open_listing",
    "read_part",
    "refuse_unseen",
    "write_listing",
]

FOLDER = "_zoo/listing"
INDEX = f"{FOLDER}/index.json"
"""Written last: with it the listing is whole."""
_CHUNK = 8 * 2**20
"""Bytes after which a part ends its chunk."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Some images that lie side by side in the listing."""

    number: int
    chunk: int
    start: int
    end: int
    """Bytes of the chunk that hold its lines."""
    rows: int
    images: str
    """`digest_names` of its images."""
    tries: int = 0
    """Of earlier calls, see `Record.tries`."""

    @property
    def name(self) -> str:
        """Of its file, without suffix."""
        return f"part-{self.number:06d}"


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be answered."""

    schema: int = 1
    images: int
    parts: tuple[Part, ...]


def digest_names(names: Iterable[str]) -> str:
    """A sha256 of names in their order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def write_listing(place: Place, entries: Iterable[Entry], part_size: int, refuse_late: Callable[[], object]) -> Listing:
    """Deal entries into parts and write them.

    Args:
        place: where they are written.
        entries: images in their order.
        part_size: images in a part; the last one may be smaller.
        refuse_late: called before each write; it raises where another call has the batch.

    Raises:
        DataError: entries cannot be had, or a part lists an image twice with other columns.
        OutputError: the listing cannot be written, or another call has the batch.
    """
    parts: list[Part] = []
    chunk, number, held = bytearray(), 0, list[Entry]()

    def write(name: str, data: bytes) -> None:
        refuse_late()
        place.write(name, data)

    def close_part() -> None:
        start = len(chunk)
        _refuse_conflicts(held)
        for entry in held:
            chunk.extend(_spell(entry) + b"\n")
        names = digest_names(entry.image for entry in held)
        parts.append(Part(len(parts), number, start, len(chunk), len(held), names))
        held.clear()

    for entry in entries:
        held.append(entry)
        if len(held) == part_size:
            close_part()
            if len(chunk) >= _CHUNK:
                write(_chunk_name(number), bytes(chunk))
                chunk.clear()
                number += 1
    if held:
        close_part()
    if chunk:
        write(_chunk_name(number), bytes(chunk))
    listing = Listing(images=sum(part.rows for part in parts), parts=tuple(parts))
    write(INDEX, msgspec.json.encode(listing))
    return listing


def open_listing(place: Place) -> Listing | None:
    """The listing that is there; None: none, or one that was not finished.

    Raises:
        ResumeError: it is damaged.
        OutputError: it cannot be read; of a store DataError.
    """
    try:
        data = place.read(INDEX)
    except FileNotFoundError:
        return None
    return decode(data, Listing, show_place(place.file(INDEX)), ResumeError)


def read_part(place: Place, part: Part) -> list[Entry]:
    """The images of a part.

    Raises:
        ResumeError: the listing is damaged.
        UsageError: it is not there, such as on a node that has another disk.
        DataError: it cannot be read.
    """
    try:
        lines = place.read(_chunk_name(part.chunk), part.start, part.end).split(b"\n")[:-1]
        entries = [_read(line) for line in lines]
    except FileNotFoundError:
        raise refuse_unseen(place) from None
    except (ValueError, TypeError):
        entries = []
    except OutputError as problem:  # it costs this part alone
        raise DataError(str(problem), code="file-unreadable", path=str(place)) from None
    if digest_names(entry.image for entry in entries) != part.images:
        raise ResumeError(
            f"{place}: the listing of {part.name} is damaged; begin anew with --overwrite",
            code="resume-damaged",
            path=str(place),
            part=part.number,
        )
    return entries


def refuse_unseen(place: Place) -> UsageError:
    """The error of a node that does not see what the driver wrote."""
    return UsageError(
        f"{platform.node()} does not see the listing in {place}; expected a folder that all nodes share, with all "
        "that was written there; give --out on such storage, or begin anew with --overwrite",
        code="engine-storage",
        node=platform.node(),
        path=str(place),
    )


def _chunk_name(number: int) -> str:
    return f"{FOLDER}/{number:06d}.jsonl"


def _spell(entry: Entry) -> bytes:
    try:
        return msgspec.json.encode(entry)
    except UnicodeEncodeError:  # a file name that is not UTF-8
        return json.dumps(msgspec.to_builtins(entry)).encode()


def _read(line: bytes) -> Entry:
    try:
        return msgspec.json.decode(line, type=Entry)
    except msgspec.DecodeError:  # as above
        held = json.loads(line)
        return Entry(**held | ({"cells": tuple(held["cells"])} if "cells" in held else {}))


def _refuse_conflicts(entries: list[Entry]) -> None:
    """Two rows of one image with other columns could not be told apart in a part."""
    if not entries or entries[0].cells is None:
        return
    seen: dict[str, tuple[str | None, ...] | None] = {}
    for entry in entries:
        if seen.setdefault(entry.image, entry.cells) != entry.cells:
            raise DataError(
                f"{entry.image!r} is listed twice, with other columns; keep one row for each image",
                code="table-image-twice",
                image=entry.image,
            )
