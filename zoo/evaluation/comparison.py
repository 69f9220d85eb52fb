"""Several models on the same images: one table, paired tests, and which models no other beats on everything.

Two models are compared on shared resamples: each draw of images is scored by both, so what makes an image
hard for both cancels. delta is a minus b; its interval is the 2.5 to 97.5 percentile over resamples, widened
where needed to hold delta itself. p is two-sided: (1 + resamples in the smaller tail) · 2 / (B + 1), at most
1 (Davison and Hinkley 1997, chapter 4). Holm's correction (1979) is taken over the pairs of one metric, and
'better' or 'worse' is said only when p_holm < 0.05 and the interval leaves out 0.

Resamples repeat what few images showed, so on their own they are too sure of themselves on a handful. p is
therefore never below 2^(1-m), the smallest p of a two-sided sign test on m images: for accuracy the m images
that one model has right and the other wrong (multilabel: of which one has more labels right than the other), for
macro AUROC the smaller side of the best-supplied class. Where every resample gives the same delta, the interval
is Wilson's around |delta| (around 0: on both sides), with as many trials as there are images.

Where groups (patients) are known, whole groups are drawn, and every count of images above is one of groups.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from zoo.errors import UsageError
from zoo.evaluation import (
    COMPARED,
    METRICS,
    RESAMPLES,
    Cases,
    Values,
    bootstrap,
    check_labels,
    draws,
    measure,
    ones,
    overall,
)
from zoo.evaluation.intervals import bound_difference
from zoo.spec import SCHEMA, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Comparison", "Contender", "ModelRow", "Pair", "compare", "holm"]

ALPHA = 0.05
MOST_RESAMPLES = 20_000

Verdict = Literal["better", "worse", "cannot tell"]


@dataclass(frozen=True, eq=False)
class Contender:
    """One model's answers, and what it costs.

    Attributes:
        name: how to call it; different from all others.
        logits: (n, K), before the temperature, for the images all contenders saw, in one order.
        temperature: logits are divided by it.
        latency_ms: milliseconds for one image, or None where not measured.
        size_bytes: size of the model's file, or None where there is none.
    """

    name: str
    logits: NDArray[Any]
    temperature: float = 1.0
    latency_ms: float | None = None
    size_bytes: int | None = None


class ModelRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table."""

    name: str
    metrics: dict[str, Interval]
    undefined: dict[str, str]
    """Metric to the reason why it has no value."""
    latency_ms: float | None
    size_bytes: int | None
    pareto: bool
    """No other model is at least as good on every one of Comparison.pareto_axes and better on one."""


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be said of `a` against `b` in one metric."""

    a: str
    b: str
    metric: str
    delta: float | None
    """a minus b; null where the metric is undefined, and then so are low, high, p and p_holm."""
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    """p corrected for all pairs of this metric."""
    verdict: Verdict
    """'better': a is better than b."""
    reason: str | None = None
    """Why the delta is undefined."""


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Models compared on one set of images."""

    schema: int = SCHEMA
    n: int
    labels: tuple[str, ...]
    resamples: int
    pareto_axes: tuple[str, ...]
    models: tuple[ModelRow, ...]
    pairs: tuple[Pair, ...]
    clusters: int | None = None
    """Number of groups that were resampled; null: images were resampled, as if independent."""
    notes: tuple[str, ...] = ()
    """What a reader must know of the images, and which of them a model was trained on."""


@dataclass(frozen=True, eq=False)
class _Scored:
    """A contender with its metrics on all images and on every resample."""

    contender: Contender
    cases: Cases
    point: Values
    resampled: Values
    metrics: dict[str, Interval]
    undefined: dict[str, str]


