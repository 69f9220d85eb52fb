"""Answers as a CSV file that a spreadsheet opens without harm, and that survives a crash.

While `out.csv` is written it is called `out.csv.part`, and `out.csv.part.json` says what it was begun with. After the
last row it takes its name. Rows are only added, so a process that is killed leaves whole rows and at most one half
row. `--resume` cuts that half off and continues after the last whole row.
"""

from __future__ import annotations

import contextlib
import csv
import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec
import numpy as np

from zoo._support.files import atomic_path, atomic_write, put_in_place, refuse_occupied, refuse_unwritable
from zoo._support.text import format_count, inert, read_inert, spell_name
from zoo.edge._results import Failure, Result, decision_columns, read_predictions
from zoo.edge._stream import expand
from zoo.errors import OutputError, ResumeError
from zoo.spec import LABEL_SEPARATOR, MEASURED, NOVELTY, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zoo.edge._beside import TableRows
    from zoo.edge._intake import Source
    from zoo.edge._runtime import Runtime
    from zoo.errors import ImageError
    from zoo.readers._walk import PassedOver
    from zoo.spec import Manifest

__all__ = ["encode_line", "list_cells", "name_columns", "predict_csv", "write_csv"]

_SPECIAL = re.compile('[",\r\n]')

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
    table: str | None = None
    """sha256 of the table of columns beside the images."""


def predict_csv(
    runtime: Runtime,
    sources: Iterable[Source] | Source,
    target: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    features: bool = False,
    statistics: bool = False,
    batch_size: int | None = None,
    frame: int | None = None,
    workers: int = 0,
    passed: list[tuple[str, PassedOver]] | None = None,
    columns: TableRows | None = None,
) -> Iterator[Result]:
    """Predict as `Runtime.predict` does, and write each result to the table `target`; `write_csv` names its columns.

    A call that is stopped or killed leaves its rows in `target` + ".part". With `resume` the next call continues after
    the last of these rows. It yields them first, then the new ones. The finished table is the one that an
    uninterrupted call writes, byte by byte. With batches, values may differ in the last digit, because groups begin
    elsewhere. A resumed call compares names and order of the images, not their content.

    Args:
        runtime: the opened model.
        sources: paths of images or folders, or raw arrays, for `Runtime.predict`.
        target: the table.
        resume: continue the unfinished table beside `target`; without one, begin a new table.
        overwrite: replace a table that is there, once all rows are written.
        features: results have their features too; those of kept rows have not.
        statistics: further columns, brightness, contrast and colour of the raw image.
        batch_size: most images in one run; None: the default of `Runtime.predict`.
        frame: number of the picture in files that hold several, counted from 1; None: none is guessed.
        workers: number of processes that decode; 0: threads decode.
        passed: gets each folder that was walked, and what was met in it beside images.
        columns: table of what the model takes beside the image; None: it takes nothing.

    Raises:
        ResumeError: an unfinished table is there and `resume` was not asked for, or it was begun with another model,
            provider or frame, its rows are of other images or in another order, or it is damaged; or `resume` was
            asked for and the table is finished.
        OutputError: the table cannot be written, is there already, or another process is at it.
        DataError: the one folder given holds no image.
        ModelError: ONNX Runtime failed.
    """
    part, note = Path(f"{target}.part"), Path(f"{target}.part.json")
    begun = _Begun(
        model=runtime.sha256,
        columns=tuple(name_columns(runtime.manifest, statistics=statistics)),
        provider=runtime.provider,
        frame=frame,
        table=None if columns is None else columns.sha256,
    )
    items = iter(expand(sources, passed))
    with _open_part(target, part, note, begun, resume=resume, overwrite=overwrite) as stream:
        rows = 0
        for result in _read_kept(stream, part, begun, items, runtime):
            rows += 1
            yield result
        if rows:
            log.info("resumed after %s of %s", format_count(rows, "row"), part)
        try:
            settled = time.monotonic()
            new = runtime.answers(
                items,
                features=features,
                statistics=statistics,
                batch_size=batch_size,
                frame=frame,
                workers=workers,
                columns=columns,
            )
            for result in new:
                stream.write(encode_line(list_cells(result, runtime.manifest, statistics=statistics)))
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
        raise refuse_unwritable(target, problem) from None


