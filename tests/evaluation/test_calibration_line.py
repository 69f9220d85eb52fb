"""Slope and intercept of calibration: what they are, that their intervals hold, and where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from zoo.evaluation import Cases, report
from zoo.evaluation._logistic import fit_line
from zoo.spec import EvalReport, Fingerprint, Interval

DATA = Fingerprint(name="made", sha256="0" * 64, n=1, splits={"test": 1})


def expit(odds: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1 / (1 + np.exp(-odds)))


def two_classes(odds: NDArray[Any]) -> NDArray[Any]:
    return np.column_stack([np.zeros(len(odds)), odds])


def lines(cases: Cases, k: int = 1) -> tuple[Interval, Interval]:
    slope, intercept = fit_line(cases, k, "ill")
    assert isinstance(slope, Interval)
    assert isinstance(intercept, Interval)
    return slope, intercept


def judge(logits: NDArray[Any], targets: NDArray[Any], labels: tuple[str, ...]) -> EvalReport:
    return report(
        logits, targets, labels, model="m", split="test", temperature=1.0, fingerprint=DATA, resamples=50
    )  # fmt: skip


def test_slope_and_intercept_are_those_of_a_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(-1, 2, 400)
    held = (rng.random(400) < expit(0.5 + 0.6 * odds)).astype(int)
    slope, intercept = lines(Cases.of(two_classes(odds), held))
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(odds[:, None], held)
    assert slope.value == pytest.approx(peer.coef_[0, 0], abs=1e-3)
    assert expit(odds + intercept.value).mean() == pytest.approx(held.mean(), abs=1e-5)
    for found in (slope, intercept):
        assert found.low < found.value < found.high
        assert found.method == "delta"
    assert slope.high < 1
    assert intercept.low > 0


@pytest.mark.parametrize("far", [1.0, 8.0, 20.0], ids=["probabilities between 0 and 1", "all near 1", "all 1"])
def test_probabilities_that_are_too_large_on_the_whole_have_a_falling_intercept(far: float) -> None:
    rng = np.random.default_rng(1)
    odds = rng.normal(0, 1, 2000)
    held = (rng.random(2000) < expit(odds)).astype(int)
    slope, intercept = lines(Cases.of(two_classes(odds + far), held))
    assert slope.low < 1 < slope.high
    assert intercept.value == pytest.approx(-far, abs=0.15)


def test_two_classes_say_the_same_of_each_other() -> None:
    rng = np.random.default_rng(2)
    odds = rng.normal(0, 2, 300)
    cases = Cases.of(two_classes(odds), (rng.random(300) < expit(0.7 * odds - 0.5)).astype(int))
    (first, one), (second, other) = lines(cases, 0), lines(cases, 1)
    assert (first.value, first.low) == pytest.approx((second.value, second.low))
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


@pytest.mark.parametrize("alike", [None, 0.0, 1.0], ids=["images", "patients of unlike images", "of alike images"])
def test_the_intervals_hold_the_truth_as_often_as_they_say(alike: float | None) -> None:
    rng = np.random.default_rng(3)
    hits = []
    groups = None if alike is None else np.repeat(np.arange(40), 4)
    for _ in range(400):
        odds, drawn = rng.normal(-1, 1.5, 160), rng.random(160)
        if groups is not None:
            shared = rng.normal(size=40)[groups]
            odds = -1 + 1.5 * (np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.normal(size=160))
            drawn = np.where(rng.random(160) < alike, rng.random(40)[groups], drawn)
        cases = Cases.of(two_classes(odds), (drawn < expit(odds)).astype(int), groups=groups)
        slope, intercept = lines(cases)
        hits.append((slope.low <= 1 <= slope.high, intercept.low <= 0 <= intercept.high))
    shares = np.mean(hits, axis=0)
    assert (shares >= 0.92).all(), shares
    assert alike == 0.0 or (shares <= 0.985).all(), shares


def test_a_label_of_several_is_judged_on_the_images_that_it_is_known_of() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (600, 2))
    targets = (rng.random((600, 2)) < expit(logits)).astype(int)
    known = rng.random(600) < 0.5
    targets[~known, 1] = -1
    slope, intercept = lines(Cases.of(logits, targets))
    alone = lines(Cases.of(two_classes(logits[known, 1]), targets[known, 1]))
    assert (slope, intercept) == alone
    found = judge(logits, targets, ("a", "ill"))
    assert found.calibration is not None
    assert found.calibration.per_class["ill"].slope == slope
    assert found.calibration.per_class["ill"].intercept == intercept


@pytest.mark.parametrize(
    ("odds", "held", "lost"),
    [
        (np.linspace(-3, 3, 100), np.arange(100) >= 50, {"slope"}),
        (np.linspace(-3, 3, 100), np.arange(100) < 50, {"slope"}),
        (np.zeros(100), np.arange(100) % 2 == 0, {"slope"}),
        (np.linspace(-3, 3, 100), np.arange(100) % 30 == 0, {"slope", "intercept"}),
        (np.linspace(-3, 3, 100), np.zeros(100, bool), {"slope", "intercept"}),
        (np.where(np.arange(100) % 2, 60.0, -60.0), np.arange(100) % 2 == 0, {"slope", "intercept"}),
        (np.where(np.arange(100) % 2, 900.0, -900.0), np.arange(100) % 2 == 0, {"slope", "intercept"}),
    ],
    ids=["separated", "the wrong way", "all the same", "too few", "one class", "surely wrong", "beyond numbers"],
)
def test_what_no_line_fits_is_undefined_with_its_reason(odds: NDArray[Any], held: NDArray[Any], lost: set[str]) -> None:
    found = judge(two_classes(odds), held.astype(int), ("well", "ill"))
    assert found.calibration is not None
    row = found.calibration.per_class["ill"]
    for name in ("slope", "intercept"):
        assert (getattr(row, name) is None) == (name in lost)
        assert (f"ill.calibration_{name}" in found.undefined) == (name in lost)


def test_few_patients_are_few_however_many_their_images_are() -> None:
    rng = np.random.default_rng(5)
    odds = rng.normal(size=200)
    held = np.repeat(np.arange(8) % 2, 25)
    assert isinstance(fit_line(Cases.of(two_classes(odds), held), 1, "ill")[0], Interval)
    grouped = Cases.of(two_classes(odds), held, groups=np.repeat(np.arange(8), 25))
    assert all(isinstance(one, str) for one in fit_line(grouped, 1, "ill"))
