"""What a batch left: its rows in order, and whether the manifest tells the truth."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import buckets
import numpy as np
from edge_models import paint
from PIL import Image

from zoo._support.text import inert
from zoo.edge import Runtime, predict_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Rows = list[list[str]]


def painted(folder: Path, count: int) -> Path:
    """Images of many colours in three subfolders, one of them broken, one with a name that a table quotes."""
    random = np.random.default_rng(0)
    for at in range(count):
        red, green, blue = (int(value) for value in random.integers(0, 256, 3))
        paint(folder / str(at % 3) / f"{at}.png", (red, green, blue))
    (folder / "0" / "0.png").write_bytes(b"@broken")
    Image.new("RGB", (6, 4), (9, 200, 30)).save(folder / '=1, "b".png')
    return folder


def table_of(model: Path, images: Path | str, target: Path) -> Rows:
    """The rows of `zoo predict --csv`, with its header."""
    list(predict_csv(Runtime.open(model), str(images), target))
    return read_csv(target.read_bytes())


def read_csv(data: bytes) -> Rows:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def part_files(place: Path) -> list[Path]:
    """The files of a batch's parts, in their order."""
    return sorted(place.glob("part-*"))


def rows_of(place: Path) -> Rows:
    """Header and rows of a batch that is finished, checked against its manifest."""
    return read_rows(lambda name: (place / name).read_bytes())


def read_rows(read: Callable[[str], bytes]) -> Rows:
    manifest = json.loads(read("manifest.json"))
    rows: Rows = []
    for number, part in enumerate(manifest["parts"]):
        assert part["part"] == number
        data = read(part["file"])
        assert (len(data), hashlib.sha256(data).hexdigest()) == (part["bytes"], part["sha256"])
        header, *these = read_csv(data) if part["file"].endswith(".csv") else _read_parquet(data)
        assert len(these) == part["rows"]
        assert sum(bool(row[-1]) for row in these) == part["failed"]
        rows += these if rows else [header, *these]
    assert len(rows) - 1 == manifest["images"]
    return rows


@contextlib.contextmanager
def s3_bucket() -> Iterator[Any]:
    """An empty bucket of a real S3 server on loopback, as s3fs; the environment leads to it."""
    with buckets.serve("bucket"):
        import s3fs

        yield s3fs.S3FileSystem(use_listings_cache=False)


def _read_parquet(data: bytes) -> Rows:
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(data))
    return [table.column_names, *([_cell(value) for value in row.values()] for row in table.to_pylist())]


def _cell(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else inert(value)
