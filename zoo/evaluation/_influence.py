"""Metrics of a part of the images with the influence of each image, from which intervals follow without resampling.

The influence of an image is how much its presence moves the metric: for a ratio of sums (a - r b) / B, for AUROC the
placement values of DeLong et al. 1988 (Biometrics 44:837). The variance follows from them as that of all images does
(`zoo.evaluation._placements`). So a group costs a sort, where a bootstrap costs seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.evaluation._placements import measure_area, place_scores, variance_of
from zoo.evaluation.intervals import bound_odds
from zoo.spec import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.evaluation._cases import Cases
    from zoo.evaluation._scores import Array

__all__ = [
    "Estimate",
    "accuracy_of",
    "auroc_of",
    "balanced_accuracy_of",
    "bound",
    "estimate_variance",
    "share_of",
    "t_quantile",
]

LEAST_SIDE = 5
"""Images (or patients) of a class, and of all others, below which a metric of classes is not given."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A metric of some images.

    Attributes:
        value: the metric.
        influence: (n,) of every image, 0 of those that are not among them.
        images: (n,) which images.
        trials: those behind the value, for Wilson's interval.
        share: the value is one share of right answers.
    """

    value: float
    influence: Array
    images: NDArray[np.bool_]
    trials: int
    share: bool = False


def accuracy_of(cases: Cases, mask: NDArray[np.bool_], *, labels: NDArray[np.bool_] | None = None) -> Estimate | str:
    """Accuracy as `METRICS` defines it, among the images of `mask`, (n,), and labels, (K,) as of `auroc_of`."""
    if cases.task == "multiclass":
        right = np.asarray(cases.right)[:, None]
        return _ratios(cases, right, np.ones_like(right), mask)
    known = cases.known & labels if labels is not None else cases.known
    return _ratios(cases, ((cases.truth == cases.chosen) & known).astype(float), known.astype(float), mask)


def balanced_accuracy_of(
    cases: Cases, mask: NDArray[np.bool_], *, labels: NDArray[np.bool_] | None = None
) -> Estimate | str:
    """Balanced accuracy as `METRICS` defines it; arguments as of `accuracy_of`."""
    asked = _find_labels(cases, mask, labels)
    if why := _too_few(cases, mask, asked):
        return why
    truth, chosen, known = cases.truth, cases.chosen, cases.known
    found = (truth & chosen)[:, asked], truth[:, asked]
    if cases.task == "multilabel":
        absent = (~truth & known)[:, asked]
        found = np.hstack([found[0], absent & ~chosen[:, asked]]), np.hstack([found[1], absent])
    return _ratios(cases, found[0].astype(float), found[1].astype(float), mask)


def share_of(cases: Cases, hits: NDArray[np.bool_], images: NDArray[np.bool_]) -> Estimate | str:
    """The share of `hits` among `images`, both (n,), where these are enough to compare it."""
    if cases.units(images) < LEAST_SIDE:
        return f"fewer than {LEAST_SIDE} {_name_units(cases)} that it is a share of"
    return _ratios(cases, hits[:, None].astype(float), np.ones((cases.n, 1)), images)


def auroc_of(
    cases: Cases,
    mask: NDArray[np.bool_],
    scores: Array | None = None,
    least: int = LEAST_SIDE,
    *,
    labels: NDArray[np.bool_] | None = None,
) -> Estimate | str:
    """Macro AUROC, one class against the rest, among the images of `mask`.

    Args:
        cases: truth, groups, and scores where none are given.
        mask: (n,) which images.
        scores: (n, K), what images are ranked by instead.
        least: images or patients that each class, and all others, must have.
        labels: (K,) bool, of which classes the mean is; None: of all of which something is known among the images.

    Returns:
        The estimate, or why there is none.
    """
    asked = _find_labels(cases, mask, labels)
    if why := _too_few(cases, mask, asked, least):
        return why
    places = cases.places if scores is None else place_scores(scores)
    values, influence = [], np.zeros(cases.n)
    columns = np.flatnonzero(asked).tolist()
    for k in columns:
        inside, truth = mask & cases.known[:, k], cases.truth[:, k]
        area, own = measure_area(places[:, k], inside & truth, inside & ~truth)
        values.append(area)
        influence += own / len(columns)
    trials = min(_smaller_side(cases, mask, k) for k in columns)
    return Estimate(float(np.mean(values)), influence, mask, trials)


def estimate_variance(cases: Cases, influence: Array, images: NDArray[np.bool_]) -> float:
    """Variance of an estimate, or of a difference of two, from the influences of these images."""
    groups = None if cases.groups is None else np.unique(cases.groups[images], return_inverse=True)[1]
    return variance_of(influence[images], groups)


def bound(cases: Cases, found: Estimate) -> Interval:
    """The 95 % interval: of a share Wilson's or, of AUROC and means over classes, one on the scale of log-odds.

    A value of 0 or 1 has Wilson's interval among its independent trials. A value that no image moves is exact.
    """
    value, variance = found.value, estimate_variance(cases, found.influence, found.images)
    if not 1e-9 < value < 1 - 1e-9:
        return Interval.of_share(value, found.trials)
    if found.share:
        return Interval.of_share(value, value * (1 - value) / variance if variance else found.trials)
    if not variance:
        return Interval(value=value, low=value, high=value, method="delta")
    low, high = bound_odds(value, t_quantile(cases.units(found.images) - 1) * variance**0.5)
    return Interval(value=value, low=low, high=high, method="delta")


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(max(freedom, 1), 0.975))


def _ratios(cases: Cases, part: Array, whole: Array, mask: NDArray[np.bool_]) -> Estimate | str:
    """Mean over columns of the sum of `part`, (n, C), over that of `whole`; columns without any are left out."""
    part, whole = part * mask[:, None], whole * mask[:, None]
    total = whole.sum(axis=0)
    there = total > 0
    if not there.any():
        return "nothing is known of these images"
    ratio = part.sum(axis=0)[there] / total[there]
    total = total[there]
    # a variance divides by n - 1; a column of one image has none
    influence = ((part[:, there] - ratio * whole[:, there]) / np.sqrt(total * np.maximum(total - 1, 1))).mean(axis=1)
    trials = min(cases.units(whole[:, k] > 0) for k in np.flatnonzero(there))
    return Estimate(float(ratio.mean()), influence, mask, trials, whole.shape[1] == 1)


def _smaller_side(cases: Cases, mask: NDArray[np.bool_], k: int) -> int:
    inside, truth = mask & cases.known[:, k], cases.truth[:, k]
    return min(cases.units(inside & truth), cases.units(inside & ~truth))


def _find_labels(cases: Cases, mask: NDArray[np.bool_], labels: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """(K,) which of `labels` are asked of these images: something is known of them there."""
    known = np.asarray((cases.known & mask[:, None]).any(axis=0))
    return known if labels is None else known & labels


def _too_few(cases: Cases, mask: NDArray[np.bool_], asked: NDArray[np.bool_], least: int = LEAST_SIDE) -> str | None:
    """Why means over the classes that are asked say nothing of these images."""
    few = sum(_smaller_side(cases, mask, k) < least for k in np.flatnonzero(asked).tolist())
    if not few and asked.any():
        return None
    what = _name_units(cases)
    return f"{few or 'all'} of {cases.classes} classes or labels: fewer than {least} {what} with it, or without it"


def _name_units(cases: Cases) -> str:
    return "patients or images" if cases.groups is not None else "images"
