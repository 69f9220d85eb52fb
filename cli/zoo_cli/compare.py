"""`zoo compare A B …`: a table with intervals, and what can be said of each pair."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import zoo
from zoo.errors import UsageError
from zoo.spec import Interval
from zoo_cli import engines, offers, options
from zoo_cli.output import (
    describe_seen,
    document,
    fields,
    format_count,
    format_table,
    format_table_as,
    megabytes,
    number_notes,
    put,
    sample,
    say,
    say_seen,
    show_path,
    title_of,
    with_interval,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.evaluation.comparison import Comparison, Pair
    from zoo_cli.output import Cell, TableFormat

__all__ = ["as_text", "compare"]

COSTS = {"latency_ms": "latency", "size_bytes": "size"}


def compare(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="A B …",
            autocompletion=offers.models_and_files,
            help="Runs, bundles, .onnx files, or models to train with one budget.",
        ),
    ],
    *,
    data: options.Data = None,
    columns: options.Columns = None,
    group: options.Group = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    split: options.Split = "test",
    provider: options.Provider = "cpu",
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.Lr = None,
    size: options.Size = None,
    task: options.Task = None,
    order: options.Order = None,
    seed: options.Seed = None,
    device: options.Device = None,
    pretrained: options.Pretrained = False,
    skip_bad: options.SkipBad = False,
    keep_leaks: options.KeepLeaks = False,
    uncertain: options.Uncertain = None,
    settings: options.Settings = None,
    resamples: Annotated[
        int | None,
        typer.Option(
            "--resamples",
            metavar="N",
            min=100,
            max=100_000,
            help="Shared resamples of the images; more of them can show a smaller p.",
        ),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Test each pair class by class, too: AUROC and sensitivity.")
    ] = False,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            metavar="X",
            help="Difference that would not matter, such as 0.02: says which models are equivalent, or not worse.",
        ),
    ] = None,
    table: options.TableAs = None,
    tests: Annotated[bool, typer.Option("--tests", help="With --table: the tests of pairs, not the models.")] = False,
    include_seen: options.IncludeSeen = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page about all models.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page in --html.")] = False,
    engine: engines.Engine = None,
    jobs: engines.Jobs = None,
    address: engines.Address = None,
    cpus_per_trial: engines.CpusPerTrial = None,
    gpus_per_trial: engines.GpusPerTrial = None,
    as_json: options.Json = False,
) -> None:
    """Compare models on the same images.

    A table with 95 % intervals, latency and size, and a paired test of each pair. Names of models are trained
    first, all with the same budget; every one is checked before the first is trained.
    """
    from zoo.workflow.train import read_settings

    options.refuse_formats(table, tests=tests, as_json=as_json)
    if per_class and table is not None and not tests:
        raise UsageError(
            "--per-class makes tests, and --table prints the models; give --tests too, or leave --per-class out",
            code="option-missing",
            options=["--tests"],
        )
    budget = options.make_budget(
        options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        size=size,
        task=task,
        order=options.read_order(order),
        seed=seed,
        device=device,
        pretrained=pretrained,
        leaks="keep" if keep_leaks else None,
        settings=read_settings(settings or []),
    )
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = zoo.compare(
                targets,
                data,
                split=split,
                provider=provider,
                skip_bad=skip_bad,
                budget=budget,
                resamples=resamples,
                per_class=per_class,
                margin=margin,
                include_seen=include_seen,
                html=html,
                overwrite=overwrite,
                engine=engines.make_engine(engine, jobs, address, cpus_per_trial, gpus_per_trial),
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted; finished runs are kept below runs/, name them to compare without training again"
        ) from None
    if html is not None:
        say(f"wrote {show_path(html)}")
    if as_json or table is not None:
        say_seen(found.seen)
    if as_json:
        document(found)
    elif table is not None:
        put(format_table_as(table, *(_tests(found, table) if tests else _models(found))))
    else:
        put(as_text(found))


def as_text(found: Comparison) -> str:
    """The table and one sentence for each pair and metric."""
    rows = [
        (
            model.name,
            *(with_interval(model.metrics.get(name)) for name in found.compared),
            "-" if model.latency_ms is None else f"{model.latency_ms:.2f} ms",
            "-" if model.size_bytes is None else megabytes(model.size_bytes),
            "*" if model.pareto else "",
        )
        for model in found.models
    ]
    header = ("model", *(f"{title_of(name)} (95 %)" for name in found.compared), *COSTS.values(), "")
    axes = ", ".join(COSTS.get(axis) or title_of(axis) for axis in found.pareto_axes)
    measured = "; latencies whose ranges overlap (10 to 90 % of runs) count as equal"
    lines = [
        *(f"{line}\n" for line in describe_seen(found.seen)),
        f"{sample(found.n, found.clusters)}, {len(found.labels)} classes, latency of one image on this machine",
        "",
        format_table(header, rows, right=(1 + len(found.compared), 2 + len(found.compared))),
        f"* no other is at least as good in all of: {axes}{measured if 'latency_ms' in found.pareto_axes else ''}",
    ]
    if _weighed_differently(found):
        said = ", ".join(f"{model.name} {model.class_weight}" for model in found.models)
        lines.append(f"classes were weighed differently in training: {said} (--set class_weight)")
    pairs = len(found.models) * (len(found.models) - 1) // 2
    if pairs:
        lines += ["", f"Paired tests on {format_count(found.resamples, 'shared resample')}:"]
        for pair in found.pairs:
            lines += [f"  {_sentence(pair, pairs)}", *(f"    {line}" for line in _further(pair, found))]
    if found.per_class:
        lines += [
            "",
            f"Class by class, each against the rest; p corrected for all {len(found.per_class)} tests (Holm),",
        ]
        lines += ["intervals not corrected:", format_table(*_by_class(found))]
    if any(pair.at_floor for pair in (*found.pairs, *found.per_class)):
        lines.append("≤: as small as that many resamples can show; 'zoo compare --resamples N' takes more")
    lines += [
        f"undefined for {row.name}: {name} ({why})" for row in found.models for name, why in row.undefined.items()
    ]
    if notes := number_notes(found.notes, found.seen):
        lines += ["", fields(notes)]
    return "\n".join(lines)


def _weighed_differently(found: Comparison) -> bool:
    return len({model.class_weight for model in found.models}) > 1


def _sentence(pair: Pair, pairs: int) -> str:
    metric = title_of(pair.metric)
    if pair.delta is None or pair.low is None or pair.high is None:
        return f"cannot tell {pair.a} and {pair.b} apart in {metric}: {pair.reason}"
    a, b, delta, low, high = pair.a, pair.b, pair.delta, pair.low, pair.high
    if pair.verdict == "worse":  # said the other way round, so that every sentence reads "better"
        a, b, delta, low, high = b, a, -delta, -high, -low
    delta, low, high = (round(value, 3) + 0.0 for value in (delta, low, high))  # + 0.0: never "-0.000"
    alone, family = ("", "") if pairs == 1 else (", not corrected", f" (Holm, {pairs} pairs)")
    numbers = f"difference {delta:+.3f} (95 % interval {low:.3f} to {high:.3f}{alone}), p {_format_p(pair)}{family}"
    if pair.verdict == "cannot tell":
        return f"cannot tell {a} and {b} apart in {metric}: {numbers}"
    return f"{a} is better than {b} in {metric}: {numbers}"


def _further(pair: Pair, found: Comparison) -> list[str]:
    """What the margin says, and how many images would tell."""
    lines: list[str] = []
    if pair.margin is not None and pair.noninferior is not None:
        margin = f"{pair.margin:g}"
        if pair.equivalent:
            lines.append(f"equivalent within {margin}: the interval lies between -{margin} and {margin}")
        elif pair.verdict == "cannot tell":
            lines += [f"{one} is not worse than {other} by more than {margin}" for one, other in pair.not_worse]
            lines += [] if pair.not_worse else [f"cannot tell whether either is worse by more than {margin}"]
    if pair.wanted:
        numbers = ", ".join(
            f"a difference of {size:.3g} {_count_images(images, found)}" for size, images in pair.wanted
        )
        lines.append(f"to tell, with a power of 80 %: {numbers}")
    return lines


def _count_images(images: int, found: Comparison) -> str:
    """About how many test images, and of how many groups where groups are known; there are `found.n`."""
    groups = ""
    if found.clusters is not None:
        groups = f" of {format_count(math.ceil(images * found.clusters / found.n), 'group')}"
    return f"needs about {format_count(images, 'image')}{groups}"


def _format_p(pair: Pair) -> str:
    from zoo.evaluation.page import spell_p  # which needs numpy

    return spell_p(pair)


def _by_class(found: Comparison) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Header and rows of the tests class by class."""
    rows: list[Sequence[str]] = []
    for pair in found.per_class:
        if pair.delta is None or pair.low is None or pair.high is None:
            numbers = pair.reason or "-"
        else:
            numbers = f"{pair.delta:+.3f} ({pair.low:.3f} to {pair.high:.3f})"
        who = f"{pair.a} - {pair.b}"
        rows.append(
            (pair.label or "", title_of(pair.metric), who, numbers, _format_p(pair).removeprefix("= "), _better(pair))
        )
    return ("class", "metric", "models", "difference (95 %)", "p", "better"), rows


