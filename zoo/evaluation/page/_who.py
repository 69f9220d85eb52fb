"""Sections of who a model fails for: groups, corrupted copies, shortcuts, and what a useful model must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo._support.text import format_count
from zoo.evaluation._holm import ALPHA
from zoo.evaluation.metrics import title_of
from zoo.evaluation.page._html import Html, bullets, name, paragraph, percent, table, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from zoo.evaluation.page._subject import Subject
    from zoo.spec import Corrupted, Difference, Interval, Subgroup

__all__ = ["describe_groups", "show_baselines", "show_groups", "show_robustness", "show_shortcuts"]


def show_baselines(subject: Subject) -> Html:
    """The model beside models that know next to nothing."""
    report = subject.report
    if not report.baselines:
        return Html()
    keys = list(dict.fromkeys(key for values in report.baselines.values() for key in values))
    rows: list[tuple[object, ...]] = [(name(report.model), *map(report.metrics.get, keys))]
    rows += [(kind, *map(values.get, keys)) for kind, values in report.baselines.items()]
    said = "Beside models that a useful one must beat; 95 % intervals"
    return table(said, ("model", *map(title_of, keys)), rows)


def describe_groups(subject: Subject) -> Iterator[str]:
    """For a checklist: by which columns there are figures, and in how many groups a difference is shown."""
    columns = dict.fromkeys(one.column for one in subject.report.subgroups)
    if not columns:
        return
    worse = _count(len(subject.report.segments))
    yield f"Figures by {', '.join(columns)}, above; accuracy is shown to be lower in: {worse}."
    gaps = [
        [one.differences[key] for key in one.decisions if key in one.differences] for one in subject.report.subgroups
    ]
    if any(gaps):
        apart = _count(sum(any(gap.p_holm < ALPHA for gap in of) for of in gaps))
        yield f"Sensitivity or specificity at an operating point is shown to differ in: {apart}."


def _count(groups: int) -> str:
    return format_count(groups, "group") if groups else "none"


def show_groups(subject: Subject) -> Html:
    """Figures of each group of images, and groups in which the model is shown to be worse."""
    report = subject.report
    if not report.subgroups and not report.segments:
        return Html()
    words = paragraph(
        "Differences are those from all other images, with p corrected for all groups and metrics of the table (Holm). "
        "Groups of too few images are not counted and not shown. A difference does not prove its cause."
    )
    weak = table("Groups in which accuracy is shown to be lower", *_rows(report.segments))
    none = "" if report.segments else paragraph("No group was found in which accuracy is shown to be lower.")
    every = table("Every group; 95 % intervals", *_rows(report.subgroups), kind="stacked")
    return Html(words + weak + none + every + _decisions(report.subgroups))


def _rows(found: Sequence[Subgroup]) -> tuple[tuple[object, ...], list[tuple[object, ...]]]:
    """Columns and rows of a table of groups."""
    keys = list(dict.fromkeys(key for one in found for key in one.metrics if key not in one.decisions))
    tested = [key for key in dict.fromkeys(key for one in found for key in one.differences) if key in keys]
    patients = any(one.patients is not None for one in found)
    columns = (
        "group", "images", *(["patients"] if patients else []), *map(title_of, keys),
        *(f"{title_of(key)}, difference" for key in tested),
    )  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for one in found:
        who = Html(f"{name(one.column)}: {name(one.group)}")
        if one.n is None:
            rest = [None] * (len(columns) - 2)
            rows.append((who, "too few to say anything", *rest))
            continue
        counts = (one.n, *([one.patients] if patients else []))
        rows.append((who, *counts, *map(one.metrics.get, keys), *(_gap(one.differences.get(key)) for key in tested)))
    return columns, rows


def _decisions(found: Sequence[Subgroup]) -> Html:
    """What the file's decisions are worth in each group that is large enough."""
    keys = list(dict.fromkeys(key for one in found for key in one.decisions))
    if not keys:
        return Html()
    tested = [key for key in keys if any(key in one.differences for one in found)]
    rows = [
        (
            Html(f"{name(one.column)}: {name(one.group)}"), one.n, *map(one.metrics.get, keys),
            *(_gap(one.differences.get(key)) for key in tested),
        )
        for one in found
        if one.n is not None
    ]  # fmt: skip
    heads = [_COVERAGE if key == "coverage" else name(key) for key in keys]
    heads += [Html(f"{name(key)}, difference") for key in tested]
    said = "Decisions in each group: at the operating points, and of the sets of labels; 95 % intervals"
    return table(said, ("group", "images", *heads), rows, kind="stacked")


