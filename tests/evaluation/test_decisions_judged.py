"""What test images say of points, curves and abstention: counted by hand, and simulated where a promise is made."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused

import zoo
from zoo.errors import DataError, UsageError
from zoo.evaluation import (
    Cases,
    choose_points,
    control_error,
    curve_of,
    fit_sets,
    judge_abstention,
    judge_points,
    read_prevalence,
)
from zoo.spec import UNKNOWN, Abstention, ErrorControl

LABELS = ("benign", "melanoma")


def draw(n, seed, strength=1.5):
    rng = np.random.default_rng(seed)
    targets = (rng.random(n) < 0.3).astype(np.int64)
    score = rng.normal(size=n) + strength * targets - 1.2
    return np.stack([np.zeros(n), strength * score], axis=1), targets


VALIDATION, TEST = draw(400, 0), draw(500, 1)
POINTS = choose_points(["sensitivity=0.9:melanoma"], *VALIDATION, LABELS, resamples=50)
CASES = Cases.of(*TEST)


def judge(**others):
    return judge_points(CASES, LABELS, POINTS, resamples=100, **others)


def test_a_point_is_counted_on_the_images_under_evaluation():
    point = judge().points[0]
    called, of = CASES.probabilities[:, 1] >= POINTS[0].threshold, TEST[1] == 1
    tp, fp, fn, tn = (called & of).sum(), (called & ~of).sum(), (~called & of).sum(), (~called & ~of).sum()
    assert (point.tp, point.fp, point.tn, point.fn, point.n) == (tp, fp, tn, fn, 500)
    shares = (tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), tn / (tn + fn))
    assert [one.value for one in (point.sensitivity, point.specificity, point.ppv, point.npv)] == pytest.approx(shares)
    assert point.at is None


def test_predictive_values_at_a_stated_prevalence_are_bayes_and_carry_both_uncertainties():
    point = judge(prevalence={"melanoma": 0.02}).points[0]
    sens, spec = point.sensitivity.value, point.specificity.value
    ppv = 0.02 * sens / (0.02 * sens + 0.98 * (1 - spec))
    assert point.at.ppv.value == pytest.approx(ppv)
    assert point.at.npv.value == pytest.approx(0.98 * spec / (0.98 * spec + 0.02 * (1 - sens)))
    odds = 0.02 / 0.98  # at both ends of Wilson's interval of specificity alone the PPV moves at least so far
    low, high = (odds * sens / (odds * sens + 1 - end) for end in (point.specificity.low, point.specificity.high))
    assert point.at.ppv.low == pytest.approx(low, rel=0.1)
    assert point.at.ppv.high == pytest.approx(high, rel=0.1)
    assert point.at.ppv.method == "jeffreys"


def test_the_interval_at_a_stated_prevalence_holds_the_truth():
    """Of 400 test sets with a sensitivity of .9 and a specificity of .8, 92 to 98 in 100 hold the PPV at .05."""
    rng, truth, held = np.random.default_rng(5), 0.05 * 0.9 / (0.05 * 0.9 + 0.95 * 0.2), 0
    targets = np.repeat([1, 0], [40, 80])
    for _ in range(400):
        called = np.where(targets == 1, rng.random(120) < 0.9, rng.random(120) < 0.2)
        logits = np.stack([np.zeros(120), np.where(called, 4.0, -4.0)], axis=1)
        found = judge_points(Cases.of(logits, targets), LABELS, POINTS, {"melanoma": 0.05}, resamples=1).points[0].at
        held += found.ppv.low <= truth <= found.ppv.high
    assert 368 <= held <= 392


def test_net_benefit_is_the_formula_of_vickers_and_elkin():
    curve = judge().curves[0]
    called, of = CASES.probabilities[:, 1] >= 0.2, TEST[1] == 1
    place = curve.thresholds.index(0.2)
    expected = (called & of).sum() / 500 - (called & ~of).sum() / 500 * 0.2 / 0.8
    assert curve.model[place] == pytest.approx(expected)
    assert curve.low[place] < expected < curve.high[place]
    assert curve.all[place] == pytest.approx(of.mean() - (~of).mean() * 0.25)
    assert (curve.label, len(curve.model)) == ("melanoma", len(curve.thresholds))
    assert [one.label for one in judge_points(CASES, LABELS, (), resamples=10).curves] == list(LABELS)


def test_of_many_classes_without_a_point_there_is_nothing_to_say():
    logits = np.random.default_rng(0).normal(size=(30, 3))
    assert judge_points(Cases.of(logits, np.arange(30) % 3), ("a", "b", "c"), ()) is None


def test_a_point_of_a_label_that_is_unknown_of_some_images_counts_the_others():
    targets = np.stack([1 - TEST[1], np.where(np.arange(500) % 2, TEST[1], UNKNOWN)], axis=1)
    found = judge_points(Cases.of(TEST[0], targets), LABELS, POINTS, {"melanoma": 0.1}, resamples=20)
    assert found.points[0].n == found.curves[0].n == 250
    none = np.stack([1 - TEST[1], np.full(500, UNKNOWN)], axis=1)
    empty = judge_points(Cases.of(TEST[0], none), LABELS, POINTS, {"melanoma": 0.1}, resamples=20)
    assert (empty.points[0].sensitivity, empty.points[0].at, empty.curves) == (None, None, ())


def test_a_prevalence_is_of_a_point():
    assert read_prevalence(["0.05"], POINTS) == {"melanoma": 0.05}
    assert read_prevalence(["0.05", "Melanoma=0.1"], POINTS) == {"melanoma": 0.1}
    for text in ("0", "1", "melanoma", "melanoma=x", "nan"):
        with refused("option-value", UsageError, option="--prevalence"):
            read_prevalence([text], POINTS)
    with refused("label-unknown", UsageError):
        read_prevalence(["benign=0.1"], POINTS)
    assert read_prevalence(["Melanoma=0.1", "0.05"], POINTS) == {"melanoma": 0.1}
    for twice in (["0.1", "0.2"], ["melanoma=0.1", "Melanoma=0.2"]):
        with refused("option-conflict", UsageError):
            read_prevalence(twice, POINTS)
    with refused("option-ignored", UsageError):
        read_prevalence(["0.1"], ())


def test_the_shares_of_classes_that_exclude_each_other_sum_to_1():
    both = choose_points(["sensitivity=0.9:melanoma", "sensitivity=0.9:benign"], *VALIDATION, LABELS, resamples=50)
    for texts in (["0.05"], ["0.05", "melanoma=0.1"], ["melanoma=0.1", "benign=0.1"], ["melanoma=0.9", "benign=0.2"]):
        with refused("prevalence-sum", UsageError):
            read_prevalence(texts, both, LABELS)
    assert read_prevalence(["melanoma=0.05"], both, LABELS) == {"melanoma": 0.05, "benign": 0.95}
    assert read_prevalence(["melanoma=0.1", "benign=0.9"], both, LABELS) == {"melanoma": 0.1, "benign": 0.9}
    assert read_prevalence(["0.05"], both) == {"melanoma": 0.05, "benign": 0.05}  # an image may have both
    assert read_prevalence(["0.05"], POINTS, LABELS) == {"melanoma": 0.05}
    assert read_prevalence(["0.3"], both, (*LABELS, "nevus")) == {"melanoma": 0.3, "benign": 0.3}
    with refused("prevalence-sum", UsageError):
        read_prevalence(["0.6"], both, (*LABELS, "nevus"))


@pytest.mark.parametrize("verb", [zoo.evaluate, zoo.report])
@pytest.mark.parametrize("words", [{"prevalence": ["x"]}, {"operating": ["sensitivity=2:a"]}])
def test_words_that_cannot_be_read_are_refused_before_the_images(tmp_path, verb, words):
    with refused("option-value", UsageError):
        verb(tmp_path / "none", tmp_path / "nowhere", **words)


def test_the_error_among_the_answered_stays_below_what_was_asked_for():
    """Of 300 validation sets at most 5 in 100 (and 3 standard errors) may end with more than a tenth wrong."""
    over, answers, given = 0, draw(50_000, 99), []
    top = Cases.of(*answers).probabilities.max(axis=1)
    wrong = answers[0].argmax(axis=1) != answers[1]
    for seed in range(300):
        threshold = control_error(*draw(400, seed), LABELS, error=0.1).threshold
        answered = top >= threshold
        given.append(answered.mean())
        over += answered.any() and wrong[answered].mean() > 0.1
    assert over / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
    assert wrong.mean() > 0.15  # so that abstaining is needed
    assert np.mean(given) > 0.25  # and not all is given up


def test_where_nothing_can_be_shown_nothing_is_answered():
    assert control_error(*draw(20, 0), LABELS, error=0.05).threshold > 1
    assert control_error(*draw(400, 0, 0.0), LABELS, error=0.05).threshold > 1
    with refused("option-value", UsageError, option="error"):
        control_error(*VALIDATION, LABELS, error=0.0)
    with refused("sets-several-labels", DataError):
        control_error(VALIDATION[0], np.stack([1 - VALIDATION[1], VALIDATION[1]], axis=1), LABELS, error=0.1)


def test_one_image_of_each_patient_decides():
    logits, targets = (np.repeat(one, 20, axis=0) for one in draw(30, 0, 3.0))
    assert control_error(logits, targets, LABELS, error=0.05).threshold <= 1  # 600 images that are 30
    found = control_error(logits, targets, LABELS, error=0.05, groups=np.arange(600) // 20)
    assert (found.threshold > 1, found.n) == (True, 30)


def test_the_curve_is_the_error_among_the_surest():
    logits = np.log([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    cases = Cases.of(logits, np.array([0, 1, 0, 1]))
    curve = curve_of(cases, np.zeros(4, np.int64), resamples=50)
    assert curve.answered == (0.25, 0.5, 0.75, 1.0)
    assert curve.error == pytest.approx((0, 0.5, 1 / 3, 0.5))
    assert curve.threshold == pytest.approx((0.9, 0.8, 0.7, 0.6))
    assert curve.area.value == pytest.approx((0 + 0.5 + 1 / 3 + 0.5) / 4)
    many = curve_of(CASES, TEST[0].argmax(axis=1), resamples=20)
    assert len(many.answered) <= 50
    assert many.error[-1] == pytest.approx((TEST[0].argmax(axis=1) != TEST[1]).mean())


def test_abstention_is_counted_in_the_order_of_decisions():
    sets = fit_sets(*VALIDATION, coverage=0.9)
    control = ErrorControl(error=0.1, delta=0.05, threshold=0.8, n=400)
    novel = np.arange(500) < 50
    found = judge_abstention(CASES, LABELS, POINTS, Abstention(sets=sets, error=control), novel, resamples=20)
    p = CASES.probabilities
    single = (1 - p <= sets.quantiles[0]).sum(axis=1) == 1
    given = single & (p.max(axis=1) >= 0.8) & ~novel
    assert (found.unlike, found.uncertain, found.wanted) == (50, int(500 - 50 - given.sum()), 0.1)
    assert found.answered.value == given.mean()
    called = np.where(p[:, 1] >= POINTS[0].threshold, 1, 0)
    assert found.error.value == (called != TEST[1])[given].mean()
    always = judge_abstention(CASES, LABELS, resamples=20)
    assert (always.answered.value, always.uncertain, always.unlike) == (1.0, 0, 0)
    assert always.error.value == always.curve.error[-1]
