"""What a model's numbers decide: the label of an answer, its set of labels, whether it is an answer at all.

`zoo/edge/page/decide.js` and `examples/native/decide.hpp` do the same, number for number. So that they agree to the
last bit, every number is compared as float64. A probability and a novelty score are float32 of the graph, and widening
them is exact. A threshold or quantile is the float64 nearest to its decimals in the manifest. Sums run over labels one
after the other. Where two labels are equal, the first in the manifest's order wins.

What this module does not know: images, ONNX, how a threshold was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.spec import Abstention, ConformalSets, Manifest, OperatingPoint, Task

    Numbers = NDArray[np.floating[Any]]

__all__ = ["GIVEN", "Decision", "Decisions", "answer_labels", "decide", "find_sets", "score_labels"]

Decision = Literal["label", "uncertain", "unlike training"]

GIVEN = 0.5
"""A label of a multilabel model without a point counts as given from this probability on; evaluation decides alike."""
TINY = 1e-12
"""What a threshold counts as at least, where a probability is divided by it."""


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What was decided of N images with K labels.

    Attributes:
        labels: (N,) place of the label answered.
        called: (N, K) whether a label has an operating point and reaches it.
        given: (N, K) labels given, of a multilabel model; None: of any other.
        sets: (N, K) labels in the conformal set; None: the file has no sets.
        decisions: one for each image; None: the file never abstains.
    """

    labels: NDArray[np.intp]
    called: NDArray[np.bool_]
    given: NDArray[np.bool_] | None
    sets: NDArray[np.bool_] | None
    decisions: tuple[Decision, ...] | None


def decide(probabilities: Numbers, novelty: Numbers | None, manifest: Manifest) -> Decisions:
    """Decide by the operating points and the abstention of a manifest.

    An image is unlike training where its score is not at most the threshold. Else it is uncertain where its set is not
    the label answered alone, or its largest probability is below the threshold of the error control. Else it has its
    label.

    Args:
        probabilities: (N, K) in [0, 1], as the file gives them.
        novelty: (N,) scores, as the file gives them; looked at only where `manifest.abstention.novelty` is set.
        manifest: labels, task, points and abstention.

    Raises:
        ValueError: scores are needed and not given.
    """
    p = np.asarray(probabilities, np.float64)
    labels, called, given = _label(p, manifest.labels, manifest.operating, manifest.task)
    abstention = manifest.abstention
    sets = None if abstention is None or abstention.sets is None else find_sets(p, abstention.sets)
    decisions = None if abstention is None else _abstain(p, labels, novelty, sets, abstention)
    return Decisions(labels, called, given, sets, decisions)


def answer_labels(
    probabilities: Numbers, labels: Sequence[str], points: Sequence[OperatingPoint], task: Task = "multiclass"
) -> NDArray[np.intp]:
    """(N,) place of the label that each image is answered with.

    Of a multilabel model the most probable of the labels given, or of all where none is given. Of others, in this
    order: the label that reaches its point by the largest ratio of probability to threshold; the most probable label
    without a point; the most probable label.

    Args:
        probabilities: (N, K) in [0, 1].
        labels: K names.
        points: operating points of some of them.
        task: kind of the labels.
    """
    return _label(np.asarray(probabilities, np.float64), labels, points, task)[0]


def score_labels(probabilities: Numbers, method: Literal["lac", "aps"]) -> NDArray[np.float64]:
    """(N, K) conformal score of each label, in [0, 1]: it is in the set where the score is at most the quantile.

    lac: 1 - p. aps: the sum of the probabilities of the labels up to it, its own included, the most probable first.
    Rounding that leaves 1 is cut, so that the quantile 1 lets every label in. Quantiles must be made of these scores.

    Args:
        probabilities: (N, K) in [0, 1].
        method: lac (Sadinle et al. 2019) or aps (Romano et al. 2020, without randomisation).
    """
    p = np.asarray(probabilities, np.float64)
    if method == "lac":
        return np.minimum(1 - p, 1)
    order = np.argsort(-p, axis=1, kind="stable")
    scores = np.empty_like(p)
    np.put_along_axis(scores, order, np.cumsum(np.take_along_axis(p, order, axis=1), axis=1), axis=1)
    return np.minimum(scores, 1)


def find_sets(probabilities: Numbers, sets: ConformalSets) -> NDArray[np.bool_]:
    """(N, K) whether each label is in the image's set; of aps the most probable label always is.

    Args:
        probabilities: (N, K) in [0, 1].
        sets: method and quantiles.
    """
    within = score_labels(probabilities, sets.method) <= np.asarray(sets.quantiles, np.float64)
    if sets.method == "aps":
        within[np.arange(len(within)), np.argmax(probabilities, axis=1)] = True
    return np.asarray(within, np.bool_)


def _label(
    p: NDArray[np.float64], names: Sequence[str], points: Sequence[OperatingPoint], task: Task
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Labels answered, labels that reach their point, labels given; see `Decisions`."""
    known = {point.label: point.threshold for point in points}
    thresholds = np.array([known.get(name, np.nan) for name in names])  # (K,), NaN: no point
    free = np.isnan(thresholds)
    called = p >= thresholds  # nothing is at least NaN
    if task == "multilabel":
        given = p >= np.where(free, GIVEN, thresholds)
        return _best(p, given), called, given
    if free.all():
        return p.argmax(axis=1), called, None
    ratios = p / np.maximum(np.where(free, 1, thresholds), TINY)
    reached = called.any(axis=1)
    labels = np.where(reached, _best(ratios, called), _best(p, np.broadcast_to(free, p.shape)))
    return labels, called, None


def _best(values: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(N,) place of the largest value among some labels, or among all where there are none of these."""
    some = among.any(axis=1, keepdims=True)
    return np.asarray(np.where(among | ~some, values, -np.inf).argmax(axis=1), np.intp)


def _abstain(
    p: NDArray[np.float64],
    labels: NDArray[np.intp],
    novelty: Numbers | None,
    sets: NDArray[np.bool_] | None,
    abstention: Abstention,
) -> tuple[Decision, ...]:
    uncertain = np.zeros(len(p), np.bool_)
    if sets is not None:
        uncertain |= (sets.sum(axis=1) != 1) | ~sets[np.arange(len(p)), labels]
    if abstention.error is not None:
        uncertain |= p.max(axis=1) < abstention.error.threshold
    unlike = np.zeros(len(p), np.bool_)
    if abstention.novelty is not None:
        if novelty is None:
            raise ValueError("the manifest decides by novelty, expected a score for each image")
        unlike = ~(np.asarray(novelty, np.float64) <= abstention.novelty.threshold)  # so that NaN is unlike
    return tuple(
        "unlike training" if new else "uncertain" if unsure else "label"
        for new, unsure in zip(unlike.tolist(), uncertain.tolist(), strict=True)
    )
