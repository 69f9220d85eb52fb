"""What test images say of decisions that validation images fixed: operating points, sets of labels, abstention.

Nothing here chooses. PPV and NPV at a stated prevalence come by Bayes' formula; their interval is that of draws of
sensitivity and specificity, each from its Jeffreys posterior Beta(hits + 1/2, misses + 1/2) (Brown, Cai and DasGupta
2001, Stat. Sci. 16:101). Where groups are known, hits and misses are scaled to the number of groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.labels import find_label
from zoo.edge import answer_labels, find_sets
from zoo.errors import UsageError
from zoo.evaluation._ranked import EXACT
from zoo.evaluation.abstention import curve_of
from zoo.evaluation.intervals import RESAMPLES, bound_share, draws, find_tail, interval
from zoo.spec import (
    AbstentionReport,
    AtPrevalence,
    ConformalReport,
    DecisionCurve,
    Interval,
    OperatingReport,
    PointReport,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.evaluation._cases import Cases
    from zoo.spec import Abstention, ConformalSets, OperatingPoint

__all__ = ["judge_abstention", "judge_points", "judge_sets", "measure_coverage", "parse_prevalence", "read_prevalence"]

THRESHOLDS = tuple(round(0.02 * step, 2) for step in range(1, 50))
"""Of a decision curve: 0.02 to 0.98."""
_DRAWS = 20_000


def judge_points(
    cases: Cases,
    labels: Sequence[str],
    points: Sequence[OperatingPoint],
    prevalence: Mapping[str, float] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> OperatingReport | None:
    """Each operating point on the images, and the decision curve of its label; None: there is nothing to say.

    Args:
        cases: images under evaluation.
        labels: K names.
        points: those of the model file; a label that is not among `labels` is left out.
        prevalence: label to the share of images that have it where the model is to be used.
        resamples: number of resamples behind the band of a curve, images or groups.
        seed: seed of resamples and draws.
    """
    places = {label: k for k, label in enumerate(labels)}
    kept = [point for point in points if point.label in places]
    found = tuple(_judge_point(cases, places[one.label], one, (prevalence or {}).get(one.label), seed) for one in kept)
    two = cases.task == "multiclass" and cases.classes == 2
    drawn = [places[one.label] for one in kept] or ([0, 1] if two else [])
    curves = tuple(_draw_curve(cases, k, labels[k], resamples, seed) for k in drawn if cases.asked[k])
    return OperatingReport(points=found, curves=curves) if found or curves else None


def judge_sets(
    cases: Cases, labels: Sequence[str], sets: ConformalSets, *, resamples: int = RESAMPLES, seed: int = 0
) -> ConformalReport:
    """Coverage and size of the sets of labels; arguments as of `judge_points`, of one label an image."""
    inside = find_sets(cases.probabilities, sets)
    sizes = inside.sum(axis=1)
    everything = np.ones(cases.n, np.bool_)
    drawn = [weights @ sizes / weights.sum(axis=1) for weights in draws(cases.n, resamples, seed, cases.groups)]
    units = cases.clusters or cases.n
    size = interval(
        float(sizes.mean()),
        np.concatenate(drawn),
        units,
        units=units,
        to_unit=lambda mean: mean / cases.classes,
        from_unit=lambda share: share * cases.classes,
    )
    each = {label: measure_coverage(cases, inside, cases.truth[:, k]) for k, label in enumerate(labels)}
    reached = measure_coverage(cases, inside)
    single = bound_share(sizes == 1, everything, cases.groups)
    empty = bound_share(sizes == 0, everything, cases.groups)
    assert size is not None and reached is not None and single is not None and empty is not None  # noqa: S101, PT018 - cases hold images
    return ConformalReport(
        method=sets.method,
        per_class=sets.per_class,
        wanted=sets.coverage,
        reached=reached,
        classes={label: found for label, found in each.items() if found is not None},
        size=size,
        sizes=tuple(np.bincount(sizes, minlength=cases.classes + 1).tolist()),
        single=single,
        single_right=measure_coverage(cases, inside, sizes == 1),
        empty=empty,
    )


def measure_coverage(
    cases: Cases, inside: NDArray[np.bool_], images: NDArray[np.bool_] | None = None
) -> Interval | None:
    """Share of `images` whose set holds the truth.

    Args:
        cases: images that have one label each.
        inside: (n, K) from `zoo.edge.find_sets`.
        images: (n,) which of them, such as those of a subgroup; None: all.

    Returns:
        None where none is there.
    """
    held = inside[np.arange(cases.n), cases.targets]
    return bound_share(held, np.ones(cases.n, np.bool_) if images is None else images, cases.groups)


def judge_abstention(
    cases: Cases,
    labels: Sequence[str],
    points: Sequence[OperatingPoint] = (),
    abstention: Abstention | None = None,
    novel: NDArray[np.bool_] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AbstentionReport:
    """How many images are answered, and how well.

    Args:
        cases: images that have one label each.
        labels: K names.
        points: operating points of the model file, which say what is answered.
        abstention: when the model file says that it does not know; None: never.
        novel: (n,) images that are unlike training; None: none is.
        resamples: number of resamples behind the interval of the area, images or groups.
        seed: seed of the resamples.
    """
    said = answer_labels(cases.probabilities, labels, points)
    unlike = np.zeros(cases.n, np.bool_) if novel is None else novel
    unsure = np.zeros(cases.n, np.bool_)
    if abstention is not None and abstention.sets is not None:
        inside = find_sets(cases.probabilities, abstention.sets)
        unsure |= (inside.sum(axis=1) != 1) | ~inside[np.arange(cases.n), said]
    control = None if abstention is None else abstention.error
    if control is not None:
        unsure |= cases.probabilities.max(axis=1) < control.threshold
    given = ~unlike & ~unsure
    answered = bound_share(given, np.ones(cases.n, np.bool_), cases.groups)
    assert answered is not None  # noqa: S101 - cases hold images
    return AbstentionReport(
        answered=answered,
        error=bound_share(said != cases.targets, given, cases.groups),
        uncertain=int((unsure & ~unlike).sum()),
        unlike=int(unlike.sum()),
        wanted=None if control is None else control.error,
        curve=curve_of(cases, said, resamples=resamples, seed=seed),
    )


def parse_prevalence(texts: Sequence[str]) -> list[tuple[str, str | None, float]]:
    """Each text of `--prevalence`, its label (None: a share alone) and its share, before anything is known of the file.

    Raises:
        UsageError: it is not a share.
    """
    found = []
    for text in texts:
        label, equals, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            raise UsageError(
                f"--prevalence {text}, expected a share above 0 and below 1, such as 0.05 or melanoma=0.05",
                code="option-value",
                option="--prevalence",
                value=text,
            )
        found.append((text, label.strip() if equals else None, share))
    return found


def read_prevalence(
    texts: Sequence[str], points: Sequence[OperatingPoint], exclusive: Sequence[str] = ()
) -> dict[str, float]:
    """What `--prevalence` states: label to share; a share alone holds for the operating points that no other names.

    Args:
        texts: what was typed.
        points: operating points of the file.
        exclusive: labels of which an image has exactly one, so that their shares sum to 1; empty: it may have several.

    Raises:
        UsageError: it is not a share, is of a label without an operating point, or is stated twice; or the shares of
            labels that exclude each other cannot sum to 1.
    """
    stated: dict[str | None, float] = {}
    known = list(dict.fromkeys(point.label for point in points))
    for text, label, share in parse_prevalence(texts):
        if not known:
            raise UsageError(
                f"--prevalence {text}: the file has no operating point to which it would apply; choose one with "
                "--operating, such as --operating sensitivity=0.9:LABEL",
                code="option-ignored",
                options=["--prevalence"],
            )
        of = None if label is None else known[find_label(label, known, f"--prevalence {text}")]
        if of in stated:
            first = f"--prevalence {stated[of]:g}" if of is None else f"--prevalence {of}={stated[of]:g}"
            raise UsageError(
                f"--prevalence {text}: there is {first} already; give one",
                code="option-conflict",
                options=[first, f"--prevalence {text}"],
            )
        stated[of] = share
    if len(exclusive) == len(known) == 2 and None not in stated and len(stated) == 1:
        stated[next(label for label in known if label not in stated)] = 1 - sum(stated.values())
    shares = {label: stated[of] for label in known for of in (None, label) if of in stated}
    total = sum(shares.values())
    if exclusive and (total > 1 + EXACT or (len(shares) == len(exclusive) and total < 1 - EXACT)):
        raise UsageError(
            f"--prevalence: {', '.join(f'{label}={share:g}' for label, share in shares.items())} sum to {total:g}, and "
            f"an image has one of {len(exclusive)} classes; state the share of a class by its name, such as "
            f"--prevalence {known[0]}=0.05",
            code="prevalence-sum",
            shares=shares,
            total=total,
        )
    return shares


def _judge_point(cases: Cases, k: int, point: OperatingPoint, prevalence: float | None, seed: int) -> PointReport:
    called = cases.probabilities[:, k] >= point.threshold
    of, known = cases.truth[:, k], cases.known[:, k]
    rest = known & ~of

    def bound(right: NDArray[np.bool_], among: NDArray[np.bool_]) -> Interval | None:
        return bound_share(right, among, cases.groups)

    sensitivity, specificity = bound(called, of), bound(~called, rest)
    at = None
    if prevalence is not None and sensitivity is not None and specificity is not None:
        trials = (cases.units(of), cases.units(rest))
        at = _state(prevalence, (sensitivity.value, specificity.value), trials, seed)
    return PointReport(
        label=point.label,
        rule=point.rule,
        threshold=point.threshold,
        n=int(known.sum()),
        tp=int((called & of).sum()),
        fp=int((called & rest).sum()),
        tn=int((~called & rest).sum()),
        fn=int((~called & of).sum()),
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=bound(of, called & known),
        npv=bound(~of, ~called & known),
        at=at,
    )


def _state(prevalence: float, shares: tuple[float, float], trials: tuple[int, int], seed: int) -> AtPrevalence:
    """PPV and NPV at a prevalence, of sensitivity and specificity with the trials behind each."""
    rng = np.random.default_rng(seed)
    drawn = [rng.beta(one * n + 0.5, (1 - one) * n + 0.5, _DRAWS) for one, n in zip(shares, trials, strict=True)]

    def bound(formula: Callable[[Any, Any], tuple[Any, Any]]) -> Interval | None:
        right, wrong = formula(*shares)
        if right + wrong == 0:
            return None
        value, (hits, misses) = right / (right + wrong), formula(*drawn)
        low, high = np.quantile(hits / (hits + misses), (0.025, 0.975)).tolist()
        return Interval(value=value, low=min(low, value), high=max(high, value), method="jeffreys")

    return AtPrevalence(
        prevalence=prevalence,
        ppv=bound(lambda sens, spec: (prevalence * sens, (1 - prevalence) * (1 - spec))),
        npv=bound(lambda sens, spec: ((1 - prevalence) * spec, prevalence * (1 - sens))),
    )


def _draw_curve(cases: Cases, k: int, label: str, resamples: int, seed: int) -> DecisionCurve:
    thresholds = np.array(THRESHOLDS)
    known = cases.known[:, k]
    called = cases.probabilities[:, k, None] >= thresholds  # (n, T)
    odds = thresholds / (1 - thresholds)
    gains = np.where(cases.truth[:, k, None], called, -(called * odds)) * known[:, None]  # (n, T)
    kept = [
        (weights @ gains) / np.where((total := weights @ known) > 0, total, np.nan)[:, None]
        for weights in draws(cases.n, resamples, seed, cases.groups)
    ]
    model = gains.sum(axis=0) / known.sum()
    tail = find_tail(cases.clusters or cases.n)
    low, high = np.nanquantile(np.concatenate(kept), (tail, 1 - tail), axis=0)
    share = cases.counts[k] / known.sum()
    return DecisionCurve(
        label=label,
        n=int(known.sum()),
        thresholds=THRESHOLDS,
        model=tuple(model.tolist()),
        low=tuple(np.minimum(low, model).tolist()),
        high=tuple(np.maximum(high, model).tolist()),
        all=tuple((share - (1 - share) * odds).tolist()),
    )
