"""Several models on the same images: one table, paired tests, and which models no other beats on everything.

Two models are compared on shared resamples: each draw of images is scored by both, so what makes an image
hard for both cancels. delta is a minus b; its interval is the 2.5 to 97.5 percentile over resamples, widened
where needed to hold delta itself. p is two-sided: (1 + resamples in the smaller tail) · 2 / (B + 1), at most
1 (Davison and Hinkley 1997, chapter 4). Holm's correction (1979) is taken over the pairs of one metric, and
'better' or 'worse' is said only when p_holm < 0.05 and the interval leaves out 0. Tests by class, where they are asked
for, are a family of their own: Holm's correction is taken over all classes, metrics and pairs.

Where no resample lies in the smaller tail, p is the floor of the resamples, 2 / (B + 1): the true one may be smaller,
and more resamples would show it. Pair.at_floor says so. Two models that answer alike on every image get no interval:
its width would be that of models that differ.

Resamples repeat what few images showed, so on their own they are too sure of themselves on a handful. p is
therefore never below 2^(1-m), the smallest p of a two-sided sign test on m images: for accuracy the m images
that one model has right and the other wrong (multilabel: of which one has more labels right than the other), for
macro AUROC the smaller side of the best-supplied class; by class its smaller side, for sensitivity its images that
one model finds and the other misses. Where every resample gives the same delta, the interval
is Wilson's around |delta| (around 0: on both sides), with as many trials as there are images.

Where groups (patients) are known, whole groups are drawn, and every count of images above is one of groups.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from zoo._support.text import format_count
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
    title_of,
)
from zoo.evaluation._front import Range, exact, find_front
from zoo.evaluation._scores import SCORE_STEP
from zoo.evaluation.intervals import bound_difference
from zoo.spec import SCHEMA, Display, Interval, SeenImages, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "BY_CLASS",
    "MOST_RESAMPLES",
    "Comparison",
    "Contender",
    "ModelRow",
    "Pair",
    "check_resamples",
    "compare",
    "holm",
]

ALPHA = 0.05
MOST_RESAMPLES = 100_000
"""That may be asked for: all are held in memory, for each metric of each class and model."""
_MOST_UNASKED = 20_000
BY_CLASS = ("auroc", "sensitivity")
"""The metrics that pairs are tested on class by class: one class against the rest."""
_ALIKE = 1e-3
"""Log-odds within which two files give one answer; what the parity gate allows any image."""

Verdict = Literal["better", "worse", "cannot tell"]


@dataclass(frozen=True, eq=False)
class Contender:
    """One model's answers, and what it costs.

    Attributes:
        name: how to call it; different from all others.
        logits: (n, K), before the temperature, for the images all contenders saw, in one order.
        temperature: logits are divided by it.
        latency_ms: milliseconds for one image, or None where not measured.
        latency_range_ms: lowest and highest usual value of it; two whose ranges overlap are equal. None: no spread.
        size_bytes: size of the model's file, or None where there is none.
        class_weight: how classes were weighed in its training, or None where not known. ordered: labels are grades.
    """

    name: str
    logits: NDArray[Any]
    temperature: float = 1.0
    latency_ms: float | None = None
    latency_range_ms: tuple[float, float] | None = None
    size_bytes: int | None = None
    class_weight: str | None = None
    ordered: bool = False


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
    latency_range_ms: tuple[float, float] | None = None
    """10 to 90 % of the measured latencies; where two ranges overlap, neither model counts as faster."""
    class_weight: str | None = None
    """How classes were weighed in training: 'none', 'balanced', of an ensemble's members all; null: not known."""


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be said of `a` against `b` in one metric."""

    a: str
    b: str
    metric: str
    delta: float | None
    """a minus b; null where the metric is undefined, and then so are low, high, p and p_holm. low and high alone are
    null where both answer alike on every image."""
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    """p corrected for all pairs of this metric; by class for all classes and metrics, too."""
    verdict: Verdict
    """'better': a is better than b."""
    reason: str | None = None
    """Why the delta, or its interval, is undefined."""
    label: str | None = None
    """The class that was tested against the rest; null: all."""
    at_floor: bool = False
    """p_holm is an upper bound: as small as this number of resamples can show."""


class Comparison(Display, msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Models compared on one set of images."""

    schema: int = SCHEMA
    n: int
    labels: tuple[str, ...]
    resamples: int
    pareto_axes: tuple[str, ...]
    models: tuple[ModelRow, ...]
    pairs: tuple[Pair, ...]
    per_class: tuple[Pair, ...] = ()
    """The same pairs class by class, where it was asked for: metrics of BY_CLASS."""
    clusters: int | None = None
    """Number of groups that were resampled; null: images were resampled, as if independent."""
    notes: tuple[str, ...] = ()
    """What a reader must know of the images, and which of them a model was trained on."""
    seen: SeenImages | None = None
    """Images that any of the models was made with; null: they are the test images of all of them."""

    def headline(self) -> str:
        """The best value with its interval, and how many paired tests tell models apart."""
        groups = "" if self.clusters is None else f", {format_count(self.clusters, 'group')}"
        told = sum(pair.verdict != "cannot tell" for pair in self.pairs)
        tests = f"{told} of {format_count(len(self.pairs), 'paired test')} tell models apart"
        first = COMPARED[0]
        best = max(self.models, key=lambda row: row.metrics[first].value if first in row.metrics else -1.0)
        value = f"best {title_of(first)} {best.metrics.get(first, 'undefined')} of {best.name}"
        return f"{format_count(len(self.models), 'model')} on {format_count(self.n, 'image')}{groups}: {value}; {tests}"

    def tables(self) -> dict[str, Table]:
        """models: one row each. pairs: one row for each paired test."""
        said = [name for name in ModelRow.__struct_fields__ if name not in {"name", "metrics", "undefined"}]
        models = (
            {"model": row.name, **row.metrics, **{name: getattr(row, name) for name in said}} for row in self.models
        )
        pairs = Table(map(msgspec.structs.asdict, self.pairs), Pair.__struct_fields__)
        return {"models": Table(models), "pairs": pairs}


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
    per_class: bool = False,
    seed: int = 0,
) -> Comparison:
    """Compare models on the same images.

    Args:
        contenders: at least one; pairs are in their order.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN.
        labels: K names.
        groups: (n,) int, equal for images of one patient, where known.
        resamples: number of resamples, at most MOST_RESAMPLES; None: 1000, or more where Holm's correction of many
            tests needs it.
        per_class: test every pair class by class as well.
        seed: seed of the bootstrap.

    Raises:
        UsageError: no contender, two of one name, or a number of resamples that is not possible.
        DataError: logits, targets and labels do not belong together.
        ModelError: a logit is not finite.
    """
    names = [contender.name for contender in contenders]
    if not names:
        raise UsageError("no model to compare; name at least two", code="compare-too-few", found=0, expected=2)
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name} is named twice; name each model once", code="name-twice", name=name)
    check_resamples(resamples)
    tests = len(names) * (len(names) - 1) // 2 * (len(labels) * len(BY_CLASS) if per_class else 1)
    if resamples is None:
        # The smallest p is 2 / (B + 1); times the number of tests it must still fall below ALPHA, with room.
        resamples = min(max(RESAMPLES, 100 * tests), _MOST_UNASKED)
    scored = [_score(contender, targets, labels, groups, resamples, seed) for contender in contenders]
    axes, front = find_front(_costs(scored))
    rows = tuple(
        ModelRow(
            name=model.contender.name,
            metrics=model.metrics,
            undefined=model.undefined,
            latency_ms=model.contender.latency_ms,
            latency_range_ms=model.contender.latency_range_ms,
            size_bytes=model.contender.size_bytes,
            class_weight=model.contender.class_weight,
            pareto=best,
        )
        for model, best in zip(scored, front, strict=True)
    )
    tested: list[Pair] = []
    for metric in COMPARED:
        tested += holm([_pair(a, b, metric) for a, b in itertools.combinations(scored, 2)])
    by_class = [
        _pair_of_class(a, b, metric, k, label)
        for k, label in enumerate(labels if per_class else ())
        for metric in BY_CLASS
        if not (metric == "auroc" and len(labels) == 2 and k == 0 and scored[0].cases.task == "multiclass")  # k = 1's
        for a, b in itertools.combinations(scored, 2)
    ]
    return Comparison(
        n=scored[0].cases.n,
        labels=tuple(labels),
        resamples=resamples,
        pareto_axes=axes,
        models=rows,
        pairs=tuple(tested),
        per_class=tuple(holm(by_class)),
        clusters=scored[0].cases.clusters,
    )


