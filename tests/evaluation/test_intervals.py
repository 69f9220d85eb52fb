"""Intervals: what they cover, that they never claim certainty, and that memory stays bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import UsageError
from zoo.evaluation import Cases, bootstrap, draws, interval, intervals, measure, wilson
from zoo.spec import Interval


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
