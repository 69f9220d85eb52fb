"""A report on axes of matplotlib, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from zoo.errors import DataError
from zoo.evaluation._plots import BLUE, GREY, draw_confusion, draw_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from zoo.spec import EvalReport

__all__ = ["ReportPlot", "plot_report"]

ReportPlot = Literal["confusion", "classes", "decisions", "risk"]
"""What `plot_report` draws. confusion: the confusion matrix. classes: AUROC of each class. decisions: decision curves.
risk: error against the share of images answered."""


def plot_report(report: EvalReport, kind: ReportPlot = "confusion", axes: Axes | None = None) -> Axes:
    """Draw one part of a report.

    Args:
        report: what a model did.
        kind: which part.
        axes: where; None: those of pyplot that are current, as in pandas.

    Raises:
        DataError: the report has no such part.
    """
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.gca()
    if kind == "confusion":
        draw_confusion(report, axes)
    elif kind == "classes":
        draw_labels(report, axes)
    elif kind == "decisions":
        _draw_decisions(report, axes)
    else:
        _draw_risk(report, axes)
    return axes


def _draw_decisions(report: EvalReport, axes: Axes) -> None:
    if report.operating is None or not report.operating.curves:
        raise _refuse(report, "decision curve")
    for curve in report.operating.curves:
        (line,) = axes.plot(curve.thresholds, curve.model, label=curve.label)
        axes.fill_between(curve.thresholds, curve.low, curve.high, color=line.get_color(), alpha=0.18, linewidth=0)
    top = max(max(curve.high) for curve in report.operating.curves)
    axes.axhline(0, color=GREY, linestyle="--", linewidth=1, label="nobody")
    axes.set(xlabel="threshold probability", ylabel="net benefit", ylim=(-0.15 * top, 1.05 * top))
    axes.legend(frameon=False)


def _draw_risk(report: EvalReport, axes: Axes) -> None:
    if report.abstention is None:
        raise _refuse(report, "risk-coverage curve")
    axes.plot(report.abstention.curve.answered, report.abstention.curve.error, color=BLUE)
    axes.set(xlabel="share of images answered", ylabel="share wrong", xlim=(0, 1), ylim=(0, None))


def _refuse(report: EvalReport, what: str) -> DataError:
    return DataError(f"the report of {report.model} has no {what}", code="task-unsupported", model=report.model)
