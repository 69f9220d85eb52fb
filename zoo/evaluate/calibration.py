"""How far probabilities can be taken at their word.

The temperature is fitted on validation images and shipped inside the file; everything else here is measured
on the images under evaluation. The expected calibration error is biased upwards when images are few (0.08 at
n = 100 for a perfect model), so it never stands alone: Brier score and negative log-likelihood have intervals
beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.evaluate.intervals import interval
from zoo.evaluate.metrics import Cases, Values, Weights, checked, log_softmax, ones
from zoo.spec import Calibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BINS", "Reliability", "calibration", "fit_temperature", "losses", "reliability"]

BINS = 15
"""Equal-width bins of the top label's probability (Guo et al. 2017, arXiv 1706.04599)."""
FEWEST = 20
"""Fewer images than this say nothing of a temperature."""
BOUNDS = (0.05, 20.0)


def fit_temperature(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """The temperature T that minimises the negative log-likelihood of softmax(logits / T) (Guo et al. 2017).

    1.0, which changes nothing, where the images can not tell: fewer than 20 of them, one class only, or every
    image right (the likelihood then grows without end as T falls, and would make the model boundlessly sure).

    Args:
        logits: (n, K), of validation images that took no part in training.
        targets: (n,) int in [0, K).

    Returns:
        T in [0.05, 20].

    Raises:
        DataError: logits and targets do not belong together.
        ModelError: a logit is not finite.
    """
    if len(targets) == 0:
        return 1.0
    values, classes = checked(logits, targets)
    every = np.arange(len(values))
    right = (values[every, classes] >= values.max(axis=1)).all()
    if len(values) < FEWEST or len(np.unique(classes)) < 2 or right:
        return 1.0
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(values / np.exp(log_temperature))[every, classes].mean())

    # In log T the loss has one minimum: it is convex in 1/T.
    found = minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def losses(cases: Cases, weights: Weights) -> Values:
    """Brier score in [0, 2] (Brier 1950, over all classes) and mean negative log-likelihood in nats, (B,)."""
    every = np.arange(cases.n)
    truth = np.zeros_like(cases.probabilities)
    truth[every, cases.targets] = 1
    brier = ((cases.probabilities - truth) ** 2).sum(axis=1)
    nll = -cases.log_probabilities[every, cases.targets]
    total = weights.sum(axis=1)
    return {"brier": weights @ brier / total, "nll": weights @ nll / total}


@dataclass(frozen=True)
class Reliability:
    """The reliability curve of the top label.

    Attributes:
        edges: (bins + 1,) of the probability bins.
        count: (bins,) images in each.
        confidence: (bins,) mean top probability, nan where empty.
        accuracy: (bins,) fraction right, nan where empty.
    """

    edges: NDArray[np.float64]
    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]: mean |accuracy - confidence| over images."""
        there = self.count > 0
        gap = np.abs(self.accuracy[there] - self.confidence[there])
        return float((gap * self.count[there]).sum() / self.count.sum())


def reliability(cases: Cases, bins: int = BINS) -> Reliability:
    """Accuracy against confidence in equal-width bins, closed on the right as in Guo et al. 2017."""
    top = cases.probabilities.max(axis=1)
    right = cases.targets == cases.predicted
    where = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    empty = np.full(bins, np.nan)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        count=count,
        confidence=np.divide(np.bincount(where, top, bins), count, out=empty.copy(), where=count > 0),
        accuracy=np.divide(np.bincount(where, right, bins), count, out=empty.copy(), where=count > 0),
    )


def calibration(cases: Cases, resampled: Values, temperature: float) -> Calibration:
    """The calibration of a report; `resampled` holds `losses` of every resample.

    Where all resamples agree, Wilson's interval is taken on brier / 2 and on exp(-nll), the geometric mean
    probability of the truth: both lie in [0, 1], with one trial for each image.
    """
    point = losses(cases, ones(cases.n))
    brier = interval(
        float(point["brier"][0]),
        resampled["brier"],
        cases.n,
        to_unit=lambda x: x / 2,
        from_unit=lambda u: 2 * u,
    )
    nll = interval(
        float(point["nll"][0]),
        resampled["nll"],
        cases.n,
        to_unit=lambda x: float(np.exp(-x)),
        from_unit=lambda u: float(-np.log(max(u, np.finfo(np.float64).tiny))),
    )
    assert brier is not None  # noqa: S101 - both losses are defined on every resample
    assert nll is not None  # noqa: S101
    return Calibration(temperature=temperature, brier=brier, nll=nll, ece=reliability(cases).ece, bins=BINS, n=cases.n)
