"""Intervals: what they cover, that they never claim certainty, and that memory stays bounded."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from zoo.errors import UsageError
from zoo.evaluation import (
    Cases,
    bootstrap,
    bound_share,
    choose_points,
    curve_of,
    decisions,
    draws,
    fit_sets,
    interval,
    intervals,
    judge_points,
    judge_sets,
    measure,
    wilson,
)
from zoo.spec import Interval
from zoo.workflow._site import compare_losses


def test_the_accuracy_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    n, truth, runs, hits = 100, 0.85, 300, 0
    weights = np.concatenate(list(draws(n, 500)))
    for _ in range(runs):
        right = rng.random(n) < truth
        found = interval(float(right.mean()), weights @ right / n, n)
        hits += found.low <= truth <= found.high
    assert 0.90 <= hits / runs <= 0.98


def test_the_bootstrap_measures_every_resample_however_it_is_cut(monkeypatch):
    rng = np.random.default_rng(0)
    cases = Cases.of(rng.normal(size=(40, 3)), rng.integers(0, 3, 40))
    whole = bootstrap(lambda w: measure(cases, w), draws(40, 30, seed=2))
    monkeypatch.setattr(intervals, "CELLS", 280)
    chunks = [chunk.shape for chunk in draws(40, 30, seed=2)]
    cut = bootstrap(lambda w: measure(cases, w), draws(40, 30, seed=2))
    assert chunks == [(7, 40)] * 4 + [(2, 40)]
    for name, values in whole.items():
        assert values.shape[-1] == 30
        np.testing.assert_array_equal(values, cut[name])


def test_draws_are_whole_resamples_and_follow_the_seed():
    first, again, other = (next(draws(25, 50, seed)) for seed in (1, 1, 2))
    assert (first.sum(axis=1) == 25).all()
    assert (first == again).all()
    assert (first != other).any()


def test_ten_of_ten_is_not_certainty():
    """A percentile bootstrap says 1.00 to 1.00 here."""
    found = interval(1.0, np.ones(1000), 10)
    assert found.method == "wilson"
    assert found.high == 1.0
    assert found.low == pytest.approx(0.7225, abs=1e-4)  # 10 / (10 + 1.96²)


def test_wilson_gives_the_published_interval():
    """81 of 263: Newcombe 1998, Statistics in Medicine 17:857, table I, method 3."""
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0 / 20, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_no_interval_where_most_resamples_are_undefined():
    resampled = np.array([np.nan] * 501 + [0.5, 0.7] * 249 + [0.6])
    assert interval(0.6, resampled, 10) is None
    assert interval(0.6, resampled[2:], 10) is not None


def test_whatever_is_resampled_says_of_how_many_patients(monkeypatch):
    """Or of few patients a range of thresholds, a curve, a size of sets or a change of losses is too narrow."""
    rng, said = np.random.default_rng(0), []
    tail = intervals.find_tail
    for module in (intervals, decisions):
        monkeypatch.setattr(module, "find_tail", lambda units: said.append(units) or tail(units))
    targets, groups = np.arange(60) % 2, np.arange(60) // 10
    logits = rng.normal(size=(60, 2)) + (targets[:, None] == np.arange(2))
    cases = Cases.of(logits, targets, groups=groups)
    sets = fit_sets(logits, targets, coverage=0.8)
    points = choose_points(["youden:b"], logits, targets, "ab", groups=groups, resamples=100)
    judged = SimpleNamespace(logits=logits, images=SimpleNamespace(targets=targets, groups=groups))
    for make in (
        lambda: choose_points(["youden:b"], logits, targets, "ab", groups=groups, resamples=100),
        lambda: judge_points(cases, "ab", points, resamples=100),
        lambda: curve_of(cases, logits.argmax(axis=1), resamples=100),
        lambda: judge_sets(cases, "ab", sets, resamples=100),
        lambda: compare_losses(judged, judged, 1.0, 2.0),
    ):
        said.clear()
        make()
        assert set(said) == {6}


def test_the_wilson_interval_can_be_taken_on_another_scale():
    found = interval(0.0, np.zeros(100), 10, to_unit=lambda x: float(np.exp(-x)), from_unit=lambda u: float(-np.log(u)))
    assert found == Interval(value=0.0, low=0.0, high=pytest.approx(0.325, abs=1e-3), method="wilson")


@settings(max_examples=100)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 1), st.integers(1, 1000))
def test_an_interval_holds_its_value_and_stays_in_range(resampled, value, trials):
    found = interval(value, np.array(resampled), trials)
    assert 0 <= found.low <= value <= found.high <= 1
    assert found.low < found.high


def test_a_bootstrap_of_nothing_is_refused():
    with pytest.raises(UsageError, match="0 resamples"):
        next(draws(10, 0))


def test_a_share_of_few_images_has_wilsons_interval():
    """6 of 9: a percentile bootstrap says 0.333 to 1. The numbers are of statsmodels 0.15.0, proportion_confint."""
    hits = np.array([True] * 6 + [False] * 3)
    found = bound_share(hits)
    assert (found.value, found.method) == (6 / 9, "wilson")
    assert (found.low, found.high) == pytest.approx((0.3542021355803961, 0.879416181613089), abs=1e-12)
    for right, n in ((0, 7), (7, 7), (48, 60), (997, 1000)):
        found = bound_share(np.arange(n) < right)
        want = binomtest(right, n).proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx((want.low, want.high), abs=1e-12)


def test_a_share_counts_its_trials_alone():
    hits, trials = np.array([True, False, True, True]), np.array([True, True, False, True])
    assert bound_share(hits, trials) == bound_share(hits[trials])
    assert bound_share(hits, np.zeros(4, bool)) is None


def test_images_of_one_patient_are_worth_less_than_images_of_many():
    rng = np.random.default_rng(0)
    right = rng.random(40) < 0.7
    alone = bound_share(right)
    assert bound_share(right, groups=np.arange(40) + 5) == alone
    alike = bound_share(np.repeat(right, 8), groups=np.repeat(np.arange(40), 8))
    assert (alike.low, alike.high) == pytest.approx((alone.low, alone.high), abs=1e-3)
    mixed = bound_share(rng.random(320) < 0.7, groups=np.repeat(np.arange(40), 8))
    assert mixed.high - mixed.low < 0.6 * (alone.high - alone.low)
    assert bound_share(np.ones(40, bool), groups=np.repeat(np.arange(5), 8)).low == pytest.approx(
        5 / (5 + 3.8415), abs=1e-4
    )


@pytest.mark.parametrize(
    ("patients", "share", "alike"), [(10, 0.8, 0.5), (20, 0.95, 0.5), (60, 0.95, 0.8), (60, 0.8, 0.1)]
)
def test_the_interval_of_a_share_of_patients_holds_the_truth(patients, share, alike):
    """1 to 12 images a patient; a bootstrap over patients held the truth 83 to 94 times in 100 here."""
    rng = np.random.default_rng(1)
    odds, held, runs = (1 - alike) / alike, 0, 2000
    for _ in range(runs):
        groups = np.repeat(np.arange(patients), rng.integers(1, 13, patients))
        hits = rng.random(len(groups)) < rng.beta(share * odds, (1 - share) * odds, patients)[groups]
        found = bound_share(hits, groups=groups)
        held += found.low <= share <= found.high
    assert 0.93 <= held / runs <= 0.99
