"""Several models' answers as one: a weighted mean of calibrated probabilities, and weights learnt on validation.

The linear opinion pool (Genest and Zidek 1986, Stat. Sci. 1:114) of probabilities that are each calibrated first. Its
weights are learnt on images that no member was trained on, by their likelihood, as in stacking (Smyth and Wolpert 1999,
Mach. Learn. 36:59; the super learner, van der Laan, Polley and Hubbard 2007, Stat. Appl. Genet. Mol. Biol. 6:25). All
labels share them: one number for each member is what few images can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import DataError
from zoo.evaluation._design import count_units
from zoo.evaluation._scores import Array, check_logits, log_sigmoid, log_softmax, task_of
from zoo.evaluation.calibration import FEWEST
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.spec import Task

__all__ = ["Weighing", "learn_weights", "pool_logits"]

PRIOR = 1.0
"""Images that each member is credited with beforehand, so that a handful cannot speak for one member alone. Estimated
weights of equally good members lose to equal ones (the forecast combination puzzle; Smith and Wallis 2009, Oxf. Bull.
Econ. Stat. 71:331). Learnt on 30 images of blood cells, two networks alike: 0.0145 nats lost without credit, 0.0016
with 1, none with 10; one member far better than the others: 0.025 lost with 1, 0.081 with 10."""

USELESS = 0.01
"""A member that the images alone would give less than this adds nothing that they can show."""

_ENOUGH = 1e-6
"""Nats that the mean log-likelihood may still lie below its largest value."""
_MOST_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Weighing:
    """What each member's answer counts.

    Attributes:
        weights: sum to one, none is 0.
        alone: what the images alone would say, without the credit beforehand; None: too few images, all are equal.
        nll: mean negative log-likelihood of the pool on those images, in nats.
        nll_equal: mean negative log-likelihood with equal weights, in nats.
        units: independent images (or groups) that decided.
    """

    weights: tuple[float, ...]
    alone: tuple[float, ...] | None
    nll: float
    nll_equal: float
    units: int

    @property
    def useless(self) -> tuple[int, ...]:
        """Positions of members that the images alone would leave out."""
        return () if self.alone is None else tuple(i for i, weight in enumerate(self.alone) if weight < USELESS)


def pool_logits(logits: Sequence[NDArray[Any]], weights: Sequence[float], task: Task) -> Array:
    """Logits of the weighted mean of the members' probabilities.

    Args:
        logits: each member's logits (n, K), already divided by its temperature.
        weights: one for each member, above 0.
        task: multiclass: probabilities are softmaxes, and the result is their mean's logarithm. multilabel: they are
            sigmoids, and the result is their mean's log-odds.

    Returns:
        (n, K) float64.
    """
    shares = np.log(np.asarray(weights, np.float64))[:, None, None]

    def log_mean(logs: list[Array]) -> Array:
        return np.asarray(np.logaddexp.reduce(np.stack(logs) + shares, axis=0))

    if task == "multilabel":
        return log_mean([log_sigmoid(one) for one in logits]) - log_mean(
            [log_sigmoid(-np.asarray(one)) for one in logits]
        )
    return log_mean([log_softmax(one) for one in logits])


def learn_weights(
    logits: Sequence[NDArray[Any]], targets: NDArray[Any], groups: NDArray[np.int64] | None = None
) -> Weighing:
    """The weights under which the pool finds the truth most likely, drawn towards equal ones by `PRIOR`.

    The likelihood of a mixture with fixed components is concave in its weights, so there is one best choice. We
    find it by expectation maximisation (Dempster, Laird and Rubin 1977), which for this problem is Cover's portfolio
    algorithm (1984, IEEE Trans. Inf. Theory 30:369): w_i grows by the mean of p_i / p, and the logarithm of the largest
    such mean bounds what is left to gain. The credit beforehand is a Dirichlet prior. Equal weights where fewer than 20
    independent images decide, too few for a temperature as well.

    Args:
        logits: each member's logits (n, K), divided by its temperature, on images that no member was trained on.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN, where every known label of an image counts.
        groups: (n,) int, equal for images of one patient: then so many patients decide, not images.

    Raises:
        DataError: logits and targets do not belong together.
        ModelError: a logit is not finite.
    """
    if not logits:
        raise DataError("no member to weigh, expected at least one", code="ensemble-empty")
    likelihoods = np.stack([_likelihood(one, targets) for one in logits])  # (M, n or known labels of images)
    told = np.atleast_2d(np.not_equal(targets, UNKNOWN).T).any(axis=0)  # (n,) images that say something
    members, n = len(likelihoods), count_units(int(told.sum()), None if groups is None else groups[told])
    equal = np.full(members, 1 / members)
    if n < FEWEST:
        nll = _nll(likelihoods, equal)
        return Weighing(tuple(equal.tolist()), None, nll, nll, n)
    alone = _maximise(likelihoods, credit=0.0)
    weights = _maximise(likelihoods, credit=PRIOR / n)
    return Weighing(
        tuple(weights.tolist()), tuple(alone.tolist()), _nll(likelihoods, weights), _nll(likelihoods, equal), n
    )


def _likelihood(logits: NDArray[Any], targets: NDArray[Any]) -> Array:
    """Logarithm of the probability that was given to each truth: (n,), multilabel one for each known label."""
    values, truth = check_logits(logits, targets)
    if task_of(truth) == "multilabel":
        return log_sigmoid(np.where(truth == 1, values, -values)[truth != UNKNOWN])
    return np.asarray(log_softmax(values)[np.arange(len(values)), truth])


def _maximise(logs: Array, credit: float) -> Array:
    """Weights (M,) of the largest mean log-likelihood + credit · sum of their logarithms.

    Args:
        logs: (M, n) log-likelihoods.
        credit: images credited to each member, as a share of all.
    """
    members = len(logs)
    ratios = np.exp(logs - logs.max(axis=0))  # (M, n): only ratios within an image matter
    weights = np.full(members, 1 / members)
    for _ in range(_MOST_STEPS):
        gain = (ratios / (weights @ ratios)).mean(axis=1)
        wanted = (weights * gain + credit) / (1 + members * credit)
        # Without credit log(max gain) bounds what is left to gain (Cover 1984); with it the step says when to stop.
        left = float(np.log(gain.max())) if credit == 0 else float(np.abs(wanted - weights).max())
        weights = wanted / wanted.sum()
        if left <= _ENOUGH:
            break
    return weights


def _nll(logs: Array, weights: Array) -> float:
    return -float(np.logaddexp.reduce(logs + np.log(weights)[:, None], axis=0).mean())
