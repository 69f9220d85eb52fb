"""Sections of decisions: operating points, what they are worth, sets of labels, answers that are withheld."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.evaluation.page._html import Html, figure, name, paragraph, percent, table
from zoo.evaluation.page._svg import Line, draw_lines

if TYPE_CHECKING:
    from zoo.evaluation.page._subject import Subject
    from zoo.spec import ConformalReport, DecisionCurve, Interval, RiskCoverage

__all__ = ["show_abstention", "show_conformal", "show_novelty", "show_operating"]


def show_operating(subject: Subject) -> Html:
    """Operating points on these images, and decision curves."""
    found = subject.report.operating
    if found is None:
        return Html()
    points = subject.manifest.operating if subject.manifest is not None else ()
    chosen = {(one.label, one.rule): one for one in points}
    rows = []
    for point in found.points:
        own = chosen.get((point.label, point.rule))
        spread = "" if own is None else f" ({own.low:.3f} to {own.high:.3f})"
        threshold = Html(f'<span class="n">{point.threshold:.3f}<small>{spread}</small></span>')
        values = (point.sensitivity, point.specificity, point.ppv, point.npv)
        counts = Html(f'<span class="n">{point.tp} / {point.fp} / {point.tn} / {point.fn}</span>')
        rows.append((name(point.label), point.rule, threshold, *values, counts))
    columns = (
        "label",
        "chosen for",
        "threshold (95 %)",
        "sensitivity",
        "specificity",
        "PPV",
        "NPV",
        "TP / FP / TN / FN",
    )
    stated = [
        (name(point.label), point.rule, point.at.prevalence, point.at.ppv, point.at.npv)
        for point in found.points
        if point.at is not None
    ]
    note = "Thresholds were chosen on validation images and are frozen in the file. The figures are of these images."
    drawn = "".join(_decision_curve(curve) for curve in found.curves)
    words = (
        "<h3>Decision curves</h3>"
        + paragraph(
            "Net benefit of acting on the answer, for whom the threshold is the probability from which acting is worth "
            "it; per image, in true positives. Acting on nobody has 0."
        )
        if drawn
        else ""
    )
    return Html(
        (
            table("Operating points; 95 % intervals", columns, rows, kind="stacked") + paragraph(note, kind="quiet")
            if rows
            else ""
        )
        + table("At the stated share of the label", ("label", "chosen for", "share", "PPV", "NPV"), stated)
        + words
        + (f'<div class="figures">{drawn}</div>' if drawn else "")
    )


def _decision_curve(curve: DecisionCurve) -> Html:
    top = max(*curve.high, *curve.all, 0.01)
    low = -0.15 * top
    drawn = draw_lines(
        f"decision curve of {curve.label}",
        [
            Line(curve.thresholds, [0.0] * len(curve.thresholds), "nobody", kind="base"),
            Line(curve.thresholds, curve.all, "everybody", kind="c1"),
            Line(curve.thresholds, curve.model, "model", places=curve.thresholds, low=curve.low, high=curve.high),
        ],
        x_name="threshold probability",
        y_name="net benefit",
        y=(low, top * 1.05),
    )
    return figure(drawn, name(curve.label))


def show_conformal(subject: Subject) -> Html:
    """How often sets of labels hold the truth."""
    found = subject.report.conformal
    if found is None:
        return Html()
    each = "a quantile of its own for each class" if found.per_class else "one quantile for all classes"
    rows: list[tuple[object, Interval | None]] = [
        (f"sets that hold the truth (made for {found.wanted:g})", found.reached),
        ("labels in a set, mean", found.size),
        ("sets of one label", found.single),
        ("of those, the label is right", found.single_right),
        ("empty sets", found.empty),
    ]
    sizes = [(f"{count}", images) for count, images in enumerate(found.sizes) if images]
    classes = [(name(label), value, _verdict(found, value)) for label, value in found.classes.items()]
    words = (
        f"Split-conformal sets ({found.method.upper()}, {each}), from validation images. They hold the truth as often "
        "as promised where images are like those of validation (exchangeable); nothing is promised of other images, "
        "nor, with one quantile, of a single class."
    )
    return Html(
        paragraph(words)
        + table("Sets of labels on these images; 95 % intervals", ("measure", "value"), rows)
        + table("Share of sets that hold the truth, by true class", ("class", "coverage", ""), classes)
        + table("Images by the size of their set", ("labels in the set", "images"), sizes)
    )


def _verdict(found: ConformalReport, value: Interval) -> str:
    return f"below {found.wanted:g}" if value.high < found.wanted else ""


def show_abstention(subject: Subject) -> Html:
    """How many images are answered, and the error among those the model is surest of."""
    found = subject.report.abstention
    if found is None:
        return Html()
    rows: list[tuple[object, object]] = [
        ("images answered", found.answered),
        ("of those, the answer is wrong", found.error),
        ("answered 'uncertain'", found.uncertain),
        ("answered 'unlike training'", found.unlike),
        ("largest error that was to be let through", found.wanted),
        ("area under the risk-coverage curve", found.curve.area),
    ]
    drawn = figure(
        _risk(found.curve),
        Html("Error among the images that the model is surest of, by how many of all those are"),
    )
    return Html(
        table(
            "Answers given and withheld; 95 % intervals",
            ("measure", "value"),
            [row for row in rows if row[1] is not None],
        )
        + f'<div class="figures">{drawn}</div>'
    )


def show_novelty(subject: Subject) -> Html:
    """How often images are called unlike training, of these images and of others."""
    found = subject.report.novelty
    if found is None:
        return Html()
    rows: list[tuple[object, ...]] = [("these images", found.n, None, found.flagged)]
    rows += [(name(one.name), one.n, one.auroc, one.flagged) for one in found.unlike]
    words = (
        f"The file scores how unlike those of training an image is. Above {found.threshold:.4g} it is called unlike "
        f"training; at most {percent(found.share)} of images like those of validation were to lie there. AUROC: how "
        "well the score tells other images from these."
    )
    columns = ("images", "n", "AUROC of the score", "called unlike training")
    return Html(paragraph(words) + table("Images unlike training; 95 % intervals", columns, rows))


def _risk(curve: RiskCoverage) -> Html:
    top = max(0.02, *curve.error)
    return draw_lines(
        "risk-coverage curve",
        [Line(curve.answered, curve.error)],
        x_name="share of images answered",
        y_name="share wrong",
        y=(0.0, top * 1.1),
    )
