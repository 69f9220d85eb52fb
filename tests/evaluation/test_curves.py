"""ROC and precision-recall curves: the points are scikit-learn's, and the bands hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score, roc_curve

from zoo.evaluation import Cases, wilson
from zoo.evaluation.curves import POINTS, draw_curves


def scores(n: int, *, seed: int = 0, gain: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)).round(1)  # so that some tie
    logits[np.arange(n), targets] += gain
    return logits, targets


def test_the_curves_of_a_few_images_are_those_of_scikit_learn() -> None:
    logits, targets = scores(60)
    cases = Cases.of(logits, targets)
    roc, pr = draw_curves(cases, [1])[0]
    fpr, tpr, _ = roc_curve(targets == 1, cases.scores[:, 1], drop_intermediate=False)
    assert np.allclose(np.interp(fpr, roc.x, roc.y), np.interp(fpr, fpr, tpr))
    assert auc(roc.x, roc.y) == pytest.approx(roc_auc_score(targets == 1, cases.scores[:, 1]), abs=1e-9)
    precision, recall, _ = precision_recall_curve(targets == 1, cases.scores[:, 1])
    theirs = {(round(r, 9), round(p, 9)) for r, p in zip(recall, precision, strict=True)}
    assert all((round(r, 9), round(p, 9)) in theirs for r, p in zip(pr.x[1:], pr.y[1:], strict=True))


def test_a_long_curve_is_thinned_and_keeps_its_area() -> None:
    logits, targets = scores(6000)
    roc, pr = draw_curves(Cases.of(logits, targets), [0], resamples=20)[0]
    assert len(roc.x) <= POINTS
    assert len(pr.x) <= POINTS
    odds = Cases.of(logits, targets).scores[:, 0]
    assert auc(roc.x, roc.y) == pytest.approx(roc_auc_score(targets == 0, odds), abs=2e-3)


def test_a_band_holds_its_curve_and_is_never_narrower_than_wilson() -> None:
    logits, targets = scores(90, gain=3)
    cases = Cases.of(logits, targets)
    roc, _ = draw_curves(cases, [2])[0]
    at = np.interp(roc.places, roc.x, roc.y)
    for place, low, high in zip(at, roc.low, roc.high, strict=True):
        least, most = wilson(float(place), int(cases.counts[2]))
        assert low <= least + 1e-12
        assert high >= most - 1e-12


def test_bands_hold_the_truth_as_often_as_they_promise() -> None:
    """Sensitivity at a false positive rate of 0.2, of two normals 1.5 apart; the truth is Phi(1.5 - z(0.8))."""
    from scipy.stats import norm

    truth, held = float(norm.cdf(1.5 + norm.ppf(0.2))), 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        targets = np.arange(120) % 2
        logits = np.stack([np.zeros(120), rng.normal(size=120) + 1.5 * targets], axis=1)
        roc, _ = draw_curves(Cases.of(logits, targets), [1], resamples=100)[0]
        place = int(np.argmin(np.abs(roc.places - 0.2)))
        held += roc.low[place] <= truth <= roc.high[place]
    assert held >= 90  # 95 are promised; 90 or fewer have a probability of 3 %


def test_groups_widen_a_band() -> None:
    logits, targets = scores(90)
    each = np.repeat(np.arange(30), 3)
    single = draw_curves(Cases.of(np.repeat(logits[:30], 3, axis=0), np.repeat(targets[:30], 3)), [0])[0][0]
    grouped = draw_curves(Cases.of(np.repeat(logits[:30], 3, axis=0), np.repeat(targets[:30], 3), groups=each), [0])[0][
        0
    ]
    assert (grouped.high - grouped.low).mean() > 1.3 * (single.high - single.low).mean()


def test_a_class_without_images_has_no_curve() -> None:
    logits, targets = scores(30)
    assert draw_curves(Cases.of(logits, np.where(targets == 2, 0, targets)), [2]) == ()
