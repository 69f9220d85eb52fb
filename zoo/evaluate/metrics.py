"""Metrics as functions of resample weights.

Every metric takes weights (B, n), how often each image stands in each of B resamples, and answers with B
values. The point estimate is a weight of one for every image; a bootstrap over images is a multinomial draw;
a bootstrap over patients, or the same draw for two models, changes the weights and nothing here. Scores are
sorted once: after that every sum is one sparse indicator matrix times the weights.

A value that a resample does not define (no image of the class in it, say) is nan here and only here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, ModelError

__all__ = [
    "CLASS_METRICS",
    "METRICS",
    "Cases",
    "Values",
    "Weights",
    "log_odds",
    "log_softmax",
    "macro_auroc",
    "measure",
    "ones",
]

Array = NDArray[np.float64]
Weights = NDArray[np.float64]
"""(B, n), non-negative: how often each image stands in each resample."""
Values = dict[str, Array]
"""Metric to (B,) values, or (K, B) for a metric of each class."""

METRICS = ("accuracy", "balanced_accuracy", "macro_auroc", "macro_auprc", "macro_f1")
CLASS_METRICS = ("sensitivity", "specificity", "ppv", "npv", "f1", "auroc", "auprc")

SCORE_STEP = 2.0**-16
"""Scores nearer than this, in log-odds, tie. It is far below the parity tolerance (1e-4) and far above the
rounding of a float32 logarithm, which would else break the many true ties of a random forest at random."""


@dataclass(frozen=True, eq=False)
class Cases:
    """Targets and scores of n images, checked and sorted once.

    Attributes:
        targets: (n,) int64 in [0, K).
        scores: (n, K) float64, what images are ranked by: log-odds in steps of SCORE_STEP.
        log_probabilities: (n, K) float64, <= 0.
        predicted: (n,) int64, the class of the largest logit.
    """

    targets: NDArray[np.int64]
    scores: Array
    log_probabilities: Array
    predicted: NDArray[np.int64]

    @classmethod
    def of(cls, logits: NDArray[Any], targets: NDArray[Any], temperature: float = 1.0) -> Cases:
        """Cases from logits, (n, K), and targets, (n,).

        Raises:
            DataError: no image, fewer than two classes, or targets that do not fit the logits.
            ModelError: a logit is not finite.
        """
        logits, targets = checked(logits, targets)
        if not temperature > 0:
            raise DataError(f"temperature is {temperature}, expected a number above 0")
        scaled = logits / temperature
        return cls(
            targets=targets,
            scores=np.rint(log_odds(scaled) / SCORE_STEP),
            log_probabilities=log_softmax(scaled),
            predicted=logits.argmax(axis=1),
        )

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.targets)

    @property
    def classes(self) -> int:
        """How many classes, K."""
        return int(self.scores.shape[1])

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Images of each class, (K,)."""
        return np.bincount(self.targets, minlength=self.classes)

    @cached_property
    def called(self) -> NDArray[np.int64]:
        """Images called each class, (K,)."""
        return np.bincount(self.predicted, minlength=self.classes)

    @cached_property
    def probabilities(self) -> Array:
        """(n, K) float64 in [0, 1], rows summing to one."""
        return np.exp(self.log_probabilities)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(K, K): images of class i that were called j."""
        cells = self.targets * self.classes + self.predicted
        return np.bincount(cells, minlength=self.classes**2).reshape(self.classes, self.classes)

    @cached_property
    def tallies(self) -> tuple[Any, Any, Any]:
        """Indicators (K, n) of: rightly called the class, of the class, called the class."""
        every = np.arange(self.n)
        right = np.flatnonzero(self.targets == self.predicted)
        return (
            _indicator(self.targets[right], right, self.classes, self.n),
            _indicator(self.targets, every, self.classes, self.n),
            _indicator(self.predicted, every, self.classes, self.n),
        )

    @cached_property
    def steps(self) -> tuple[tuple[Any, Any], ...]:
        """For each class the indicators (G, n) of its positives and negatives in each step of its curve.

        A step is a set of images with one score, from the highest down. Neighbouring steps without a positive
        are merged: neither area changes, and the steps of all classes are then 2n + K, not K·n.
        """
        return tuple(self._steps(k) for k in range(self.classes))

    def _steps(self, k: int) -> tuple[Any, Any]:
        order = np.argsort(-self.scores[:, k], kind="stable")
        score = self.scores[order, k]
        positive = self.targets[order] == k
        tie = np.concatenate([[0], np.cumsum(score[1:] != score[:-1])])
        holds = np.bincount(tie, weights=positive) > 0  # whether a tie has a positive
        opens = np.concatenate([[True], holds[1:] | holds[:-1]])
        step = (np.cumsum(opens) - 1)[tie]
        size = int(step[-1]) + 1
        return (
            _indicator(step[positive], order[positive], size, self.n),
            _indicator(step[~positive], order[~positive], size, self.n),
        )


def ones(n: int) -> Weights:
    """The weights of the point estimate, (1, n)."""
    return np.ones((1, n))


def measure(cases: Cases, weights: Weights) -> Values:
    """Every metric of METRICS, (B,), and of CLASS_METRICS, (K, B), in [0, 1] or nan.

    Macro metrics are plain means over all classes, undefined as soon as one class is absent. F1 is
    2 TP / (2 TP + FP + FN), so a class that is there and never called has 0.
    """
    columns = np.ascontiguousarray(weights.T)  # (n, B): rows are contiguous for the sparse product
    total = columns.sum(axis=0)
    right, present, called = (indicator @ columns for indicator in cases.tallies)  # (K, B) each
    absent = total - present
    there = present > 0
    sensitivity = _ratio(right, present)
    f1 = np.where(there, _ratio(2 * right, present + called), np.nan)
    curves = [_areas(*step, columns) for step in cases.steps]
    auroc, auprc = (np.stack(areas) for areas in zip(*curves, strict=True))
    return {
        "accuracy": _ratio(right.sum(axis=0), total),
        "balanced_accuracy": sensitivity.mean(axis=0),
        "macro_auroc": auroc.mean(axis=0),
        "macro_auprc": auprc.mean(axis=0),
        "macro_f1": f1.mean(axis=0),
        "sensitivity": sensitivity,
        "specificity": _ratio(absent - (called - right), absent),
        "ppv": _ratio(right, called),
        "npv": _ratio(absent - (called - right), total - called),
        "f1": f1,
        "auroc": auroc,
        "auprc": auprc,
    }


def macro_auroc(scores: NDArray[Any], targets: NDArray[Any]) -> float | None:
    """Macro one-vs-rest AUROC without an interval, for the training loop.

    Args:
        scores: logits or probabilities, (n, K); rows that are non-negative and sum to one are taken as
            probabilities. Both give the number that `report` gives.
        targets: (n,) int in [0, K).

    Returns:
        A number in [0, 1], or None when a class has no image (no average over the classes that are there).

    Raises:
        DataError: as `Cases.of`.
        ModelError: a score is not finite.
    """
    values, targets = checked(scores, targets)
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-4):
        values = np.log(np.maximum(values, np.finfo(np.float32).tiny))
    odds = np.rint(log_odds(values) / SCORE_STEP)
    n, classes = odds.shape
    counts = np.bincount(targets, minlength=classes)
    if not counts.all():
        return None
    areas = []
    for k in range(classes):
        # Mann and Whitney: the rank sum of the positives, tied scores sharing their mean rank.
        _, tie, size = np.unique(odds[:, k], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(size) - (size - 1) / 2)[tie]
        positives = int(counts[k])
        surplus = ranks[targets == k].sum() - positives * (positives + 1) / 2
        areas.append(surplus / (positives * (n - positives)))
    return float(np.mean(areas))


def log_softmax(logits: NDArray[Any]) -> Array:
    """Natural logarithm of the softmax over the last axis, float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    log: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log


