"""Slope and intercept of calibration: the truth of a class by the log-odds of its probability, in a logistic model.

log-odds of the truth = a + b · log-odds of the probability (Cox 1958, Biometrika 45:562). The slope is b: below 1 where
probabilities are too near 0 and 1, above 1 where they are too cautious. The intercept is a where b is held at 1, which
is calibration in the large: below 0 where probabilities are too large on the whole, above 0 where they are too small
(Van Calster et al. 2019, BMC Medicine 17:230). A class of several is judged against the rest.

Intervals take no resamples. They are those of the influences of images, the sandwich (Huber 1967, Proc. Fifth Berkeley
Symp. 1:221), each divided by 1 - its leverage (HC3: MacKinnon and White 1985, J. Econometrics 29:305), times the design
effect of groups as for AUROC, with Student's t. Of 40 to 1000 images, or of 10 to 100 groups of six, they held the
truth 92 to 99 times in 100. The errors of the model itself, which take images to be independent, did so 67 to 97 times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.evaluation._influence import LEAST_SIDE, t_quantile
from zoo.evaluation._placements import variance_of
from zoo.evaluation._scores import SCORE_STEP
from zoo.spec import Interval

if TYPE_CHECKING:
    from zoo.evaluation._cases import Cases
    from zoo.evaluation._scores import Array

__all__ = ["fit_line"]

_STEPS = 100
"""Newton steps; ten are usual."""
_FURTHEST = 50.0
"""Of one step: where all probabilities are near 0 or 1, the slope of the likelihood says nothing of its length."""
_LEAST_INFORMATION = 1.0
"""Sum of p (1 - p) below which images say nothing of the intercept: its standard error would be above 1."""


def fit_line(cases: Cases, k: int, label: str) -> tuple[Interval | str, Interval | str]:
    """Slope and intercept of class k, which is called `label`, or why these images have none."""
    known = cases.known[:, k]
    if cases.smaller_side(k) < LEAST_SIDE:
        what = "images" if cases.groups is None else "patients or groups"
        few = f"fewer than {LEAST_SIDE} {what} with {label}, or without it, among those evaluated"
        return few, few
    held, odds = cases.truth[known, k].astype(float), cases.scores[known, k] * SCORE_STEP
    groups = None if cases.groups is None else np.unique(cases.groups[known], return_inverse=True)[1]
    width = t_quantile(cases.units(known) - 1)

    def bound(found: tuple[Array, Array] | None, scale: float, why: str) -> Interval | str:
        if found is None:
            return why
        value, influence = float(found[0][-1] / scale), found[1][:, -1] / scale
        arm = width * variance_of(influence, groups) ** 0.5
        return Interval(value=value, low=value - arm, high=value + arm, method="delta") if np.isfinite(arm) else why

    one = np.ones((len(odds), 1))
    intercept = bound(_fit(one, held, odds), 1.0, f"the probabilities of {label} lie too near 0 and 1")
    divided = f"the probability tells {label} from all others with hardly an error, or not at all"
    present, absent = ((side.min(), side.max()) for side in (odds[held == 1], odds[held == 0]))
    if not (present[0] < absent[1] and absent[0] < present[1]):  # Albert and Anderson 1984, Biometrika 71:1
        return divided, intercept
    scale = float(odds.std())
    design = np.hstack([one, ((odds - odds.mean()) / scale)[:, None]])
    return bound(_fit(design, held, np.zeros(len(odds))), scale, divided), intercept


def _fit(design: Array, held: Array, offset: Array) -> tuple[Array, Array] | None:
    """Coefficients, (P,), that maximise the likelihood of `held`, and each image's influence on them, (n, P).

    Args:
        design: (n, P).
        held: (n,) of 0 and 1.
        offset: (n,) added to the log-odds.

    Returns:
        None where no maximum can be found, or the images say next to nothing of it.
    """
    from scipy.special import expit

    def loss(coefficients: Array) -> float:
        odds = offset + design @ coefficients
        return float((np.logaddexp(0, odds) - held * odds).sum())

    found, lowest = np.zeros(design.shape[1]), loss(np.zeros(design.shape[1]))
    for _ in range(_STEPS):
        share = expit(offset + design @ found)
        spread = share * (1 - share)
        information = (design * spread[:, None]).T @ design
        if not 0 < np.linalg.cond(information) < 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (held - share))
        step *= min(1.0, _FURTHEST / max(np.abs(step).max(), 1e-300))
        while (now := loss(found + step)) > lowest + 1e-9 and np.abs(step).max() > 1e-9:
            step /= 2  # a whole step may go past the minimum
        found, lowest = found + step, now
        if np.abs(step).max() <= 1e-9:
            break
    else:
        return None
    if information[0, 0] < _LEAST_INFORMATION:
        return None
    toward = design @ np.linalg.inv(information)
    leverage = (toward * design).sum(axis=1) * spread
    return found, toward * ((held - share) / np.maximum(1 - leverage, 1e-9))[:, None]