_COVERAGE = "sets that hold the truth"


def _gap(found: Difference | None) -> object:
    if found is None:
        return None
    p = "p < 0.001" if found.p_holm < 0.001 else f"p = {found.p_holm:.3f}"
    span = f"({found.low:+.3f} to {found.high:+.3f})"
    strong = found.p_holm < ALPHA
    value = f"<b>{found.value:+.3f}</b>" if strong else f"{found.value:+.3f}"
    return Html(f'<span class="n">{value} <small>{span}</small> <small>{text(p)}</small></span>')


def show_shortcuts(subject: Subject) -> Html:
    """What properties of the images say of the label without the model."""
    found = subject.report.shortcuts
    if not found:
        return Html()
    rows = [
        (
            name(one.feature),
            one.auroc,
            f"{one.behind:+.3f}",
            one.error,
            _verdict(reaches=one.reaches, follows=one.follows),
        )
        for one in found
    ]
    words = (
        "Each property alone, cross-validated over these images. Where one tells the classes apart nearly as well as "
        "the model, the model may have learnt it and nothing else. Where errors follow one, the model works less well "
        "on some of its values."
    )
    columns = ("property", "AUROC for the label", "model ahead by", "AUROC for the model's errors", "")
    return Html(paragraph(words) + table("Shortcuts; 95 % intervals", columns, rows))


def _verdict(*, reaches: bool, follows: bool) -> str:
    said = [*(["tells the classes nearly as well"] if reaches else []), *(["errors follow it"] if follows else [])]
    return "; ".join(said)


def show_robustness(subject: Subject) -> Html:
    """What corrupted copies of the images do to accuracy."""
    found = subject.robustness
    if found is None:
        return Html()
    drawn = format_count(found.n, "image") if found.n == found.of else f"{found.n} of {format_count(found.of, 'image')}"
    severities = sorted({row.severity for row in found.rows})
    by_kind = {
        kind: [_of_severity(found.rows, kind, severity) for severity in severities]
        for kind in dict.fromkeys(row.kind for row in found.rows)
    }
    columns = ("kind", *(f"severity {one}" for one in severities))
    rows = [(kind, *(None if one is None else one.accuracy for one in ranked)) for kind, ranked in by_kind.items()]
    overall: list[tuple[object, Interval]] = [("as the images are", found.accuracy)]
    overall += [(_MEANS.get(key, key), value) for key, value in found.mean.items()]
    withheld = [
        (kind, *(None if one is None or one.withheld is None else percent(one.withheld) for one in ranked))
        for kind, ranked in by_kind.items()
    ]
    if found.withheld is None:
        withheld = []
    else:
        withheld.insert(0, ("as the images are", *([percent(found.withheld)] * len(severities))))
    words = (
        f"{drawn}, copied and corrupted on purpose, the same way each time (seed {found.seed}). Severity 1 is just "
        "visible, 5 leaves hardly more than can be recognised. Accuracy counts every image, also those that the file "
        "does not answer."
    )
    return Html(
        paragraph(words)
        + table("Accuracy over all corruptions; 95 % intervals", ("copies", "accuracy"), overall)
        + table("Accuracy by kind and severity", columns, rows, kind="stacked")
        + table("Share of images that the file does not answer: uncertain or unlike training", columns, withheld)
        + bullets(found.notes)
    )


_MEANS = {"accuracy": "mean over all kinds and severities", "drop": "mean drop"}


def _of_severity(rows: Iterable[Corrupted], kind: str, severity: int) -> Corrupted | None:
    return next((row for row in rows if row.kind == kind and row.severity == severity), None)
