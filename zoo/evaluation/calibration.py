"""How far probabilities can be taken at their word.

The temperature is fitted on validation images and shipped inside the file; everything else here is measured
on the images under evaluation. The expected calibration error is biased upwards when images are few (0.08 at
n = 100 for a perfect model). So a report never gives it alone: Brier score and negative log-likelihood come with it,
each with its interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.text import format_count
from zoo.evaluation._cases import Cases
from zoo.evaluation._logistic import fit_line
from zoo.evaluation._scores import Array, check_logits, log_sigmoid, log_softmax, task_of
from zoo.evaluation.intervals import bound_share, interval, wilson
from zoo.evaluation.metrics import Values, Weights, ones
from zoo.spec import UNKNOWN, Calibration, ClassCalibration, Interval, ReliabilityBin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["BINS", "Reliability", "calibration", "doubt_temperature", "fit_temperature", "losses", "reliability"]

BINS = 15
"""Equal-width bins of the top label's probability (Guo et al. 2017, arXiv 1706.04599), or of every label's."""
FEWEST = 20
"""Fewer images than this say nothing of a temperature."""
BOUNDS = (0.05, 20.0)


def fit_temperature(logits: NDArray[Any], targets: NDArray[Any], fallback: float = 1.0) -> float:
    """The temperature T that minimises the negative log-likelihood of softmax(logits / T) (Guo et al. 2017).

    Of multilabel targets that of sigmoid(logits / T), over all labels, one T for all of them.

    Args:
        logits: (n, K), of validation images that took no part in training.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN, which is left out.
        fallback: T where the images cannot tell, see `doubt_temperature`; 1.0 leaves the logits as they are.

    Returns:
        T in [0.05, 20], or `fallback`.

    Raises:
        DataError: logits and targets do not belong together.
        ModelError: a logit is not finite.
    """
    if doubt_temperature(logits, targets):
        return fallback
    from scipy.optimize import minimize_scalar

    values, truth = check_logits(logits, targets)
    several, every = task_of(truth) == "multilabel", np.arange(len(values))
    toward = _lean(values, truth) if several else values

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        if several:
            return -float(log_sigmoid(toward / temperature).mean())
        return -float(log_softmax(values / temperature)[every, truth].mean())

    # In log T the loss has one minimum: it is convex in 1/T.
    found = minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def doubt_temperature(logits: NDArray[Any], targets: NDArray[Any]) -> str | None:
    """Why images cannot tell a temperature; None: they can. Arguments and errors as of `fit_temperature`.

    Where every decision is right, the likelihood grows without end as T falls, and would make the model boundlessly
    sure.
    """
    if len(targets) == 0:
        return "no images were given"
    values, truth = check_logits(logits, targets)
    if task_of(truth) == "multilabel":
        known = truth != UNKNOWN
        informed, right = int(known.any(axis=1).sum()), bool((_lean(values, truth) > 0).all())
        truth, alike = truth[known], "every known label of the images is there, or none is"
    else:
        informed, alike = len(values), "all of the images are of one class"
        right = bool((values[np.arange(len(values)), truth] >= values.max(axis=1)).all())
    if informed < FEWEST:
        return f"{format_count(informed, 'image')} with a known label, expected {FEWEST} or more"
    if len(np.unique(truth)) < 2:
        return alike
    return f"every decision on the {informed} images is right" if right else None


def _lean(values: Array, truth: NDArray[np.int64]) -> Array:
    """Logits of the known labels of several, their sign turned where the label is absent: above 0 is right."""
    return np.asarray(np.where(truth == 1, values, -values)[truth != UNKNOWN])


def losses(cases: Cases, weights: Weights) -> Values:
    """Brier score and mean negative log-likelihood in nats, (B,), and the Brier score of each class, (K, B).

    The Brier score sums over classes and lies in [0, 2] (Brier 1950); of a multilabel model both are means over
    known labels of images, and the Brier score lies in [0, 1]. nan where a resample knows none.
    """
    total = weights @ cases.share
    there = np.where(total > 0, total, np.nan)
    known = weights @ cases.known
    squares = weights @ ((cases.probabilities - cases.truth) ** 2 * cases.known)
    return {
        "brier": weights @ cases.brier / there,
        "nll": weights @ cases.nll / there,
        "class_brier": np.divide(squares, known, out=np.full(known.shape, np.nan), where=known > 0).T,
    }


@dataclass(frozen=True)
class Reliability:
    """The reliability curve of the top label, of a multilabel model that of all its labels, pooled; or of one class.

    Attributes:
        edges: (bins + 1,) of the probability bins.
        count: (bins,) images in each; multilabel: known labels of images, at most K for each image over all bins.
        units: (bins,) how many of them are independent: different images, or groups where groups are known.
        confidence: (bins,) mean probability, nan where empty.
        accuracy: (bins,) fraction right, nan where empty; multilabel: fraction of labels that hold.
    """

    edges: NDArray[np.float64]
    count: NDArray[np.int64]
    units: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]: mean |accuracy - confidence| over what is counted."""
        there = self.count > 0
        gap = np.abs(self.accuracy[there] - self.confidence[there])
        return float((gap * self.count[there]).sum() / self.count.sum())

    @property
    def points(self) -> NDArray[np.float64]:
        """(4, P) of the bins that are not empty: confidence, accuracy, and the ends of Wilson's interval of it."""
        there = self.count > 0
        accuracy = self.accuracy[there]
        ends = [
            wilson(share, units) for share, units in zip(accuracy.tolist(), self.units[there].tolist(), strict=True)
        ]
        return np.array([self.confidence[there], accuracy, *zip(*ends, strict=True)])


