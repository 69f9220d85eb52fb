"""`zoo data split PATH`: divide images once, into a table that every verb takes as --data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import zoo
from zoo_cli import offers, options
from zoo_cli.output import document, fields, format_count, format_table, put, quote_path, show_path

if TYPE_CHECKING:
    from zoo.data import SplitTable

__all__ = ["split"]


def split(
    path: Annotated[
        str, typer.Argument(metavar="PATH", autocompletion=offers.data, help="A folder, a table or an .npz file.")
    ],
    *,
    group: options.Group = None,
    columns: options.Columns = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    uncertain: options.Uncertain = None,
    folds: Annotated[int | None, typer.Option("--folds", metavar="K", help="K folds instead of splits.")] = None,
    val: Annotated[float | None, typer.Option("--val", metavar="X", help="Share of val; default 0.15.")] = None,
    test: Annotated[float | None, typer.Option("--test", metavar="X", help="Share of test; default 0.15.")] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Another seed, another division.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The table; default: NAME-split.csv here.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Divide data that brings splits already.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table in --out.")] = False,
    skip_bad: options.SkipBad = False,
    as_json: options.Json = False,
) -> None:
    """Write a table of stratified splits or folds; groups such as patients stay whole."""
    made = zoo.split(
        path,
        out,
        folds=folds,
        val=val,
        test=test,
        seed=seed,
        again=again,
        overwrite=overwrite,
        skip_bad=skip_bad,
        **options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames),
    )
    if as_json:
        document(made)
    else:
        _report(made, keep_na=keep_na, frames=frames)


def _report(made: SplitTable, *, keep_na: bool | None, frames: str | None) -> None:
    labels = made.labels[:8]
    head = (made.column, "images", *labels)
    rows = [(part, str(n), *(str(made.per_class[part][label]) for label in labels)) for part, n in made.parts.items()]
    groups = "no groups are known" if made.groups is None else f"{format_count(made.groups, 'group')} kept whole"
    lines = {"table": show_path(made.path), "groups": groups, "seed": made.seed}
    lines |= {f"note {number}": note for number, note in enumerate(made.notes, 1)}
    fold = " --fold 0" if made.column == "fold" else ""
    said = f"{options.spell_keep_na(keep_na)}{f' --frames {frames}' if frames else ''}"
    lines["next"] = f"zoo train simple_cnn --data {quote_path(made.path)}{fold}{said}"
    put(f"{format_table(head, rows, right=range(1, len(head)))}\n\n{fields(lines)}")
