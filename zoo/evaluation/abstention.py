"""Answering fewer images so that fewer answers are wrong: a threshold of the top probability, and the curve behind it.

The threshold is chosen by Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021, arXiv 2110.01052):
thresholds are tested from the highest down, each with an exact binomial test of "more than `error` of the answered
images are wrong", and the first that does not reject ends it. Because the order is fixed before labels are seen, no
correction for many tests is needed. It begins where twice as many images are answered as a test without a wrong answer
needs, in which labels have no say. From there, simulated sets of 150 to 1500 images let more be answered
as from the first place that can reject, because one wrong answer does not end it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.edge import answer_labels
from zoo.errors import DataError, UsageError
from zoo.evaluation._cases import Cases
from zoo.evaluation._design import draw_independent
from zoo.evaluation._ranked import Ranked
from zoo.evaluation.intervals import RESAMPLES, draws, interval
from zoo.evaluation.metrics import ones
from zoo.spec import ErrorControl, RiskCoverage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.evaluation._scores import Array
    from zoo.evaluation.metrics import Weights
    from zoo.spec import OperatingPoint

__all__ = ["DELTA", "control_error", "curve_of"]

DELTA = 0.05
"""Chance that the error is exceeded all the same, over validation sets like this one."""
NONE = 1.01
"""Threshold that no probability reaches: no image is answered."""
_TESTS = 100
"""Thresholds that are tested, at most: evenly spaced in how many images are answered."""
_POINTS = 50


def control_error(
    logits: NDArray[Any],
    targets: NDArray[Any],
    labels: Sequence[str],
    *,
    error: float,
    delta: float = DELTA,
    points: Sequence[OperatingPoint] = (),
    temperature: float = 1.0,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> ErrorControl:
    """The smallest top probability at which, with probability 1 - delta, at most `error` of the answers are wrong.

    The test needs independent images. Where groups are known, one image of each is drawn, and the promise is for an
    image of a new patient.

    Args:
        logits: (n, K), of validation images, before the temperature.
        targets: (n,) int in [0, K).
        labels: K names.
        error: share of the answered images, in (0, 1).
        delta: chance of failure, in (0, 1).
        points: operating points, which say what is answered.
        temperature: number that divides the logits.
        groups: (n,) int, equal for images of one patient.
        seed: seed of the draw.

    Raises:
        UsageError: error or delta is not a share.
        DataError: targets are of several labels, or do not belong to the logits.
        ModelError: a logit is not finite.
    """
    from scipy.special import bdtr

    for name, value in (("error", error), ("delta", delta)):
        if not 0 < value < 1:
            raise UsageError(
                f"{name} is {value}, expected a share above 0 and below 1, such as 0.05",
                code="option-value",
                option=name,
                value=value,
            )
    cases = Cases.of(logits, targets, temperature, groups)
    if cases.task == "multilabel":
        raise DataError(
            "targets are of several labels, of which an image has no single answer that is wrong; leave error out",
            code="sets-several-labels",
        )
    wrong = answer_labels(cases.probabilities, labels, points) != cases.targets
    images = draw_independent(cases.n, cases.groups, seed)
    ranked = Ranked.of(cases.probabilities.max(axis=1), images)
    single = ones(cases.n)
    answered = ranked.sum_above(single, np.ones(cases.n, np.bool_))[0]  # (G + 1,)
    mistakes = ranked.sum_above(single, wrong)[0]
    least = 2 * np.log(delta) / np.log1p(-error)  # half as many answers, all right, just reject
    able = np.flatnonzero(answered >= least)
    tested = able[np.unique(np.linspace(0, len(able) - 1, _TESTS).astype(int))] if len(able) else able
    threshold = NONE
    for place in tested.tolist():
        if bdtr(mistakes[place], int(answered[place]), error) > delta:
            break
        threshold = float(ranked.thresholds[place])
    return ErrorControl(error=error, delta=delta, threshold=threshold, n=len(images))


def curve_of(cases: Cases, answers: NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = 0) -> RiskCoverage:
    """The risk-coverage curve of answers ranked by their top probability; images that tie are answered together.

    Args:
        cases: images that have one label each.
        answers: (n,) places of the labels that are answered.
        resamples: number of resamples behind the interval of the area, images or groups.
        seed: seed of the resamples.
    """
    wrong = answers != cases.targets
    top = cases.probabilities.max(axis=1)
    ranked = Ranked.of(top, np.arange(cases.n))

    def sums(weights: Weights) -> tuple[Array, Array]:
        return ranked.sum_above(weights, np.ones(cases.n, np.bool_)), ranked.sum_above(weights, wrong)

    def area(weights: Weights) -> Array:
        answered, mistakes = sums(weights)
        risk = mistakes[:, 1:] / np.maximum(answered[:, 1:], 1)
        return np.asarray((np.diff(answered, axis=1) * risk).sum(axis=1) / answered[:, -1])

    drawn = np.concatenate([area(weights) for weights in draws(cases.n, resamples, seed, cases.groups)])
    value = float(area(ones(cases.n))[0])
    units = cases.clusters or cases.n
    bound = interval(value, drawn, units, units=units)
    assert bound is not None  # noqa: S101 - every resample holds images
    answered, mistakes = (one[0, 1:] for one in sums(ones(cases.n)))
    taken = np.unique(np.linspace(0, len(answered) - 1, _POINTS).astype(int))
    ends = np.append(ranked.starts[1:], cases.n) - 1
    return RiskCoverage(
        answered=tuple((answered[taken] / cases.n).tolist()),
        error=tuple((mistakes[taken] / answered[taken]).tolist()),
        threshold=tuple(top[ranked.order[ends[taken]]].tolist()),
        area=bound,
    )
