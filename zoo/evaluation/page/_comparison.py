"""The page of several models: what each does and costs, and what can be said of each pair."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from zoo._support.text import format_count, megabytes
from zoo.evaluation.metrics import title_of
from zoo.evaluation.page._html import Html, Section, assemble, bullets, figure, name, paragraph, table, text
from zoo.evaluation.page._svg import Point, draw_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.evaluation.comparison import Comparison, Pair

__all__ = ["make_comparison_page", "spell_p"]

_DOTS = (4.0, 14.0)
"""Radius of the smallest and of the largest file's dot, in pixels; areas go with sizes."""
_VERDICTS = {"better": "{a} is better", "worse": "{b} is better", "cannot tell": "cannot tell"}


def make_comparison_page(found: Comparison) -> str:
    """One page about several models on the same images."""
    groups = (
        "" if found.clusters is None else f" of {format_count(found.clusters, 'group')}, which were resampled whole"
    )
    head = paragraph(
        f"{format_count(len(found.models), 'model')} on the same {format_count(found.n, 'image')}{groups}; "
        f"{len(found.labels)} classes. Not a medical device."
    )
    if found.notes:
        head = Html(f'{head}<div class="notice"><p><b>Read this first</b></p>{bullets(found.notes)}</div>')
    sections = [
        Section("models", "Models", Html(_models(found) + _list_undefined(found))),
        Section("costs", "Accuracy, latency and size", _costs(found)),
        Section("pairs", "Pairs", _pairs(found)),
        Section("classes", "Pairs class by class", _by_class(found)),
    ]
    return assemble("Comparison of models", head, sections)


def _models(found: Comparison) -> Html:
    differ = len({model.class_weight for model in found.models}) > 1  # as the command line shows it
    keys = list(dict.fromkeys(key for model in found.models for key in model.metrics))
    rows = [
        (
            _mark(model.name, marked=model.pareto),
            *map(model.metrics.get, keys),
            None if model.latency_ms is None else _nowrap(f"{model.latency_ms:.2f} ms"),
            None if model.size_bytes is None else _nowrap(megabytes(model.size_bytes)),
            *([model.class_weight] if differ else []),
        )
        for model in found.models
    ]
    axes = ", ".join(
        {"latency_ms": "latency", "size_bytes": "size"}.get(axis) or title_of(axis) for axis in found.pareto_axes
    )
    columns = ("model", *map(title_of, keys), "latency of one image", "size", *(["class weight"] if differ else []))
    note = f"★ no other model is at least as good in all of: {axes}. Latencies whose ranges overlap count as equal."
    return Html(
        table("What each model does and costs; 95 % intervals", columns, rows, kind="stacked")
        + paragraph(note, kind="quiet")
    )


def _mark(model: str, *, marked: bool) -> Html:
    return Html(f"{name(model)}{' ★' if marked else ''}")


def _list_undefined(found: Comparison) -> Html:
    return bullets(
        f"{title_of(key)} of {model.name} is undefined: {why}"
        for model in found.models
        for key, why in model.undefined.items()
    )


def _costs(found: Comparison) -> Html:
    """One picture for each metric that pairs are tested on."""
    sizes = [model.size_bytes for model in found.models if model.size_bytes is not None]
    if len(sizes) < len(found.models) or any(model.latency_ms is None for model in found.models):
        return Html()
    drawn = "".join(_picture(found, metric, max(sizes)) for metric in found.compared)
    if not drawn:
        return Html()
    names = "".join(f"<li>{_mark(model.name, marked=model.pareto)}</li>" for model in found.models)
    note = (
        "Up and to the left is better. A larger dot is a larger file; coloured dots are on the front (★). Bars are "
        "95 % intervals."
    )
    return Html(f'{paragraph(note)}<div class="figures">{drawn}</div><ol>{names}</ol>')


def _picture(found: Comparison, metric: str, largest: int) -> str:
    points = [
        Point(
            x=model.latency_ms,
            y=model.metrics[metric],
            name=model.name,
            size=max(_DOTS[0], _DOTS[1] * math.sqrt(model.size_bytes / largest)),
            marked=model.pareto,
        )
        for model in found.models
        if metric in model.metrics and model.latency_ms is not None and model.size_bytes is not None
    ]
    if len(points) < len(found.models):
        return ""
    said = f"{title_of(metric)} against latency of {len(points)} models"
    drawn = draw_points(said, points, x_name="latency of one image, ms", y_name=title_of(metric))
    return figure(drawn, title_of(metric))


