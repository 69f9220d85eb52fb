"""`zoo train MODEL`: train, keep the best epoch, export through the gate, evaluate the file."""

from __future__ import annotations

import contextlib
import datetime
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import zoo
from zoo.errors import UsageError, ZooError
from zoo.spec import Budget
from zoo_cli.compare import as_text as comparison_text
from zoo_cli.options import (
    BatchSize,
    Columns,
    Data,
    Device,
    Epochs,
    Group,
    Json,
    KeepNa,
    Lr,
    Seed,
    Settings,
    Size,
    Uncertain,
    make_reading,
)
from zoo_cli.output import document, fields, put, show_path, verdict_table

__all__ = ["train"]


def train(
    model: Annotated[
        str,
        typer.Argument(help="A name from 'zoo list', timm/NAME, hf-hub:ORG/NAME, local-dir:PATH or ensemble:RUN,RUN…"),
    ],
    *,
    data: Data = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Start from the card's weights.")] = False,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="Start from this file, hf-hub:ORG/NAME or local-dir:PATH."),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    size: Size = None,
    seed: Seed = None,
    device: Device = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None,
        typer.Option("--precision", help="Number format; auto measures what pays here."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run; default: runs/MODEL-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out, or the last run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out, and record, unreadable images.")] = False,
    keep_leaks: Annotated[
        bool, typer.Option("--keep-leaks", help="Train on copies of held-out images, and on groups in two splits.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse data with copies in two splits instead of leaving them out.")
    ] = False,
    fold: Annotated[
        int | None, typer.Option("--fold", metavar="I", min=0, help="Of data with folds: the one that is test.")
    ] = None,
    columns: Columns = None,
    group: Group = None,
    keep_na: KeepNa = False,
    uncertain: Uncertain = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Train a model on your images, or on digits.

    The best epoch by validation AUROC is kept and exported as ONNX; that file is judged on the test images.
    """
    from zoo.workflow.train import read_settings

    chosen = read_settings(settings or [])
    if keep_leaks and strict:
        raise UsageError(
            "--keep-leaks keeps what --strict refuses; give one of them",
            code="option-conflict",
            options=["--keep-leaks", "--strict"],
        )
    leaks: Literal["keep", "refuse"] | None = "keep" if keep_leaks else "refuse" if strict else None
    budget = Budget(
        epochs=epochs, batch_size=batch_size, lr=lr, size=size, seed=seed, device=device, precision=precision,
        pretrained=pretrained, weights=weights, leaks=leaks, fold=fold, settings=chosen,
        **make_reading(columns, group, uncertain, keep_na=keep_na),
    )  # fmt: skip
    began = datetime.datetime.now(datetime.UTC)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result = zoo.train(model, data, out=out, resume=resume, overwrite=overwrite, skip_bad=skip_bad, **budget)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_describe_kept(model, out, began, resume=resume)) from None
    if as_json:
        document(result)
    else:
        _report(result, named=out is not None)


def _report(result: zoo.TrainResult, *, named: bool) -> None:
    from zoo.evaluation import title_of

    best, run = result.best, show_path(result.run)
    lines = {"model": result.model}
    if result.members:
        lines["weights"] = ", ".join(f"{member.weight:.3f} {member.name}" for member in result.members)
    elif best is not None:
        value = "undefined" if best.value is None else f"{best.value:.4f}"
        name = title_of(best.metric.removeprefix("val_"))
        lines["best epoch"] = f"{best.epoch}, by validation {name} {value}"
    if not result.members and result.seconds is not None and result.images_per_second is not None:
        rate = f"{result.images_per_second:,.0f}".replace(",", " ")
        lines["speed"] = f"{rate} images/s, {result.seconds:.1f} s"
    target = f" {run}" if named else ""
    lines |= {"run": run, "next": f"zoo export{target} --onnx, or zoo evaluate{target}"}
    if result.comparison is not None:
        put(f"{comparison_text(result.comparison)}\n")
    put(f"{verdict_table(result.test)}\n\n{fields(lines)}")


def _describe_kept(model: str, out: Path | None, began: datetime.datetime, *, resume: bool) -> str:
    """What Ctrl-C left, and how to resume it."""
    from zoo.runs import find_run, open_run

    try:
        run = open_run(find_run(out))
    except ZooError:
        return "interrupted before the run began; nothing is left"
    record, shown = run.record, show_path(run.path)
    started = datetime.datetime.fromisoformat(record.started)
    if record.card.name != model.partition(":")[0] or not (resume or started >= began.replace(microsecond=0)):
        return "interrupted before the run began; nothing is left"
    # Ensembles train in seconds, so we restart them instead of resuming.
    again = f"zoo train {model} {'--overwrite' if model.startswith('ensemble:') else '--resume'} --out {shown}"
    if record.status == "done":
        return f"interrupted at the very end; {shown} is complete"
    if record.status == "trained":
        return f"interrupted after training; {shown} keeps the weights; continue with '{again}'"
    if record.best is None:
        return f"interrupted in the first epoch; {shown} keeps the start; continue with '{again}'"
    return (
        f"interrupted; {shown} keeps the best of {record.epochs_done} of {record.card.train.epochs} epochs; "
        f"continue with '{again}', or take it as it is with 'zoo export {shown} --onnx'"
    )