def check_resamples(resamples: int | None) -> None:
    """Refuse a number of resamples that is not in 1 to MOST_RESAMPLES; None is any."""
    if resamples is not None and not 1 <= resamples <= MOST_RESAMPLES:
        raise UsageError(
            f"{resamples} resamples asked for, expected 1 to {MOST_RESAMPLES} (1000 is usual)",
            code="resamples-invalid",
            found=resamples,
            expected=1,
        )


def holm(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs of one family of tests with p_holm (Holm 1979, Scand. J. Stat. 6:65) and the verdict that follows."""
    order = sorted((i for i, pair in enumerate(pairs) if pair.p is not None), key=lambda i: pairs[i].p or 0.0)
    corrected = list(pairs)
    largest, floor = 0.0, False  # and whether it comes of a p at the floor of the resamples
    for rank, i in enumerate(order):
        pair = pairs[i]
        own = min(1.0, (pair.p or 0.0) * (len(order) - rank))
        if own > largest:
            largest, floor = own, pair.at_floor and own < 1
        corrected[i] = msgspec.structs.replace(pair, p_holm=largest, verdict=_verdict(pair, largest), at_floor=floor)
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
    cases = Cases.of(contender.logits, targets, contender.temperature, groups, ordered=contender.ordered)
    check_labels(cases, labels)
    point = measure(cases, ones(cases.n))
    # The same seed for every contender: its resamples are the others' too.
    resampled = bootstrap(partial(measure, cases), draws(cases.n, resamples, seed, cases.groups))
    metrics, undefined = overall(cases, labels, point, resampled)
    kept = {name: resampled[name] for name in (*COMPARED, *BY_CLASS)}
    return _Scored(contender, cases, point, kept, metrics, undefined)


class _Difference(NamedTuple):
    """A metric of a minus b on all images and on each resample; trials, the m of the smallest p, why undefined."""

    point: float
    resampled: NDArray[np.float64]
    trials: int
    informative: int
    reason: str | None


def _pair(a: _Scored, b: _Scored, metric: str) -> Pair:
    return _test(
        a,
        b,
        metric,
        _Difference(
            float(a.point[metric][0] - b.point[metric][0]),
            a.resampled[metric] - b.resampled[metric],
            *METRICS[metric].paired_trials(a.cases, b.cases),
            a.undefined.get(metric) or b.undefined.get(metric),
        ),
    )


def _pair_of_class(a: _Scored, b: _Scored, metric: str, k: int, label: str) -> Pair:
    of = a.cases.truth[:, k]
    if metric == "sensitivity":
        trials, informative = a.cases.units(of), a.cases.units(of & (a.cases.chosen[:, k] != b.cases.chosen[:, k]))
    else:
        trials = informative = a.cases.smaller_side(k)
    point = float(a.point[metric][k, 0] - b.point[metric][k, 0])
    reason = f"no image that is of class {label}, or none that is not" if np.isnan(point) else None
    resampled = a.resampled[metric][k] - b.resampled[metric][k]
    return _test(a, b, metric, _Difference(point, resampled, trials, informative, reason), label)


def _test(a: _Scored, b: _Scored, metric: str, difference: _Difference, label: str | None = None) -> Pair:
    pair = Pair(
        a=a.contender.name, b=b.contender.name, metric=metric, label=label,
        delta=None, low=None, high=None, p=None, p_holm=None, verdict="cannot tell", reason=difference.reason,
    )  # fmt: skip
    if difference.reason is not None:
        return pair
    found = bound_difference(difference.point, difference.resampled, difference.trials)
    if found is None:
        reason = "too few images: not defined for both models in half of the resamples"
        return msgspec.structs.replace(pair, reason=reason)
    if _answer_alike(a.cases, b.cases):
        reason = f"both answer alike on each of the {a.cases.n} images"
        return msgspec.structs.replace(pair, delta=found.value, p=1.0, p_holm=1.0, reason=reason)
    defined = difference.resampled[~np.isnan(difference.resampled)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    of_resamples, of_images = 2 * (1 + tail) / (defined.size + 1), 2.0 ** (1 - difference.informative)
    p = min(1.0, max(of_resamples, of_images))
    return msgspec.structs.replace(
        pair, delta=found.value, low=found.low, high=found.high, p=p, p_holm=p,
        at_floor=tail == 0 and of_images <= of_resamples < 1,
    )  # fmt: skip


def _answer_alike(a: Cases, b: Cases) -> bool:
    """Whether two models decide alike and give the same log-odds, within the bar of the parity gate, on every image."""
    near = np.abs(a.scores - b.scores) * SCORE_STEP <= _ALIKE * np.maximum(1, np.abs(a.scores) * SCORE_STEP)
    return bool((a.predicted == b.predicted).all() and near.all())


def _costs(scored: Sequence[_Scored]) -> dict[str, list[Range | None]]:
    """Axis to the cost of each model; quality and size are exact, latency was measured."""
    quality = "macro_auroc" if all("macro_auroc" in model.metrics for model in scored) else "accuracy"
    return {
        quality: [exact(-float(one.point[quality][0])) for one in scored],
        "latency_ms": [one.contender.latency_range_ms or exact(one.contender.latency_ms) for one in scored],
        "size_bytes": [exact(one.contender.size_bytes) for one in scored],
    }
