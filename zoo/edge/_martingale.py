"""Tests of a stream that may be looked at after every image, and still raise few false alarms.

Numbers: each new value gets a p-value, its rank among the reference and all values before it. While all of these are
exchangeable, p-values are independent and uniform, however small the reference is (Vovk, Nouretdinov and Gammerman
2003, "Testing exchangeability on-line"). A martingale bets against that. It starts at 1 and grows only where p-values
are not uniform; the probability that it ever reaches 1/alpha is at most alpha (Ville 1939). The bets are those of the
Composite Jumper (Vovk et al. 2021, "Retrain or not retrain: conformal test martingales for change-point detection",
PMLR 152, algorithm 1): on p, which sees a shift, and on |2p - 1|, which sees a spread. Both are bets on the same
p-values, so their mean is a martingale, too.

Shares: yes and no tie so often that ranks are mostly drawn. Their evidence is the probability of reference and stream
by a mixture of Krichevsky and Trofimov, in which the share changes once, at one of many places, over the largest that
any constant share gives them. For the true share that ratio is at most a martingale that starts at 1, so Ville's
bound holds for it as well (Wasserman, Ramdas and Balakrishnan 2020, "Universal inference", section 8).

What this module does not know: images, tables, what a value means.
"""

from __future__ import annotations

import bisect
import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["bet", "find_change", "find_start", "most", "rank_values", "weigh_shares"]

_JUMPS = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])[:, None]
"""How readily a bet changes its side."""
_SIDES = np.array([-1.0, 0.0, 1.0])
"""Bets on small values, on nothing, on large ones."""
_SECOND = 25
"""Images after which a share may change: none, this many, and then ever twice as many."""


def rank_values(seed: str, reference: Sequence[float], stream: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values of numbers.

    Args:
        seed: text from which the numbers that break ties are drawn; one site's is not another's.
        reference: numbers in rising order.
        stream: (T,) numbers in the order of the stream.

    Returns:
        (T,) in [0, 1]; small where the number is large.
    """
    seen, p = list(reference), np.empty(len(stream))
    for at, (value, between) in enumerate(zip(stream.tolist(), _draw(seed, len(stream)), strict=True)):
        right = bisect.bisect_right(seen, value)
        equal = right - bisect.bisect_left(seen, value) + 1
        p[at] = (len(seen) - right + between * equal) / (len(seen) + 1)
        seen.insert(right, value)
    return p


def weigh_shares(hits: NDArray[np.int64], n: int, stream: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Evidence that shares have changed.

    Args:
        hits: (K,) how many of the `n` images of the reference are yes, for each of K questions.
        n: images of the reference.
        stream: (T, K) yes or no, in the order of the stream.

    Returns:
        (T, K) natural logarithm of the evidence after each image.
    """
    length = len(stream)
    counts = np.vstack([np.zeros_like(hits), np.cumsum(stream, axis=0)])  # (T + 1, K)
    times = np.arange(length + 1)[:, None]
    yes, of = hits + counts, n + times
    predict = _predictor(n + length)
    constant = predict(yes, of)
    starts = [0]
    while (later := 2 * starts[-1] or _SECOND) < length:
        starts.append(later)
    found = constant - math.log(len(starts) + 1)  # all later places together
    for place, at in enumerate(starts):
        told = constant.copy()
        told[at:] = constant[at] + predict(counts[at:] - counts[at], times[at:] - at)
        found = np.logaddexp(found, told - math.log((place + 1) * (place + 2)))
    largest = _times_log(yes) + _times_log(of - yes) - _times_log(of)
    return np.asarray((found - largest)[1:], np.float64)


def find_change(hits: int, n: int, stream: NDArray[np.bool_]) -> int:
    """After how many images of a stream, (T,), its share most likely changed; arguments as of `weigh_shares`."""
    counts, times = np.concatenate([[0], np.cumsum(stream)]), np.arange(len(stream) + 1)
    predict = _predictor(n + len(stream))
    told = predict(hits + counts, n + times) + predict(counts[-1] - counts, times[-1] - times)
    return int(np.argmax(told[:-1]))


def _predictor(most: int) -> Callable[[Any, Any], NDArray[np.float64]]:
    """Logarithm of the probability of `yes` among `of` answers in one order (Krichevsky and Trofimov 1981)."""
    halves, wholes = (np.concatenate([[0.0], np.cumsum(np.log(np.arange(most) + at))]) for at in (0.5, 1.0))

    def predict(yes: Any, of: Any) -> NDArray[np.float64]:
        return np.asarray(halves[yes] + halves[of - yes] - wholes[of], np.float64)

    return predict


def _times_log(count: Any) -> NDArray[np.float64]:
    return np.asarray(count * np.log(np.maximum(count, 1)), np.float64)


def bet(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm of the martingales.

    Args:
        p: (T, …) p-values, a stream along the first axis.

    Returns:
        (T, …), after each of the T.
    """
    parts = 2 * len(_JUMPS)
    held = np.full((*p.shape[1:], 2, len(_JUMPS), len(_SIDES)), 1 / len(_SIDES))  # shares of each part's capital
    capital = np.zeros(held.shape[:-1])  # its logarithm
    found = np.empty(p.shape)
    for at, now in enumerate(p):
        looks = np.stack([now, np.abs(2 * now - 1)], axis=-1)[..., None, None]
        held = (1 - _JUMPS) * held + _JUMPS / len(_SIDES)
        held *= 1 + _SIDES * (looks - 0.5)
        grown = held.sum(axis=-1)
        held /= grown[..., None]
        capital += np.log(grown)
        flat = capital.reshape(*capital.shape[:-2], parts)
        largest = flat.max(axis=-1)
        found[at] = largest + np.log(np.exp(flat - largest[..., None]).mean(axis=-1))
    return found


def find_start(p: NDArray[np.float64]) -> int:
    """After how many of the p-values, (T,), they most likely ceased to be uniform.

    That is where the mean of p or of |2p - 1| from there on is furthest from a half, in standard errors.
    """
    looks = np.stack([p, np.abs(2 * p - 1)]) - 0.5
    later = np.cumsum(looks[:, ::-1], axis=1)[:, ::-1]  # sums from each place on
    return int(np.argmax((later**2 / np.arange(len(p), 0, -1)).max(axis=0)))


def most(images: int) -> float:
    """The most that `bet` can reach with so many images, to say whether an alarm was possible at all."""
    enough = min(images, 1000)
    return float(bet(np.zeros((enough, 1)))[-1, 0]) if enough else -math.inf


def _draw(seed: str, count: int) -> list[float]:
    """Numbers in [0, 1) that break ties: the same for a longer stream, so that looking again changes nothing."""
    drawn: list[Any] = np.random.default_rng(zlib.crc32(seed.encode())).random(count).tolist()
    return drawn
