"""A model on corrupted copies of its images: accuracy, AUROC and what they lose, for each kind and severity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.evaluation._cases import Cases
from zoo.evaluation._influence import Estimate, accuracy_of, auroc_of, bound, estimate_variance, t_quantile
from zoo.evaluation._predict import predict_set
from zoo.evaluation.corruption import corrupt
from zoo.evaluation.intervals import wilson
from zoo.spec import Corrupted, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.evaluation._predict import Images, Predict

__all__ = [
    "AnsweredSet",
    "CorruptedImages",
    "Withhold",
    "answer_set",
    "find_drop",
    "mean_accuracy",
    "row_of",
    "summarise",
]

Withhold = Callable[[Cases], "NDArray[np.bool_]"]
"""Answers to n images to (n,) bool: those that the file withholds."""


class CorruptedImages:
    """Images that are corrupted when they are read; image i in the same way at every severity.

    Args:
        images: the plain images: a set with `ids`, `read` and `columns`.
        kind: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: seed of what is drawn.
    """

    def __init__(self, images: Any, kind: str, severity: int, seed: int) -> None:
        self._images, self._how, self._seed = images, (kind, severity), seed
        self.ids: Sequence[str] = images.ids
        self.columns: Mapping[str, Sequence[Any]] = images.columns

    def __len__(self) -> int:
        return len(self._images)

    def read(self, i: int) -> _Pixels:
        """Image `i`, corrupted."""
        return _Pixels(corrupt(self._images.read(i).pixels, *self._how, seed=(self._seed, i)))


class _Pixels:
    def __init__(self, pixels: NDArray[Any]) -> None:
        self.pixels = pixels


class AnsweredSet:
    """What a model answered to a set of images.

    Attributes:
        cases: targets and answers.
        accuracy: of all images.
        auroc: of all images; None: a class has too few.
        withheld: share of images that the file does not answer; None: it answers all.
    """

    def __init__(self, cases: Cases, withheld: float | None) -> None:
        everything = np.ones(cases.n, np.bool_)
        accuracy, auroc = accuracy_of(cases, everything), auroc_of(cases, everything)
        assert isinstance(accuracy, Estimate)  # noqa: S101 - `Cases.of` refuses images of which nothing is known
        self.cases, self.withheld = cases, withheld
        self.accuracy, self.auroc = accuracy, auroc if isinstance(auroc, Estimate) else None


def answer_set(
    predict: Predict,
    images: Images,
    targets: NDArray[Any],
    *,
    temperature: float,
    groups: NDArray[np.int64] | None,
    withhold: Withhold | None = None,
) -> AnsweredSet:
    """Ask a model about a set of images.

    Args:
        predict: raw images to logits.
        images: the set.
        targets: their truth.
        temperature: logits are divided by it.
        groups: which images come from one patient.
        withhold: which answers the file withholds, asked once all are there; None: none.

    Raises:
        DataError: the set is empty, or an image cannot be read.
    """
    cases = Cases.of(predict_set(predict, images), targets, temperature, groups)
    return AnsweredSet(cases, None if withhold is None else float(withhold(cases).mean()))


def row_of(kind: str, severity: int, before: AnsweredSet, after: AnsweredSet) -> Corrupted:
    """One row of the table; both are of the same images in one order."""
    return Corrupted(
        kind=kind,
        severity=severity,
        drop=find_drop(before, [after]),
        **summarise(after),
    )


def summarise(answered: AnsweredSet) -> dict[str, Any]:
    """Accuracy and macro_auroc with their intervals, and the share that is withheld."""
    auroc = None if answered.auroc is None else bound(answered.cases, answered.auroc)
    accuracy = bound(answered.cases, answered.accuracy)
    return {"accuracy": accuracy, "macro_auroc": auroc, "withheld": answered.withheld}


def find_drop(before: AnsweredSet, after: Sequence[AnsweredSet]) -> Interval:
    """Accuracy before minus the mean of those after, paired by images, or by patients where they are known."""
    mean = np.mean([one.accuracy.influence for one in after], axis=0)
    value = before.accuracy.value - float(np.mean([one.accuracy.value for one in after]))
    return _around(before.cases, value, before.accuracy.influence - mean)


def mean_accuracy(after: Sequence[AnsweredSet]) -> Interval:
    """The mean accuracy of several passes over the same images."""
    mean = np.mean([one.accuracy.influence for one in after], axis=0)
    value = float(np.mean([one.accuracy.value for one in after]))
    return bound(after[0].cases, replace(after[0].accuracy, value=value, influence=mean, share=False))


def _around(cases: Cases, value: float, influence: NDArray[np.float64]) -> Interval:
    everything = np.ones(cases.n, np.bool_)
    units = cases.units(everything)
    half = t_quantile(units - 1) * estimate_variance(cases, influence, everything) ** 0.5
    if not half:  # all images answer alike: as of a proportion
        half = wilson(0.0, units)[1]
        return Interval(value=value, low=max(value - half, -1.0), high=min(value + half, 1.0), method="wilson")
    return Interval(value=value, low=max(value - half, -1.0), high=min(value + half, 1.0), method="delta")
