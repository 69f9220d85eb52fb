"""One part of a batch: its images → rows → the bytes of one file, and the record that it counts by.

What this module does not know: who hands out parts, which are done, how they are put in place.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.files import sha256_bytes
from zoo._support.imports import needing
from zoo._support.text import is_utf8, spell_name
from zoo._urls import is_url, restore_secrets, show_place
from zoo.edge import Runtime
from zoo.edge._answers import encode_line, list_cells, name_columns
from zoo.edge._intake import Reason
from zoo.edge._results import Failure
from zoo.edge._stream import decode_ahead
from zoo.errors import DataError, ImageError
from zoo.spec import MEASURED, NOVELTY
from zoo.store.place import read_bytes
from zoo.workflow._batch.failures import TRIES
from zoo.workflow._batch.listing import Part, digest_names, read_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zoo.edge._intake import Array
    from zoo.edge._results import Result
    from zoo.edge.bundle import Contents
    from zoo.spec import Manifest
    from zoo.store.place import Place
    from zoo.workflow._batch.sources import Entry

__all__ = ["Job", "Record", "answer_part", "open_runtime"]

_MARK = 12
"""Digits of a sha256 that are in a file's name: of the batch and the content."""
_AT_ONCE = 8
"""Images that are fetched side by side; a request to object storage takes as long as several images do."""

_Store = tuple[str, int | None]
"""Protocol and bucket or host of an address, and the source whose keys open it."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """All that whoever answers a part must know; it travels to other machines."""

    place: str
    batch: str = ""
    """`Begun.batch`."""
    start: str = ""
    """Name of the call that answers, see `ledger.refuse_late`."""
    form: str
    frame: int | None = None
    statistics: bool = False
    batch_size: int | None = None
    workers: int = 0
    provider: str = "cpu"
    threads: int | None = None
    allow_fallback: bool = False
    model: str = "model"
    """Path of the model, for errors."""
    home: str = "."
    """Folder that paths in the listing are relative to: workers have folders of their own."""
    sources: tuple[str, ...] = ()
    """As the user named them in this call, with what opens them: the listing has no secrets of theirs."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What was written of a part."""

    part: int
    batch: str = ""
    """`Begun.batch`; one of another does not count."""
    file: str
    """Its name tells batch and content, so another one never takes its place."""
    rows: int
    failed: int
    """Rows with an error and no answer."""
    bytes: int
    sha256: str
    """Of the file."""
    images: str
    """`digest_names` of the images that have a row."""
    machine: int = 0
    """Failed rows of which this machine is to blame, such as for want of memory."""
    either: int = 0
    """Failed rows of which machine or image is to blame."""
    tries: int = 1
    """Calls that answered it."""

    @property
    def again(self) -> int:
        """Failed rows that a resumed call asks again: as `zoo watch`, `TRIES` times where the image may be to blame."""
        return self.machine + (self.either if self.tries < TRIES else 0)


def open_runtime(job: Job, contents: Contents) -> Runtime:
    """The model, from what was read and checked of it elsewhere; raises as `Runtime.open`."""
    return Runtime.from_contents(
        Path(job.model), contents, provider=job.provider, threads=job.threads, allow_fallback=job.allow_fallback
    )


def answer_part(job: Job, runtime: Runtime, place: Place, part: Part) -> tuple[Record, bytes]:
    """Answer the images of a part: the bytes of its file, and what is to be recorded of it.

    Raises:
        DataError: an image, the listing or a tar could not be fetched just now, which says nothing of the image; or
            access to one is refused, and no other one of its store can be read.
        ModelError: ONNX Runtime failed.
    """
    entries = read_part(place, part)
    table = runtime.manifest.table
    columns: dict[str, Mapping[str, Any]] | None = None
    if table is not None:
        columns = {entry.image: dict(zip(table.names, entry.cells or (), strict=True)) for entry in entries}
    results = list(
        runtime.answers(
            _fetch(entries, job),
            statistics=job.statistics,
            batch_size=job.batch_size,
            frame=job.frame,
            workers=job.workers,
            columns=None if columns is None else columns.__getitem__,
        )
    )
    write = _write_csv if job.form == "csv" else _write_parquet
    data = write(results, runtime.manifest, statistics=job.statistics)
    blames = Counter(result.blame for result in results if isinstance(result, Failure))
    record = Record(
        part=part.number,
        batch=job.batch,
        file=f"{part.name}-{sha256_bytes(job.batch.encode(), data)[:_MARK]}.{job.form}",
        rows=len(results),
        failed=blames.total(),
        bytes=len(data),
        sha256=sha256_bytes(data),
        images=digest_names(result.image for result in results),
        machine=blames["machine"],
        either=blames["either"],
        tries=part.tries + 1,
    )
    return record, data