@contextlib.contextmanager
def _open_part(
    target: Path, part: Path, note: Path, begun: _Begun, *, resume: bool, overwrite: bool
) -> Iterator[IO[bytes]]:
    """The unfinished table, for this process alone: the one that is there, or a new one with its first line."""
    try:
        if target.exists() and not target.is_file():
            raise refuse_unwritable(target, "it exists and is not a file", "choose another place")
        if part.is_symlink() or (part.exists() and not part.is_file()):
            raise refuse_unwritable(part, "it exists and is not a regular file", "remove it")
        there = part.exists()
        if there and not resume:
            raise ResumeError(
                f"{part} is an unfinished table; continue it with --resume, or remove it to begin anew",
                code="resume-unfinished",
                path=str(part),
            )
        if resume and not there and target.exists():
            raise ResumeError(
                f"{target} is there and nothing unfinished beside it; to make it again give --overwrite, not --resume",
                code="resume-nothing",
                path=str(target),
            )
        refuse_occupied(target, overwrite=overwrite)
        if not there:
            atomic_write(note, encode(begun))
        with part.open("r+b" if there else "x+b") as stream:
            _claim(stream, part)
            if there:
                _compare(part, note, begun)
            yield stream
    except OSError as problem:
        raise refuse_unwritable(part, problem) from None


def _claim(stream: IO[bytes], part: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"cannot write {part}: another process is at it; wait for it", code="output-busy", path=str(part)
        ) from None
    except OSError:  # a file system without locks
        return


def _compare(part: Path, note: Path, begun: _Begun) -> None:
    if not note.is_file():
        raise ResumeError(
            f"{note} is missing, which says what {part} was begun with; remove {part} to begin anew",
            code="resume-damaged",
            path=str(note),
        )
    before = decode(note.read_bytes(), _Begun, str(note), ResumeError)
    for field, what in (("model", "model"), ("columns", "columns"), ("provider", "provider"), ("frame", "frame"),
                        ("table", "table")):  # fmt: skip
        was, now = getattr(before, field), getattr(begun, field)
        if was != now:
            shown = (f"sha256 {was[:12]}…", f"{now[:12]}…") if field == "model" else (repr(was), repr(now))
            if field == "columns":
                shown = (format_count(len(was), "column"), f"{len(now)}, or of other names")
            raise ResumeError(
                f"{part} was begun with another {what}: {shown[0]}, now {shown[1]}; "
                f"resume it as it was begun, or remove {part} to begin anew",
                code="resume-differs",
                path=str(part),
                what=what,
                begun=shown[0],
                now=shown[1],
            )


def _read_kept(
    stream: IO[bytes], part: Path, begun: _Begun, items: Iterator[tuple[str, Source | ImageError]], runtime: Runtime
) -> Iterator[Result]:
    """Yield the rows that are there, each checked against the image at its place; cut off half a row."""
    first, end = encode_line(list(begun.columns)), 0
    for number, (row, behind) in enumerate(_rows(stream, part)):
        if number:
            yield _result(row, next(items, (None, None))[0], f"{part}: row {number}", runtime, begun.columns)
        elif row != first:
            raise ResumeError(
                f"{part}: its first line is not that of this model; remove it to begin anew",
                code="resume-damaged",
                path=str(part),
            )
        end = behind
    stream.seek(end)
    stream.truncate()
    if end == 0:
        stream.write(first)


def _rows(stream: IO[bytes], part: Path) -> Iterator[tuple[bytes, int]]:
    """Whole rows, and where in the file each ends."""
    row, end, quotes = bytearray(), 0, 0
    stream.seek(0)
    for piece in stream:  # up to a line break, which may be inside a cell
        row += piece
        quotes += piece.count(b'"')
        if len(row) > _LONGEST:
            raise ResumeError(
                f"{part}: a row of more than {_LONGEST} bytes; it is damaged, remove it to begin anew",
                code="resume-damaged",
                path=str(part),
            )
        if quotes % 2 == 0 and piece.endswith(b"\n"):
            end += len(row)
            yield bytes(row), end
            row, quotes = bytearray(), 0


