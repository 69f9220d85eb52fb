"""`zoo pick`: the best model for these images within a device's limits."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import zoo
from zoo_cli import engines, offers, options
from zoo_cli.output import (
    describe_test,
    document,
    fields,
    format_table,
    number_notes,
    put,
    quote_path,
    show_path,
    title_of,
    with_interval,
)

if TYPE_CHECKING:
    from zoo.workflow.pick import PickRow

__all__ = ["pick"]

SHOWN = 72
"""Characters of a reason in the table; --json has all of it."""


def pick(
    *,
    data: options.Data = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="NAME=X,…",
            help="latency_ms of one image on this machine, size_mb of the file, minutes of the search; default: no "
            "limit, 30 minutes.",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="A,B,…", autocompletion=offers.models, help="Try these models only."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            metavar="A,B,…",
            help="Only code under these, such as mit; networks whose weights are under others start from scratch.",
        ),
    ] = None,
    metric: options.Metric = None,
    task: options.Task = None,
    order: options.Order = None,
    seed: options.Seed = None,
    device: options.Device = None,
    skip_bad: options.SkipBad = False,
    keep_leaks: options.KeepLeaks = False,
    fold: options.Fold = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Try pretrained networks only, and train the head of each alone.")
    ] = False,
    columns: options.Columns = None,
    group: options.Group = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    uncertain: options.Uncertain = None,
    settings: options.Settings = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the search; default: runs/pick-NAME-HASH."),
    ] = None,
    engine: engines.Engine = None,
    jobs: engines.Jobs = None,
    address: engines.Address = None,
    cpus_per_trial: engines.CpusPerTrial = None,
    gpus_per_trial: engines.GpusPerTrial = None,
    as_json: options.Json = False,
) -> None:
    """Pick the best model for your images that a device can run.

    Linear and classical models come first, then networks in rounds. Validation images choose; the pick is judged once
    on the test images. The same command continues where it was stopped, and with more minutes.
    """
    from zoo.workflow.train import read_settings

    chosen = read_settings(settings or [])
    with contextlib.redirect_stdout(sys.stderr):
        found = zoo.pick(
            data,
            budget=budget,
            out=out,
            models=() if models is None else options.read_names(models, "--models", "resnet18,svm"),
            licence=options.read_licences(licence),
            metric=metric,
            task=task,
            order=options.read_order(order),
            seed=seed,
            device=device,
            skip_bad=skip_bad,
            leaks="keep" if keep_leaks else None,
            fold=fold,
            freeze=freeze,
            settings=chosen,
            engine=engines.make_engine(engine, jobs, address, cpus_per_trial, gpus_per_trial),
            **options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames),
        )
    if as_json:
        document(found)
        return
    rows = sorted(found.table, key=lambda row: (row.dropped != "",))
    untried = ", ".join(f"{count} ({reason})" for reason, count in found.untried.items())
    run = quote_path(found.run)
    lines = {
        "pick": rows[0].model,
        "validation": f"{title_of(found.metric)} {with_interval(found.value)}",
        "costs": f"{found.latency_ms:.2f} ms an image here, {found.size_mb:.1f} MB",
        "time": f"{found.minutes:.1f} minutes",
        **({"not tried": untried} if untried else {}),
        **number_notes(found.notes, None),
        "run": show_path(found.run),
        "next": f"zoo export {run} --onnx",
    }
    value = f"validation {title_of(found.metric)} (95 %)"
    header = ("", "model", "stage", value, "latency", "size", "minutes", "why not")
    table = format_table(header, [_cells(row) for row in rows], right=(4, 5, 6))
    put("\n\n".join((table, *describe_test(found.test), fields(lines))))


def _cells(row: PickRow) -> tuple[str, ...]:
    why = row.dropped if len(row.dropped) <= SHOWN else row.dropped[: SHOWN - 1] + "…"
    return (
        "" if row.dropped else "*",
        row.model + (" (pretrained)" if row.pretrained and " on " not in row.model else ""),
        row.stage,
        with_interval(row.value),
        "-" if row.latency_ms is None else f"{row.latency_ms:.2f} ms",
        "-" if row.size_mb is None else f"{row.size_mb:.1f} MB",
        f"{row.minutes:.1f}",
        why,
    )
