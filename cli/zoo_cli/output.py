"""How verbs speak: what both programs share (`zoo.edge._print`), and the tables of reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.edge._print import (
    document,
    fields,
    format_count,
    format_table,
    megabytes,
    put,
    quote_path,
    say,
    show_path,
    with_interval,
)

if TYPE_CHECKING:
    from zoo.spec import EvalReport

__all__ = [
    "document",
    "fields",
    "format_count",
    "format_table",
    "megabytes",
    "put",
    "quote_path",
    "sample",
    "say",
    "show_path",
    "verdict_table",
    "with_interval",
]


def verdict_table(report: EvalReport) -> str:
    """The overall metrics of a report with their 95 % intervals."""
    from zoo.evaluation import title_of

    rows = [(title_of(name), with_interval(value)) for name, value in report.metrics.items()]
    return format_table((f"{report.split}, {sample(report.n, report.clusters)}", "value (95 % interval)"), rows)


def sample(n: int, clusters: int | None) -> str:
    """'156 images', or '156 images, 40 groups' where groups were resampled."""
    return format_count(n, "image") + ("" if clusters is None else f", {format_count(clusters, 'group')}")
