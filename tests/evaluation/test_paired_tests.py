"""DeLong's test and interval, McNemar's test, margins and numbers of images, against published numbers.

The numbers of pROC are those that its own tests hold (github.com/xrobin/pROC, tests/testthat: test-var.R,
test-ci.auc.R, test-roc.test.R), on its set aSAH (Turck et al. 2010, Intensive Care Med. 36:107). Here a value is the
place of a patient in the order of all 113; areas need no more. The first 41 had a poor outcome.
"""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused
from scipy.stats import norm

from zoo.errors import UsageError
from zoo.evaluation import Cases, report
from zoo.evaluation._placements import variance_of
from zoo.evaluation.comparison import Contender, Pair, compare
from zoo.evaluation.intervals import Z95
from zoo.spec import Fingerprint

WFNS = """
    6 4 8 10 10 10 10 4 10 4 2 4 10 8 8 4 10 10 10 4 10 4 10 4 8 10 8 8 2 8 8 4 4 10 10 4 4 10 10 10 10 2 2 2 2 10 2
    4 4 2 4 4 2 2 2 4 2 4 2 2 6 8 2 8 2 10 10 2 2 4 8 2 2 4 4 2 4 2 4 4 2 2 2 2 4 2 4 2 2 6 4 8 4 2 8 2 2 10 8 4 4 2
    2 2 6 2 4 4 8 8 2 2 2
"""
S100B = """
    14 10 20 13 37 43 41 4 30 8 4 35 33 40 43 25 43 43 43 4 43 27 1 8 23 43 25 43 6 25 14 10 12 23 43 16 43 28 43 43
    37 14 16 10 2 38 22 10 10 2 6 2 8 12 4 22 4 12 14 22 2 20 16 32 8 42 38 20 4 36 38 12 6 8 6 2 14 10 16 18 2 2 8
    2 8 6 20 8 6 30 12 26 4 10 28 4 2 24 34 10 18 6 16 10 4 2 22 18 38 22 18 42 40
"""
NDKA = """
    43 27 33 41 5 11 21 49 53 49 49 17 37 45 7 9 35 3 57 45 19 21 25 35 47 30 45 9 55 40 5 14 45 5 13 49 23 37 51 21
    41 2 10 8 20 6 40 6 44 34 44 42 52 12 6 26 6 6 56 28 16 16 44 4 8 6 14 32 8 38 50 8 6 26 12 8 32 48 46 18 24 54
    6 42 16 20 20 38 4 42 26 12 20 44 20 24 8 16 20 48 10 26 30 50 22 26 12 48 18 36 46 6 34
"""
POOR = (np.arange(113) < 41).astype(int)
MARKERS = {
    name: np.stack([np.zeros(113), np.array(text.split(), float)], axis=1)
    for name, text in (("wfns", WFNS), ("s100b", S100B), ("ndka", NDKA))
}


def pairs_of(a, b, targets, labels="ab", **options) -> dict[str, Pair]:
    found = compare([Contender("a", a), Contender("b", b)], targets, labels, resamples=400, **options)
    return {pair.metric: pair for pair in found.pairs}


