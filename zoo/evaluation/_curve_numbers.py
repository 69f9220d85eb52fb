"""What is read off the ROC and precision-recall curves of one class, on every resample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zoo.evaluation._ranked import EXACT
from zoo.evaluation._scores import Array

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SPECIFICITY", "CurveNumbers", "find_sensitivity", "join", "trace"]

SPECIFICITY = 0.9
"""That `sensitivity_at_specificity_90` and `partial_auroc_90` are taken at, and above."""


class CurveNumbers(NamedTuple):
    """Numbers of one class against the rest, (B,) each, nan where a resample has no positive or no negative.

    Attributes:
        auroc: probability that a positive outranks a negative, ties counting half (Mann and Whitney 1947).
        auprc: average precision: the sum over thresholds of precision times the step in recall, without
            interpolation, as scikit-learn defines it.
        sensitivity_at: the largest sensitivity at a specificity of at least SPECIFICITY.
        partial: AUROC where the specificity is at least SPECIFICITY, in [0, 1]: 0.5 is chance (McClish 1989, Med.
            Decis. Making 9:190), as scikit-learn's `max_fpr` and pROC's `partial.auc.correct` give it.
    """

    auroc: Array
    auprc: Array
    sensitivity_at: Array
    partial: Array


def trace(steps: tuple[Any, Any], columns: Array) -> CurveNumbers:
    """The numbers of one class.

    Args:
        steps: its indicators, see `Cases.steps`.
        columns: (n, B) weight of each image.
    """
    gain, loss = (indicator @ columns for indicator in steps)  # (G, B) weight of positives and negatives in each step
    found, false = np.cumsum(gain, axis=0), np.cumsum(loss, axis=0)
    # A class without a negative has an average precision of 1 by definition, which says nothing: undefined.
    defined = (found[-1] > 0) & (false[-1] > 0)
    positives, negatives = (np.where(defined, total[-1], np.nan) for total in (found, false))
    precision = np.divide(found, found + false, out=np.zeros_like(found), where=gain > 0)
    return CurveNumbers(
        auroc=(loss * (found - gain / 2)).sum(axis=0) / (positives * negatives),
        auprc=(gain * precision).sum(axis=0) / positives,
        sensitivity_at=find_sensitivity(found, false, SPECIFICITY),
        partial=_part(gain, loss, found, false),
    )


def join(curves: Sequence[CurveNumbers]) -> CurveNumbers:
    """The numbers of all classes, (K, B) each."""
    return CurveNumbers(*map(np.stack, zip(*curves, strict=True)))


def find_sensitivity(found: Array, false: Array, specificity: float) -> Array:
    """The largest sensitivity among thresholds at which `specificity` is reached, (B,), or nan.

    The curve is that of scikit-learn's roc_curve: a threshold lies between scores, never inside a tie.

    Args:
        found: (G, B) weight of the positives above each threshold, from the highest down.
        false: (G, B) weight of the negatives there.
        specificity: in (0, 1].
    """
    defined = (found[-1] > 0) & (false[-1] > 0)
    allowed = false <= (1 - specificity + EXACT) * false[-1]
    best = np.where(allowed, found, 0).max(axis=0)
    return np.where(defined, best / np.where(defined, found[-1], 1), np.nan)


def _part(gain: Array, loss: Array, found: Array, false: Array) -> Array:
    most = 1 - SPECIFICITY
    limit = most * false[-1]
    width = np.clip(limit - (false - loss), 0, loss)  # of each step, what lies left of the limit
    share = np.divide(width, loss, out=np.zeros_like(loss), where=loss > 0)
    whole = found[-1] * false[-1]
    area = (width * (found - gain + share * gain / 2)).sum(axis=0) / np.where(whole > 0, whole, np.nan)
    least = most**2 / 2
    return np.asarray((1 + (area - least) / (most - least)) / 2)
