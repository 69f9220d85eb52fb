"""Calibration: the temperature, the losses and the reliability curve."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as oracle

from zoo.evaluation import Cases, doubt_temperature, fit_temperature, ones, reliability, report
from zoo.evaluation.calibration import losses
from zoo.spec import Fingerprint


def calibrated(n: int, classes: int, seed: int = 0):
    """Logits whose softmax is the very distribution the targets are drawn from."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, classes))
    noise = rng.gumbel(size=(n, classes))
    return logits, (logits + noise).argmax(axis=1)


def by_class(logits, targets):
    about = Fingerprint(name="made", sha256="0" * 64, n=400, splits={"test": 400})
    options = {"model": "m", "split": "test", "temperature": 1, "fingerprint": about, "resamples": 200}
    return report(logits, targets, "abc", **options).calibration.per_class


def test_each_class_has_a_calibration_of_its_own():
    logits, targets = calibrated(400, 3)
    honest = by_class(logits, targets)
    logits[:, 2] += 1.5  # the third class is called too often
    found = by_class(logits, targets)
    assert list(found) == ["a", "b", "c"]
    for k, one in enumerate(found.values()):
        p, truth = Cases.of(logits, targets).probabilities[:, k], targets == k
        assert one.brier.value == pytest.approx(oracle.brier_score_loss(truth, p))
        assert one.brier.low < one.brier.value < one.brier.high
        assert sum(each.n for each in one.bins) == 400
        gaps = [each.n * abs(each.observed.value - each.probability) for each in one.bins]
        assert one.ece == pytest.approx(sum(gaps) / 400)
        assert {each.observed.method for each in one.bins} == {"wilson"}
    missed, few = (
        sum(not each.observed.low <= each.probability <= each.observed.high for each in one.bins)
        for one in (found["c"], honest["c"])
    )
    assert missed > 5
    assert few <= 2


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_the_temperature_recovers_a_known_scale(scale):
    logits, targets = calibrated(6000, 4)
    assert fit_temperature(scale * logits, targets) == pytest.approx(scale, rel=0.06)


def test_the_temperature_stays_at_one_where_images_can_not_tell():
    """A temperature fitted on a handful of images, or on no error at all, would ship boundless confidence."""
    logits, targets = calibrated(200, 3)
    assert fit_temperature(logits[:19], targets[:19]) == 1.0
    assert fit_temperature(logits, np.zeros(200, int)) == 1.0
    assert fit_temperature(np.eye(3)[targets], targets) == 1.0
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


@pytest.mark.parametrize(
    ("images", "logits", "truth"),
    [
        (slice(19), None, None),
        (slice(200), None, np.zeros(200, int)),
        (slice(200), "truth", None),
        (slice(0), None, None),
        (slice(19), None, "several"),
        (slice(200), None, np.ones((200, 3), int)),
        (slice(200), "truth", "several"),
    ],
    ids=["few", "one class", "all right", "none", "few, several labels", "one answer", "all right, several labels"],
)
def test_the_temperature_before_stays_where_images_can_not_tell(images, logits, truth):
    """A file calibrated at 2.5 would become too sure, or too little, for no reason that is in the images."""
    values, targets = calibrated(200, 3)
    values = 5 * np.eye(3)[targets] - 2 if logits == "truth" else values
    targets = targets if truth is None else (np.eye(3, dtype=int)[targets] if isinstance(truth, str) else truth)
    assert fit_temperature(values[images], targets[images], fallback=2.5) == 2.5
    assert doubt_temperature(values[images], targets[images])
    assert doubt_temperature(*calibrated(200, 3)) is None


def test_the_temperature_of_noise_is_bounded():
    rng = np.random.default_rng(0)
    found = fit_temperature(100 * rng.normal(size=(300, 2)), rng.integers(0, 2, 300))
    assert 10 < found <= 20.001


def test_losses_agree_with_scikit_learn():
    logits, targets = calibrated(200, 3)
    cases = Cases.of(logits, targets)
    weights = np.concatenate([ones(200), np.random.default_rng(0).integers(0, 3, (1, 200))])
    ours = losses(cases, weights)
    for b, weight in enumerate(weights):
        nll = oracle.log_loss(targets, cases.probabilities, sample_weight=weight)
        brier = np.average(((cases.probabilities - np.eye(3)[targets]) ** 2).sum(axis=1), weights=weight)
        assert ours["nll"][b] == pytest.approx(nll)
        assert ours["brier"][b] == pytest.approx(brier)


def test_a_calibrated_model_has_a_small_ece_and_a_boastful_one_a_large():
    logits, targets = calibrated(5000, 3)
    assert reliability(Cases.of(logits, targets)).ece < 0.02
    assert reliability(Cases.of(5 * logits, targets)).ece > 0.1


def test_the_reliability_curve_counts_every_image_once():
    logits, targets = calibrated(500, 2)
    curve = reliability(Cases.of(logits, targets))
    assert curve.count.sum() == 500
    there = curve.count > 0
    assert (curve.confidence[there] > curve.edges[:-1][there] - 1e-12).all()
    assert (curve.confidence[there] <= curve.edges[1:][there] + 1e-12).all()
    assert np.isnan(curve.accuracy[~there]).all()


def test_the_ece_is_the_mean_gap_over_images():
    """Four images at 0.9, three right; one at 0.6, right: (4 · |0.75 - 0.9| + 1 · |1 - 0.6|) / 5."""
    p = np.array([0.9, 0.9, 0.9, 0.9, 0.6])
    cases = Cases.of(np.log(np.stack([p, 1 - p], axis=1)), np.array([0, 0, 0, 1, 0]))
    assert reliability(cases).ece == pytest.approx((4 * 0.15 + 0.4) / 5)
