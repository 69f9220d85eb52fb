"""Sections of figures: the headline, metrics, classes, curves, calibration, confusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import count_columns, format_count
from zoo.evaluation.calibration import reliability
from zoo.evaluation.curves import RESAMPLES, draw_curves
from zoo.evaluation.metrics import CLASS_METRICS, title_of
from zoo.evaluation.page._html import Html, box, bullets, cell, figure, name, paragraph, percent, table, text
from zoo.evaluation.page._svg import Line, draw_bars, draw_heat, draw_interval, draw_lines
from zoo.spec import Interval

if TYPE_CHECKING:
    from zoo.evaluation.curves import Curve
    from zoo.evaluation.page._subject import Subject
    from zoo.spec import Calibration, ClassCalibration, Confusion, EvalReport

__all__ = ["show_calibration", "show_classes", "show_confusion", "show_curves", "show_headline", "show_metrics"]

MOST_CURVES = 12
"""Classes whose curves are drawn; of more those of the lowest AUROC."""
MOST_CELLS = 20
"""Classes of a confusion matrix that is written as a table; a larger one is a picture."""
SHORT = 9
"""Columns of a terminal up to which all names of classes fit above the cells of a matrix."""
MOST_CONFUSED = 15
"""Pairs of classes that are listed."""
_HEADLINE = ("macro_auroc", "accuracy", "balanced_accuracy", "quadratic_kappa")
_RANKING = ("auroc", "auprc", "sensitivity_at_specificity_90", "partial_auroc_90")
"""Metrics of a class that no threshold of the file enters."""
_STRONG = 0.55
"""Cells of a larger share are written in white."""


def show_headline(subject: Subject) -> Html:
    """The few numbers that are read first."""
    report = subject.report
    shown = [
        f"<div><dt>{text(title_of(key))}</dt><dd>{_large(report.metrics.get(key))}</dd></div>"
        for key in _HEADLINE
        if key in report.metrics or key in report.undefined
    ]
    groups = "single images" if report.clusters is None else format_count(report.clusters, "group")
    shown.append(f"<div><dt>images</dt><dd>{report.n}<small>{text(groups)}</small></dd></div>")
    return Html(f'<dl class="big">{"".join(shown)}</dl>')


def _large(value: Interval | None) -> str:
    if value is None:
        return "undefined"
    return f"{value.value:.3f}<small>{value.low:.3f} to {value.high:.3f}</small>"


def show_metrics(subject: Subject) -> Html:
    """All metrics over all classes, and why others are not there."""
    report = subject.report
    rows = [(title_of(key), value, _strip(value)) for key, value in report.metrics.items()]
    lost = [
        Html(f"{text(title_of(key))}: {text(why)}")
        for key, why in report.undefined.items()
        if key.rpartition(".")[0] not in report.labels
    ]
    unit = "images" if report.clusters is None else "groups"
    said = f"On {format_count(report.n, 'image')} of the split {report.split}; 95 % intervals, over {unit}"
    return Html(table(said, ("metric", "value (95 %)", "0 to 1"), rows) + _list_undefined(lost))


def _strip(value: Interval) -> Html:
    return draw_interval(value) if value.low >= 0 and value.high <= 1 else Html()


def _list_undefined(lines: list[Html]) -> Html:
    if not lines:
        return Html()
    shown = [*lines[:12], *([f"and {len(lines) - 12} more, in report.json"] if len(lines) > 12 else [])]
    return Html(paragraph("Not defined on these images:") + bullets(shown))


def show_classes(subject: Subject) -> Html:
    """One row for each class or label."""
    report = subject.report
    there = {key for row in report.per_class.values() for key in row}
    names = [key for key in ("n", "known", *CLASS_METRICS) if key in there]
    several = report.confusion is None
    ranking = [key for key in _RANKING if key in names]
    called = [key for key in names if key not in ranking]

    def tabulate(said: str, keys: list[str]) -> Html:
        rows = [(name(label), *map(row.get, keys)) for label, row in report.per_class.items()]
        columns = ("label" if several else "class", *map(title_of, keys))
        return table(f"{said}; 95 % intervals", columns, rows, kind="stacked")

    said = "Each label, given or not" if several else "Each class against the rest"
    note = (
        "Of the images that are of a class, sensitivity is the share that is called it; of all others, specificity is "
        "the share that is not. Of the images that are called a class, PPV is the share that is of it; of all others, "
        "NPV is the share that is not. PPV and NPV hold for the shares of classes among these images: where a class "
        "is rarer, PPV is lower."
    )
    order = (
        "Here the probability alone counts, whatever threshold is chosen. AUROC: how often an image of the class has "
        "a higher probability than another image (0.5 by chance). AUPRC: mean PPV over all sensitivities (by chance "
        "the share of the class). The last two look where false alarms are few, at a specificity of 0.9 or more: the "
        "largest sensitivity there, and the AUROC of that part alone (0.5 by chance)."
    )
    ranked = tabulate("How well the probability ranks images", ranking) + paragraph(order, kind="quiet")
    return Html(
        (paragraph(_say_called(several=several)) if report.operating is not None and report.operating.points else "")
        + tabulate(said, called)
        + paragraph(note, kind="quiet")
        + (ranked if ranking else "")
        + _list_undefined(_lost_of_classes(report, calibration=False))
    )


def _lost_of_classes(report: EvalReport, *, calibration: bool) -> list[Html]:
    """Why a figure of a class is not there: one of its calibration, or any other."""
    parts = [(*key.rpartition(".")[::2], why) for key, why in report.undefined.items()]
    return [
        Html(f"{title_of(key)} of {name(label)}: {text(why)}")
        for label, key, why in parts
        if label in report.labels and key.startswith("calibration_") == calibration
    ]


def _say_called(*, several: bool) -> str:
    """What counts as called where the file has operating points, too."""
    how = "a label is called from a probability of 0.5 on" if several else "the most probable class is called"
    return f"In this table {how}. What the file's operating points change is in the section on them."


def show_curves(subject: Subject) -> Html:
    """ROC and precision-recall curves with their bands."""
    cases, report = subject.cases, subject.report
    if cases is None:
        return Html()
    scored = sorted(range(cases.classes), key=lambda k: _auroc(subject, k))
    chosen = sorted(scored[:MOST_CURVES])
    found = draw_curves(cases, chosen)
    if not found:
        return Html()
    unit = "images" if report.clusters is None else "whole groups"
    few = (
        f" Of {cases.classes} classes the {MOST_CURVES} of the lowest AUROC are drawn."
        if len(scored) > len(chosen)
        else ""
    )
    words = paragraph(
        f"Each class against the rest. Bands are pointwise 95 % intervals from {RESAMPLES} resamples of {unit}, and "
        f"nowhere narrower than Wilson's.{few}"
    )
    roc, pr = ("".join(_curve(subject, pair[at]) for pair in found) for at in (0, 1))
    return Html(
        f'{words}<h3>ROC</h3><div class="figures">{roc}</div>'
        f'<h3>Precision and recall</h3><div class="figures">{pr}</div>'
    )


def _auroc(subject: Subject, k: int) -> float:
    value = subject.report.per_class[subject.report.labels[k]].get("auroc")
    return value.value if isinstance(value, Interval) else 2.0


def _curve(subject: Subject, curve: Curve) -> Html:
    label = subject.report.labels[curve.label]
    roc = curve.kind == "roc"
    area = subject.report.per_class[label].get("auroc" if roc else "auprc")
    base = Line((0, 1), (0, 1), kind="base") if roc else Line((0, 1), (curve.base, curve.base), kind="base")
    drawn = draw_lines(
        f"{'ROC' if roc else 'precision-recall'} curve of {label}",
        [base, Line(curve.x, curve.y, places=curve.places, low=curve.low, high=curve.high)],
        x_name="1 - specificity" if roc else "recall (sensitivity)",
        y_name="sensitivity" if roc else "precision (PPV)",
    )
    return figure(drawn, Html(f"{name(label)}: {'AUROC' if roc else 'AUPRC'} {cell(area)}"))


def show_calibration(subject: Subject) -> Html:
    """Brier, NLL and ECE, and the reliability curve."""
    found, cases = subject.report.calibration, subject.cases
    if found is None:
        return Html()
    several = subject.report.confusion is None
    rows = [
        ("Brier score (0 is best)", found.brier),
        ("negative log-likelihood, nats", found.nll),
        (f"expected calibration error, {found.bins} bins, without an interval: few images raise it", found.ece),
        (
            f"temperature, {'median of the folds' if subject.expected else subject.origin_of_temperature}",
            found.temperature,
        ),
    ]
    numbers = table("How far probabilities can be taken at their word", ("measure", "value (95 %)"), rows)
    note = paragraph(
        "Calibrated means: of the images that are given a probability of 0.8, 8 in 10 are right. The expected "
        "calibration error is the mean distance from that; it is biased upwards where images are few.",
        kind="quiet",
    )
    lost = _list_undefined(_lost_of_classes(subject.report, calibration=True))
    each = Html(_calibrate_classes(found, several=several) + lost)
    if cases is None:
        return Html(numbers + note + each)
    curve = reliability(cases)
    confidence, accuracy, low, high = curve.points
    line = Line(confidence, accuracy, places=confidence, low=low, high=high, bars=True)
    x_name = "probability of a label" if several else "probability of the top label"
    drawn = draw_lines(
        "reliability curve",
        [Line((0, 1), (0, 1), kind="base"), line],
        x_name=x_name,
        y_name="share of labels that hold" if several else "share right",
    )
    bars = draw_bars(
        "how many images have which probability", curve.edges.tolist(), curve.count.tolist(), x_name=x_name
    )
    what = "All labels pooled. " if several else ""
    return Html(
        f'{numbers}{note}<div class="figures">'
        f"{figure(drawn, f'{what}Reliability; bars are Wilson intervals, dashed: perfectly calibrated')}"
        f"{figure(bars, f'{what}How many answers lie where')}</div>{each}"
    )


def _calibrate_classes(found: Calibration, *, several: bool) -> Html:
    """Of each class, with the reliability of those of the largest error."""
    what = "label" if several else "class"
    drawn = list(found.per_class)
    if len(drawn) == 2 and not several:  # the first is the mirror of the second
        drawn = drawn[1:]
    each = [(label, found.per_class[label]) for label in drawn]
    rows = [(name(label), one.brier, one.ece, one.slope, one.intercept) for label, one in each]
    worst = sorted(drawn, key=lambda label: -found.per_class[label].ece)[:MOST_CURVES]
    some = f" Of {len(drawn)} the {MOST_CURVES} of the largest error are drawn." if len(drawn) > MOST_CURVES else ""
    figures = "".join(
        figure(_reliability_of(label, found.per_class[label], what), Html(f"{what} {name(label)}"))
        for label in drawn
        if label in worst
    )
    alone = " Of two classes one says it of both." if drawn and len(drawn) < len(found.per_class) else ""
    words = paragraph(f"The probability of each {what}, against the share of images that are of it.{some}{alone}")
    columns = (
        what, "Brier score (0 is best)", f"expected calibration error, {found.bins} bins",
        "slope (1 is best)", "intercept (0 is best)",
    )  # fmt: skip
    line = paragraph(
        "Below a slope of 1 the probabilities are too near 0 and 1, above it they are too cautious. The intercept is "
        "calibration in the large, in log-odds: below 0 the probabilities are too large on the whole, above it too "
        "small. Both are of a logistic model of the truth by the log-odds of the probability (Cox 1958).",
        kind="quiet",
    )
    return Html(
        table(f"Calibration of each {what}; 95 % intervals", columns, rows, kind="stacked")
        + (line if rows else "")
        + (f'{words}<div class="figures">{figures}</div>' if figures else "")
    )


def _reliability_of(label: str, found: ClassCalibration, what: str) -> Html:
    x, y = [one.probability for one in found.bins], [one.observed.value for one in found.bins]
    low, high = [one.observed.low for one in found.bins], [one.observed.high for one in found.bins]
    return draw_lines(
        f"reliability of {label}",
        [Line((0, 1), (0, 1), kind="base"), Line(x, y, places=x, low=low, high=high, bars=True)],
        x_name=f"probability of the {what}",
        y_name="share that is of it",
    )


def show_confusion(subject: Subject) -> Html:
    """Which class was called which."""
    found = subject.report.confusion
    if found is None:
        return Html()
    counts = np.array(found.counts, np.int64)
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    if len(counts) <= MOST_CELLS:
        return Html(_matrix(found, counts, shares) + (_most_confused(found, counts) if len(counts) > 6 else ""))
    picture = figure(
        draw_heat("confusion matrix", shares),
        "Rows: true class, columns: called; from the first class to the last. The stronger, the larger the share.",
    )
    return Html(picture + _most_confused(found, counts))


def _matrix(found: Confusion, counts: np.ndarray, shares: np.ndarray) -> Html:
    short = max(map(count_columns, found.labels)) <= SHORT
    marks = [name(label) if short else Html(f"({at})") for at, label in enumerate(found.labels, start=1)]
    body = "".join(
        f'<tr><th scope="row">{name(label) if short else f"{mark} {name(label)}"}</th>'
        f"{''.join(map(_cell, row.tolist(), share.tolist()))}</tr>"
        for label, mark, row, share in zip(found.labels, marks, counts, shares, strict=True)
    )
    head = "".join(
        f'<th scope="col"><abbr title="{text(label)}">{mark}</abbr></th>'
        for label, mark in zip(found.labels, marks, strict=True)
    )
    said = "Rows: true class. Columns: what it was called. Images, and their share of the true class"
    return box(said, Html(f'<thead><tr><th scope="col">true class</th>{head}</tr></thead>'), Html(body), kind="matrix")


def _cell(count: int, share: float) -> str:
    if not count:
        return '<td class="none">0</td>'
    strong = ' class="strong"' if share > _STRONG else ""
    return f'<td{strong} style="--share:{share:.2f}">{count}<small>{percent(share)}</small></td>'


def _most_confused(found: Confusion, counts: np.ndarray) -> Html:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED]
    rows = [
        (name(found.labels[i]), name(found.labels[j]), int(wrong[i, j]), percent(wrong[i, j] / counts[i].sum()))
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]
    return table("What is taken for what most often", ("true class", "called", "images", "of the class"), rows)
