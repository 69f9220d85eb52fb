"""`zoo train MODEL`: train, keep the best epoch, export through the gate, evaluate the file."""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

import zoo
from zoo.errors import UsageError
from zoo_cli import engines, offers, options
from zoo_cli.compare import as_text as comparison_text
from zoo_cli.decisions import describe_decisions
from zoo_cli.output import (
    describe_test,
    document,
    fields,
    format_table,
    put,
    quote_path,
    show_path,
    title_of,
    verdict_table,
)

if TYPE_CHECKING:
    from zoo.workflow._continue import BeforeAfter

__all__ = ["COMMAND", "train"]


class _Train(TyperCommand):
    """`--resume` alone and `--resume auto`: Typer knows flags and options with a value, and nothing between them.

    Only the word "auto" is taken for a value: in `zoo train --resume resnet18` the next word is the model.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line, `--resume` with its value joined to it."""
        spelled: list[str] = []
        for position, word in enumerate(args):
            if word == "--":
                spelled += args[position:]
                break
            if word == "--resume":
                spelled.append("--resume=yes")
            elif word == "auto" and spelled and spelled[-1] == "--resume=yes":
                spelled[-1] = "--resume=auto"
            else:
                spelled.append(word)
        return super().parse_args(ctx, spelled)


COMMAND = _Train
"""How `zoo_cli.main` adds the verb."""


def train(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=offers.models,
            help="A name from 'zoo list', timm/NAME, hf-hub:ORG/NAME, local-dir:PATH or ensemble:RUN,RUN…",
        ),
    ],
    *,
    data: options.Data = None,
    pretrained: options.Pretrained = False,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="FILE|RUN", help="Start from this file or run, hf-hub:ORG/NAME or local-dir:PATH."
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            autocompletion=offers.runs,
            help="Continue this run with the images of --data: its weights, head and preprocessing. Its test set is "
            "judged before and after.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="RUN|FILE",
            autocompletion=offers.exported,
            help="Learn from the answers of this run, .onnx file or bundle too.",
        ),
    ] = None,
    freeze: Annotated[
        bool,
        typer.Option(
            "--freeze", help="Train the head only, on features computed once; with --pretrained or --weights."
        ),
    ] = False,
    epochs: options.Epochs = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="TIME", help="Time for all of it, such as 90s, 10m or 2h; sets the epochs."),
    ] = None,
    batch_size: options.BatchSize = None,
    lr: options.Lr = None,
    size: options.Size = None,
    seed: options.Seed = None,
    device: options.Device = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None,
        typer.Option("--precision", help="Number format; auto: bf16 where processor and network gain by it."),
    ] = None,
    loss: Annotated[
        Literal["auto", "cross_entropy", "focal", "logit_adjusted"] | None,
        typer.Option("--loss", help="What is minimised; auto: where a class is rare, what validation favours."),
    ] = None,
    metric: options.Metric = None,
    operating: options.Operating = None,
    task: options.Task = None,
    order: options.Order = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run; default: runs/MODEL-TIME.")] = None,
    resume: Annotated[
        Literal["yes", "auto"] | None,
        typer.Option(
            "--resume",
            metavar="[auto]",
            help="Resume the run in --out, or the last run. auto: begin one where there is none, report one that is "
            "done; so one command can be repeated.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    skip_bad: options.SkipBad = False,
    keep_leaks: options.KeepLeaks = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse data with copies in two splits instead of leaving them out.")
    ] = False,
    fold: options.Fold = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            min=3,
            help="Train on each of K folds of all images, and judge every image by a file that has not seen it.",
        ),
    ] = None,
    then: Annotated[
        Literal["all", "ensemble", "none"] | None,
        typer.Option(
            "--then",
            help="After --folds: all, one model of all images; ensemble, the folds' files as one. Figures are "
            "those of the folds.",
        ),
    ] = None,
    columns: options.Columns = None,
    group: options.Group = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    uncertain: options.Uncertain = None,
    inputs: options.Inputs = None,
    settings: options.Settings = None,
    log: Annotated[
        list[str] | None,
        typer.Option("--log", metavar="NAME", help="Also write to tensorboard, mlflow or wandb; may be repeated."),
    ] = None,
    engine: engines.Engine = None,
    jobs: engines.Jobs = None,
    address: engines.Address = None,
    cpus_per_trial: engines.CpusPerTrial = None,
    gpus_per_trial: engines.GpusPerTrial = None,
    as_json: options.Json = False,
) -> None:
    """Train a model on your images, or on digits.

    The best epoch by validation AUROC, or by --metric, is kept and exported as ONNX; that file is judged on the test
    images.
    """
    from zoo.workflow.folds import is_over_folds
    from zoo.workflow.train import read_settings

    chosen = read_settings(settings or [])
    if keep_leaks and strict:
        raise UsageError(
            "--keep-leaks keeps what --strict refuses; give one of them",
            code="option-conflict",
            options=["--keep-leaks", "--strict"],
        )
    leaks: Literal["keep", "refuse"] | None = "keep" if keep_leaks else "refuse" if strict else None
    said = options.make_budget(
        options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames),
        epochs=epochs,
        budget=budget,
        batch_size=batch_size,
        lr=lr,
        size=size,
        seed=seed,
        device=device,
        precision=precision,
        pretrained=pretrained,
        weights=weights,
        start_from=start_from,
        teacher=teacher,
        freeze=freeze or None,
        leaks=leaks,
        fold=fold,
        folds=folds,
        settings=chosen,
        loss=loss,
        metric=metric,
        operating=operating,
        task=task,
        order=options.read_order(order),
        inputs=options.read_inputs(inputs),
    )
    again: bool | Literal["auto"] = "auto" if resume == "auto" else resume is not None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            whole = (folds is not None and fold is None) or (again is True and is_over_folds(out))
            if then is not None and not whole:
                raise UsageError(
                    "--then says what follows all folds; give --folds K without --fold",
                    code="option-ignored",
                    options=["--then"],
                )
            who = engines.make_engine(engine, jobs, address, cpus_per_trial, gpus_per_trial)
            if not whole:
                options.refuse_idle(
                    "of one training", engine=engine, jobs=jobs, address=address, cpus_per_trial=cpus_per_trial,
                    gpus_per_trial=gpus_per_trial,
                )  # fmt: skip
            work = partial(zoo.train_folds, then=then, engine=who) if whole else zoo.train
            result = work(
                model,
                data,
                out=out,
                resume=again,
                overwrite=overwrite,
                skip_bad=skip_bad,
                callbacks=log or (),
                **said,
            )
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or "interrupted before the run began; nothing is left") from None
    if as_json:
        document(result)
    elif isinstance(result, zoo.FoldsResult):
        _report_folds(result)
    else:
        _report(result, named=out is not None)


