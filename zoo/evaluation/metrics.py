"""Metrics as functions of resample weights.

Every metric takes weights (B, n): how often each of B resamples holds each image. It returns B
values. The point estimate is a weight of one for every image; a bootstrap over images is a multinomial draw;
a bootstrap over patients, or the same draw for two models, changes the weights and nothing here. Scores are
sorted once: after that every sum is one sparse indicator matrix times the weights.

METRICS is the one table of what is said of a model as a whole, GRADE_METRICS of what is said of grades in order beside
it. COMPARED and GRADES_COMPARED name those that pairs of models are tested on. Reports, comparisons, cards and the
command line read them, so a new metric is one entry here and its test; what training may choose an epoch by is made of
them, too.

A value that a resample does not define (no image of the class in it, say) is nan here and only here.

A label that is unknown of an image (UNKNOWN) leaves the image out of all that is said of this label. A label that is
known of no image is left out of the means over labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo._support.text import title_of_metric
from zoo.evaluation._cases import Cases
from zoo.evaluation._curve_numbers import SPECIFICITY, CurveNumbers, join, trace
from zoo.evaluation._placements import measure_area, place_scores
from zoo.evaluation._scores import Array, check_logits, log_odds, rank, task_of
from zoo.spec import UNKNOWN

__all__ = [
    "CLASS_METRICS",
    "COMPARED",
    "GRADES_COMPARED",
    "GRADE_METRICS",
    "METRICS",
    "ClassMetric",
    "ImageMetric",
    "Metric",
    "RangeMetric",
    "Tally",
    "Values",
    "Weights",
    "macro_auroc",
    "measure",
    "metrics_of",
    "ones",
    "tally_of",
    "title_of",
]

Weights = NDArray[np.float64]
"""(B, n), non-negative: how often each resample holds each image."""
Values = dict[str, Array]
"""Metric to (B,) values, or (K, B) for a metric of each class."""

CLASS_METRICS = (
    "sensitivity", "specificity", "ppv", "npv", "f1", "auroc", "auprc",
    "sensitivity_at_specificity_90", "partial_auroc_90",
)  # fmt: skip
"""The metrics of each class: attributes of a Tally."""


@dataclass(frozen=True, eq=False)
class Tally:
    """What metrics are made of, for each of K classes and each of B resamples: weights first, then ratios or nan.

    Attributes:
        cases: the images.
        columns: (n, B) weight of each image.
        total: (K, B) weight of the images that are known to be of the class or not; multiclass: of all images.
        right: (K, B) weight of the images that are of the class and are called it.
        present: (K, B) weight of the images of the class.
        called: (K, B) weight of the images that are called the class.
        sensitivity: (K, B), right / present.
        specificity: (K, B), the share of the other images that are not called the class.
        ppv: (K, B), right / called.
        npv: (K, B), the share of the images not called the class that are not of it.
        f1: (K, B), 2 TP / (2 TP + FP + FN): a class that is present and never called has 0.
        accuracy: (K, B), the share of the images that are rightly called the class, or rightly not.
    """

    cases: Cases
    columns: Array
    total: Array
    right: Array
    present: Array
    called: Array
    sensitivity: Array
    specificity: Array
    ppv: Array
    npv: Array
    f1: Array
    accuracy: Array

    @cached_property
    def auroc(self) -> Array:
        """(K, B), area under the ROC curve, one class against the rest."""
        return self._curve.auroc

    @cached_property
    def auprc(self) -> Array:
        """(K, B), average precision."""
        return self._curve.auprc

    @cached_property
    def sensitivity_at_specificity_90(self) -> Array:
        """(K, B), the largest sensitivity at a specificity of at least 90 %."""
        return self._curve.sensitivity_at

    @cached_property
    def partial_auroc_90(self) -> Array:
        """(K, B), AUROC where the specificity is at least 90 %, 0.5 by chance (see `zoo.evaluation._curve_numbers`)."""
        return self._curve.partial

    @cached_property
    def _curve(self) -> CurveNumbers:
        return join([trace(steps, self.columns) for steps in self.cases.steps])

    def mean(self, values: Array) -> Array:
        """(K, B) values to (B,): their mean over the classes that any image is known to be of or not."""
        asked = self.cases.asked > 0
        return np.asarray((values if asked.all() else values[asked]).mean(axis=0))


def _unit_span(cases: Cases) -> tuple[float, float]:
    del cases
    return 0.0, 1.0


@dataclass(frozen=True)
class ImageMetric:
    """A mean over images, defined whichever classes they are of.

    Attributes:
        title: what people call it.
        share: (n,) in [0, 1], how much of each image is right; multilabel: of all its labels, the unknown ones are not.
    """

    title: str
    share: Callable[[Cases], Array]

    needs_every_class = False
    span = staticmethod(_unit_span)

    def measure(self, tally: Tally) -> Array:
        """The metric on every resample, (B,); nan where nothing is known of the images of one."""
        return _ratio(self.share(tally.cases) @ tally.columns, tally.cases.share @ tally.columns)

    def trials(self, cases: Cases) -> int:
        """Independent trials behind the value, for the Wilson interval: images, or groups."""
        return cases.informed

    def paired_trials(self, a: Cases, b: Cases) -> tuple[int, int]:
        """Trials behind a difference, and the m of the smallest possible p: images on which the models differ."""
        return self.trials(a), a.units(self.share(a) != self.share(b))


@dataclass(frozen=True)
class _Accuracy(ImageMetric):
    """Multilabel: the mean over labels of each label's own accuracy at 0.5, as MedMNIST reports it."""

    def measure(self, tally: Tally) -> Array:
        if tally.cases.task == "multiclass":
            return super().measure(tally)
        there = tally.total > 0  # (K, B); of few images that know a label a resample may hold none
        return _ratio(np.where(there, tally.accuracy, 0).sum(axis=0), there.sum(axis=0))


