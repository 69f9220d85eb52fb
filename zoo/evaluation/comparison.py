"""Several models on the same images: one table, paired tests, and which models no other beats on everything.

Two models are compared on shared resamples: each draw of images is scored by both, so what makes an image
hard for both cancels. delta is a minus b; its interval is the 2.5 to 97.5 percentile over resamples, expanded
for few images or groups, and widened where needed to hold delta itself.

p is two-sided: (1 + resamples in the smaller tail) · 2 / (B + 1), at most 1 (Davison and Hinkley 1997, chapter 4).
Holm's correction (1979) is taken over the pairs of one metric, and 'better' or 'worse' is said only when p_holm < 0.05
and the interval leaves out 0. Tests by class, where they are asked for, are a family of their own: Holm's correction is
taken over all classes, metrics and pairs.

Where no resample lies in the smaller tail, p is the floor of the resamples, 2 / (B + 1): the true one may be smaller,
and more resamples would show it. Pair.at_floor says so. Two models that answer alike on every image get no interval:
its width would be that of models that differ.

Resamples repeat what few images showed, so on their own they are too sure of themselves on a handful. p is
therefore never below 2^(1-m), the smallest p of a two-sided sign test on m images: for accuracy the m images
that one model has right and the other wrong (multilabel: of which one has more labels right than the other), for
macro AUROC the smaller side of the best-supplied class, for quadratic kappa the images that the two give another
grade; by class its smaller side, for sensitivity its images that one model finds and the other misses. Where every
resample gives the same delta, the interval is Wilson's around |delta| (around 0: on both sides), in parts of the
metric's range, with as many trials as there are images.

Where groups (patients) are known, whole groups are drawn, and every count of images above is one of groups.

Which p decides, the p of DeLong and of McNemar, margins, and how many images would tell: see `zoo.evaluation._paired`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.text import format_count
from zoo.errors import UsageError
from zoo.evaluation import (
    COMPARED,
    RESAMPLES,
    Cases,
    bootstrap,
    check_labels,
    draws,
    measure,
    ones,
    overall,
    title_of,
)
from zoo.evaluation._front import Range, exact, find_front
from zoo.evaluation._paired import Pair, Scored, compare_class, compare_pair, holm
from zoo.evaluation.metrics import GRADES_COMPARED
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
    "check_margin",
    "check_resamples",
    "compare",
    "holm",
]

MOST_RESAMPLES = 100_000
"""That may be asked for: all are held in memory, for each metric of each class and model."""
_MOST_UNASKED = 20_000
BY_CLASS = ("auroc", "sensitivity")
"""The metrics that pairs are tested on class by class: one class against the rest."""


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
        class_weight: how classes were weighed in its training, or None where not known.
        ordered: labels are grades, the lowest first. They then are so for all contenders, which give the same labels.
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

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics that pairs are tested on, of grades in order also theirs."""
        known = {name for row in self.models for name in (*row.metrics, *row.undefined)}
        return (*COMPARED, *(name for name in GRADES_COMPARED if name in known))

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


def compare(
    contenders: Sequence[Contender],
    targets: NDArray[Any],
    labels: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
    resamples: int | None = None,
    per_class: bool = False,
    margin: float | None = None,
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
        margin: difference that would not matter, in (0, 1): says which models are equivalent, or not worse, within it.
        seed: seed of the bootstrap.

    Raises:
        UsageError: no contender, two of one name, or a number of resamples or a margin that is not possible.
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
    check_margin(margin)
    tests = len(names) * (len(names) - 1) // 2 * (len(labels) * len(BY_CLASS) if per_class else 1)
    if resamples is None:
        # The smallest p is 2 / (B + 1); times the number of tests it must still fall below ALPHA, with room.
        resamples = min(max(RESAMPLES, 100 * tests), _MOST_UNASKED)
    ordered = any(contender.ordered for contender in contenders)
    scored = [_score(contender, targets, labels, groups, resamples, seed, ordered=ordered) for contender in contenders]
    axes, front = find_front(_costs(contenders, scored))
    rows = tuple(
        ModelRow(
            name=model.name,
            metrics=model.metrics,
            undefined=model.undefined,
            latency_ms=contender.latency_ms,
            latency_range_ms=contender.latency_range_ms,
            size_bytes=contender.size_bytes,
            class_weight=contender.class_weight,
            pareto=best,
        )
        for contender, model, best in zip(contenders, scored, front, strict=True)
    )
    pairs = list(itertools.combinations(scored, 2))
    tested: list[Pair] = []
    for metric in _list_metrics(ordered=ordered):
        tested += holm([compare_pair(a, b, metric, margin=margin, tests=len(pairs)) for a, b in pairs])
    by_class = [
        compare_class(a, b, metric, k, label, margin=margin, tests=tests)
        for k, label in enumerate(labels if per_class else ())
        for metric in BY_CLASS
        if not (metric == "auroc" and len(labels) == 2 and k == 0 and scored[0].cases.task == "multiclass")  # k = 1's
        for a, b in pairs
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


def check_margin(margin: float | None) -> None:
    """Refuse a margin that is not between 0 and 1; None is none."""
    if margin is not None and not 0 < margin < 1:
        raise UsageError(
            f"a margin of {margin:g} asked for, expected a difference between 0 and 1, such as 0.02",
            code="margin-invalid",
            found=margin,
        )


def _list_metrics(*, ordered: bool) -> tuple[str, ...]:
    """The metrics that pairs are tested on; `ordered`: classes are grades."""
    return (*COMPARED, *(GRADES_COMPARED if ordered else ()))


def _score(  # noqa: PLR0917 - what `compare` was given, in its order
    contender: Contender,
    targets: NDArray[Any],
    labels: Sequence[str],
    groups: NDArray[np.int64] | None,
    resamples: int,
    seed: int,
    *,
    ordered: bool,
) -> Scored:
    cases = Cases.of(contender.logits, targets, contender.temperature, groups, ordered=ordered)
    check_labels(cases, labels)
    point = measure(cases, ones(cases.n))
    # The same seed for every contender: its resamples are the others' too.
    resampled = bootstrap(partial(measure, cases), draws(cases.n, resamples, seed, cases.groups))
    metrics, undefined = overall(cases, labels, point, resampled)
    kept = {name: resampled[name] for name in (*_list_metrics(ordered=cases.ordered), *BY_CLASS)}
    return Scored(contender.name, cases, point, kept, metrics, undefined)


def _costs(contenders: Sequence[Contender], scored: Sequence[Scored]) -> dict[str, list[Range | None]]:
    """Axis to the cost of each model; quality and size are exact, latency was measured."""
    quality = "macro_auroc" if all("macro_auroc" in model.metrics for model in scored) else "accuracy"
    return {
        quality: [exact(-float(one.point[quality][0])) for one in scored],
        "latency_ms": [one.latency_range_ms or exact(one.latency_ms) for one in contenders],
        "size_bytes": [exact(one.size_bytes) for one in contenders],
    }
