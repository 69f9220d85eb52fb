"""Weights of an ensemble: the best there are on many images, equal ones on few."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.evaluation import learn_weights, pool_logits
from zoo.evaluation._scores import log_sigmoid, log_softmax


def experts(n: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Three members for three classes, their logits and the truth: two know an image in two each, one knows nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=n)
    signal = 2.0 * np.eye(3)[truth]
    first = rng.random((n, 1)) < 0.5
    return [knows * signal + rng.normal(0, 0.3, (n, 3)) for knows in (first, ~first, np.zeros((n, 1)))], truth


def test_no_other_weights_find_the_truth_likelier() -> None:
    """The likelihood is concave, so a walk in any direction must not climb."""
    logits, truth = experts(4000)
    found = learn_weights(logits, truth)
    assert found.alone is not None
    best = np.array(found.alone)

    def loss(weights: np.ndarray) -> float:
        return -float(
            log_softmax(pool_logits(logits, np.maximum(weights, 1e-12), "multiclass"))[range(4000), truth].mean()
        )

    rng = np.random.default_rng(1)
    for _ in range(50):
        other = 0.9 * best + 0.1 * rng.dirichlet(np.ones(3))
        assert loss(other) >= loss(best) - 1e-6
    assert found.nll < found.nll_equal


def test_a_member_that_knows_nothing_is_named() -> None:
    found = learn_weights(*experts(4000))
    assert found.useless == (2,)
    assert 0 < found.weights[2] < 0.02
    assert sum(found.weights) == pytest.approx(1)


def test_few_images_leave_the_weights_near_equal_and_very_few_leave_them_equal() -> None:
    """What 25 images say of three members is mostly chance."""
    spread = [float(np.ptp(learn_weights(*experts(n)).weights)) for n in (25, 4000)]
    assert spread[0] < spread[1]
    found = learn_weights(*experts(19))
    assert found.weights == (1 / 3, 1 / 3, 1 / 3)
    assert found.alone is None
    assert found.useless == ()


def test_images_of_few_patients_count_as_few() -> None:
    logits, truth = experts(400)
    assert learn_weights(logits, truth, np.arange(400) % 10).alone is None
    grouped, alone = (learn_weights(logits, truth, groups).weights for groups in (np.arange(400) % 40, None))
    assert np.ptp(grouped) < np.ptp(alone)


def test_the_pool_is_the_mean_of_probabilities_for_both_tasks() -> None:
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 3, (7, 4)) for _ in range(3)]
    weights = (0.5, 0.3, 0.2)
    mean = sum(w * np.exp(log_softmax(one)) for w, one in zip(weights, logits, strict=True))
    assert np.allclose(np.exp(pool_logits(logits, weights, "multiclass")), mean)
    mean = sum(w * np.exp(log_sigmoid(one)) for w, one in zip(weights, logits, strict=True))
    assert np.allclose(np.exp(log_sigmoid(pool_logits(logits, weights, "multilabel"))), mean)


def test_logits_beyond_what_an_exponential_holds_stay_finite() -> None:
    far = [np.array([[900.0, -900.0]]), np.array([[-900.0, 900.0]])]
    assert np.isfinite(pool_logits(far, (0.5, 0.5), "multiclass")).all()
    assert np.isfinite(pool_logits(far, (0.5, 0.5), "multilabel")).all()


def test_labels_that_come_together_are_weighed_by_every_label() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=(500, 3))
    good, bad = 4.0 * (truth - 0.5), rng.normal(0, 1, (500, 3))
    found = learn_weights([good, bad], truth)
    assert found.weights[0] > 0.9
    assert found.useless == (1,)