@dataclass(frozen=True)
class ClassMetric:
    """A number made of all classes, undefined as soon as one has no image.

    Attributes:
        title: what people call it.
        measure: the metric on every resample, (B,), in [0, 1] or nan.
    """

    title: str
    measure: Callable[[Tally], Array]

    needs_every_class = True
    span = staticmethod(_unit_span)

    def trials(self, cases: Cases) -> int:
        """Independent trials behind the value, for the Wilson interval: the smallest side of any class."""
        return min(cases.smaller_side(k) for k in np.flatnonzero(cases.asked).tolist())

    def paired_trials(self, a: Cases, b: Cases) -> tuple[int, int]:
        """Trials behind a difference, and the m of the smallest possible p: the best-supplied class's smaller side."""
        most = max(a.smaller_side(k) for k in range(b.classes))
        return most, most


@dataclass(frozen=True)
class RangeMetric:
    """A number with a worst and a best value of its own, defined whichever classes there are.

    Attributes:
        title: what people call it.
        measure: the metric on every resample, (B,), or nan.
        span: its worst and its best value.
    """

    title: str
    measure: Callable[[Tally], Array]
    span: Callable[[Cases], tuple[float, float]]

    needs_every_class = False

    def trials(self, cases: Cases) -> int:
        """Independent trials behind the value, for the Wilson interval: images, or groups."""
        return cases.informed

    def paired_trials(self, a: Cases, b: Cases) -> tuple[int, int]:
        """Trials behind a difference, and the m of the smallest possible p: images that the models call otherwise.

        Both may be wrong, and one of them by more.
        """
        return self.trials(a), a.units((a.chosen != b.chosen).any(axis=1))


def _balanced_accuracy(tally: Tally) -> Array:
    """Mean sensitivity; multilabel: mean over labels of (sensitivity + specificity) / 2."""
    several = tally.cases.task == "multilabel"
    return tally.mean((tally.sensitivity + tally.specificity) / 2 if several else tally.sensitivity)


def _quadratic_kappa(tally: Tally) -> Array:
    """1 - sum w O / sum w E, w = (i - j)^2 (Cohen 1968, Psychol. Bull. 70:213); nan where all are of one grade."""
    grades = np.arange(tally.cases.classes, dtype=np.float64)
    observed = tally.cases.errors.astype(np.float64) ** 2 @ tally.columns
    squares = (grades**2) @ (tally.present + tally.called)  # (B,), as the two below
    product = (grades @ tally.present) * (grades @ tally.called)
    total = tally.columns.sum(axis=0)
    return 1 - _ratio(observed, squares - 2 * _ratio(product, total))


def _mean_absolute_error(tally: Tally) -> Array:
    """Mean of |grade called - grade|, in grades."""
    return _ratio(np.abs(tally.cases.errors).astype(np.float64) @ tally.columns, tally.columns.sum(axis=0))


def _mcc(tally: Tally) -> Array:
    """R_K (Gorodkin 2004, Comput. Biol. Chem. 28:367), of two classes Matthews' correlation coefficient, in [-1, 1].

    Several labels: the mean of each label's own. nan where all images are of one class, or are called one.
    """
    if tally.cases.task == "multilabel":
        total, present, called = tally.total, tally.present, tally.called
        spread = present * (total - present) * called * (total - called)
        return tally.mean(_ratio(total * tally.right - present * called, np.sqrt(spread)))
    total = tally.total[0]
    covariance = total * tally.right.sum(axis=0) - (tally.present * tally.called).sum(axis=0)
    spread = (total**2 - (tally.present**2).sum(axis=0)) * (total**2 - (tally.called**2).sum(axis=0))
    return _ratio(covariance, np.sqrt(np.maximum(spread, 0)))