def compare(
    contenders: Sequence[Contender],
    targets: NDArray[Any],
    labels: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
    resamples: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare models on the same images.

    Args:
        contenders: at least one; pairs are in their order.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN.
        labels: K names.
        groups: (n,) int, equal for images of one patient, where known.
        resamples: number of resamples; None: 1000, or more where Holm's correction of many pairs needs it.
        seed: seed of the bootstrap.

    Raises:
        UsageError: no contender, or two of one name.
        DataError: logits, targets and labels do not belong together.
        ModelError: a logit is not finite.
    """
    names = [contender.name for contender in contenders]
    if not names:
        raise UsageError("no model to compare; name at least two", code="compare-too-few", found=0, expected=2)
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two models are called {name}; expected different names", code="name-twice", name=name)
    pairs = len(names) * (len(names) - 1) // 2
    if resamples is None:
        # The smallest p is 2 / (B + 1); times the number of pairs it must still fall below ALPHA, with room.
        resamples = min(max(RESAMPLES, 100 * pairs), MOST_RESAMPLES)
    scored = [_score(contender, targets, labels, groups, resamples, seed) for contender in contenders]
    axes, front = _pareto(scored)
    rows = tuple(
        ModelRow(
            name=model.contender.name,
            metrics=model.metrics,
            undefined=model.undefined,
            latency_ms=model.contender.latency_ms,
            size_bytes=model.contender.size_bytes,
            pareto=best,
        )
        for model, best in zip(scored, front, strict=True)
    )
    tested: list[Pair] = []
    for metric in COMPARED:
        tested += holm([_pair(a, b, metric) for a, b in itertools.combinations(scored, 2)])
    return Comparison(
        n=scored[0].cases.n,
        labels=tuple(labels),
        resamples=resamples,
        pareto_axes=axes,
        models=rows,
        pairs=tuple(tested),
        clusters=scored[0].cases.clusters,
    )


def holm(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs of one metric with p_holm (Holm 1979, Scand. J. Stat. 6:65) and the verdict that follows."""
    order = sorted((i for i, pair in enumerate(pairs) if pair.p is not None), key=lambda i: pairs[i].p or 0.0)
    corrected = list(pairs)
    largest = 0.0
    for rank, i in enumerate(order):
        pair = pairs[i]
        largest = max(largest, min(1.0, (pair.p or 0.0) * (len(order) - rank)))
        corrected[i] = msgspec.structs.replace(pair, p_holm=largest, verdict=_verdict(pair, largest))
    return corrected


def _verdict(pair: Pair, p: float) -> Verdict:
    if p < ALPHA and pair.low is not None and pair.low > 0:
        return "better"
    if p < ALPHA and pair.high is not None and pair.high < 0:
        return "worse"
    return "cannot tell"


def _score(  # noqa: PLR0917 - what `compare` was given, in its order
    contender: Contender,
    targets: NDArray[Any],
    labels: Sequence[str],
    groups: NDArray[np.int64] | None,
    resamples: int,
    seed: int,
) -> _Scored:
    cases = Cases.of(contender.logits, targets, contender.temperature, groups)
    check_labels(cases, labels)
    point = measure(cases, ones(cases.n))
    # The same seed for every contender: its resamples are the others' too.
    resampled = bootstrap(partial(measure, cases), draws(cases.n, resamples, seed, cases.groups))
    metrics, undefined = overall(cases, labels, point, resampled)
    return _Scored(contender, cases, point, resampled, metrics, undefined)


def _pair(a: _Scored, b: _Scored, metric: str) -> Pair:
    difference = a.resampled[metric] - b.resampled[metric]
    reason = a.undefined.get(metric) or b.undefined.get(metric)
    names = {"a": a.contender.name, "b": b.contender.name}
    trials, informative = METRICS[metric].paired_trials(a.cases, b.cases)
    found = bound_difference(float(a.point[metric][0] - b.point[metric][0]), difference, trials)
    if reason is not None or found is None:
        return Pair(
            **names,
            metric=metric,
            delta=None,
            low=None,
            high=None,
            p=None,
            p_holm=None,
            verdict="cannot tell",
            reason=reason or "too few images: not defined for both models in half of the resamples",
        )
    defined = difference[~np.isnan(difference)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    p = min(1.0, max(2 * (1 + tail) / (defined.size + 1), 2.0 ** (1 - informative)))
    return Pair(
        **names,
        metric=metric,
        delta=found.value,
        low=found.low,
        high=found.high,
        p=p,
        p_holm=p,
        verdict="cannot tell",
    )


def _pareto(scored: Sequence[_Scored]) -> tuple[tuple[str, ...], list[bool]]:
    """The axes that every model has a value on, and whether each model is on the front."""
    quality = "macro_auroc" if all("macro_auroc" in model.metrics for model in scored) else "accuracy"
    costs: dict[str, list[float]] = {quality: [-float(model.point[quality][0]) for model in scored]}
    for axis in ("latency_ms", "size_bytes"):
        values = [getattr(model.contender, axis) for model in scored]
        if None not in values:
            costs[axis] = values
    table = np.array(list(costs.values()), dtype=np.float64).T  # (models, axes), less is better
    front = [not ((table <= row).all(axis=1) & (table < row).any(axis=1)).any() for row in table]
    return tuple(costs), front
