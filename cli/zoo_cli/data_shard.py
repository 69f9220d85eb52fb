"""`zoo data shard DATA`: write data as tar shards with an index, for training that reads them one by one."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

import zoo
from zoo.errors import UsageError
from zoo_cli import offers, options
from zoo_cli.output import document, fields, format_count, format_table, megabytes, put

if TYPE_CHECKING:
    from zoo.data import ShardsResult

__all__ = ["shard"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)b?", re.IGNORECASE)
_SHOWN = 20
"""Shards that are shown as text."""


def shard(
    data: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH|URL", autocompletion=offers.data, help="Whatever other verbs take as --data."
        ),
    ],
    *,
    out: Annotated[str, typer.Option("--out", metavar="DIR|URL", help="A folder, or an address such as s3://b/set.")],
    size: Annotated[
        str | None, typer.Option("--size", metavar="BYTES", help="Most bytes of a shard; default 256MB.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", metavar="N", min=1, help="Most images of a shard, instead of --size.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Another seed, another order.")] = 0,
    group: options.Group = None,
    columns: options.Columns = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    uncertain: options.Uncertain = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write anew what is in --out.")] = False,
    skip_bad: options.SkipBad = False,
    as_json: options.Json = False,
) -> None:
    """Write tar shards (WebDataset) with an index.

    Files keep their bytes, splits and groups stay as they are. The same command continues after it was stopped.
    """
    try:
        made = zoo.shard(
            data,
            out,
            size=None if size is None else _read_size(size),
            images=images,
            seed=seed,
            overwrite=overwrite,
            skip_bad=skip_bad,
            progress=_progress if sys.stderr.isatty() else None,
            **options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; finished shards are kept, the same command continues") from None
    if as_json:
        document(made)
    else:
        _report(made)


def _read_size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None or not (size := int(float(found[1]) * _UNITS[found[2].lower()])):
        raise UsageError(
            f"--size {text!r}: expected bytes, such as 256MB or 1GB", code="option-value", option="--size", value=text
        )
    return size


def _progress(done: int, n: int) -> None:
    sys.stderr.write(f"\rzoo: wrote {done} of {n} images" + ("\n" if done == n else ""))
    sys.stderr.flush()


def _report(made: ShardsResult) -> None:
    rows = [(one.name, str(one.images), megabytes(one.size)) for one in made.shards[:_SHOWN]]
    if len(made.shards) > _SHOWN:
        rows.append((f"… {len(made.shards) - _SHOWN} more", "", ""))
    rows.append((format_count(len(made.shards), "shard"), str(made.images), megabytes(made.size_bytes)))
    lines = {"shards": made.path, "seed": str(made.seed)}
    lines |= {f"note {number}": note for number, note in enumerate(made.notes, 1)}
    lines["next"] = f"zoo train simple_cnn --data {shlex.quote(made.path)}"
    put(f"{format_table(('shard', 'images', 'size'), rows, right=(1, 2))}\n\n{fields(lines)}")
