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
        spread = "" if own is None or own.threshold != point.threshold else f" ({own.low:.3f} to {own.high:.3f})"
        threshold = Html(f'<span class="n">{point.threshold:.3f}<small>{spread}</small></span>')
        values = (point.sensitivity, point.specificity, point.ppv, point.npv)
        counts = Html(f'<span class="n">{point.tp} / {point.fp} / {point.tn} / {point.fn}</span>')
        rows.append((name(point.label), point.rule, threshold, *values, counts))
    columns = (
        "label",
        "chosen for",
        Html("threshold (95&nbsp;%)"),
        "sensitivity",
        "specificity",
        "PPV",
        "NPV",
        Html("TP&nbsp;/&nbsp;FP /&nbsp;TN&nbsp;/&nbsp;FN"),
    )
    stated = [
        (name(point.label), point.rule, point.at.prevalence, point.at.ppv, point.at.npv)
        for point in found.points
        if point.at is not None
    ]
    what = (
        "An operating point is the probability from which a label counts as called. A lower one misses fewer images of "
        f"the label and raises more false alarms. Each was chosen on {subject.settling} by the rule named. The "
        "figures are of these images, so they may differ from what the rule asked for."
    )
    if subject.report.confusion is not None and len(found.points) > 1:
        what += " Where several labels are called, the answer is the one furthest above its own point."
    counts_are = "TP and FN: images of the label that are called and missed. FP and TN: others called and not called."
    drawn = "".join(_decision_curve(curve) for curve in found.curves)
    words = (
        "<h3>Decision curves</h3>"
        + paragraph(
            "Is it worth acting on the answer, for example by a biopsy? Whoever acts from a probability of 0.1 on "
            "takes nine false alarms for one image found. Net benefit counts images found less false alarms at "
            "that price, for each image. The model is of use where its line lies above both others: act on nobody "
            "(0), act on everybody."
        )
        if drawn
        else ""
    )
    return Html(
        (
            paragraph(what)
            + table("Operating points; 95 % intervals", columns, rows, kind="stacked")
            + paragraph(counts_are, kind="quiet")
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
    return figure(drawn, Html(f"label {name(curve.label)}"))


def show_conformal(subject: Subject) -> Html:
    """How often sets of labels hold the truth."""
    found = subject.report.conformal
    if found is None:
        return Html()
    each = "a quantile of its own for each class" if found.per_class else "one quantile for all classes"
    rows: list[tuple[object, Interval | None]] = [
        (f"sets that hold the truth (made for {found.wanted:g})", found.reached),
        ("labels in a set, mean", found.size),
        ("share of sets with one label", found.single),
        ("of those, the label is right", found.single_right),
        ("share of sets without a label", found.empty),
    ]
    sizes = [(f"{count}", images) for count, images in enumerate(found.sizes) if images]
    classes = [(name(label), value, _verdict(found, value)) for label, value in found.classes.items()]
    single = "" if found.per_class else " Nor is it promised of each class alone, because all share one quantile."
    words = (
        f"Beside its answer the file names a set: the labels that the image may well have. Sets were made to hold the "
        f"right label for {percent(found.wanted)} of images. A set of one label is a clear answer. One of several "
        "says between which it wavers, an empty one that none fits."
    )
    how = (
        f"Split-conformal sets ({found.method.upper()}, {each}), from {subject.settling}. The promise is for "
        f"images like those (exchangeable), and for no others.{single}"
    )
    return Html(
        paragraph(words)
        + paragraph(how, kind="quiet")
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
        ("share of images answered", found.answered),
        ("of those, the answer is wrong", found.error),
        ("largest share of wrong answers that was asked for", found.wanted),
        ("images called uncertain", found.uncertain),
        ("images called unlike training", found.unlike),
        ("error, mean over all shares answered (AURC)", found.curve.area),
    ]
    words = _say_when(subject)
    drawn = figure(
        _risk(found.curve),
        Html("Error among the images that the model is surest of, by how many of all those are"),
    )
    return Html(
        (paragraph(words) if words else "")
        + table(
            "Answers given and withheld; 95 % intervals",
            ("measure", "value"),
            [row for row in rows if row[1] is not None],
        )
        + f'<div class="figures">{drawn}</div>'
    )


def _say_when(subject: Subject) -> str:
    """When the file gives no answer."""
    abstention = None if subject.manifest is None else subject.manifest.abstention
    if subject.manifest is None:
        return ""
    if abstention is None:
        return "This file answers every image. The curve says what it would gain by leaving out the least sure ones."
    reasons = []
    if abstention.sets is not None:
        reasons.append("uncertain, where its set of labels is not the answer alone")
    if abstention.error is not None:
        reasons.append(f"uncertain, where the largest probability is below {abstention.error.threshold:.4g}")
    if abstention.novelty is not None:
        reasons.append("unlike training, where the image does not look like those that the model has learnt from")
    return f"The file may decline to answer, and a person has to look. It says: {'; '.join(reasons)}."


def show_novelty(subject: Subject) -> Html:
    """How often images are called unlike training, of these images and of others."""
    found = subject.report.novelty
    if found is None:
        return Html()
    novelty = None if subject.manifest is None else subject.manifest.novelty
    share = found.share if novelty is None else novelty.passing
    rows: list[tuple[object, ...]] = [("these images", found.n, None, found.flagged)]
    rows += [(name(one.name), one.n, one.auroc, one.flagged) for one in found.unlike]
    words = (
        f"The file scores how unlike those of training an image is. Above {found.threshold:.4g} it is called unlike "
        f"training. At most {percent(share)} of images like those of validation are, on average. Many more "
        "among these images would mean that they differ from those: another scanner, site or kind of patient."
    )
    other = (
        "AUROC: how often the score of one of the other images is above that of one of these."
        if found.unlike
        else "Which other images it finds is not known here: 'zoo report --unlike FOLDER --out DIR' tries some."
    )
    columns = ("images", "n", *(["AUROC of the score"] if found.unlike else []), "called unlike training")
    shown = rows if found.unlike else [(what, n, flagged) for what, n, _, flagged in rows]
    return Html(
        paragraph(words)
        + table("Images unlike training; 95 % intervals", columns, shown)
        + paragraph(other, kind="quiet")
    )


def _risk(curve: RiskCoverage) -> Html:
    top = max(0.02, *curve.error)
    return draw_lines(
        "risk-coverage curve",
        [Line(curve.answered, curve.error)],
        x_name="share of images answered",
        y_name="share wrong",
        y=(0.0, top * 1.1),
    )
