"""`zoo evaluate`: run the shipped file on raw images and judge its answers."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

import zoo
from zoo.spec import EvalReport
from zoo_cli.options import Columns, Data, Group, Json, KeepNa, Key, Provider, Split, Uncertain, make_reading
from zoo_cli.output import document, fields, format_table, put, verdict_table, with_interval

__all__ = ["evaluate"]


def evaluate(
    target: Annotated[
        str | None, typer.Argument(metavar="[RUN|BUNDLE|ONNX]", help="What to judge; default: the last run.")
    ] = None,
    *,
    data: Data = None,
    columns: Columns = None,
    split: Split = "test",
    provider: Provider = "cpu",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out unreadable images.")] = False,
    group: Group = None,
    keep_na: KeepNa = False,
    uncertain: Uncertain = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Judge an exported file on raw images.

    Every number comes with its 95 % interval; one that cannot be computed comes with the reason.
    """
    with contextlib.redirect_stdout(sys.stderr):
        report = zoo.evaluate(
            target,
            data,
            split=split,
            provider=provider,
            skip_bad=skip_bad,
            key=key,
            **make_reading(columns, group, uncertain, keep_na=keep_na),
        )
    if as_json:
        document(report)
    else:
        put("\n\n".join(_sections(report)))


def _sections(report: EvalReport) -> list[str]:
    sections = [verdict_table(report)]
    shown = ("sensitivity", "specificity", "auroc")
    rows = []
    counted = [name for name in ("n", "known") if name in next(iter(report.per_class.values()))]
    for label, values in report.per_class.items():
        cells = (with_interval(values.get(name)) for name in shown)
        rows.append((label, *(str(values[name]) for name in counted), *cells))
    head = "class" if report.confusion is not None else "label"
    titles = (head, *counted, "sensitivity", "specificity", "AUROC")
    sections.append(format_table(titles, rows, right=(1, len(counted))))
    if report.calibration is not None:
        found = report.calibration
        sections.append(
            f"calibration: temperature {found.temperature:.2f}, Brier {with_interval(found.brier)}, "
            f"NLL {with_interval(found.nll)},\n"
            f"expected calibration error {found.ece:.3f} in {found.bins} bins"
        )
    if report.undefined:
        sections.append("undefined:\n" + fields({f"  {name}": why for name, why in report.undefined.items()}))
    about = {"model": report.model, "data": f"{report.data.name}, sha256 {report.data.sha256[:12]}…"}
    about |= {f"note {number}": note for number, note in enumerate(report.notes, start=1)}
    sections.append(fields(about))
    return sections