def two_models(n: int = 300, seed: int = 0, better: float = 1.0):
    """Logits of two models that share much of what is hard, and targets of two classes."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    shared = rng.normal(size=n)
    scores = [apart * targets + shared + rng.normal(size=n) for apart in (1.5 + better, 1.5)]
    return *(np.stack([np.zeros(n), score - 0.75], axis=1) for score in scores), targets


@pytest.mark.parametrize(
    ("name", "area", "variance"),
    [
        ("wfns", 0.823678861788618, 0.00146991470882363),
        ("ndka", 0.611957994579946, 0.0031908105493913),
        ("s100b", 0.731368563685637, 0.00266868245717244),
    ],
)
def test_an_area_and_its_variance_are_those_of_proc(name, area, variance):
    areas, influence = Cases.of(MARKERS[name], POOR).placements
    assert areas == pytest.approx([area, area], abs=1e-12)
    assert variance_of(influence[:, 1], None) == pytest.approx(variance, abs=1e-12)
    if name == "ndka":
        half = Z95 * np.sqrt(variance_of(influence[:, 1], None))
        assert (area - half, area + half) == pytest.approx((0.501244999271703, 0.722670989888189), abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "p"),
    [
        ("wfns", "s100b", 0.0271757822291882),
        ("wfns", "ndka", 0.00514557970691098),
        ("ndka", "s100b", 0.164295175223054),
    ],
)
def test_delongs_paired_test_is_that_of_proc(a, b, p):
    assert pairs_of(MARKERS[a], MARKERS[b], POOR)["macro_auroc"].p_delong == pytest.approx(p, abs=1e-9)


def test_the_interval_of_an_area_stays_below_one_where_walds_does_not():
    """0.95 of 8 + 40: DeLong's variance on the logit scale (Pepe 2003); with patients of one image it is the same."""
    rng = np.random.default_rng(3)
    targets = np.array([1] * 8 + [0] * 40)
    logits = np.stack([np.zeros(48), 2.5 * targets + rng.normal(size=48)], axis=1)

    def judge(groups=None):
        about = Fingerprint(name="made", sha256="0" * 64, n=48, splits={"test": 48})
        return report(
            logits,
            targets,
            "ab",
            model="m",
            split="test",
            temperature=1,
            fingerprint=about,
            resamples=50,
            groups=groups,
        )

    found = judge().metrics["macro_auroc"]
    assert found.method == "delong"
    assert judge().per_class["b"]["auroc"] == found
    areas, influence = Cases.of(logits, targets).placements
    error = np.sqrt(variance_of(influence[:, 1], None))
    assert areas[1] + Z95 * error > 1 > found.high
    ends = np.log(np.array([found.low, found.high]) / (1 - np.array([found.low, found.high])))
    assert (ends[1] - ends[0]) / 2 == pytest.approx(Z95 * error / (areas[1] * (1 - areas[1])))
    assert judge(np.arange(48) + 7).metrics["macro_auroc"] == found
    assert judge(np.arange(48) // 2).metrics["macro_auroc"].low < found.low


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"), [(6, 15, 0.0783538818359375), (0, 5, 0.0625), (7, 7, 1.0), (3, 1, 0.625)]
)
def test_mcnemars_test_is_that_of_statsmodels(only_a, only_b, p):
    """statsmodels 0.15.0: mcnemar([[10, only_a], [only_b, 10]], exact=True)."""
    n = 40 + only_a + only_b
    targets = np.arange(n) % 2
    wrong_a, wrong_b = np.zeros(n, bool), np.zeros(n, bool)
    wrong_b[:only_a] = wrong_a[only_a : only_a + only_b] = True
    a, b = (np.eye(2)[np.where(wrong, 1 - targets, targets)] for wrong in (wrong_a, wrong_b))
    assert pairs_of(a, b, targets)["accuracy"].p_mcnemar == pytest.approx(p)
    assert pairs_of(a, b, targets)["accuracy"].p_delong is None
    assert pairs_of(a, b, targets, groups=np.arange(n) // 2)["accuracy"].p_mcnemar is None, "images are not independent"


def test_one_p_decides_and_the_others_stand_beside_it():
    """The verdict follows the bootstrap, where DeLong and McNemar differ from it too."""
    a, b, targets = two_models(60, seed=4, better=2)
    for pair in pairs_of(a, b, targets).values():
        told = pair.p_holm < 0.05 and (pair.low > 0 or pair.high < 0)
        assert (pair.verdict != "cannot tell") == told
        assert (pair.p_delong is None) == (pair.metric == "accuracy")
        assert (pair.p_mcnemar is None) == (pair.metric == "macro_auroc")


def test_tests_by_class_have_the_p_that_fits_their_metric():
    a, b, targets = two_models(120)
    found = compare([Contender("a", a), Contender("b", b)], targets, "ab", per_class=True, resamples=200).per_class
    for pair in found:
        assert (pair.p_delong is not None, pair.p_mcnemar is not None) == (
            pair.metric == "auroc", pair.metric == "sensitivity",
        )  # fmt: skip


def test_a_margin_says_equivalent_not_worse_or_neither():
    a, b, targets = two_models(400, better=0.6)
    level = pairs_of(a, b, targets)["accuracy"]
    assert (level.margin, level.noninferior, level.noninferior_b, level.equivalent) == (None,) * 4
    assert level.low > -0.03
    assert level.high > 0.03
    close = pairs_of(a, b, targets, margin=0.03)["accuracy"]
    assert (close.noninferior, close.noninferior_b, close.equivalent) == (True, False, False)
    turned = pairs_of(b, a, targets, margin=0.03)["accuracy"]
    assert (turned.noninferior, turned.noninferior_b, turned.equivalent) == (False, True, False)
    assert pairs_of(a, b, targets, margin=0.5)["accuracy"].equivalent
    unclear = pairs_of(*two_models(60, better=0.1), margin=0.001)["accuracy"]
    assert (unclear.noninferior, unclear.noninferior_b) == (False, False)


def test_models_that_answer_alike_show_nothing_of_a_margin():
    a, _, targets = two_models(60)
    pair = pairs_of(a, a, targets, margin=0.02)["accuracy"]
    assert (pair.noninferior, pair.equivalent, pair.images_needed) == (None, None, None)


def test_a_margin_that_can_not_be_is_refused():
    a, b, targets = two_models(20)
    for margin in (0, 1, -0.02, float("nan")):
        with refused("margin-invalid", UsageError):
            pairs_of(a, b, targets, margin=margin)


def test_as_many_images_as_are_needed_tell_the_models_apart():
    """The same images again and again: the difference stays, its error falls."""
    a, b, targets = two_models(60, seed=1, better=0.2)
    pair = pairs_of(a, b, targets)["macro_auroc"]
    assert pair.verdict == "cannot tell"
    z = norm.isf(0.025) + norm.ppf(0.8)
    error = abs(pair.delta) / z * np.sqrt(pair.images_needed / 60)
    assert error == pytest.approx((pair.high - pair.low) / 2 / Z95, rel=0.2)
    for times, verdict in ((1.3, "better"), (0.3, "cannot tell")):
        more = round(times * pair.images_needed / 60)
        again = (np.tile(a, (more, 1)), np.tile(b, (more, 1)), np.tile(targets, more))
        found = pairs_of(*again)["macro_auroc"]
        assert found.verdict == verdict
        assert (found.images_needed is None) == (verdict == "better")


def test_images_for_a_margin_do_not_depend_on_the_difference_that_was_found():
    a, b, targets = two_models(60, seed=1, better=0.2)
    small, large = (pairs_of(a, b, targets, margin=margin)["macro_auroc"] for margin in (0.01, 0.02))
    assert small.images_needed == large.images_needed
    assert small.images_for_margin == pytest.approx(4 * large.images_for_margin, abs=4)
    assert large.images_for_margin == pytest.approx(large.images_needed * (large.delta / 0.02) ** 2, rel=0.01)


def test_two_images_that_differ_are_too_few_whatever_their_difference():
    """A sign test needs 1 - log2(0.05) = 5.3 images that differ: of two in 40, 107 images."""
    targets = np.arange(40) % 2
    wrong = np.arange(40) < 2
    right, other = np.eye(2)[targets], np.eye(2)[np.where(wrong, 1 - targets, targets)]
    assert pairs_of(right, other, targets)["accuracy"].images_needed >= 107