METRICS: Mapping[str, ImageMetric | ClassMetric | RangeMetric] = {
    "accuracy": _Accuracy("accuracy", lambda cases: cases.right),
    "balanced_accuracy": ClassMetric("balanced accuracy", _balanced_accuracy),
    "macro_auroc": ClassMetric("macro AUROC", lambda tally: tally.mean(tally.auroc)),
    "macro_auprc": ClassMetric("macro AUPRC", lambda tally: tally.mean(tally.auprc)),
    "macro_f1": ClassMetric("macro F1", lambda tally: tally.mean(tally.f1)),
    "mcc": RangeMetric("MCC", _mcc, lambda _: (-1.0, 1.0)),
}
"""The metrics of a report over all classes, in its order. 1 is best. Every value lies in [0, 1], mcc's in [-1, 1]."""
GRADE_METRICS: Mapping[str, RangeMetric] = {
    "quadratic_kappa": RangeMetric("quadratic kappa", _quadratic_kappa, lambda _: (-1.0, 1.0)),
    "mean_absolute_error": RangeMetric(
        "mean absolute error", _mean_absolute_error, lambda cases: (float(cases.classes - 1), 0.0)
    ),
}
"""What is said of grades in order beside METRICS."""
_TITLES = {
    "sensitivity_at_specificity_90": f"sensitivity at specificity {SPECIFICITY:g}",
    "partial_auroc_90": f"partial AUROC, specificity ≥ {SPECIFICITY:g}",
}
Metric = ImageMetric | ClassMetric | RangeMetric
COMPARED = ("macro_auroc", "accuracy")
"""The metrics that pairs of models are tested on; each has a column in the table of `zoo compare`."""
GRADES_COMPARED = ("quadratic_kappa",)
"""Those of grades in order, beside COMPARED."""


def title_of(name: str) -> str:
    """What people call a metric, of all classes or of one; a name of a class in it is left as it is."""
    if "@" in name:
        return name
    known: Mapping[str, Metric] = {**METRICS, **GRADE_METRICS}
    return known[name].title if name in known else _TITLES.get(name) or title_of_metric(name)


def metrics_of(cases: Cases) -> Mapping[str, Metric]:
    """What is said of a model as a whole, on these images."""
    return {**METRICS, **GRADE_METRICS} if cases.ordered else METRICS


def ones(n: int) -> Weights:
    """The weights of the point estimate, (1, n)."""
    return np.ones((1, n))


def measure(cases: Cases, weights: Weights) -> Values:
    """Every metric of `metrics_of`, (B,), and of CLASS_METRICS, (K, B), or nan."""
    tally = tally_of(cases, weights)
    values: Values = {name: metric.measure(tally) for name, metric in metrics_of(cases).items()}
    return values | {name: getattr(tally, name) for name in CLASS_METRICS}


def tally_of(cases: Cases, weights: Weights) -> Tally:
    """What the metrics of a model are made of, on every resample."""
    columns = np.ascontiguousarray(weights.T)  # (n, B): rows are contiguous for the sparse product
    right, present, called, unknown = (indicator @ columns for indicator in cases.tallies)  # (K, B) each
    total = columns.sum(axis=0) - unknown
    absent = total - present
    avoided = absent - (called - right)  # rightly not called
    return Tally(
        cases=cases,
        columns=columns,
        total=total,
        right=right,
        present=present,
        called=called,
        sensitivity=_ratio(right, present),
        specificity=_ratio(avoided, absent),
        ppv=_ratio(right, called),
        npv=_ratio(avoided, total - called),
        f1=np.where(present > 0, _ratio(2 * right, present + called), np.nan),
        accuracy=_ratio(right + avoided, total),
    )


def macro_auroc(scores: NDArray[Any], targets: NDArray[Any]) -> float | None:
    """Macro one-vs-rest AUROC without an interval, for the training loop.

    Args:
        scores: logits or probabilities, (n, K); rows that are non-negative and sum to one are taken as
            probabilities. Both give the number that `report` gives. Multilabel: logits.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN.

    Returns:
        A number in [0, 1], or None when a class has no image (no average over the classes that are there). Of
        multilabel targets the average over the labels that have positives and negatives, because a rare label
        may miss in the validation images and epochs must be told apart all the same; None when none has both.

    Raises:
        DataError: scores and targets do not belong together.
        ModelError: a score is not finite.
    """
    values, targets = check_logits(scores, targets)
    if task_of(targets) == "multilabel":
        positive, known = targets == 1, targets != UNKNOWN
        both = positive.any(axis=0) & (targets == 0).any(axis=0)
        columns, places = np.flatnonzero(both), place_scores(rank(values))
    else:
        if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-4):
            values = np.log(np.maximum(values, np.finfo(np.float32).tiny))
        positive = targets[:, None] == np.arange(values.shape[1])
        known = np.ones_like(positive)
        columns, places = np.arange(values.shape[1]), place_scores(rank(log_odds(values)))
        if not positive.any(axis=0).all():
            return None
    areas = [measure_area(places[:, k], positive[:, k], known[:, k] & ~positive[:, k])[0] for k in columns]
    return float(np.mean(areas)) if areas else None


def _ratio(part: Array, whole: Array) -> Array:
    """The quotient, nan where whole is 0."""
    quotient: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return quotient
