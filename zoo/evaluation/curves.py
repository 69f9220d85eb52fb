"""ROC and precision-recall curves of each class against the rest, with a 95 % band.

A band is pointwise: at each place of a fixed grid of false positive rates, or of recalls, it is the 2.5 to 97.5
percentile over resamples of the images, or of whole groups where they are known, and at least Wilson's interval: where
few images lie behind a place, resamples repeat them and are too sure of themselves. A band that holds the whole curve
at once would be wider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from zoo.evaluation.intervals import draws, percentiles, wilson
from zoo.evaluation.metrics import ones

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from zoo.evaluation._cases import Cases
    from zoo.evaluation._scores import Array
    from zoo.evaluation.metrics import Weights

__all__ = ["Curve", "draw_curves"]

RESAMPLES = 200
"""A band is looked at, not read off: the third digit of its ends, which more resamples would settle, cannot be seen."""
PLACES = 41
"""Of the grid on which the band is computed."""
POINTS = 200
"""A curve of more points is thinned to so many; a screen shows no more."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One curve of one class.

    Attributes:
        label: position of the class.
        kind: roc: true positive rate against false positive rate. pr: precision against recall.
        x: (P,) in [0, 1], ascending.
        y: (P,) in [0, 1].
        places: (G,) in [0, 1], where the band is known.
        low: (G,) lower end of the band; nan where it is not defined.
        high: (G,) its upper end.
        base: the y of a model that knows nothing: of pr the share of positives; of roc nan, because there it is x.
    """

    label: int
    kind: Literal["roc", "pr"]
    x: Array
    y: Array
    places: Array
    low: Array
    high: Array
    base: float


def draw_curves(
    cases: Cases, chosen: Sequence[int], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[tuple[Curve, Curve], ...]:
    """The ROC and the precision-recall curve of some classes; of none that lacks positives or negatives.

    Args:
        cases: images with targets and scores.
        chosen: positions of the classes.
        resamples: number of resamples behind the bands.
        seed: seed of the resamples.
    """
    found = [k for k in chosen if 0 < cases.counts[k] < cases.asked[k]]
    if not found:
        return ()
    grid = np.linspace(0, 1, PLACES)
    drawn: list[list[tuple[Array, Array]]] = [[] for _ in found]
    for weights in draws(cases.n, resamples, seed, cases.groups):
        for k, kept in zip(found, drawn, strict=True):
            kept.append(_walk(cases, k, weights).at(grid))
    return tuple(_of_class(cases, k, grid, kept) for k, kept in zip(found, drawn, strict=True))


def _walk(cases: Cases, k: int, weights: Weights) -> _Walk:
    positives, negatives = cases.steps[k]
    return _Walk(positives @ weights.T, negatives @ weights.T)


def _of_class(cases: Cases, k: int, grid: Array, drawn: list[tuple[Array, Array]]) -> tuple[Curve, Curve]:
    own = _walk(cases, k, ones(cases.n))
    (tpr, precision), of = own.at(grid), int(cases.counts[k])
    resampled = [np.concatenate(parts, axis=1) for parts in zip(*drawn, strict=True)]
    units = cases.units(cases.truth[:, k])
    # At a recall of r with a precision of p, r · P / p images are called; the band there has as many trials.
    called = np.maximum(1, np.maximum(grid, 1 / of) * units / np.maximum(precision[:, 0], 1 / cases.n))
    roc = _band(tpr[:, 0], resampled[0], np.full(len(grid), float(units)))
    pr = _band(precision[:, 0], resampled[1], called)
    share = of / float(cases.asked[k])
    return (
        Curve(k, "roc", *own.roc(), grid, *roc, base=float("nan")),
        Curve(k, "pr", *own.pr(), grid, *pr, base=share),
    )


class _Walk:
    """B walks down the scores of one class: how much of the positives and of the negatives is called so far.

    Args:
        gain: (G, B) weight of the positives in each step.
        loss: (G, B) weight of the negatives.
    """

    def __init__(self, gain: Array, loss: Array) -> None:
        zero = np.zeros((1, gain.shape[1]))
        self.found = np.concatenate([zero, np.cumsum(gain, axis=0)])
        self.false = np.concatenate([zero, np.cumsum(loss, axis=0)])

    def _rates(self) -> Iterator[tuple[Array, Array, Array, Array]]:
        for found, false in zip(self.found.T, self.false.T, strict=True):
            if found[-1] > 0 and false[-1] > 0:
                yield found, false, found / found[-1], false / false[-1]
            else:
                empty = np.full(len(found), np.nan)
                yield found, false, empty, empty

    def at(self, grid: Array) -> tuple[Array, Array]:
        """(len(grid), B) true positive rates at false positive rates, and precisions at recalls."""
        rates = np.full((2, len(grid), self.found.shape[1]), np.nan)
        for b, (found, false, recall, fpr) in enumerate(self._rates()):
            if np.isnan(recall[0]):
                continue
            rates[0, :, b] = np.interp(grid, fpr, recall)  # of several points above one another it takes the highest
            # the first step that reaches the recall; of nothing called, precision is that of the first step
            step = np.searchsorted(recall, np.maximum(grid, recall[recall > 0].min()) - 1e-12)
            rates[1, :, b] = found[step] / (found[step] + false[step])
        return rates[0], rates[1]

    def roc(self) -> tuple[Array, Array]:
        """The first walk's curve, thinned."""
        _, _, recall, fpr = next(self._rates())
        return _thin(fpr, recall)

    def pr(self) -> tuple[Array, Array]:
        """The first walk's curve, thinned: one point where each step with a positive ends."""
        found, false, recall, _ = next(self._rates())
        ends = np.flatnonzero(np.diff(found, prepend=0.0) > 0)
        precision = found[ends] / (found[ends] + false[ends])
        return _thin(np.concatenate([[0.0], recall[ends]]), np.concatenate([precision[:1], precision]))


def _thin(x: Array, y: Array) -> tuple[Array, Array]:
    """At most `POINTS` of them, the first and the last among them."""
    if len(x) <= POINTS:
        return x, y
    # equal steps along the line, so that steep parts keep theirs
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], POINTS)).clip(0, len(x) - 1))
    return x[kept], y[kept]


def _band(value: Array, resampled: Array, trials: NDArray[np.float64]) -> tuple[Array, Array]:
    ends = np.full((2, len(value)), np.nan)
    for place, (at, values, count) in enumerate(zip(value.tolist(), resampled, trials.tolist(), strict=True)):
        drawn, score = percentiles(values), wilson(at, count)
        if drawn is not None:
            ends[:, place] = min(drawn[0], score[0]), max(drawn[1], score[1])
    return ends[0], ends[1]
