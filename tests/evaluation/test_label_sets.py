"""Conformal sets are MAPIE's, keep their promise, and stay honest where images are few or of one patient."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused

from zoo.edge import find_sets
from zoo.errors import DataError, UsageError
from zoo.evaluation import Cases, fit_sets, judge_sets, measure_coverage

LABELS = ("a", "b", "c", "d")
K = len(LABELS)


def draw(n, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, K, n)
    return rng.normal(size=(n, K)) + (1.5 + shift) * (np.arange(K) == targets[:, None]), targets


def softmax(logits):
    return Cases.of(logits, np.zeros(len(logits), np.int64)).probabilities


class _NoDraw(np.random.RandomState):
    """MAPIE subtracts a random part of the true probability from the scores of APS; we do not."""

    def uniform(self, *_, size=None, **__):
        return np.zeros(size)


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize(("n", "coverage"), [(99, 0.9), (100, 0.9), (237, 0.8), (500, 0.95)])
def test_sets_are_those_of_mapie(method, n, coverage):
    mapie = pytest.importorskip("mapie.classification", reason="mapie is not installed")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """A model that is fitted, and is asked for probabilities alone."""

        classes_ = np.arange(K)
        fitted_ = True

        def fit(self, *_):
            return self

        def predict_proba(self, logits):
            return softmax(logits)

        def predict(self, logits):
            return logits.argmax(axis=1)

    logits, targets = draw(n, 1)
    fresh, _ = draw(400, 2)
    theirs = mapie.SplitConformalClassifier(
        Given(), confidence_level=coverage, conformity_score=method, prefit=True, random_state=_NoDraw(0)
    ).conformalize(logits, targets)
    ours = fit_sets(logits, targets, coverage=coverage, method=method)
    how = {"conformity_score_params": {"include_last_label": False}} if method == "aps" else {}
    expected = theirs.predict_set(fresh, **how)[1][:, :, 0]
    assert np.array_equal(find_sets(softmax(fresh), ours), expected)
    quantile = theirs._mapie_classifier.conformity_score_function_.quantiles_[0]
    assert ours.quantiles[0] == pytest.approx(quantile, abs=1.1e-5)


def test_of_few_images_every_label_is_in():
    logits, targets = draw(8, 0)  # ceil(9 · 0.9) = 9 > 8
    sets = fit_sets(logits, targets, coverage=0.9)
    assert (sets.quantiles, sets.n) == ((1.0,), (8,))
    assert find_sets(softmax(logits), sets).all()
    assert find_sets(softmax(logits), fit_sets(logits, targets, coverage=0.9, method="aps")).all()
    nine = fit_sets(*draw(9, 0), coverage=0.9)
    assert nine.quantiles[0] < 1


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_coverage_is_what_was_promised(method):
    """Over 200 validation sets of 50 images: without the finite-sample correction 0.884 at 0.9 (evidence)."""
    reached = []
    for seed in range(200):
        sets = fit_sets(*draw(50, seed), coverage=0.9, method=method)
        logits, targets = draw(500, 10_000 + seed)
        reached.append(measure_coverage(Cases.of(logits, targets), find_sets(softmax(logits), sets)).value)
    low = np.mean(reached)
    assert 0.895 <= low <= (0.93 if method == "lac" else 0.97)


def test_each_class_gets_its_coverage():
    """The rare class is hard: marginal sets leave it out, those for each class do not."""

    def hard(n, seed):
        rng = np.random.default_rng(seed)
        targets = (rng.random(n) < 0.08).astype(np.int64)
        score = rng.normal(size=n) + np.where(targets == 1, 0.6, 0) - 2.2
        return np.stack([np.zeros(n), score], axis=1), targets

    logits, targets = hard(2000, 0)
    fresh, truth = hard(4000, 1)
    cases = Cases.of(fresh, truth)
    once, each = (
        judge_sets(cases, ("a", "b"), fit_sets(logits, targets, coverage=0.9, per_class=way), resamples=20)
        for way in (False, True)
    )
    assert once.classes["b"].value < 0.5
    assert each.classes["b"].value == pytest.approx(0.9, abs=0.06)
    assert each.reached.value == pytest.approx(0.9, abs=0.03)


def test_a_patient_counts_once():
    """Patients of many images that are all alike do not make a sure quantile; one image each gives the plain one."""
    logits, targets = draw(300, 5)
    single = fit_sets(logits, targets, coverage=0.9, groups=np.arange(300))
    assert single == fit_sets(logits, targets, coverage=0.9)
    repeated = fit_sets(np.repeat(logits, 8, axis=0), np.repeat(targets, 8), coverage=0.9, groups=np.arange(2400) // 8)
    assert (repeated.quantiles, repeated.n) == (single.quantiles, (300,))
    few = fit_sets(np.repeat(logits[:8], 50, axis=0), np.repeat(targets[:8], 50), coverage=0.9,
                   groups=np.arange(400) // 50)  # fmt: skip
    assert few.quantiles == (1.0,)


def test_scores_that_tie_stay_in_after_float32():
    """A forest of ten trees answers in tenths: the truth of most images has exactly the quantile's score."""
    p = np.array([[0.9, 0.1]] * 60 + [[0.7, 0.3]] * 40)
    sets = fit_sets(np.log(p), np.zeros(100, np.int64), coverage=0.6)
    inside = find_sets(np.float64(np.float32(p)), sets)
    assert inside[:, 0].sum() == 100  # ceil(101 · 0.6) = 61: the score 0.3, which 40 images have


def test_the_report_counts_sets():
    logits, targets = draw(500, 7)
    sets = fit_sets(*draw(300, 8), coverage=0.9)
    cases = Cases.of(logits, targets)
    found, inside = judge_sets(cases, LABELS, sets, resamples=200), find_sets(cases.probabilities, sets)
    held = inside[np.arange(500), targets]
    assert found.reached.value == held.mean()
    assert found.reached.method == "wilson"
    assert found.sizes == tuple(np.bincount(inside.sum(axis=1), minlength=5))
    assert found.size.value == pytest.approx(inside.sum() / 500)
    assert found.size.low < found.size.value < found.size.high
    single = inside.sum(axis=1) == 1
    assert (found.single.value, found.single_right.value) == (single.mean(), held[single].mean())
    assert found.classes["b"].value == held[targets == 1].mean()
    assert measure_coverage(cases, inside, targets == 9) is None


def test_what_has_no_sets_is_refused():
    logits, targets = draw(30, 0)
    with refused("option-value", UsageError, option="coverage"):
        fit_sets(logits, targets, coverage=1.0)
    with refused("sets-several-labels", DataError):
        fit_sets(logits, (targets[:, None] == np.arange(K)).astype(np.int64), coverage=0.9)