def _better(pair: Pair) -> str:
    return {"better": pair.a, "worse": pair.b}.get(pair.verdict, "cannot tell")


def _models(found: Comparison) -> tuple[list[str], list[list[Cell]]]:
    """The models for `--table`."""
    weighed = ["class weight"] if _weighed_differently(found) else []
    header = ["model", *map(title_of, found.compared), "latency ms", "size MB", *weighed]
    rows: list[list[Cell]] = []
    for model in found.models:
        size = None if model.size_bytes is None else model.size_bytes / 1e6
        weight = [model.class_weight] if weighed else []
        rows.append([model.name, *map(model.metrics.get, found.compared), model.latency_ms, size, *weight])
    return header, rows


def _tests(found: Comparison, kind: TableFormat) -> tuple[list[str], list[list[Cell]]]:
    """The tests of pairs for `--table`: first over all classes, then class by class where they were asked for."""
    rows: list[list[Cell]] = []
    for pair in (*found.pairs, *found.per_class):
        difference = None
        if pair.delta is not None and pair.low is not None and pair.high is not None:
            difference = Interval(value=pair.delta, low=pair.low, high=pair.high)
        metric = title_of(pair.metric)
        p: list[Cell] = (
            [pair.p, pair.p_holm, "yes" if pair.at_floor else "no", pair.p_delong, pair.p_mcnemar]
            if kind == "csv"
            else [_format_p(pair).removeprefix("= ")]
        )
        rows.append([pair.a, pair.b, pair.label or "all", metric, difference, *p, _better(pair)])
    columns = ["p", "p Holm", "p Holm at most", "p DeLong", "p McNemar"] if kind == "csv" else ["p (Holm)"]
    return ["a", "b", "class", "metric", "a - b", *columns, "better"], rows
