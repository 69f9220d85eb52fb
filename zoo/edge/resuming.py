"""A table of predictions that outlives its process: what was answered is kept, and gone on with.

While `out.csv` is written it is called `out.csv.part`, and `out.csv.part.json` says what it was begun with. When
the last row is written it takes its name. Rows only ever get added, so a process that is killed leaves whole rows
and at most one half, which is cut off when the table is gone on with.
"""

from __future__ import annotations

import contextlib
import csv
import logging
import os
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from zoo.edge.results import GIVEN, Failure, Prediction, Result
from zoo.edge.stream import expand
from zoo.edge.table import cells, columns, line
from zoo.errors import OutputError, ResumeError
from zoo.files import atomic_write, put_in_place
from zoo.spec import decode, encode
from zoo.text import amount, inert

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zoo.edge.intake import Source
    from zoo.edge.runtime import Runtime
    from zoo.errors import ImageError

__all__ = ["predict_csv"]

_SETTLE = 2.0
"""Seconds after which written rows are flushed to the disk; a power cut costs no more."""
_LONGEST = 2**24
"""Bytes of a row; one that is longer was damaged."""

log = logging.getLogger("zoo")


class _Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the content of a table."""

    model: str
    """sha256 of the ONNX file."""
    columns: tuple[str, ...]
    provider: str
    frame: int | None


def predict_csv(
    runtime: Runtime,
    sources: Iterable[Source] | Source,
    target: Path,
    *,
    resume: bool = False,
    batch_size: int | None = None,
    frame: int | None = None,
    workers: int = 0,
) -> Iterator[Result]:
    """As `Runtime.predict`, with each result in the table `target` on its way; see `write_csv` for its columns.

    A call that is stopped or killed leaves its rows in `target` + ".part". With `resume` the next one goes on there
    and yields the rows that it found before the new ones; the finished table is the one that an uninterrupted call
    writes, byte by byte (with batches, values may differ in the last digit, because groups begin elsewhere).
    Whether images have changed since is not looked at, only their names and their order.

    Args:
        runtime: the opened model.
        sources: as `Runtime.predict` takes them.
        target: the table; replaced when it exists, once all rows are written.
        resume: go on with the unfinished table beside `target`; begin where there is none.
        batch_size: as in `Runtime.predict`.
        frame: likewise.
        workers: likewise.

    Raises:
        ResumeError: an unfinished table is there and `resume` was not asked for, or it was begun with another model,
            provider or frame, its rows are of other images or in another order, or it is damaged; or `resume` was
            asked for and the table is finished.
        OutputError: the table can not be written, or another process is at it.
        DataError: as `Runtime.predict`.
        ModelError: likewise.
    """
    part, note = Path(f"{target}.part"), Path(f"{target}.part.json")
    begun = _Begun(
        model=runtime.sha256,
        columns=tuple(columns(runtime.labels, runtime.manifest.task)),
        provider=runtime.provider,
        frame=frame,
    )
    items = iter(expand(sources))
    with _opened(target, part, note, begun, resume=resume) as stream:
        rows = 0
        for result in _kept(stream, part, begun, items, runtime):
            rows += 1
            yield result
        if rows:
            log.info("going on after %s of %s", amount(rows, "row"), part)
        try:
            settled = time.monotonic()
            for result in runtime.answers(items, batch_size=batch_size, frame=frame, workers=workers):
                stream.write(line(cells(result, runtime.labels, runtime.manifest.task)))
                rows += 1
                if time.monotonic() - settled > _SETTLE:
                    _settle(stream)
                    settled = time.monotonic()
                yield result
            _settle(stream)
        except BaseException:  # the caller's own leaving among them
            _leave(stream, part, note, rows)
            raise
    try:
        put_in_place(part, target)
        note.unlink(missing_ok=True)
    except OSError as problem:
        raise OutputError(_cannot(target, problem)) from None


@contextlib.contextmanager
def _opened(target: Path, part: Path, note: Path, begun: _Begun, *, resume: bool) -> Iterator[IO[bytes]]:
    """The unfinished table, for this process alone: the one that is there, or a new one with its first line."""
    try:
        if target.exists() and not target.is_file():
            raise OutputError(f"cannot write {target}: it stands there and is no file; choose another place")
        if part.is_symlink() or (part.exists() and not part.is_file()):
            raise OutputError(f"cannot write {part}: it stands there and is no regular file; remove it")
        there = part.exists()
        if there and not resume:
            raise ResumeError(f"{part} is an unfinished table; go on with it by --resume, or remove it to begin anew")
        if resume and not there and target.exists():
            raise ResumeError(
                f"{target} is there and nothing unfinished beside it; leave --resume out to make it again"
            )
        if not there:
            atomic_write(note, encode(begun))
        with part.open("r+b" if there else "x+b") as stream:
            _claim(stream, part)
            if there:
                _compare(part, note, begun)
            yield stream
    except OSError as problem:
        raise OutputError(_cannot(part, problem)) from None


def _claim(stream: IO[bytes], part: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"cannot write {part}: another process is at it; wait for it") from None
    except OSError:  # a file system without locks
        return


def _compare(part: Path, note: Path, begun: _Begun) -> None:
    if not note.is_file():
        raise ResumeError(f"{note} is missing, which says what {part} was begun with; remove {part} to begin anew")
    before = decode(note.read_bytes(), _Begun, str(note), ResumeError)
    for field, what in (("model", "model"), ("columns", "columns"), ("provider", "provider"), ("frame", "frame")):
        was, now = getattr(before, field), getattr(begun, field)
        if was != now:
            shown = (f"sha256 {was[:12]}…", f"{now[:12]}…") if field == "model" else (repr(was), repr(now))
            if field == "columns":
                shown = (amount(len(was), "column"), f"{len(now)}, or of other names")
            raise ResumeError(
                f"{part} was begun with another {what}: {shown[0]}, now {shown[1]}; "
                f"go on as it was begun, or remove {part} to begin anew"
            )


def _kept(
    stream: IO[bytes], part: Path, begun: _Begun, items: Iterator[tuple[str, Source | ImageError]], runtime: Runtime
) -> Iterator[Result]:
    """The rows that are there, each checked against the image that stands at its place; half a row is cut off."""
    first, end = line(list(begun.columns)), 0
    for number, (row, behind) in enumerate(_rows(stream, part)):
        if number:
            yield _result(row, next(items, (None, None))[0], f"{part}: row {number}", runtime)
        elif row != first:
            raise ResumeError(f"{part}: its first line is not that of this model; remove it to begin anew")
        end = behind
    stream.seek(end)
    stream.truncate()
    if end == 0:
        stream.write(first)


def _rows(stream: IO[bytes], part: Path) -> Iterator[tuple[bytes, int]]:
    """Whole rows, and where in the file each ends."""
    row, end, quotes = bytearray(), 0, 0
    stream.seek(0)
    for piece in stream:  # up to a line break, which may stand inside a cell
        row += piece
        quotes += piece.count(b'"')
        if len(row) > _LONGEST:
            raise ResumeError(f"{part}: a row of more than {_LONGEST} bytes; it is damaged, remove it to begin anew")
        if quotes % 2 == 0 and piece.endswith(b"\n"):
            end += len(row)
            yield bytes(row), end
            row, quotes = bytearray(), 0


def _result(row: bytes, name: str | None, where: str, runtime: Runtime) -> Result:
    """A row as the result it was written from."""
    labels, task = runtime.labels, runtime.manifest.task
    damaged = ResumeError(f"{where} is damaged; remove the unfinished table to begin anew")
    try:
        (held,) = csv.reader([row.decode()], strict=True)
        shown = inert(name or "").encode("utf-8", "backslashreplace").decode()
        if name is None or held[0] != shown:
            there = "no image" if name is None else repr(shown)
            raise ResumeError(
                f"{where} is {held[0]!r}, now {there} stands there; give the same images in the same order, "
                "or remove the unfinished table to begin anew"
            )
        if held[-1]:
            bare = held[-1][1:]
            result: Result = Failure(name, bare if inert(bare) == held[-1] else held[-1])
        else:
            values = map(float, held[-1 - len(labels) : -1])
            by_name = dict(zip(labels, values, strict=True))
            label = {inert(one): one for one in labels}[held[1]]
            given = tuple(one for one, value in by_name.items() if value >= GIVEN) if task == "multilabel" else None
            result = Prediction(name, label, by_name[label], by_name, given)
    except (ValueError, KeyError, IndexError, csv.Error):  # UnicodeDecodeError is a ValueError
        raise damaged from None
    if line(cells(result, labels, task)) != row:
        raise damaged
    return result


def _settle(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _leave(stream: IO[bytes], part: Path, note: Path, rows: int) -> None:
    """What an unfinished call leaves: its rows, or nothing where it has none."""
    with contextlib.suppress(OSError):
        stream.flush()
    if rows:
        log.warning("%s keeps %s; go on with --resume", part, amount(rows, "row"))
    else:
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)


def _cannot(path: Path, problem: OSError) -> str:
    reason = (problem.strerror or str(problem)).lower()
    return f"cannot write {path}: {reason}; free space there or choose another place"
