"""Metrics as functions of resample weights.

Every metric takes weights (B, n), how often each image stands in each of B resamples, and answers with B
values. The point estimate is a weight of one for every image; a bootstrap over images is a multinomial draw;
a bootstrap over patients, or the same draw for two models, changes the weights and nothing here. Scores are
sorted once: after that every sum is one sparse indicator matrix times the weights.

A value that a resample does not define (no image of the class in it, say) is nan here and only here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.evaluate.cases import Cases
from zoo.evaluate.scores import Array, checked, log_odds, ranked, task_of
from zoo.spec import METRIC_NAMES

__all__ = ["CLASS_METRICS", "METRICS", "Values", "Weights", "macro_auroc", "measure", "ones"]

Weights = NDArray[np.float64]
"""(B, n), non-negative: how often each image stands in each resample."""
Values = dict[str, Array]
"""Metric to (B,) values, or (K, B) for a metric of each class."""

METRICS = tuple(METRIC_NAMES)
CLASS_METRICS = ("sensitivity", "specificity", "ppv", "npv", "f1", "auroc", "auprc")


def ones(n: int) -> Weights:
    """The weights of the point estimate, (1, n)."""
    return np.ones((1, n))


def measure(cases: Cases, weights: Weights) -> Values:
    """Every metric of METRICS, (B,), and of CLASS_METRICS, (K, B), in [0, 1] or nan.

    Macro metrics are plain means over all classes, undefined as soon as one class is absent. F1 is
    2 TP / (2 TP + FP + FN), so a class that is there and never called has 0. Accuracy is the share of images that
    are right, balanced accuracy the mean sensitivity. Of a multilabel model accuracy is the mean over labels of
    each label's own at 0.5, as MedMNIST reports it, and balanced accuracy the mean over labels of (sensitivity +
    specificity) / 2.
    """
    columns = np.ascontiguousarray(weights.T)  # (n, B): rows are contiguous for the sparse product
    total = columns.sum(axis=0)
    right, present, called = (indicator @ columns for indicator in cases.tallies)  # (K, B) each
    absent = total - present
    there = present > 0
    sensitivity = _ratio(right, present)
    specificity = _ratio(absent - (called - right), absent)
    recall = sensitivity if cases.task == "multiclass" else (sensitivity + specificity) / 2
    f1 = np.where(there, _ratio(2 * right, present + called), np.nan)
    curves = [_areas(*step, columns) for step in cases.steps]
    auroc, auprc = (np.stack(areas) for areas in zip(*curves, strict=True))
    return {
        "accuracy": _ratio(cases.right @ columns, total),
        "balanced_accuracy": recall.mean(axis=0),
        "macro_auroc": auroc.mean(axis=0),
        "macro_auprc": auprc.mean(axis=0),
        "macro_f1": f1.mean(axis=0),
        "sensitivity": sensitivity,
        "specificity": specificity,
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
            probabilities. Both give the number that `report` gives. Multilabel: logits.
        targets: (n,) int in [0, K), or (n, K) of zeros and ones.

    Returns:
        A number in [0, 1], or None when a class has no image (no average over the classes that are there). Of
        multilabel targets the average over the labels that have positives and negatives, because a rare label
        may miss in the validation images and epochs must be told apart all the same; None when none has both.

    Raises:
        DataError: as `Cases.of`.
        ModelError: a score is not finite.
    """
    values, targets = checked(scores, targets)
    if task_of(targets) == "multilabel":
        positive = targets == 1
        both = positive.any(axis=0) & ~positive.all(axis=0)
        columns, odds = np.flatnonzero(both), ranked(values)
    else:
        if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-4):
            values = np.log(np.maximum(values, np.finfo(np.float32).tiny))
        positive = targets[:, None] == np.arange(values.shape[1])
        columns, odds = np.arange(values.shape[1]), ranked(log_odds(values))
        if not positive.any(axis=0).all():
            return None
    areas = [_rank_auroc(odds[:, k], positive[:, k]) for k in columns]
    return float(np.mean(areas)) if areas else None


def _rank_auroc(scores: Array, positive: NDArray[np.bool_]) -> float:
    """AUROC of one class by the rank sum of its positives, tied scores sharing their mean rank (Mann, Whitney 1947)."""
    _, tie, size = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(size) - (size - 1) / 2)[tie]
    positives = int(positive.sum())
    surplus = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(surplus / (positives * (len(scores) - positives)))


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
