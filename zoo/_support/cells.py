"""The cells of a table, row by row: CSV and TSV as programs and hospitals write them, and Parquet; and their words."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from zoo._support.text import brief, join_lines
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["IMAGE_COLUMNS", "MISSING", "Cells", "Form", "column_key", "form_of", "open_cells"]

Form = Literal["text", "parquet"]

_SUFFIXES: dict[str, Form] = {".csv": "text", ".tsv": "text", ".parquet": "parquet"}
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks, and the encodings they announce."""

_DELIMITERS = "\t;,"
_TOLD = re.compile(r"\"?sep=([^\w\s\"]|\t)\"?\s*", re.IGNORECASE)
"""A first line by which Excel is told the delimiter; Excel shows the table from the next line on."""

_BATCH = 4096  # rows of a Parquet file held at a time
_MOST_ROWS = 16
"""Most rows for each byte of a Parquet file; compression turns a kilobyte into a billion equal rows."""


IMAGE_COLUMNS = (
    "image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "image_index",
)  # fmt: skip
"""Names that the column of images may have, as `column_key` spells them."""

MISSING = frozenset({
    "", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan", "<na>", "n/a", "na", "nan",
    "none", "null",
    "-", "--", "\N{EN DASH}", "\N{EM DASH}", ".", "?", "n.a.", "#null!", "nil", "nat", "[null]", "(null)", "\\n",
    "#ref!", "#value!", "#div/0!", "#name?", "#num!",
})  # fmt: skip
"""Spellings of "nothing", in lower case. The first two lines are what pandas reads as missing (`STR_NA_VALUES` of
pandas 2). The others are what people, Excel, SAS, Stata, the UCI sets and databases write."""


@dataclass(frozen=True, slots=True)
class Cells:
    """A table that can be read once.

    Attributes:
        header: column names as written, without the space around them.
        rows: given positions of columns, (row number, their cells as text) for each row that is not blank. The header
            is row 1, as in a spreadsheet; a Parquet file's first row is row 2 as well. Raises DataError as it goes.
    """

    header: tuple[str, ...]
    rows: Callable[[Sequence[int]], Iterator[tuple[int, tuple[str, ...]]]]


