"""What a report says of decisions, in words: operating points, sets of labels, images that are not answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo_cli.output import fields, format_table, title_of, with_interval

if TYPE_CHECKING:
    from zoo.spec import EvalReport, OperatingReport

__all__ = ["describe_decisions"]


def describe_decisions(report: EvalReport) -> list[str]:
    """Sections of text; none where the file has no operating point and answers every image."""
    lines: dict[str, str] = {}
    if (found := report.conformal) is not None:
        each = " in each class" if found.per_class else ""
        lines["sets of labels"] = (
            f"{with_interval(found.reached)} hold the truth, {found.wanted:g}{each} was wanted ({found.method})"
        )
        lines["size of a set"] = (
            f"{with_interval(found.size)} labels; one label {found.single.value:.1%}, none {found.empty.value:.1%}"
        )
    decides = report.abstention is not None and (report.conformal is not None or report.abstention.wanted is not None)
    if report.abstention is not None and (decides or report.abstention.unlike):
        answered, error, wanted = report.abstention.answered, report.abstention.error, report.abstention.wanted
        lines["answered"] = f"{with_interval(answered)} of images; the others are uncertain or unlike training"
        most = "" if wanted is None else f", at most {wanted:g} was wanted"
        lines["error among them"] = f"{with_interval(error)}{most}"
    points = _describe_points(report.operating) if report.operating is not None and report.operating.points else []
    return [*points, *([fields(lines)] if lines else [])]


def _describe_points(found: OperatingReport) -> list[str]:
    rows = [
        (point.label, point.rule, f"{point.threshold:.4g}", *map(with_interval, (point.sensitivity, point.specificity)))
        for point in found.points
    ]
    head = ("operating point", "rule", "threshold", title_of("sensitivity"), title_of("specificity"))
    tables = [format_table(head, rows, right=(2,))]
    values = [
        (point.label, "these images", with_interval(point.ppv), with_interval(point.npv)) for point in found.points
    ]
    values += [
        (point.label, f"{point.at.prevalence:g}, as stated", with_interval(point.at.ppv), with_interval(point.at.npv))
        for point in found.points
        if point.at is not None
    ]
    return [*tables, format_table(("operating point", "prevalence", title_of("ppv"), title_of("npv")), values)]
