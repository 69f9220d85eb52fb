"""The page of several models: what each does and costs, and what can be said of each pair."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from zoo._support.text import format_count, megabytes
from zoo.evaluation.metrics import COMPARED, title_of
from zoo.evaluation.page._html import Html, Section, assemble, bullets, cell, figure, name, paragraph, table, text
from zoo.evaluation.page._svg import Point, draw_points

if TYPE_CHECKING:
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
    keys = list(dict.fromkeys(key for model in found.models for key in model.metrics))
    rows = [
        (
            _mark(model.name, marked=model.pareto),
            *map(model.metrics.get, keys),
            None if model.latency_ms is None else f"{model.latency_ms:.2f} ms",
            None if model.size_bytes is None else megabytes(model.size_bytes),
            model.class_weight,
        )
        for model in found.models
    ]
    axes = ", ".join(
        {"latency_ms": "latency", "size_bytes": "size"}.get(axis) or title_of(axis) for axis in found.pareto_axes
    )
    columns = ("model", *map(title_of, keys), "latency of one image", "size", "class weight")
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
    drawn = "".join(_picture(found, metric, max(sizes)) for metric in COMPARED)
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
        "intervals are not."
    )
    columns = ("a", "b", "metric", "a - b (95 %)", "p (Holm)", "verdict")
    rows = [(name(pair.a), name(pair.b), *_describe_test(pair)) for pair in found.pairs]
    return Html(paragraph(words) + table("Paired tests", columns, rows)) if rows else Html()


def _by_class(found: Comparison) -> Html:
    columns = ("class", "a", "b", "metric", "a - b (95 %)", "p (Holm)", "verdict")
    rows = [(name(pair.label or ""), name(pair.a), name(pair.b), *_describe_test(pair)) for pair in found.per_class]
    return table("Each class against the rest; p is corrected for all of these tests", columns, rows)


def _describe_test(pair: Pair) -> tuple[object, ...]:
    if pair.delta is None or pair.low is None or pair.high is None:
        return title_of(pair.metric), pair.reason, None, "cannot tell"
    span = f"<small>({pair.low:+.3f} to {pair.high:+.3f})</small>"
    delta = Html(f'<span class="n">{pair.delta:+.3f} {span}</span>')
    verdict = _VERDICTS[pair.verdict].format(a=pair.a, b=pair.b)
    return (
        title_of(pair.metric),
        delta,
        Html(f'<span class="n">{text(spell_p(pair).removeprefix("= "))}</span>'),
        cell(verdict),
    )


def spell_p(pair: Pair) -> str:
    """The corrected p with its sign: '= 0.080', '< 0.001', or '≤ 0.006' at the floor of the resamples."""
    p = pair.p_holm
    if p is None:
        return "-"
    if pair.at_floor:  # an upper bound, so it is rounded up
        digits = max(3, -math.floor(math.log10(p)))
        return f"≤ {math.ceil(round(p * 10**digits, 6)) / 10**digits:.{digits}f}"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
