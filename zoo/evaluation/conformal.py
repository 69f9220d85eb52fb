"""Sets of labels that hold the truth of a stated share of images (split conformal prediction).

The promise: of new images like those of validation, as many as `coverage` says have a set with their truth in it,
on average over validation sets and images (Vovk et al. 2005; Angelopoulos and Bates 2021, arXiv 2107.07511). It says
nothing of one image, nothing of a group or (unless sets are made for each class) of a class, and nothing of images
unlike those of validation.

The quantile is that of n + 1 scores, of which the last is unknown and taken for the largest. Where n is too small for
the coverage, it is 1 and every label is in every set.

Images of one patient are not exchangeable with those of another. Where groups are known, each group counts once,
its images in equal parts, and n is the number of groups: the promise is then for an image of a new patient (Lee, Barber
and Willett 2023, arXiv 2306.06342). Groups of one image each give the plain quantile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from zoo.edge import score_labels
from zoo.errors import DataError, UsageError
from zoo.evaluation._cases import Cases
from zoo.evaluation._ranked import EXACT
from zoo.spec import ConformalSets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.evaluation._scores import Array

__all__ = ["find_quantile", "fit_sets"]

SLACK = 1e-5
"""Added to a quantile, so that scores which equal it stay inside after float32 and another runtime: sets grow by it,
never shrink."""


def fit_sets(
    logits: NDArray[Any],
    targets: NDArray[Any],
    *,
    coverage: float,
    method: Literal["lac", "aps"] = "lac",
    per_class: bool = False,
    temperature: float = 1.0,
    groups: NDArray[np.int64] | None = None,
) -> ConformalSets:
    """Quantiles of the scores of validation images.

    Args:
        logits: (n, K), of validation images, before the temperature.
        targets: (n,) int in [0, K).
        coverage: share of images whose set is to hold the truth, in (0, 1).
        method: lac: score 1 - p of the truth (Sadinle et al. 2019, J. Am. Stat. Assoc. 114:223). aps: sum of the
            probabilities from the largest down to that of the truth (Romano et al. 2020, arXiv 2006.02544), without
            randomisation, so that coverage is reached and mostly exceeded.
        per_class: one quantile for each label, of the images of its class.
        temperature: number that divides the logits.
        groups: (n,) int, equal for images of one patient.

    Raises:
        UsageError: coverage is not a share.
        DataError: targets are of several labels, or do not belong to the logits.
        ModelError: a logit is not finite.
    """
    if not 0 < coverage < 1:
        raise UsageError(
            f"coverage is {coverage}, expected a share above 0 and below 1, such as 0.9",
            code="option-value",
            option="coverage",
            value=coverage,
        )
    cases = Cases.of(logits, targets, temperature, groups)
    if cases.task == "multilabel":
        raise DataError(
            "targets are of several labels, and sets hold one truth an image; leave the coverage out",
            code="sets-several-labels",
        )
    truth = cases.targets
    each = score_labels(cases.probabilities, method)
    scores = each[np.arange(cases.n), truth]
    members = [truth == k for k in range(cases.classes)] if per_class else [np.ones(cases.n, np.bool_)]
    found = [_quantile(scores[one], None if cases.groups is None else cases.groups[one], coverage) for one in members]
    quantiles, counts = zip(*found, strict=True)
    return ConformalSets(method=method, coverage=coverage, per_class=per_class, quantiles=quantiles, n=counts)


def find_quantile(scores: NDArray[Any], groups: NDArray[np.int64] | None, coverage: float) -> tuple[float | None, int]:
    """The smallest score below which, itself included, coverage · (units + 1) units lie, and how many units there are.

    None: they are too few for that coverage. Units are images, or groups where they are known; see above.
    """
    unit = np.arange(len(scores)) if groups is None else np.unique(groups, return_inverse=True)[1]
    size = np.bincount(unit)
    order = np.argsort(scores)
    below = np.cumsum(1 / size[unit[order]])
    place = int(np.searchsorted(below, coverage * (len(size) + 1) - EXACT))
    return (None if place == len(scores) else float(scores[order[place]])), len(size)


def _quantile(scores: Array, groups: NDArray[np.int64] | None, coverage: float) -> tuple[float, int]:
    found, units = find_quantile(scores, groups, coverage)
    return (1.0 if found is None else min(1.0, found + SLACK)), units