def _pairs(found: Comparison) -> Html:
    words = (
        f"Both models of a pair answered the same images, and {format_count(found.resamples, 'shared resample')} "
        "of them say how much their difference would vary. p is corrected for all pairs of one metric (Holm), but "
        "intervals are not. This p alone decides."
    )
    tested = _tabulate("Paired tests", found.pairs, found)
    return Html(paragraph(words) + tested + _explain(found)) if tested else Html()


def _by_class(found: Comparison) -> Html:
    return _tabulate("Each class against the rest; p is corrected for all of these tests", found.per_class, found)


def _tabulate(said: str, pairs: Sequence[Pair], found: Comparison) -> Html:
    """A row for each test; a column that no test fills is left out."""
    columns: list[tuple[str, list[object]]] = [
        ("a and b", [Html(f"{name(pair.a)} and {name(pair.b)}") for pair in pairs]),
        ("class", [None if pair.label is None else name(pair.label) for pair in pairs]),
        ("metric", [title_of(pair.metric) for pair in pairs]),
        ("a - b (95 %)", [_describe_delta(pair) for pair in pairs]),
        ("p (Holm)", [None if pair.low is None else _nowrap(spell_p(pair).removeprefix("= ")) for pair in pairs]),
        ("verdict", [_VERDICTS[pair.verdict].format(a=pair.a, b=pair.b) for pair in pairs]),
        ("within the margin", [_describe_margin(pair) for pair in pairs]),
        ("images that would tell", [_describe_need(pair, found) for pair in pairs]),
        ("p, DeLong", [_spell(pair.p_delong) for pair in pairs]),
        ("p, McNemar", [_spell(pair.p_mcnemar) for pair in pairs]),
    ]
    filled = [(head, cells) for head, cells in columns if any(one is not None for one in cells)]
    rows = zip(*(cells for _, cells in filled), strict=True)
    return table(said, [head for head, _ in filled], rows, kind="stacked")


def _explain(found: Comparison) -> Html:
    """What the further columns mean, where they are there."""
    pairs = (*found.pairs, *found.per_class)
    margin = next((pair.margin for pair in pairs if pair.margin is not None), None)
    lines = []
    if margin is not None:
        lines.append(
            f"Margin: a difference of {margin:g} was stated not to matter. Equivalent: the whole interval lies between "
            f"-{margin:g} and {margin:g}. Not worse: the side of the interval that counts lies within it. Neither "
            "follows from 'cannot tell'."
        )
    if any(pair.images_needed or pair.images_for_margin for pair in pairs):
        lines.append(
            "Images that would tell: about how many of the same kind show the difference in 8 of 10 studies, if it is "
            "as large as it was found here, or as large as the margin."
        )
    if any(pair.p_delong is not None or pair.p_mcnemar is not None for pair in pairs):
        lines.append(
            "The p of DeLong (areas) and of McNemar (right or wrong) are there for readers who know these tests. They "
            "are not corrected and decide nothing here."
        )
    return Html("".join(paragraph(line, kind="quiet") for line in lines))


def _describe_delta(pair: Pair) -> object:
    if pair.delta is None or pair.low is None or pair.high is None:
        return pair.reason
    return _nowrap(f"{pair.delta:+.3f} ", f"({pair.low:+.3f} to {pair.high:+.3f})")


def _describe_margin(pair: Pair) -> str | None:
    """What the interval shows of the margin."""
    if pair.noninferior is None:
        return None
    if pair.equivalent:
        return "equivalent"
    if pair.verdict != "cannot tell":
        return None
    return "; ".join(f"{one} is not worse than {other}" for one, other in pair.not_worse) or "cannot tell"


def _describe_need(pair: Pair, found: Comparison) -> Html | None:
    """About how many images, and of how many groups."""
    lines = []
    for size, images in pair.wanted:
        groups = "" if found.clusters is None else f" ({math.ceil(images * found.clusters / found.n)} groups)"
        lines.append(_nowrap(f"{images}{groups}", f"for {size:.3g}"))
    return Html("".join(lines)) if lines else None


def _spell(p: float | None) -> Html | None:
    return None if p is None else _nowrap("< 0.001" if p < 0.001 else f"{p:.3f}")


def _nowrap(shown: str, small: str = "") -> Html:
    return Html(f'<span class="n">{text(shown)}{f"<small>{text(small)}</small>" if small else ""}</span>')


def spell_p(pair: Pair) -> str:
    """The corrected p with its sign: '= 0.080', '< 0.001', or '≤ 0.006' at the floor of the resamples."""
    p = pair.p_holm
    if p is None:
        return "-"
    if pair.at_floor:  # an upper bound, so it is rounded up
        digits = max(3, -math.floor(math.log10(p)))
        return f"≤ {math.ceil(round(p * 10**digits, 6)) / 10**digits:.{digits}f}"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
