"""What a batch's place says of it: what it was begun with, which parts are done, and at the end that all are.

A part counts when a record of this batch is there and names a file of the size that is there. The file is put in place
before its record, both whole or not at all, so a kill at any moment leaves a part that counts or one that is answered
again. The names of both tell the batch and the content. So whoever writes late, such as an actor of a driver that was
killed, cannot change a part that counts.

What this module does not know: images, models, who answers the parts.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import TYPE_CHECKING

import msgspec

from zoo._support.files import hold_lock, remove_leftovers
from zoo._urls import show_place
from zoo.errors import DataError, OutputError, ResumeError
from zoo.spec import decode, encode
from zoo.workflow._batch.listing import FOLDER, INDEX, Listing, refuse_unseen
from zoo.workflow._batch.part import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zoo.store.place import Place

__all__ = [
    "BEGINNINGS",
    "BatchManifest",
    "Begun",
    "NamedSource",
    "begin",
    "finish",
    "keep",
    "lock",
    "move_home",
    "name_start",
    "read_done",
    "read_finished",
    "refuse_late",
    "take_over",
    "taking_over",
]

PART_SIZE = 1000
"""Small enough that a kill costs little, large enough that a hundred million images are a hundred thousand files."""
_OWN = "_zoo"
BEGINNINGS = f"{_OWN}/begun"
"""Folder of how often parts were begun in this call."""
_BEGUN = f"{_OWN}/begun.json"
_DONE = f"{_OWN}/done"
"""Folder of the records."""
_START = f"{_OWN}/start"
"""Name of the call that answers now: whoever was told of another one writes no more."""
_MANIFEST = "manifest.json"
_PART_FILE = re.compile(r"part-\d{6,}-[0-9a-f]+\.(parquet|csv)")
_UNSEEN = {"schema", "batch", "home", "name"}
"""Fields of `Begun` that may differ when a batch is resumed."""


class NamedSource(msgspec.Struct, frozen=True):
    """A source as it was given, without what may open it; of a tar or table its size."""

    source: str
    bytes: int | None


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the content of a batch."""

    schema: int = 1
    batch: str = ""
    """A random name, by which a late worker of a batch that was replaced is told; "": of an earlier version."""
    version: str
    """Of this tool."""
    name: str
    model: str
    """sha256 of the ONNX file."""
    form: str
    columns: tuple[str, ...]
    provider: str
    frame: int | None
    part_size: int
    """Images in a part; 0: nobody asked for a number, so the one that is there holds, or `PART_SIZE`."""
    sources: tuple[NamedSource, ...]
    home: str
    """Folder that relative paths begin at."""


class BatchManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What proves a finished batch: every image of the listing has one row, in this part, of this model."""

    schema: int = 1
    images: int
    failed: int
    begun: Begun
    parts: tuple[Record, ...]


@contextlib.contextmanager
def lock(place: Place) -> Iterator[None]:
    """Keep a second driver out of a folder of this machine; where nothing was begun, nothing of ours is left.

    Object storage has no locks. There the first of two drivers ends when the second one starts, see `refuse_late`.
    """
    if place.folder is None:
        yield
        return

    def refuse() -> OutputError:
        return OutputError(
            f"cannot write {place}: another process is at it; wait for it", code="output-busy", path=str(place)
        )

    own, made = place.folder / _OWN, not place.folder.exists()
    with hold_lock(own / "lock", refuse=refuse, lenient=True):
        try:
            yield
        finally:
            if not (place.folder / _BEGUN).exists():
                with contextlib.suppress(OSError):  # other files are there
                    (own / "lock").unlink(missing_ok=True)
                    own.rmdir()
                    if made:
                        place.folder.rmdir()


@contextlib.contextmanager
def taking_over(place: Place, start: str) -> Iterator[None]:
    """Take the batch over for the block, which lists the images; where it fails, remove what was begun.

    Nothing is removed where another call has the batch or ended it, or where the place does not say who has it.

    Raises:
        OutputError: the place cannot be written.
    """
    taken = False
    try:
        take_over(place, start)
        taken = True
        yield
    except Exception:
        try:
            ours = place.read(_START) == start.encode()
        except FileNotFoundError:
            ours = not taken
        except (OutputError, DataError):  # nobody knows
            ours = False
        if ours:
            place.remove([_START, FOLDER, _BEGUN])
        raise


def begin(place: Place, wanted: Begun, *, resume: bool, overwrite: bool) -> Begun:
    """Begin a batch, or continue the one that is there.

    Raises:
        OutputError: other files are there, or a finished batch that is not to be replaced.
        ResumeError: an unfinished batch is there and `resume` was not asked for, or it was begun with something else.
    """
    names = place.names()
    if resume and (held := _read(place)) is not None:
        _compare(place, held, wanted)
        return held
    if _BEGUN.removeprefix(f"{_OWN}/") not in place.sizes(_OWN):
        if names - {_OWN}:
            raise OutputError(
                f"{place} holds other files, expected a new or empty folder; choose another place",
                code="out-occupied",
                path=str(place),
            )
    elif overwrite:
        # in this order: what is left is unfinished
        place.remove([_START, _MANIFEST, *_name_parts(place.sizes()), _DONE, BEGINNINGS, FOLDER, _BEGUN])
    elif _MANIFEST in names:
        raise OutputError(
            f"{place} holds a finished batch; give --overwrite to replace it, or choose another place",
            code="out-occupied",
            path=str(place),
        )
    else:
        raise ResumeError(
            f"{place} holds an unfinished batch; continue it with --resume, or begin anew with --overwrite",
            code="resume-unfinished",
            path=str(place),
        )
    wanted = msgspec.structs.replace(wanted, batch=secrets.token_hex(8), part_size=wanted.part_size or PART_SIZE)
    place.write(_BEGUN, encode(wanted))
    return wanted


def move_home(place: Place, begun: Begun, home: str) -> Begun:
    """The batch as if it was begun in the folder `home`: before its images are listed there.

    Raises:
        OutputError: the place cannot be written.
    """
    if begun.home == home:
        return begun
    moved = msgspec.structs.replace(begun, home=home, batch=secrets.token_hex(8))  # paths name other images now
    place.write(_BEGUN, encode(moved))
    return moved


def name_start() -> str:
    """A random name for this call, by which `refuse_late` tells it from others."""
    return secrets.token_hex(8)


def take_over(place: Place, start: str) -> None:
    """Give the unfinished batch to this call; whoever answers for an earlier one stops at its next part.

    A manifest of parts that are not there any more is removed.

    Raises:
        OutputError: the place cannot be written.
    """
    place.remove([_MANIFEST])
    place.write(_START, start.encode())


def refuse_late(place: Place, start: str, *, listed: bool = True) -> None:
    """Refuse a call that does not have the batch any more.

    Args:
        place: folder of the batch.
        start: random name of the call.
        listed: False: the driver, which may not have written the listing yet.

    Raises:
        OutputError: another call has it, it is finished, or the place cannot be read.
        UsageError: this node does not see the place.
        DataError: a store cannot be read.
    """
    try:
        if place.read(_START) == start.encode():
            return
    except FileNotFoundError:
        if listed and not place.holds(INDEX):
            raise refuse_unseen(place) from None
    raise OutputError(
        f"cannot write {place}: another call has continued or ended this batch; wait for it, then give --resume",
        code="output-busy",
        path=str(place),
    )


def keep(place: Place, start: str, record: Record, data: bytes) -> None:
    """Put the file of a part in place, and then its record; raises as `refuse_late`, or OutputError."""
    refuse_late(place, start)
    place.write(record.file, data)
    place.write(f"{_DONE}/{record.file.partition('.')[0]}.json", encode(record))


def read_finished(place: Place, begun: Begun) -> BatchManifest | None:
    """The manifest of a finished batch; None: it is not finished, or not all of it is there any more.

    Raises:
        ResumeError: it is damaged.
        OutputError: it cannot be read; of a store DataError.
    """
    try:
        data = place.read(_MANIFEST)
    except FileNotFoundError:
        return None
    found = decode(data, BatchManifest, show_place(place.file(_MANIFEST)), ResumeError)
    there = place.sizes()
    whole = all(there.get(record.file) == record.bytes for record in found.parts)
    return found if whole and found.begun.batch == begun.batch else None


def read_done(place: Place, listing: Listing, batch: str) -> dict[int, Record]:
    """The parts that count, by number.

    Raises:
        OutputError: the place cannot be read.
    """
    there = place.sizes()
    names = [f"{_DONE}/{name}" for name in place.sizes(_DONE)]
    done = dict[int, Record]()
    for _, data in place.read_all(names):
        with contextlib.suppress(msgspec.DecodeError):
            record = msgspec.json.decode(data, type=Record)
            part = listing.parts[record.part] if record.part < len(listing.parts) else None
            ours = part and record.batch == batch and record.images == part.images
            held = done.get(record.part)
            if ours and there.get(record.file) == record.bytes and (held is None or record.tries > held.tries):
                done[record.part] = record
    return done


def finish(place: Place, start: str, begun: Begun, listing: Listing, done: dict[int, Record]) -> None:
    """Write the manifest of a batch whose parts are all done, and remove what killed processes left.

    Raises:
        OutputError: it cannot be written, or another call has the batch.
    """
    there = _name_parts(place.sizes())  # before the look at who has the batch: what a later call writes is not removed
    refuse_late(place, start)
    records = tuple(done[part.number] for part in listing.parts)
    manifest = BatchManifest(
        images=listing.images, failed=sum(record.failed for record in records), begun=begun, parts=records
    )
    counted = {record.file for record in records}
    place.remove([name for name in there if name not in counted])
    place.remove([_START, BEGINNINGS])  # first: nobody who is late may write into a finished batch
    place.write(_MANIFEST, encode(manifest))
    if place.folder is not None:
        for folder in (place.folder, place.folder / _DONE):
            remove_leftovers(folder, all_names=True)


def _name_parts(names: Iterable[str]) -> list[str]:
    """Those that are files of parts."""
    return [name for name in names if _PART_FILE.fullmatch(name)]


def _read(place: Place) -> Begun | None:
    try:
        data = place.read(_BEGUN)
    except FileNotFoundError:
        return None
    return decode(data, Begun, show_place(place.file(_BEGUN)), ResumeError)


def _level(was: tuple[NamedSource, ...], now: tuple[NamedSource, ...]) -> tuple[tuple[NamedSource, ...], ...]:
    """Both without the sizes that one of them lacks: a store that is asked for one may fail."""
    if [one.source for one in was] != [one.source for one in now]:
        return was, now
    pairs = [(a, b) for a, b in zip(was, now, strict=True) if None not in (a.bytes, b.bytes)]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def _compare(place: Place, held: Begun, wanted: Begun) -> None:
    for field in Begun.__struct_fields__:
        was, now = getattr(held, field), getattr(wanted, field)
        if field == "sources":
            was, now = _level(was, now)
        if field in _UNSEEN or was == now or (field == "part_size" and now == 0):
            continue
        if field in {"columns", "sources"}:
            was, now = (", ".join(getattr(one, "source", one) for one in value) for value in (was, now))
            now = f"{now}, of another size" if was == now else now
        raise ResumeError(
            f"{place} was begun with another {field.replace('_', ' ')}: {str(was)[:200]}, now {str(now)[:200]}; resume "
            "it as it was begun, or begin anew with --overwrite",
            code="resume-differs",
            path=str(place),
            what=field,
            begun=was,
            now=now,
        )
