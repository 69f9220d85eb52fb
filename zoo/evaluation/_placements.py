"""The variance of AUROC by placements: DeLong's, for one model and for two on the same images.

The placement of a positive is the share of the negatives that it outranks, ties counting half; that of a negative is
the share of the positives that outrank it. AUROC is their mean, and its variance follows from their spread (DeLong,
DeLong and Clarke-Pearson 1988, Biometrics 44:837). Counts of sorted scores give them, as mid-ranks do (Sun and Xu 2014,
IEEE Signal Process. Lett. 21:1389).

Here an image's influence is its placement less AUROC, over the number of its side, so that a variance is a sum of
squares. Influences add up: those of a mean over classes are the mean, those of a difference are the difference, and
those of a patient are the sum of the patient's images, as in Obuchowski (1997, Biometrics 53:567).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zoo.evaluation._design import find_effect
from zoo.evaluation._scores import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.evaluation._cases import Cases

__all__ = ["Placements", "judge_difference", "measure_area", "place", "place_scores", "variance_of"]


class Placements(NamedTuple):
    """AUROC of each class against the rest, and what each image adds to it.

    Attributes:
        areas: (K,) float64 in [0, 1]; nan of a class with fewer than two independent units on a side.
        influence: (n, K) float64; its squares sum to the variance of `areas`. 0 where a label is unknown, nan as above.
    """

    areas: Array
    influence: Array


def place(cases: Cases) -> Placements:
    """The placements of all images in all classes."""
    areas, influence = np.full(cases.classes, np.nan), np.zeros(cases.scores.shape)
    for k in range(cases.classes):
        if cases.smaller_side(k) < 2:
            influence[:, k] = np.nan
            continue
        truth, known = cases.truth[:, k], cases.known[:, k]
        areas[k], influence[:, k] = measure_area(cases.places[:, k], truth, known & ~truth)
    return Placements(areas, influence)


def measure_area(
    places: NDArray[np.int64], positive: NDArray[np.bool_], negative: NDArray[np.bool_]
) -> tuple[float, Array]:
    """AUROC of one class against the rest, in [0, 1], and what each image adds to it, (n,), see `Placements`.

    Args:
        places: (n,) of each score among all scores, from 0; see `place_scores`.
        positive: (n,) images of the class, at least one.
        negative: (n,) images that are not of it, at least one; those that are neither add 0.
    """
    outranks = _share_below(places[positive], places[negative])
    outranked = 1 - _share_below(places[negative], places[positive])
    area, influence = float(outranks.mean()), np.zeros(len(places))
    for side, placements in ((positive, outranks), (negative, outranked)):
        n = len(placements)
        # n / (n - 1) under the root: then the squares sum to DeLong's variance, whose covariances divide by n - 1.
        influence[side] = (placements - area) / np.sqrt(n * max(n - 1, 1))
    return area, influence


def place_scores(scores: Array) -> NDArray[np.int64]:
    """(n, K) the place of each score among the different ones of its column, from 0, the lowest."""
    return np.stack([np.unique(column, return_inverse=True)[1] for column in scores.T], axis=1)


def _share_below(places: NDArray[np.int64], others: NDArray[np.int64]) -> Array:
    there = np.bincount(others, minlength=int(places.max()) + 1)
    return np.asarray(((np.cumsum(there) - there / 2) / len(others))[places])


def variance_of(influence: Array, groups: NDArray[np.int64] | None) -> float:
    """The variance of an area, or of a mean or difference of areas, from each image's influence on it, (n,).

    Args:
        influence: (n,), see `Placements`.
        groups: (n,) int in [0, g), equal for images of one patient: the variance is that of independent images times
            the design effect of the groups.
    """
    alone = float((influence**2).sum())
    if groups is None or alone == 0:
        return alone
    of_group = np.bincount(groups, weights=influence)
    together, units = float((of_group**2).sum()), len(of_group)
    if together == 0 or units < 2:
        return alone * find_effect(groups, 1.0, 0.0)
    speaking = together**2 / float((of_group**4).sum())  # groups that the spread comes from
    return alone * find_effect(groups, units / (units - 1) * together / alone, speaking)


def judge_difference(delta: float, influence: Array, groups: NDArray[np.int64] | None) -> float | None:
    """Two-sided p of a difference of areas by DeLong's test, in [0, 1]; None where nothing is known of its variance.

    Args:
        delta: the difference, in [-1, 1].
        influence: (n,) each image's influence on it, see `Placements`.
        groups: (n,) int in [0, g), equal for images of one patient, where known.
    """
    from scipy.special import ndtr

    variance = variance_of(influence, groups)
    if not variance > 0:
        return 1.0 if delta == 0 and variance == 0 else None
    return float(2 * ndtr(-abs(delta) / np.sqrt(variance)))
