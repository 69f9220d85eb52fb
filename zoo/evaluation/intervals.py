"""95 % intervals: Wilson's for shares, DeLong's for AUROC, and a percentile bootstrap for all else.

Accuracy, sensitivity, specificity, PPV, NPV and coverage are shares of images: `bound_share` gives Wilson's interval. A
percentile bootstrap says 0.333 to 1 of 6 right of 9, Wilson 0.354 to 0.879. Where groups are known the number of
images is divided by their design effect, as Dean and Pagano recommend (2015, J. Surv. Stat. Methodol. 3:484). Simulated
with 10 to 200 groups it holds the truth 93 to 99 times in 100; a bootstrap over groups, 83 to 96 times.

AUROC and its mean over classes get DeLong's variance, taken on the logit scale (Pepe 2003, The Statistical Evaluation
of Medical Tests, chapter 5): `bound_area`. Of 60 images and an AUROC of 0.95 and more it holds the truth 93 to 98 times
in 100, a bootstrap 82 to 92, DeLong's interval without the logit 69 to 89. Where groups are known the variance is
multiplied by their design effect: with 10 to 60 groups it holds the truth 93 times or more, a bootstrap over groups 74
to 94 (benchmarks/coverage.py).

For all else the interval is the 2.5 to 97.5 percentile of the metric over resamples of the images, widened where needed
to hold the value itself (percentiles of a biased metric such as F1 can miss it). Resamples that do not define
the metric are left out. If more than half are left out, the interval is undefined and no number is given.

When the percentiles coincide (10 of 10 right, AUROC 1.0), every resample repeats the value and the bootstrap
would claim certainty. Then the interval is Wilson's for a proportion among as many independent trials as the
metric has: images for accuracy, the class's images for sensitivity, those called so for ppv, the smaller of
positives and negatives for AUROC, the smallest class for a macro metric. It says `method="wilson"`.

Resampling images assumes that images are independent. Several images of one patient are not, and intervals over
images are then too narrow: of eight strongly correlated images a patient they held the truth 6 times in 10 where
they promise 95 in 100. Where groups (patients, lesions, studies) are known, whole groups are drawn with
replacement, each bringing all its images, and the trials above are groups (Field and Welsh 2007, J. R. Statist.
Soc. B 69:369, the cluster bootstrap). Few groups still give narrow intervals: in the simulation above they held the
truth 84 to 89 times in 100 with 10 patients, 88 to 92 with 20, 94 to 96 with 60.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo._support.shares import Z95, wilson
from zoo.errors import UsageError
from zoo.evaluation._design import find_effect
from zoo.evaluation._placements import variance_of
from zoo.spec import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from zoo.evaluation.metrics import Values, Weights

__all__ = [
    "RESAMPLES",
    "bootstrap",
    "bound_area",
    "bound_difference",
    "bound_odds",
    "bound_share",
    "draws",
    "find_tail",
    "has_no_width",
    "interval",
    "percentiles",
    "wilson",
]

RESAMPLES = 1000
CELLS = 1_000_000
"""Weights held at once, 8 MB: memory does not grow with images times resamples."""


def draws(
    n: int, resamples: int = RESAMPLES, seed: int = 0, groups: NDArray[np.int64] | None = None
) -> Iterator[Weights]:
    """Resample weights of n images in chunks (b, n); the same seed gives the same draws, whatever the chunks.

    Args:
        n: how many images.
        resamples: how many rows in all.
        seed: seed of the draws.
        groups: (n,) int, equal for images of one patient: as many groups are drawn as there are, with replacement,
            and an image's weight is how often its group was drawn. Rows then sum to n on average only.

    Raises:
        UsageError: resamples is less than 1.
    """
    if resamples < 1:
        raise UsageError(
            f"{resamples} resamples asked for, expected at least 1 (1000 is usual)",
            code="resamples-invalid",
            found=resamples,
            expected=1,
        )
    rng = np.random.default_rng(seed)
    unit = None if groups is None else np.unique(groups, return_inverse=True)[1]  # (n,) in [0, units)
    units = n if unit is None else int(unit.max()) + 1
    chunk = max(1, CELLS // n)
    for start in range(0, resamples, chunk):
        # (n, b) in memory, (b, n) to the caller: metrics gather whole rows of the former.
        columns = np.empty((n, min(chunk, resamples - start)))
        for b in range(columns.shape[1]):
            drawn = np.bincount(rng.integers(0, units, units), minlength=units)
            columns[:, b] = drawn if unit is None else drawn[unit]
        yield columns.T


def bootstrap(measure: Callable[[Weights], Values], weights: Iterable[Weights]) -> Values:
    """What `measure` gives on every chunk of weights, joined along the last axis."""
    parts = [measure(chunk) for chunk in weights]
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def interval(
    value: float,
    resampled: NDArray[np.float64],
    trials: float,
    *,
    units: int | None = None,
    to_unit: Callable[[float], float] = float,
    from_unit: Callable[[float], float] = float,
) -> Interval | None:
    """The value with its interval, or None when more than half of the resamples do not define it.

    Args:
        value: the metric on all images.
        resampled: the metric on every resample, (B,), nan where undefined.
        trials: independent trials behind the value, for the Wilson interval.
        units: images or groups that were resampled, see `find_tail`.
        to_unit: maps the metric's range to [0, 1], for the Wilson interval.
        from_unit: its inverse; may fall (then the ends are swapped).
    """
    ends = percentiles(resampled, units)
    if ends is None:
        return None
    if not has_no_width(*ends):
        return Interval(value=value, low=min(ends[0], value), high=max(ends[1], value))
    ends = wilson(to_unit(value), trials)
    low, high = sorted((from_unit(ends[0]), from_unit(ends[1])))
    return Interval(value=value, low=min(low, value), high=max(high, value), method="wilson")


def bound_difference(
    delta: float, resampled: NDArray[np.float64], trials: float, units: int | None = None, width: float = 1.0
) -> Interval | None:
    """A difference of two models on the same images with its interval, or None when too few resamples define it.

    Args:
        delta: the difference on all images, in [-width, width].
        resampled: the difference on every shared resample, (B,), nan where undefined.
        trials: independent trials behind it, for the Wilson interval around |delta| (around 0: on both sides).
        units: images or groups that were resampled, see `find_tail`.
        width: span of the metric's values, such as 2 of one in [-1, 1].
    """
    ends = percentiles(resampled, units)
    if ends is None:
        return None
    if not has_no_width(*ends):
        return Interval(value=delta, low=min(ends[0], delta), high=max(ends[1], delta))
    low, high = (width * end for end in wilson(abs(delta) / width, trials))
    ends = (-high, high) if delta == 0 else (low, high) if delta > 0 else (-high, -low)
    return Interval(value=delta, low=min(ends[0], delta), high=max(ends[1], delta), method="wilson")


def percentiles(resampled: NDArray[np.float64], units: int | None = None) -> tuple[float, float] | None:
    """The 2.5 and 97.5 percentile of what is defined, or None when that is less than half; `units`: see `find_tail`."""
    defined = resampled[~np.isnan(resampled)]
    if 2 * defined.size < resampled.size:
        return None
    tail = find_tail(units)
    low, high = np.quantile(defined, (tail, 1 - tail))
    return float(low), float(high)


def find_tail(units: int | None) -> float:
    """The share of resamples that lies below an interval, and above it: 0.025, of few units less.

    Of u `units`, images or groups, it is Φ(-t √(u / (u - 1))), where t is the 97.5 % quantile of Student's distribution
    with u - 1 degrees (Hesterberg 2015, Am. Stat. 69:371, the expanded percentile interval). For 10, 20, 60 that is
    0.9, 1.6 and 2.2 %. None: as for very many.
    """
    from scipy.special import ndtr, stdtrit

    if units is None:
        return 0.025
    free = max(1, units - 1)
    return float(ndtr(-stdtrit(free, 0.975) * np.sqrt(units / free)))


def has_no_width(low: float, high: float) -> bool:
    """Whether an interval has no width beyond rounding."""
    return high - low <= 1e-12 * max(1.0, abs(low))


def bound_share(
    hits: NDArray[np.bool_], trials: NDArray[np.bool_] | None = None, groups: NDArray[np.int64] | None = None
) -> Interval | None:
    """The share of `hits` among `trials` with its Wilson interval, or None without a trial.

    Args:
        hits: (n,) what is counted; outside `trials` it says nothing.
        trials: (n,) what the share is of; None: all.
        groups: (n,) int of any values, equal for images of one patient; None: all images are independent.
    """
    hits = hits if trials is None else hits[trials]
    if not len(hits):
        return None
    value = float(np.mean(hits))
    informative = (
        float(len(hits)) if groups is None else _independent(hits, groups if trials is None else groups[trials])
    )
    return Interval.of_share(value, informative)


def _independent(hits: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    """As many independent images as hits of groups are worth: their number over the design effect."""
    unit = np.unique(groups, return_inverse=True)[1]
    size, found, n = np.bincount(unit), np.bincount(unit, weights=hits), len(hits)
    share, units = float(found.sum()) / n, len(size)
    rarer = min(int((found > 0).sum()), int((found < size).sum()))  # groups that the rarer answer is of
    ratio = 1.0
    if rarer and units > 1:  # the ratio estimator (Cochran 1977, Sampling Techniques, chapter 6)
        ratio = float(units / (units - 1) * ((found - share * size) ** 2).sum() / (n * share * (1 - share)))
    return n / find_effect(unit, ratio, rarer)


def bound_area(area: float, influence: NDArray[np.float64], groups: NDArray[np.int64] | None) -> Interval | None:
    """An AUROC, or a mean of them, with its interval by DeLong's variance on the logit scale; None: there is none.

    Args:
        area: in [0, 1].
        influence: (n,) each image's influence on it, see `zoo.evaluation._placements`.
        groups: (n,) int in [0, g), equal for images of one patient, where known.
    """
    variance = variance_of(influence, groups)
    if not (0 < area < 1 and variance > 0):  # nan where a side has fewer than two units
        return None
    low, high = bound_odds(area, Z95 * variance**0.5)
    return Interval(value=area, low=low, high=high, method="delong")


def bound_odds(value: float, half: float) -> tuple[float, float]:
    """Ends of an interval that has equal arms in log-odds, so that it stays inside 0 and 1 and holds the value.

    Args:
        value: in (0, 1).
        half: length of an arm on the scale of the value: a quantile times a standard error.
    """
    middle, arm = np.log(value / (1 - value)), half / (value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-end))) for end in (middle - arm, middle + arm))
    return min(low, value), max(high, value)
