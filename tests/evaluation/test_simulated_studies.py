"""What intervals and tests promise, over studies that are drawn: 60 images, or 60 patients, and AUROC of 0.95 and more.

`benchmarks/coverage.py` draws more of them; its table is in BENCHMARKS.md.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from zoo.evaluation import Cases
from zoo.evaluation.comparison import Contender, compare
from zoo.evaluation.intervals import bound_area

ALIKE = 0.5
"""Correlation of two images of a patient, and of two models on an image."""


def draw(seed: int, patients: bool):
    """Targets, groups and a source of noise with variance 1: 30 + 30 images, or 60 patients of 1 to 12 images."""
    rng = np.random.default_rng(seed)
    if not patients:
        return np.arange(60) % 2, None, lambda: rng.normal(size=60)
    groups = np.repeat(np.arange(60), rng.integers(1, 13, 60))

    def noise():
        return np.sqrt(ALIKE) * rng.normal(size=60)[groups] + np.sqrt(1 - ALIKE) * rng.normal(size=len(groups))

    return groups % 2, groups, noise


def answer(scores):
    return np.stack([np.zeros(len(scores)), scores], axis=1)


@pytest.mark.parametrize("patients", [False, True])
@pytest.mark.parametrize("area", [0.95, 0.98])
def test_the_interval_of_a_high_auroc_holds_the_truth(area, patients):
    """A percentile bootstrap held it 88 to 91 times in 100."""
    held, studies, apart = 0, 1000, np.sqrt(2) * norm.ppf(area)
    for seed in range(studies):
        targets, groups, noise = draw(seed, patients)
        cases = Cases.of(answer(apart * targets + noise()), targets, groups=groups)
        areas, influence = cases.placements
        found = bound_area(float(areas[1]), influence[:, 1], cases.groups)
        held += found is None or found.low <= area <= found.high  # None: an AUROC of 1, whose interval ends there
    assert 0.93 <= held / studies <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("patients", [False, True])
def test_equally_good_models_of_a_high_auroc_are_called_different_as_often_as_promised(patients):
    """3 to 7 times in 100 by macro AUROC, give or take what 300 studies leave open."""
    called, studies, apart = 0, 300, np.sqrt(2) * norm.ppf(0.95)
    for seed in range(studies):
        targets, groups, noise = draw(seed, patients)
        shared = apart * (targets - 0.5) + np.sqrt(ALIKE) * noise()
        a, b = (Contender(name, answer(shared + np.sqrt(1 - ALIKE) * noise())) for name in "ab")
        found = compare([a, b], targets, "ab", groups=groups, resamples=200, seed=seed)
        called += found.pairs[0].verdict != "cannot tell"
    assert 0.03 <= called / studies <= 0.08