def _result(row: bytes, name: str | None, where: str, runtime: Runtime, columns: tuple[str, ...]) -> Result:
    """A row as the result it was written from."""
    manifest, statistics = runtime.manifest, MEASURED[0] in columns[: -1 - len(runtime.manifest.labels)]
    damaged = ResumeError(f"{where} is damaged; remove the unfinished table to begin anew", code="resume-damaged")
    try:
        (held,) = csv.reader([row.decode()], strict=True)
        shown = inert(spell_name(name or "")).encode("utf-8", "backslashreplace").decode()
        if name is None or held[0] != shown:
            there = "no image" if name is None else repr(shown)
            raise ResumeError(
                f"{where} is {held[0]!r}, now {there} is at its place; give the same images in the same order, "
                "or remove the unfinished table to begin anew",
                code="resume-differs",
                what="image",
                begun=held[0],
                now=there,
            )
        if held[-1]:
            result: Result = Failure(name, read_inert(held[-1]), runtime.mark if statistics else None)
        else:
            row_of = dict(zip(columns, held, strict=True))
            found = {"probabilities": np.array([list(map(float, held[-1 - len(manifest.labels) : -1]))])}
            if NOVELTY in row_of:
                found[NOVELTY] = np.array([float(row_of[NOVELTY])])
            if statistics:
                found["measured"] = np.array([[float(row_of[name]) for name in MEASURED]])
            (result,) = read_predictions(manifest, [name], found, runtime.mark if statistics else None)
    except (ValueError, KeyError, IndexError, csv.Error):  # UnicodeDecodeError is a ValueError
        raise damaged from None
    if encode_line(list_cells(result, manifest, statistics=statistics)) != row:
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
        log.warning("%s keeps %s; continue with --resume", part, format_count(rows, "row"))
    else:
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)


def write_csv(
    target: Path,
    results: Iterable[Result],
    manifest: Manifest,
    *,
    statistics: bool = False,
    overwrite: bool = False,
) -> int:
    """Write `image, label, probability, p_LABEL…, error`, one row an image; `target` appears when done.

    Of a multilabel model `labels` follows `probability`: all labels that were given, joined by "|". Then follow, each
    only where the model has it: `decision`; `set`, the labels of the conformal set, joined; `operating`, the labels
    that reach their operating point, joined; `novelty`. If asked for, `brightness`, `contrast`, `colour` and `model`:
    the first digits of the sha256 of the file that answered.

    Args:
        target: the file.
        results: results of `Runtime.predict`.
        manifest: what the model says of itself, for the columns.
        statistics: the results have brightness, contrast and colour, which are written.
        overwrite: replace a file that is there.

    Returns:
        The number of rows.

    Raises:
        OutputError: it could not be written, or is there already.
    """
    refuse_occupied(target, overwrite=overwrite)
    rows = 0
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        stream.write(encode_line(name_columns(manifest, statistics=statistics)))
        for rows, result in enumerate(results, 1):  # noqa: B007 - how many there were
            stream.write(encode_line(list_cells(result, manifest, statistics=statistics)))
    return rows


def name_columns(manifest: Manifest, *, statistics: bool) -> list[str]:
    """The names of the columns."""
    between = _between(manifest, statistics=statistics)
    return ["image", "label", "probability", *between, *(f"p_{label}" for label in manifest.labels), "error"]


def _between(manifest: Manifest, *, statistics: bool) -> list[str]:
    """Columns that only some tables have."""
    abstention = manifest.abstention
    there = {
        "labels": manifest.task == "multilabel",
        "decision": abstention is not None,
        "set": abstention is not None and abstention.sets is not None,
        "operating": bool(manifest.operating),
        NOVELTY: manifest.novelty is not None,
        **dict.fromkeys((*MEASURED, "model"), statistics),
    }
    return [name for name, held in there.items() if held]


def list_cells(result: Result, manifest: Manifest, *, statistics: bool) -> list[str]:
    """One row; numbers with all their digits."""
    between = _between(manifest, statistics=statistics)
    if isinstance(result, Failure):
        held = ["", "", *((result.model or "") if name == "model" else "" for name in between)]
        return [inert(spell_name(result.image)), *held, *([""] * len(manifest.labels)), inert(result.error)]
    given = {"labels": LABEL_SEPARATOR.join(result.labels or ()), **decision_columns(result.row())}
    given["model"] = result.model or ""
    held = [repr(given[name]) if name in {NOVELTY, *MEASURED} else inert(given[name]) for name in between]
    values = [repr(result.probabilities[label]) for label in manifest.labels]
    return [inert(spell_name(result.image)), inert(result.label), repr(result.probability), *held, *values, ""]


def encode_line(row: list[str]) -> bytes:
    """A row as the file holds it; a cell with a comma, a quote or a line break is quoted (RFC 4180)."""
    quoted = ('"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell for cell in row)
    return (",".join(quoted) + "\n").encode("utf-8", "backslashreplace")
