"""`zoo evaluate`: run the shipped file on raw images and judge its answers."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

import zoo
from zoo.spec import EvalReport
from zoo_cli.options import Data, Json, Key, Provider, Split
from zoo_cli.output import columns, document, fields, put, verdict_table, with_interval

__all__ = ["evaluate"]


def evaluate(
    target: Annotated[
        str | None, typer.Argument(metavar="[RUN|BUNDLE|ONNX]", help="What to judge; default: the last run.")
    ] = None,
    *,
    data: Data = None,
    split: Split = "test",
    provider: Provider = "cpu",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out unreadable images.")] = False,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Judge an exported file on raw images.

    Every number comes with its 95 % interval; one that cannot be computed comes with the reason.
    """
    with contextlib.redirect_stdout(sys.stderr):
        report = zoo.evaluate(target, data, split=split, provider=provider, skip_bad=skip_bad, key=key)
    if as_json:
        document(report)
    else:
        put("\n\n".join(_sections(report)))


def _sections(report: EvalReport) -> list[str]:
    sections = [verdict_table(report)]
    shown = ("sensitivity", "specificity", "auroc")
    rows = []
    for label, values in report.per_class.items():
        cells = (with_interval(values.get(name)) for name in shown)
        rows.append((label, str(values["n"]), *cells))
    head = "class" if report.confusion is not None else "label"
    sections.append(columns((head, "n", "sensitivity", "specificity", "AUROC"), rows, right=(1,)))
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