def reliability(cases: Cases, bins: int = BINS) -> Reliability:
    """Accuracy against confidence in equal-width bins, closed on the right as in Guo et al. 2017."""
    if cases.task == "multilabel":
        return _gather(cases, cases.probabilities, cases.truth, cases.known, bins)
    confidence, right = cases.probabilities.max(axis=1)[:, None], cases.right[:, None] > 0  # (n, 1)
    return _gather(cases, confidence, right, np.ones_like(right), bins)


def _gather(
    cases: Cases, confidence: Array, right: NDArray[np.bool_], known: NDArray[np.bool_], bins: int
) -> Reliability:
    """The curve of what is known of (n, L) probabilities and whether they were right."""
    where = np.where(known, _place(confidence, bins), -1)
    flat, confidence, right = where[known], confidence[known], right[known]
    count = np.bincount(flat, minlength=bins)
    empty = np.full(bins, np.nan)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        count=count,
        units=np.array([cases.units((where == b).any(axis=1)) for b in range(bins)]),
        confidence=np.divide(np.bincount(flat, confidence, bins), count, out=empty.copy(), where=count > 0),
        accuracy=np.divide(np.bincount(flat, right, bins), count, out=empty.copy(), where=count > 0),
    )


def calibration(
    cases: Cases, labels: Sequence[str], resampled: Values, temperature: float
) -> tuple[Calibration | None, dict[str, str]]:
    """The calibration of a report, and what of it is undefined; `resampled` holds `losses` of every resample.

    None: too few resamples know a label.

    Where all resamples agree, Wilson's interval is taken on the Brier score over its largest value and on
    exp(-nll), the geometric mean probability of the truth: both lie in [0, 1], with one trial for each image, or
    for each group where groups are known.
    """
    point = losses(cases, ones(cases.n))
    largest = 1 if cases.task == "multilabel" else 2
    trials = cases.informed
    brier = interval(
        float(point["brier"][0]),
        resampled["brier"],
        trials,
        units=cases.clusters or cases.n,
        to_unit=lambda x: x / largest,
        from_unit=lambda u: largest * u,
    )
    nll = interval(
        float(point["nll"][0]),
        resampled["nll"],
        trials,
        units=cases.clusters or cases.n,
        to_unit=lambda x: float(np.exp(-x)),
        from_unit=lambda u: float(-np.log(max(u, np.finfo(np.float64).tiny))),
    )
    if brier is None or nll is None:
        return None, {}
    per_class: dict[str, ClassCalibration] = {}
    undefined: dict[str, str] = {}
    for k, label in enumerate(labels):
        found = _of_class(cases, k, float(point["class_brier"][k, 0]), resampled["class_brier"][k])
        if found is None:
            continue
        lines = dict(zip(("slope", "intercept"), fit_line(cases, k, label), strict=True))
        undefined |= {f"{label}.calibration_{name}": why for name, why in lines.items() if isinstance(why, str)}
        held = {name: line for name, line in lines.items() if isinstance(line, Interval)}
        per_class[label] = msgspec.structs.replace(found, **held)
    whole = Calibration(
        temperature=temperature,
        brier=brier,
        nll=nll,
        ece=reliability(cases).ece,
        bins=BINS,
        n=cases.n,
        per_class=per_class,
    )
    return whole, undefined


def _of_class(cases: Cases, k: int, brier: float, resampled: Array) -> ClassCalibration | None:
    """The calibration of class k against the rest; None: too few resamples know of any image whether it is of it."""
    known, truth = cases.known[:, k], cases.truth[:, k]
    bound = None if np.isnan(brier) else interval(brier, resampled, cases.units(known), units=cases.units(known))
    if bound is None:
        return None
    probability = cases.probabilities[:, k]
    place = np.where(known, _place(probability, BINS), -1)
    curve = _gather(cases, probability[:, None], truth[:, None], known[:, None], BINS)
    bins = []
    for b in np.flatnonzero(curve.count).tolist():
        observed = bound_share(truth, place == b, cases.groups)
        if observed is not None:
            bins.append(
                ReliabilityBin(n=int(curve.count[b]), probability=float(curve.confidence[b]), observed=observed)
            )
    return ClassCalibration(brier=bound, ece=curve.ece, bins=tuple(bins))


def _place(confidence: Array, bins: int) -> NDArray[np.int64]:
    """The bin of each probability, from 0."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
