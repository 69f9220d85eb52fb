"""`zoo tune MODEL`: the recipe that validation likes best, and its run."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import zoo
from zoo.spec import Budget
from zoo_cli import offers
from zoo_cli.options import (
    BatchSize,
    Columns,
    Data,
    Device,
    Epochs,
    Fold,
    Frames,
    Group,
    Json,
    KeepNa,
    Lr,
    Metric,
    Seed,
    Settings,
    Size,
    Uncertain,
    make_reading,
    spell_reading,
)
from zoo_cli.output import (
    describe_seen,
    document,
    fields,
    format_table,
    number_notes,
    put,
    quote_path,
    rare_table,
    show_path,
    verdict_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["tune"]

SHOWN = 12
"""Trials in the table, the best first; --json has all."""


def tune(
    model: Annotated[
        str, typer.Argument(autocompletion=offers.models, help="A name from 'zoo list', timm/NAME, hf-hub:ORG/NAME.")
    ],
    *,
    data: Data = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", min=1, help="Recipes; default: 20, or what --minutes hold."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", help="Time of the search, over all calls.")
    ] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Start from the card's weights.")] = False,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="FILE|RUN", help="Start from this file or run.")
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    size: Size = None,
    metric: Metric = None,
    seed: Seed = None,
    device: Device = None,
    fold: Fold = None,
    columns: Columns = None,
    group: Group = None,
    keep_na: KeepNa = False,
    frames: Frames = None,
    uncertain: Uncertain = None,
    settings: Settings = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the search; default: runs/tune-MODEL-HASH."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search the recipe of a model on your images.

    What you say is not varied. Validation images choose; the best run is judged once on the test images. The same
    command continues where it was stopped, and with more trials or minutes.
    """
    from zoo.workflow.train import read_settings

    reading = make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames)
    said = Budget(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        size=size,
        seed=seed,
        device=device,
        pretrained=pretrained,
        weights=weights,
        freeze=None,
        folds=None,
        metric=metric,
        fold=fold,
        budget=None,
        precision=None,
        start_from=None,
        teacher=None,
        leaks=None,
        loss=None,
        task=None,
        order=None,
        settings=read_settings(settings or []),
        **reading,
    )
    with contextlib.redirect_stdout(sys.stderr):
        found = zoo.tune(model, data, trials=trials, minutes=minutes, out=out, **said)
    if as_json:
        document(found)
        return
    from zoo.evaluation import lower_is_better, title_of

    sign = 1 if lower_is_better(found.metric) else -1
    whole = sorted((one for one in found.trials if one.state == "complete"), key=lambda one: sign * (one.value or 0.0))
    names = list(found.best.settings)
    rows = [
        (
            str(one.number),
            "-" if one.value is None else f"{one.value:.4f}",
            str(one.epochs),
            *(_short(one.settings.get(name)) for name in names),
        )
        for one in whole[:SHOWN]
    ]
    counted = {state: sum(one.state == state for one in found.trials) for state in ("pruned", "failed", "unfinished")}
    others = ", ".join(f"{count} {state}" for state, count in counted.items() if count)
    run = quote_path(found.run)
    where = "" if data is None else f" --data {quote_path(data)}"
    lines = {
        "trials": f"{len(whole)} whole" + (f", {others}" if others else ""),
        "time": f"{found.minutes:.1f} minutes",
        **number_notes(found.notes, None),
        "run": show_path(found.run),
        "again": f"zoo train {shlex.quote(model)}{where}{_spell(found.recipe)}{spell_reading(reading)}",
        "next": f"zoo export {run} --onnx",
    }
    table = format_table(("trial", f"validation {title_of(found.metric)}", "epochs", *names), rows, right=(0, 2))
    sections = (
        table,
        *describe_seen(found.test.seen),
        verdict_table(found.test),
        rare_table(found.test),
        fields(lines),
    )
    put("\n\n".join(part for part in sections if part))


def _spell(recipe: Mapping[str, Any]) -> str:
    """The options that say a recipe, each after a blank; how the data is read is said elsewhere."""
    said = ""
    for name in ("epochs", "batch_size", "lr", "size", "metric", "seed", "device", "weights", "fold"):
        if recipe.get(name) is not None:
            said += f" --{name.replace('_', '-')} {shlex.quote(_short(recipe[name]))}"
    if recipe.get("pretrained"):
        said += " --pretrained"
    for name, value in (recipe.get("settings") or {}).items():
        said += f" --set {shlex.quote(f'{name}={_short(value)}')}"
    return said


def _short(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else "-" if value is None else str(value)