def _report(result: zoo.TrainResult, *, named: bool) -> None:
    best, run = result.best, quote_path(result.run)
    lines = {"model": result.model}
    if result.members:
        lines["weights"] = ", ".join(f"{member.weight:.3f} {member.name}" for member in result.members)
    elif best is not None:
        value = "undefined" if best.value is None else f"{best.value:.4f}"
        name = title_of(best.metric.removeprefix("val_"))
        if result.epochs > 1:
            lines["best epoch"] = f"{best.epoch} of {result.epochs}, by validation {name} {value}"
        else:  # one epoch, or a model that is fitted in one step: nothing was chosen
            lines["validation"] = f"{name} {value}"
    if not result.members:
        lines["class weight"] = result.class_weight
        lines["loss"] = result.loss
    if not result.members and result.seconds is not None and result.images_per_second is not None:
        rate = f"{result.images_per_second:,.0f}".replace(",", " ")
        lines["speed"] = f"{rate} images/s, {result.seconds:.1f} s"
    target = f" {run}" if named else ""
    lines |= {
        "run": show_path(result.run),
        "page": show_path(Path(result.run) / "report.html"),
        "next": f"zoo export{target} --onnx",
        "or": f"zoo evaluate{target}",
    }
    if result.comparison is not None:
        put(f"{comparison_text(result.comparison)}\n")
    lines |= _put_before_after(result.before_after)
    plain = result.class_weight == "none" and result.loss == "cross_entropy" and not result.members
    hint = "\nfor rare classes: --loss auto, or --set class_weight=balanced" if plain else ""
    put("\n\n".join((*describe_test(result.test, hint), *describe_decisions(result.test), fields(lines))))


def _put_before_after(found: BeforeAfter | None) -> dict[str, str]:
    """Print how both files do on the old test images, and return the line that says it in short."""
    if found is None:
        return {}
    name = f"on the test set of {found.run}"
    if found.comparison is None:
        return {name: f"not judged: {found.reason}"}
    put(f"{comparison_text(found.comparison)}\n")
    said = (f"{title_of(metric)} {verdict}" for metric, verdict in found.verdicts.items())
    lost = f"; {found.called_new} of {found.comparison.n} are called a new class" if found.called_new else ""
    lost += f"; {found.gone} old test images are gone" if found.gone else ""
    return {name: f"{', '.join(said)} (after against before, among the old classes){lost}"}


def _report_folds(result: zoo.FoldsResult) -> None:
    from zoo.workflow._find import OF_FOLDS

    names = list(dict.fromkeys(name for one in result.each for name in one.metrics))[:3]
    rows = [
        (quote_path(one.run), str(one.n), *(str(one.metrics.get(name, "-")) for name in names)) for one in result.each
    ]
    run = quote_path(result.run)
    ships = result.folds[0] if result.final is None else result.final
    lines = {
        "model": result.model,
        "best epoch": f"{result.median_best_epoch}, the median of {len(result.folds)} folds",
        "training": f"{result.seconds:.1f} s, all folds together",
        "run": show_path(result.run),
        "page": show_path(Path(result.run) / "report.html"),
        "next": f"zoo runs list {run}",
        "or": f"zoo export {quote_path(ships)} --onnx",
    }
    if result.final is not None:
        together = Path(result.final).name == OF_FOLDS
        what = "those of its members, each alone" if together else "what is expected of it"
        lines["ensemble" if together else "of all images"] = f"{show_path(result.final)}; the figures above are {what}"
    table = format_table(("fold", "images", *map(title_of, names)), rows, right=(1,))
    put("\n\n".join((verdict_table(result.test), table, fields(lines))))
