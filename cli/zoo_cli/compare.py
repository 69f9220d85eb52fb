"""`zoo compare A B …`: a table with intervals, and what can be said of each pair."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

import zoo
from zoo.spec import Budget
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
    Provider,
    Seed,
    Settings,
    Size,
    Split,
    Uncertain,
    make_reading,
)
from zoo_cli.output import document, fields, format_count, format_table, megabytes, put, sample, with_interval

if TYPE_CHECKING:
    from zoo.evaluation.comparison import Comparison, Pair

__all__ = ["as_text", "compare"]

COSTS = {"latency_ms": "latency", "size_bytes": "size"}


def compare(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="A B …", help="Runs, bundles, .onnx files, or models to train with one budget."),
    ],
    *,
    data: Data = None,
    columns: Columns = None,
    group: Group = None,
    keep_na: KeepNa = False,
    split: Split = "test",
    provider: Provider = "cpu",
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Lr = None,
    size: Size = None,
    seed: Seed = None,
    device: Device = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Train from the cards' weights.")] = False,
    uncertain: Uncertain = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Compare models on the same images.

    A table with 95 % intervals, latency and size, and a paired test of each pair. Names of models are trained
    first, all with the same budget.
    """
    from zoo.workflow.train import read_settings

    budget = Budget(
        epochs=epochs, batch_size=batch_size, lr=lr, size=size, seed=seed, device=device, pretrained=pretrained,
        precision=None, weights=None, leaks=None, fold=None, settings=read_settings(settings or []),
        **make_reading(columns, group, uncertain, keep_na=keep_na),
    )  # fmt: skip
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = zoo.compare(targets, data, split=split, provider=provider, budget=budget)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted; finished runs are kept below runs/, name them to compare without training again"
        ) from None
    if as_json:
        document(found)
    else:
        put(as_text(found))


def as_text(found: Comparison) -> str:
    """The table and one sentence for each pair and metric."""
    from zoo.evaluation import COMPARED, title_of

    rows = [
        (
            model.name,
            *(with_interval(model.metrics.get(name)) for name in COMPARED),
            "-" if model.latency_ms is None else f"{model.latency_ms:.2f} ms",
            "-" if model.size_bytes is None else megabytes(model.size_bytes),
            "*" if model.pareto else "",
        )
        for model in found.models
    ]
    header = ("model", *(f"{title_of(name)} (95 %)" for name in COMPARED), *COSTS.values(), "")
    axes = ", ".join(COSTS.get(axis) or title_of(axis) for axis in found.pareto_axes)
    pairs = len(found.models) * (len(found.models) - 1) // 2
    corrected = f", p corrected for {pairs} pairs (Holm)" if pairs > 1 else ""
    lines = [
        f"{sample(found.n, found.clusters)}, {len(found.labels)} classes, latency of one image on this machine",
        "",
        format_table(header, rows, right=(1 + len(COMPARED), 2 + len(COMPARED))),
        f"* no other is at least as good in all of: {axes}",
        "",
        f"Paired tests on {format_count(found.resamples, 'shared resample')}{corrected}:",
        *(f"  {_sentence(pair)}" for pair in found.pairs),
    ]
    lines += [
        f"undefined for {row.name}: {name} ({why})" for row in found.models for name, why in row.undefined.items()
    ]
    if found.notes:
        lines += ["", fields({f"note {number}": note for number, note in enumerate(found.notes, 1)})]
    return "\n".join(lines)


def _sentence(pair: Pair) -> str:
    from zoo.evaluation import title_of

    metric = title_of(pair.metric)
    if pair.delta is None or pair.low is None or pair.high is None or pair.p_holm is None:
        return f"cannot tell {pair.a} and {pair.b} apart in {metric}: {pair.reason}"
    p = "p < 0.001" if pair.p_holm < 0.001 else f"p = {pair.p_holm:.3f}"
    a, b, delta, low, high = pair.a, pair.b, pair.delta, pair.low, pair.high
    if pair.verdict == "worse":  # said the other way round, so that every sentence reads "better"
        a, b, delta, low, high = b, a, -delta, -high, -low
    delta, low, high = (round(value, 3) + 0.0 for value in (delta, low, high))  # + 0.0: never "-0.000"
    numbers = f"{delta:+.3f} ({low:.3f} to {high:.3f}), {p}"
    if pair.verdict == "cannot tell":
        return f"cannot tell {a} and {b} apart in {metric}: {numbers}"
    return f"{a} is better than {b} in {metric}: {numbers}"
