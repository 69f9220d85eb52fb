"""`zoo report`: one page with all that is known of a run."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

import zoo
from zoo_cli import options
from zoo_cli.output import document, fields, put, show_path

__all__ = ["report"]


def report(
    target: options.Exported = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the files; default: the run's own.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")] = False,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="No copies of images on the page, and no names of files.")
    ] = False,
    heatmaps: Annotated[
        bool,
        typer.Option("--heatmaps", help="Show what the six surest mistakes depend on; takes seconds to minutes."),
    ] = False,
    operating: options.Operating = None,
    prevalence: options.Prevalence = None,
    by: options.By = None,
    unlike: options.Unlike = None,
    data: options.Data = None,
    columns: options.Columns = None,
    split: options.Split = "test",
    provider: options.Provider = "cpu",
    skip_bad: options.SkipBad = False,
    group: options.Group = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    uncertain: options.Uncertain = None,
    include_seen: options.IncludeSeen = False,
    key: options.Key = None,
    as_json: options.Json = False,
) -> None:
    """Write one HTML page with all that is known of a run, report.json and CARD.md.

    The page opens from the disk, without a network, and prints. Every training writes it. With --data it is of other
    images, which are judged as 'zoo evaluate' does. --operating, --prevalence, --by and --unlike judge the images of a
    run anew, for a page in --out.
    """
    with contextlib.redirect_stdout(sys.stderr):
        found = zoo.report(
            target,
            data,
            out=out,
            overwrite=overwrite,
            images=not no_images,
            heatmaps=heatmaps,
            operating=operating or (),
            prevalence=prevalence or (),
            by=options.read_by(by),
            unlike=unlike or (),
            split=split,
            provider=provider,
            skip_bad=skip_bad,
            key=key,
            include_seen=include_seen,
            **options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames),
        )
    if as_json:
        document(found)
    else:
        card = {} if found.card is None else {"card": show_path(found.card)}
        put(fields({"page": show_path(found.html), "json": show_path(found.json), **card}))