def column_key(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def form_of(path: Path) -> Form | None:
    """How a file is to be read as a table, by its first bytes and then its suffix; None: it is none."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head.startswith(b"PAR1"):
        return "parquet"
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    first = head.splitlines()[0] if head else b""
    text = b"\0" not in head and any(delimiter.encode() in first for delimiter in _DELIMITERS)
    return "text" if text or head[:2] in _MARKS else None


def open_cells(path: Path, form: Form) -> Cells:
    """Read the header.

    Raises:
        DataError: the file is not what `form` says, its header is empty or names a column twice, or pyarrow is needed
            and not here.
    """
    cells = _parquet(path) if form == "parquet" else _text(path)
    times = Counter(name for name in cells.header if name)
    twice = sorted(name for name, count in times.items() if count > 1)
    if twice:
        raise DataError(
            f"{path.name}: the header names column {brief(twice)} twice; rename one",
            code="table-columns",
            columns=twice,
        )
    return cells


def _text(path: Path) -> Cells:
    with path.open("rb") as raw:
        head = raw.read(3)
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf-8")

    def records() -> Iterator[tuple[int, list[str]]]:
        number = 0
        try:
            with path.open(encoding=encoding, newline="") as stream:
                line = stream.readline()
                told = _TOLD.fullmatch(line)
                if told is None:
                    stream.seek(0)
                delimiter = told[1] if told else _delimiter(line, path.suffix.lower())
                for number, row in enumerate(csv.reader(stream, delimiter=delimiter, strict=True), 1):
                    if any(row):
                        yield number, row
        except UnicodeError:
            expected = encoding.removesuffix("-sig").upper()
            after = _lines_of_text(path) if expected == "UTF-8" else number  # `number` lags by what was read ahead
            raise DataError(
                f"{path.name}: is not {expected} after row {after}; save the table as UTF-8, in Excel as 'CSV UTF-8'",
                code="table-encoding",
                row=after,
            ) from None
        except csv.Error as problem:
            raise DataError(
                f"{path.name}: row {number + 1} cannot be read ({problem}); mend its quotes",
                code="table-row",
                row=number + 1,
            ) from None

    first = next(records(), None)
    if first is None:
        raise DataError(
            f"{path.name}: is empty, expected a row of column names and a row for each image", code="table-empty"
        )
    header = tuple(name.strip() for name in first[1])

    def rows(columns: Sequence[int]) -> Iterator[tuple[int, tuple[str, ...]]]:
        for number, row in records():
            if number == first[0]:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{path.name}: row {number} has {len(row)} cells, expected {len(header)} as in the header; "
                    "put cells that hold the delimiter in quotes",
                    code="table-row",
                    row=number,
                    cells=len(row),
                    expected=len(header),
                )
            yield number, tuple(row[column] for column in columns)

    return Cells(header, rows)


def _lines_of_text(path: Path) -> int:
    """How many lines are UTF-8 before the first that is not."""
    with path.open("rb") as lines:
        return sum(1 for _ in itertools.takewhile(_is_text, lines))


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeError:
        return False
    return True


def _delimiter(line: str, suffix: str) -> str:
    """What divides the header: the candidate that it holds most often, outside quotes."""
    outside = "".join(line.split('"')[::2])
    counts = {delimiter: outside.count(delimiter) for delimiter in _DELIMITERS}
    best = max(counts, key=lambda delimiter: counts[delimiter])
    return best if counts[best] else "\t" if suffix == ".tsv" else ","


def _parquet(path: Path) -> Cells:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(
            f"{path.name}: Parquet needs pyarrow, which is not here; pip install 'edgezoo[parquet]'",
            code="package-missing",
            package="pyarrow",
            extra="parquet",
        ) from None
    try:
        with ParquetFile(path) as file:
            header = tuple(file.schema_arrow.names)
            texts = [one.name for one in file.schema_arrow if str(one.type) == "string"]
            rows_held = file.metadata.num_rows
    except (ArrowException, OSError) as problem:
        raise DataError(
            f"{path.name}: cannot be read as Parquet ({_brief(problem)}); restore the file", code="table-unreadable"
        ) from None
    size = path.stat().st_size
    if rows_held > _MOST_ROWS * size:
        raise DataError(
            f"{path.name}: {rows_held} rows in {size} bytes, more than could differ; list each image once",
            code="table-unreadable",
            rows=rows_held,
            bytes=size,
        )

    def rows(columns: Sequence[int]) -> Iterator[tuple[int, tuple[str, ...]]]:
        names = [header[column] for column in columns]
        number = 1
        try:
            # as dictionaries, so that a long text repeated in every row is not made before it is measured
            with ParquetFile(path, read_dictionary=[name for name in names if name in texts]) as file:
                for batch in file.iter_batches(_BATCH, columns=names):
                    for name in names:
                        _check_lengths(batch.column(name), f"{path.name}: column {name!r} behind row {number}")
                    read = [batch.column(name).to_pylist() for name in names]
                    for values in zip(*read, strict=True):
                        number += 1
                        yield number, tuple(map(_cell, values))
        except (ArrowException, OSError) as problem:
            raise DataError(
                f"{path.name}: cannot be read after row {number} ({_brief(problem)}); restore it",
                code="table-unreadable",
                row=number,
            ) from None
        except TypeError as problem:
            raise DataError(
                f"{path.name}: row {number} holds {problem}, expected text or a number", code="table-cell", row=number
            ) from None

    return Cells(header, rows)


def _check_lengths(column: Any, where: str) -> None:
    """Refuse what a CSV file could not hold either."""
    values = getattr(column, "dictionary", column)
    if str(values.type) in ("string", "large_string") and len(values):
        from pyarrow import compute

        longest = compute.max(compute.binary_length(values)).as_py() or 0
        if longest > csv.field_size_limit():
            raise DataError(
                f"{where} holds a text of {longest} bytes, expected at most {csv.field_size_limit()}",
                code="table-cell",
                bytes=longest,
            )


def _cell(value: Any) -> str:
    """A value as a CSV file would spell it: whole numbers without a point, nothing for null and NaN."""
    if value is None or value != value:  # noqa: PLR0124 - NaN is not itself
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (list, dict, bytes)):
        raise TypeError(f"a {type(value).__name__}")
    return str(value)


def _brief(problem: Exception) -> str:
    return join_lines(problem, 100).lower() or type(problem).__name__
