"""How unlike the images of training an image is, by the features that its logits are made of.

Features are taken to length 1, because their length says how sure a network is and not what it sees (Müller and Hein
2025, arXiv 2505.18032). Training images then fill a few directions: their k principal axes, each with a variance, and
one variance for all that is left, which is probabilistic PCA (Tipping and Bishop 1999, J. R. Statist. Soc. B 61:611).
The score is the Mahalanobis distance under that covariance over the root of the number of features, about 1 for a
training image. Classes play no part, so it is the same for one label, several labels and grades. Why this score and
not another: docs/decisions/0092-unlike-training.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.evaluation._placements import measure_area, place_scores
from zoo.evaluation.conformal import find_quantile
from zoo.evaluation.intervals import bound_area, bound_share
from zoo.spec import Interval, Novelty, NoveltyReport, UnlikeSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "LARGEST",
    "SHORTEST",
    "FeatureSpace",
    "count_axes",
    "fit_space",
    "judge_novelty",
    "score_novelty",
    "settle_novelty",
]

AXES = 64
"""Most principal axes; 16 and 32 told shifts apart less well."""
SHARE = 0.02
"""Share of validation images that may lie above the threshold. At 0.01 the largest of 99 images decides alone."""
FEWEST = 20
"""Fewer training images than this say nothing of a space."""
WIDEST = 2**14
"""More features than this are pixels rather than features."""
LARGEST = 1e15
"""Features are cut off here, so that no square leaves float32."""
SHORTEST = 1e-12
"""Least length of a row: features of only zeros stay zeros."""
_NUMBERS = 250_000
"""Most numbers in a file for it: a megabyte."""
_FLAT = 0.02
"""Least standard deviation along an axis, in sizes of one feature of a row of length 1: rounding is all below it."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """Where features of training images lie, all float32.

    Attributes:
        mean: (D,) mean of rows of length 1.
        axes: (D, k) orthonormal principal axes.
        spread: (k,) standard deviation along each.
        rest: standard deviation in every other direction.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    spread: NDArray[np.float32]
    rest: float


def count_axes(n: int, width: int) -> int:
    """How many axes a space of n images with so many features has at most; 0: they say nothing of one."""
    if n < FEWEST or width > WIDEST:
        return 0
    return min(AXES, n // 4, width // 2, _NUMBERS // width - 1)


def fit_space(features: NDArray[Any]) -> FeatureSpace | None:
    """The space of training images; None: they say nothing of one, see `count_axes`.

    Args:
        features: (n, D), of training images.
    """
    n, width = features.shape
    if not (most := count_axes(n, width)):
        return None
    rows = _unit(np.asarray(features, np.float64))
    mean = rows.mean(axis=0)
    centred = rows - mean
    # Of the smaller of the two products, whose eigenvectors give those of the other.
    small = centred @ centred.T if n < width else centred.T @ centred
    values, vectors = np.linalg.eigh(small)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    k = min(most, int((values > 1e-9 * max(values[0], 1e-300)).sum()))
    axes = centred.T @ vectors[:, :k] if n < width else vectors[:, :k]
    axes /= np.maximum(np.linalg.norm(axes, axis=0), SHORTEST)
    variance = values / (n - 1)
    rest = max(float(variance.sum() - variance[:k].sum()), 0.0) / (width - k)
    least = _FLAT / math.sqrt(width)
    return FeatureSpace(
        mean=mean.astype(np.float32),
        axes=axes.astype(np.float32),
        spread=np.maximum(np.sqrt(variance[:k]), least).astype(np.float32),
        rest=float(np.float32(max(math.sqrt(rest), least))),
    )


def score_novelty(features: NDArray[Any], space: FeatureSpace) -> NDArray[np.float32]:
    """The score of each row, (n,) float32, 0 or more, finite for whatever is not NaN.

    The same steps in float32 as the nodes of `zoo.artefact`.

    Args:
        features: (n, D).
        space: where features of the training images lie.
    """
    rows = _unit(np.clip(np.asarray(features, np.float32), -LARGEST, LARGEST)) - space.mean
    along = rows @ space.axes  # (n, k)
    beside = (rows - along @ space.axes.T) / np.float32(space.rest)  # (n, D)
    squares = ((along / space.spread) ** 2).sum(axis=1) + (beside**2).sum(axis=1)
    return np.asarray(np.sqrt(squares / np.float32(rows.shape[1])), np.float32)


def settle_novelty(scores: NDArray[Any], share: float = SHARE, groups: NDArray[np.int64] | None = None) -> Novelty:
    """The threshold that at most `share` of images like those of validation pass, on average over validation sets.

    It is the ceil((n + 1)(1 - share))-th smallest score, as of a conformal quantile (Vovk et al. 2005). Where n is too
    small for that it is the largest, and more pass: 1 in n + 1. Where groups are known, each counts once, and n is
    their number, as for sets of labels (`zoo.evaluation.conformal`): the promise is for an image of a new patient.

    Args:
        scores: (n,) of validation images, at least one.
        share: number in (0, 1).
        groups: (n,) int, equal for images of one patient; None: all images are independent.
    """
    found, n = find_quantile(scores, groups, 1 - share)
    threshold = float(np.max(scores)) if found is None else found
    return Novelty(kind="features", threshold=threshold, share=share, n=n, grouped=groups is not None)


def judge_novelty(
    scores: NDArray[Any],
    novelty: Novelty,
    unlike: Mapping[str, NDArray[Any]] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> NoveltyReport:
    """How many images are flagged, of the judged ones and of others, and how well the score tells them apart.

    Args:
        scores: (n,) of the images under evaluation.
        novelty: threshold of the file.
        unlike: name of each set of other images to its (m,) scores.
        groups: (n,) int, equal for images of one patient; None: not known.
    """
    sets = (
        UnlikeSet(
            name=name,
            n=len(others),
            auroc=_bound_auroc(scores, others, groups),
            flagged=bound_share(~(others <= novelty.threshold)),
        )
        for name, others in (unlike or {}).items()
    )
    return NoveltyReport(
        threshold=novelty.threshold,
        share=novelty.share,
        n=len(scores),
        flagged=bound_share(~(scores <= novelty.threshold), groups=groups),
        unlike=tuple(sets),
    )


def _bound_auroc(judged: NDArray[Any], others: NDArray[Any], groups: NDArray[np.int64] | None) -> Interval:
    """Probability that one of `others` scores higher than one of `judged`, ties by half; `groups` are of the latter."""
    unlike = np.arange(len(judged) + len(others)) >= len(judged)
    places = place_scores(np.concatenate([judged, others])[:, None])[:, 0]
    area, influence = measure_area(places, unlike, ~unlike)
    units = len(judged)
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1]
        units = int(groups.max()) + 1
        groups = np.concatenate([groups, units + np.arange(len(others))])
    least = min(units, len(others))
    found = bound_area(area, influence, groups) if least > 1 else None
    return found or Interval.of_share(area, least)


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return np.asarray(rows / np.maximum(lengths, rows.dtype.type(SHORTEST)))
