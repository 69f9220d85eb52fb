"""Labels that are likely wrong are found far better than by chance, and only by answers that did not learn them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from zoo.evaluation import Cases, rank_suspects
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

WRONG = 30


def _spoilt(n: int = 600, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Digits, labels of which 30 are wrong, and which these are."""
    images, truth = load_digits(return_X_y=True)
    images, truth = images[:n], truth[:n]
    rng = np.random.default_rng(seed)
    wrong = np.zeros(n, np.bool_)
    wrong[rng.choice(n, WRONG, replace=False)] = True
    return images, np.where(wrong, (truth + rng.integers(1, 10, n)) % 10, truth), wrong


def _answer(images: NDArray[np.float64], labels: NDArray[np.int64]) -> Cases:
    """Each image by neighbours of other folds."""
    p = cross_val_predict(KNeighborsClassifier(10), images, labels, cv=3, method="predict_proba")
    return Cases.of(np.log(p.clip(1e-3, 1)), labels)


def test_wrong_labels_come_first() -> None:
    """One label of 20 is wrong, so a list in any order has 0.05 of them."""
    images, labels, wrong = _spoilt()
    hits = [wrong[one.image] for one in rank_suspects(_answer(images, labels))]
    assert np.mean(hits[:10]) >= 0.8  # 0.9 when this was written
    assert np.mean(hits[:WRONG]) >= 0.7  # 0.8
    assert sum(hits) >= 20  # 24


def test_a_label_is_doubted_by_the_usual_probability_of_the_other_class() -> None:
    """Class b is never surer than 0.5, and an image of a has that of it: doubted, and without that no more."""
    p = np.array([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.25, 0.5, 0.25], [0.2, 0.45, 0.35], [0, 0, 1]])
    p = np.clip(p, 1e-6, 1)
    labels = np.array([0, 0, 0, 1, 1, 2])
    (one,) = rank_suspects(Cases.of(np.log(p), labels))
    assert (one.image, one.given, one.suggested, one.held) == (2, 0, 1, None)
    assert (one.probability, one.given_probability) == pytest.approx((0.5, 0.3), abs=1e-5)
    p[2] = (0.42, 0.46, 0.12)
    assert not rank_suspects(Cases.of(np.log(p), labels)), "0.46 is less than the mean of b, 0.475"


def test_ranks_count_over_all_and_within_the_label_that_is_given() -> None:
    images, labels, _ = _spoilt(300, seed=1)
    found = rank_suspects(_answer(images, labels))
    assert [one.rank for one in found] == list(range(1, len(found) + 1))
    margins = [one.probability - one.given_probability for one in found]
    assert margins == sorted(margins, reverse=True)
    for k in range(10):
        within = [one.rank_in_class for one in found if one.given == k]
        assert within == list(range(1, len(within) + 1))


def test_of_several_labels_each_is_doubted_for_itself_and_unknown_ones_never() -> None:
    logits = np.array([[3.0, -3], [3, -3], [-3, 3], [-3, 3], [4, 0], [-4, 4]])
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, UNKNOWN], [0, 0]])
    found = rank_suspects(Cases.of(logits, targets))
    assert [(one.image, one.given, one.suggested, one.held) for one in found] == [(4, 0, 0, False), (5, 1, 1, False)]
    assert found[0].probability == pytest.approx(1 / (1 + np.exp(-4)))