def _fetch(entries: list[Entry], job: Job) -> Iterator[tuple[str, bytes | Path | ImageError]]:
    """Files of this machine by their paths; what lies in tars or far away as bytes, several fetched at a time."""
    places = [_find_place(entry, job) for entry in entries]
    far = [
        entry.error is None and (entry.start is not None or is_url(place))
        for entry, place in zip(entries, places, strict=True)
    ]
    asked = ((place, entry) for entry, place, away in zip(entries, places, far, strict=True) if away)
    denied, readable = list[tuple[_Store, DataError]](), dict[_Store, tuple[str, int]]()
    read = partial(_read, denied=denied)
    with contextlib.closing(decode_ahead(asked, read, threads=_AT_ONCE)) as fetched:
        for entry, place, away in zip(entries, places, far, strict=True):
            found = next(fetched)[1] if away else entry.error
            if isinstance(found, str):
                yield entry.image, ImageError(entry.image, found)
            elif found is None:
                yield entry.image, Path(place)
            else:
                if found.size:
                    readable[_find_store(place, entry)] = place, entry.start or 0
                yield entry.image, found.tobytes()
    _refuse_denied(dict(denied), readable)


def _refuse_denied(denied: Mapping[_Store, DataError], readable: Mapping[_Store, tuple[str, int]]) -> None:
    """Raise where a refusal may be that of expired credentials: nothing of that store can be read after all reads."""
    for store, problem in denied.items():
        if store not in readable:
            raise problem
        where, start = readable[store]
        try:
            read_bytes(where, start, start + 1)
        except (OSError, DataError):
            raise problem from None


def _find_place(entry: Entry, job: Job) -> str:
    place = entry.at or entry.image
    if is_url(place):
        return place if entry.source is None else restore_secrets(place, job.sources[entry.source])
    return os.path.join(job.home, place)  # noqa: PTH118 - for very many


def _find_store(place: str, entry: Entry) -> _Store:
    return "/".join(place.split("/")[:3]), entry.source


def _read(where: str, entry: Entry, denied: list[tuple[_Store, DataError]]) -> Array | Reason:
    """The bytes of an image, or why it is not there; `denied` gets refusals, each with its store."""
    end = None if entry.start is None else entry.start + (entry.size or 0)
    try:
        data = read_bytes(where, entry.start, end)
    except FileNotFoundError:
        if entry.start is None:
            return Reason("no such file; check the address")
        data = b""
    except DataError as problem:
        if problem.code != "remote-denied":
            raise
        denied.append((_find_store(where, entry), problem))
        return Reason(
            "access is refused, and not to others of its store; check its rights, or restore it from an archive"
        )
    except OSError as problem:
        raise DataError(
            f"{show_place(where)}: cannot be read ({(problem.strerror or str(problem)).lower()}); check the disk",
            code="file-unreadable",
            path=show_place(where),
        ) from None
    if end is not None and len(data) != entry.size:
        raise DataError(
            f"{show_place(where)}: is gone or shorter than it was when it was listed; restore it",
            code="shard-damaged",
            path=show_place(where),
        )
    return np.frombuffer(data, np.uint8)


def _write_csv(results: list[Result], manifest: Manifest, *, statistics: bool) -> bytes:
    """The lines of `zoo predict --csv`."""
    lines = [encode_line(name_columns(manifest, statistics=statistics))]
    lines += (encode_line(list_cells(result, manifest, statistics=statistics)) for result in results)
    return b"".join(lines)


def _write_parquet(results: list[Result], manifest: Manifest, *, statistics: bool) -> bytes:
    """The columns of `zoo predict --csv`: numbers as float64, texts as they are, null where a cell would be empty."""
    with needing("--format parquet", "parquet"):
        import pyarrow as pa
        from pyarrow import parquet
    names = name_columns(manifest, statistics=statistics)
    numbers = {"probability", NOVELTY, *MEASURED, *(f"p_{label}" for label in manifest.labels)}
    rows = [result.tables()["answers"][0] for result in results]
    columns = {}
    for name in names:
        if name in numbers:
            columns[name] = pa.array([row.get(name) for row in rows], pa.float64())
        else:
            columns[name] = pa.array([_spell(row.get(name), image=name == "image") for row in rows], pa.string())
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


def _spell(cell: str | None, *, image: bool) -> str | None:
    if cell is None:
        return None
    text = spell_name(cell) if image else cell
    return text if is_utf8(text) else text.encode("utf-8", "backslashreplace").decode()