def log_odds(logits: NDArray[Any]) -> Array:
    """log(p / (1 - p)) of the softmax, (n, K) float64.

    It orders images as the probability does, but where confident probabilities all round to 1 and would tie,
    the log-odds still tell them apart; and for two classes both columns give the same AUROC.
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    top = shifted.argmax(axis=1)[:, None]
    powers = np.exp(shifted)
    others = np.log(np.maximum(powers.sum(axis=1, keepdims=True) - powers, np.finfo(np.float64).tiny))
    # For the top class the subtraction above cancels; sum its rivals on their own scale.
    rivals = shifted.copy()
    np.put_along_axis(rivals, top, -np.inf, axis=1)
    best = rivals.max(axis=1, keepdims=True)
    np.put_along_axis(others, top, best + np.log(np.exp(rivals - best).sum(axis=1, keepdims=True)), axis=1)
    odds: Array = shifted - others
    return odds


def checked(logits: NDArray[Any], targets: NDArray[Any]) -> tuple[Array, NDArray[np.int64]]:
    """Logits (n, K) float64 and targets (n,) int64 that belong together, or the error that says why not."""
    values = np.asarray(logits, dtype=np.float64)
    classes = np.asarray(targets)
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] < 2:
        raise DataError(f"logits have shape {values.shape}, expected (images, classes) with at least 1 and 2")
    if classes.shape != values.shape[:1] or not np.issubdtype(classes.dtype, np.integer):
        raise DataError(
            f"targets are {classes.dtype} of shape {classes.shape}, expected {values.shape[0]} class numbers"
        )
    if classes.min() < 0 or classes.max() >= values.shape[1]:
        raise DataError(
            f"targets run from {classes.min()} to {classes.max()}, expected 0 to {values.shape[1] - 1}; "
            "align the classes of the data with those of the model"
        )
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise ModelError(
            f"the model gave logits that are not finite for {int((~finite).sum())} of {len(values)} images "
            f"(first: number {int(np.argmin(finite))}); check its weights and the images' intensity range"
        )
    return values, classes.astype(np.int64)


def _areas(positives: Any, negatives: Any, columns: Array) -> tuple[Array, Array]:
    """AUROC and average precision of one class, (B,) each.

    AUROC is the probability that a positive outranks a negative, ties counting half (Mann and Whitney 1947).
    Average precision is the sum over thresholds of precision times the step in recall, without interpolation,
    as scikit-learn defines it.
    """
    gain = positives @ columns  # (G, B) weight of the positives in each step
    loss = negatives @ columns
    found = np.cumsum(gain, axis=0)
    false = np.cumsum(loss, axis=0)
    # A class without a negative has an average precision of 1 by definition, which says nothing: undefined.
    defined = (found[-1] > 0) & (false[-1] > 0)
    area = (loss * (found - gain / 2)).sum(axis=0)
    precision = np.divide(found, found + false, out=np.zeros_like(found), where=gain > 0)
    return (
        np.where(defined, _ratio(area, found[-1] * false[-1]), np.nan),
        np.where(defined, _ratio((gain * precision).sum(axis=0), found[-1]), np.nan),
    )


def _ratio(part: Array, whole: Array) -> Array:
    """The quotient, nan where whole is 0."""
    quotient: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return quotient


def _indicator(rows: NDArray[Any], columns: NDArray[Any], height: int, width: int) -> Any:
    """Sparse (height, width) matrix of ones at (rows, columns)."""
    from scipy import sparse

    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(height, width))
