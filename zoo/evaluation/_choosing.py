"""What one number says of an epoch: the validation metric that training chooses by, made of the table of metrics.

A number that the validation images do not define is None, whichever epoch it is of. A label of several is left out of a
mean over labels where no validation image has it, or all have it: rare labels may miss there, and epochs must be told
apart all the same.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.labels import find_label
from zoo.evaluation._cases import Cases
from zoo.evaluation._curve_numbers import find_sensitivity
from zoo.evaluation._scores import Array, check_logits, task_of
from zoo.evaluation.metrics import (
    GRADE_METRICS,
    METRICS,
    ClassMetric,
    ImageMetric,
    Metric,
    Tally,
    Weights,
    macro_auroc,
    ones,
    tally_of,
)
from zoo.spec import UNKNOWN, read_metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["check_metric", "judge_by", "lower_is_better", "measure_by"]

_EXACT = 1e-9
"""How near to 1 an agreement by chance may come, to a computer that rounds."""


def lower_is_better(metric: str) -> bool:
    """Whether the smaller of two values of `metric` is the better one."""
    return metric == "nll"


def check_metric(metric: str, labels: Sequence[str]) -> None:
    """Refuse the sensitivity for a class that there is not.

    Raises:
        UsageError: there is none of this name.
    """
    choice = read_metric(metric)
    if choice.name == "sensitivity":
        find_label(choice.label, labels, f"--metric {metric}")


def judge_by(
    metric: str, logits: NDArray[Any], targets: NDArray[Any], labels: Sequence[str], *, ordered: bool = False
) -> float | None:
    """The validation metric of an epoch, without an interval.

    Args:
        metric: its spelling, see `zoo.spec.read_metric`.
        logits: (n, K), float.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN.
        labels: K names.
        ordered: labels are grades in order.

    Returns:
        None where the images do not define it.

    Raises:
        UsageError: the metric names a class that there is not.
        DataError: logits and targets do not belong together.
        ModelError: a logit is not finite.
    """
    if metric == "macro_auroc":
        return macro_auroc(logits, targets)
    value = float(measure_by(metric, logits, targets, labels, ones(len(targets)), ordered=ordered)[0])
    return None if np.isnan(value) else value


def measure_by(
    metric: str,
    logits: NDArray[Any],
    targets: NDArray[Any],
    labels: Sequence[str],
    weights: Weights,
    *,
    ordered: bool = False,
) -> Array:
    """`judge_by` on every resample, (B,); nan where one does not define it."""
    values, truth = check_logits(logits, targets)
    found = _find(metric, labels, ordered=ordered)
    if found.needs_every_class:
        if task_of(truth) == "multilabel":
            both = (truth == 1).any(axis=0) & (truth == 0).any(axis=0)
            values, truth = values[:, both], truth[:, both]
        if not values.shape[1] or (truth.ndim == 1 and len(np.unique(truth)) < values.shape[1]):
            return np.full(len(weights), np.nan)
    if (truth == UNKNOWN).all():
        return np.full(len(weights), np.nan)
    return found.measure(tally_of(Cases.of(values, truth, ordered=ordered), weights))


def _find(metric: str, labels: Sequence[str], *, ordered: bool) -> Metric:
    choice = read_metric(metric)
    if choice.name == "sensitivity":
        place = find_label(choice.label, labels, f"--metric {metric}")
        return _OfOneClass(metric, partial(_sensitivity_at, place, choice.specificity))
    if choice.name == "kappa" and ordered:
        return GRADE_METRICS["quadratic_kappa"]
    return _CHOICES[choice.name]


class _OfOneClass(ClassMetric):
    """Undefined where the class has no image, or every image; the other classes may have none."""

    needs_every_class = False


def _cohen_kappa(tally: Tally) -> Array:
    """(p_o - p_e) / (1 - p_e) (Cohen 1960, Educ. Psychol. Meas. 20:37); several labels: the mean of each label's."""
    present, called, total = tally.present, tally.called, np.where(tally.total > 0, tally.total, np.nan)
    if tally.cases.task == "multiclass":
        agreed, total = tally.right.sum(axis=0) / total[0], total[0]
        chance = (present * called).sum(axis=0) / total**2
        return _kappa(agreed, chance)
    chance = (present * called + (total - present) * (total - called)) / total**2
    return tally.mean(_kappa(tally.accuracy, chance))


def _kappa(agreed: Array, chance: Array) -> Array:
    some = chance < 1 - _EXACT  # else all images are of one class and called so
    return np.where(some, (agreed - chance) / np.where(some, 1 - chance, 1), np.nan)


def _sensitivity_at(k: int, specificity: float, tally: Tally) -> Array:
    """The largest sensitivity for class k among thresholds of its score at which the specificity is reached, (B,)."""
    found, false = (np.cumsum(steps @ tally.columns, axis=0) for steps in tally.cases.steps[k])  # (G, B) each
    return find_sensitivity(found, false, specificity)


_CHOICES: dict[str, Metric] = {
    "macro_auroc": METRICS["macro_auroc"],
    "balanced_accuracy": METRICS["balanced_accuracy"],
    "accuracy": METRICS["accuracy"],
    "f1": METRICS["macro_f1"],
    "kappa": ClassMetric("Cohen's kappa", _cohen_kappa),
    "nll": ImageMetric("negative log-likelihood", lambda cases: cases.nll),
}
"""What `--metric` spells; the sensitivity for one class has the name of the class in it."""
