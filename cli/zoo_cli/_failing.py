"""What `zoo evaluate` prints of who a file fails for: groups, shortcuts, baselines, and corrupted copies."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import zoo
from zoo.errors import UsageError
from zoo.workflow.stress import IMAGES
from zoo_cli import options
from zoo_cli.output import (
    document,
    fields,
    format_count,
    format_table,
    format_table_as,
    number_notes,
    put,
    title_of,
    with_interval,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.spec import Difference, EvalReport, Robustness, Subgroup
    from zoo_cli.output import TableFormat

__all__ = ["describe_failing", "show_robustness"]

_SHOWN = ("accuracy", "macro_auroc")
_BESIDE = 4
"""Numbers of decisions that a table has room for beside the name of a group."""
_WIDEST = 40
"""Characters of a value of a column that a table shows; JSON has all."""
_YES = {True: "yes", False: "no"}


def describe_failing(report: EvalReport) -> list[str]:
    """Tables of groups, of what predicts the label without the model, and of baselines; none where nothing is known."""
    sections = []
    if report.subgroups:
        sections.append(_table_of_groups(report.subgroups))
        sections += _tables_of_decisions(report.subgroups)
    if report.segments:
        sections.append(f"worst, corrected for all groups looked at:\n{_table_of_groups(report.segments)}")
    if report.shortcuts:
        rows = [
            (one.feature, str(one.auroc), f"{one.behind:+.3f}", _YES[one.reaches], with_interval(one.error))
            for one in report.shortcuts
        ]
        header = ("property alone", "macro AUROC", "model is better by", "as good", "AUROC for errors")
        sections.append(format_table(header, rows, right=(2,)))
    if report.baselines:
        bare = [
            (name, *(with_interval(values.get(metric)) for metric in _SHOWN))
            for name, values in report.baselines.items()
        ]
        sections.append(format_table(("baseline", *map(title_of, _SHOWN)), bare))
    return sections


def _table_of_groups(groups: Sequence[Subgroup]) -> str:
    people = any(one.patients is not None for one in groups)
    shown = [name for name in _SHOWN if any(one.metrics.get(name) is not None for one in groups)]
    rows = []
    for one in groups:
        told = _tell(one.differences.get("accuracy"))
        n = ["too few" if one.n is None else str(one.n)]
        n += ["-" if one.patients is None else str(one.patients)] if people else []
        rows.append((one.column, _cut(one.group), *n, *(with_interval(one.metrics.get(name)) for name in shown), told))
    counts = ("n", "patients") if people else ("n",)
    header = ("column", "group", *counts, *map(title_of, shown), "accuracy less that of others, p (Holm)")
    return format_table(header, rows, right=range(2, 2 + len(counts)))


def _cut(value: str) -> str:
    return value if len(value) <= _WIDEST else f"{value[: _WIDEST - 1]}…"


def _tables_of_decisions(groups: Sequence[Subgroup]) -> list[str]:
    """What the file's decisions are worth in each group that is large enough; as many tables as a terminal needs."""
    names = list(dict.fromkeys(name for one in groups for name in one.decisions))
    tables = []
    for first in range(0, len(names), _BESIDE):
        shown = names[first : first + _BESIDE]
        rows = [
            (one.column, _cut(one.group), *(with_interval(one.metrics.get(name)) for name in shown))
            for one in groups
            if one.n is not None
        ]
        tables.append(format_table(("column", "group", *shown), rows))
    gaps = [
        (one.column, _cut(one.group), name, _tell(one.differences[name]))
        for one in groups
        for name in names
        if name in one.differences
    ]
    if gaps:
        tables.append(format_table(("column", "group", "decision", "less that of others, p (Holm)"), gaps))
    return tables


def _tell(gap: Difference | None) -> str:
    return "-" if gap is None else f"{gap} p {gap.p_holm:.3g}"


def show_robustness(  # noqa: PLR0917 - the options of the verb
    target: str | None,
    data: str | None,
    kinds: str,
    severities: str | None,
    images: int | None,
    asked: dict[str, Any],
    *,
    table: TableFormat | None,
    as_json: bool,
) -> None:
    """Judge corrupted copies and print the result.

    Raises:
        UsageError: a severity is not a whole number.
    """
    names = options.read_names(kinds, "--corruptions", "noise,blur")
    levels = options.read_names(severities or "1,2,3,4,5", "--severities", "1,3,5")
    if not all(level.isdecimal() for level in levels):
        raise UsageError(
            f"--severities {severities}: expected numbers of 1 to 5, such as 1,3,5",
            code="option-value",
            option="--severities",
            value=severities,
        )
    with contextlib.redirect_stdout(sys.stderr):
        found = zoo.stress(
            target,
            data,
            kinds=None if names == ("all",) else names,
            severities=[int(level) for level in levels],
            images=IMAGES if images is None else images,
            **asked,
        )
    if as_json:
        document(found)
    elif table is not None:
        header = ["corruption", "severity", "accuracy", "macro AUROC", "drop of accuracy"]
        put(
            format_table_as(
                table,
                header,
                [[row.kind, row.severity, row.accuracy, row.macro_auroc, row.drop] for row in found.rows],
            )
        )
    else:
        put("\n\n".join(_sections(found)))


def _sections(found: Robustness) -> list[str]:
    held = found.withheld is not None
    cells = [("as it is", "", str(found.accuracy), with_interval(found.macro_auroc), "", found.withheld)]
    cells += [
        (row.kind, str(row.severity), str(row.accuracy), with_interval(row.macro_auroc), str(row.drop), row.withheld)
        for row in found.rows
    ]
    mean = found.mean
    cells.append(("mean of all", "", str(mean["accuracy"]), "", str(mean["drop"]), None))
    rows = [(*row[:5], *([_share(row[5])] if held else [])) for row in cells]
    of = f"{found.split}, {format_count(found.n, 'image')}" + ("" if found.n == found.of else f" of {found.of}")
    header = (of, "severity", "accuracy", "macro AUROC", "drop of accuracy", *(["not answered"] if held else []))
    about = {"model": found.model, "data": f"{found.data.name}, sha256 {found.data.sha256[:12]}…"}
    return [format_table(header, rows, right=(1,)), fields(about | number_notes(found.notes, None))]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
