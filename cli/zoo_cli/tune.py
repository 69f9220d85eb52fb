"""`zoo tune MODEL`: the recipe that validation likes best, and its run."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    data: options.Data = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", min=1, help="Recipes; default: 20, or what --minutes hold."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", help="Time of the search, over all calls.")
    ] = None,
    pretrained: options.Pretrained = False,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="FILE|RUN", help="Start from this file or run.")
    ] = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.Lr = None,
    size: options.Size = None,
    metric: options.Metric = None,
    task: options.Task = None,
    order: options.Order = None,
    seed: options.Seed = None,
    device: options.Device = None,
    skip_bad: options.SkipBad = False,
    keep_leaks: options.KeepLeaks = False,
    fold: options.Fold = None,
    columns: options.Columns = None,
    group: options.Group = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    uncertain: options.Uncertain = None,
    settings: options.Settings = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the search; default: runs/tune-MODEL-HASH."),
    ] = None,
    engine: engines.Engine = None,
    jobs: engines.Jobs = None,
    address: engines.Address = None,
    cpus_per_trial: engines.CpusPerTrial = None,
    gpus_per_trial: engines.GpusPerTrial = None,
    as_json: options.Json = False,
) -> None:
    """Search the recipe of a model on your images.

    What you say is not varied. Validation images choose; the best run is judged once on the test images. The same
    command continues where it was stopped, and with more trials or minutes.
    """
    from zoo.workflow.train import read_settings

    reading = options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames)
    said = options.make_budget(
        reading,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        size=size,
        seed=seed,
        device=device,
        pretrained=pretrained,
        weights=weights,
        metric=metric,
        task=task,
        order=options.read_order(order),
        leaks="keep" if keep_leaks else None,
        fold=fold,
        settings=read_settings(settings or []),
    )
    who = engines.make_engine(engine, jobs, address, cpus_per_trial, gpus_per_trial)
    with contextlib.redirect_stdout(sys.stderr):
        found = zoo.tune(model, data, trials=trials, minutes=minutes, out=out, skip_bad=skip_bad, engine=who, **said)
    if as_json:
        document(found)
        return
    from zoo.evaluation import lower_is_better

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
        "again": f"zoo train {shlex.quote(model)}{where}{_spell(found.recipe)}{options.spell_reading(reading)}",
        "next": f"zoo export {run} --onnx",
    }
    table = format_table(("trial", f"validation {title_of(found.metric)}", "epochs", *names), rows, right=(0, 2))
    put("\n\n".join((table, *describe_test(found.test), fields(lines))))


def _spell(recipe: Mapping[str, Any]) -> str:
    """The options that say a recipe, each after a blank; how the data is read is said elsewhere."""
    from zoo.workflow.train import spell_setting

    said = ""
    for name in ("epochs", "batch_size", "lr", "size", "metric", "task", "seed", "device", "weights", "fold"):
        if recipe.get(name) is not None:
            said += f" --{name.replace('_', '-')} {shlex.quote(str(recipe[name]))}"
    if recipe.get("order"):
        said += f" --order {shlex.quote(','.join(recipe['order']))}"
    flags = {"--pretrained": "pretrained", "--skip-bad": "skip_bad", "--keep-leaks": "leaks"}
    said += "".join(f" {flag}" for flag, name in flags.items() if recipe.get(name))
    for name, value in (recipe.get("settings") or {}).items():
        said += f" --set {shlex.quote(spell_setting(name, value))}"
    return said


def _short(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else "-" if value is None else str(value)
