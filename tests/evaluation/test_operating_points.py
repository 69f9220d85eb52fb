"""Operating points are those that a search of every threshold finds, and hold where the exported file answers."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused
from sklearn.metrics import roc_curve

from zoo.edge import answer_labels
from zoo.errors import DataError, UsageError
from zoo.evaluation import check_rules, choose_points
from zoo.spec import UNKNOWN, OperatingPoint, read_rule

LABELS = ("benign", "melanoma", "痣: 良性")
RNG = np.random.default_rng(3)
TARGETS = RNG.integers(0, 3, 300)
LOGITS = RNG.normal(size=(300, 3)) + 1.5 * (np.arange(3) == TARGETS[:, None])
RULES = ("sensitivity=0.9:melanoma", "specificity=0.95:benign", "youden:痣: 良性")


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def rates(k, threshold, logits=LOGITS, targets=TARGETS):
    called = softmax(logits)[:, k] >= threshold
    return called[targets == k].mean(), (~called)[targets != k].mean()


def choose(rule, logits=LOGITS, targets=TARGETS, labels=LABELS, **others):
    return choose_points([rule], logits, targets, labels, **{"resamples": 50, **others})[0]


def test_each_rule_chooses_as_the_whole_curve_of_scikit_learn_says():
    """roc_curve keeps each distinct score as a threshold; ours lies midway to the next one, so both call the same."""
    for k, label in enumerate(LABELS):
        is_of = np.equal(TARGETS, k)
        false, true, _ = roc_curve(is_of, softmax(LOGITS)[:, k], drop_intermediate=False)
        reaches = np.flatnonzero(true >= 0.9)[0]
        assert rates(k, choose(f"sensitivity=0.9:{label}").threshold) == pytest.approx(
            (true[reaches], 1 - false[reaches])
        )
        fits = np.flatnonzero(1 - false >= 0.95)[-1]
        assert rates(k, choose(f"specificity=0.95:{label}").threshold) == pytest.approx((true[fits], 1 - false[fits]))
        best = (true - false).argmax()
        assert rates(k, choose(f"youden:{label}").threshold) == pytest.approx((true[best], 1 - false[best]))
        positives, negatives = is_of.sum(), (~is_of).sum()
        costs = 5 * positives * (1 - true) + negatives * false
        sensitivity, specificity = rates(k, choose(f"cost=5:{label}").threshold)
        assert 5 * positives * (1 - sensitivity) + negatives * (1 - specificity) == pytest.approx(costs.min())


def test_the_point_says_what_it_does_on_the_images_that_chose_it():
    point = choose("sensitivity=0.9:melanoma")
    sensitivity, specificity = rates(1, point.threshold)
    assert (point.sensitivity.value, point.specificity.value) == pytest.approx((sensitivity, specificity))
    assert (point.n, point.positives, point.rule) == (300, int((TARGETS == 1).sum()), "sensitivity=0.9")
    assert point.low < point.threshold < point.high
    assert point.sensitivity.method == "wilson"


def test_answers_that_differ_by_1e_5_are_called_alike():
    """A float32 file on another runtime answers so; logits of a forest tie, and those of a network nearly."""
    logits = np.concatenate([LOGITS, LOGITS[:150] + RNG.uniform(-1e-6, 1e-6, (150, 3))])
    targets = np.concatenate([TARGETS, TARGETS[:150]])
    for rule in (*RULES, "sensitivity=1:melanoma", "cost=0.5:benign"):
        point = choose(rule, logits, targets)
        k = LABELS.index(point.label)
        before = softmax(logits)[:, k] >= point.threshold
        for _ in range(5):
            moved = np.float32(softmax(logits + RNG.uniform(-4e-6, 4e-6, logits.shape))[:, k])
            assert np.array_equal(moved >= point.threshold, before), rule


def test_a_threshold_is_never_inside_a_tie():
    logits = np.log([[0.4, 0.6]] * 10 + [[0.8, 0.2]] * 10)
    targets = np.array([1] * 5 + [0] * 5 + [1] + [0] * 9)
    point = choose("sensitivity=0.5:b", logits, targets, ("a", "b"))
    assert point.threshold == pytest.approx(0.4)  # midway of 0.2 and 0.6
    assert point.sensitivity.value == pytest.approx(5 / 6)


def test_probabilities_that_float32_takes_for_1_are_not_told_apart():
    logits = np.array([[0, 40.0], [0, 30.0], [0, 20.0], [0, -1.0], [0, -2.0]])
    targets = np.array([1, 0, 1, 1, 0])
    point = choose("specificity=0.5:b", logits, targets, ("a", "b"))
    called = np.float32(softmax(logits)[:, 1]) >= point.threshold
    assert called.tolist() == [True, True, True, True, False]


def test_unknown_labels_have_no_say():
    several = np.where(RNG.random((300, 3)) < 0.5, TARGETS[:, None] == np.arange(3), UNKNOWN).astype(np.int64)
    known = several[:, 1] != UNKNOWN
    point = choose("sensitivity=0.8:melanoma", LOGITS, several)
    alone = choose("sensitivity=0.8:melanoma", LOGITS[known], several[known])
    assert (point.threshold, point.n) == (alone.threshold, int(known.sum()))


def test_whole_patients_are_resampled():
    groups = np.repeat(np.arange(60), 5)
    single, whole = choose(RULES[0]), choose(RULES[0], groups=groups)
    assert single.threshold == whole.threshold
    assert whole.sensitivity.high - whole.sensitivity.low > single.sensitivity.high - single.sensitivity.low


def test_the_interval_holds_the_threshold_of_many_images():
    """Of 40 draws of 200 images at least 34 give an interval with the threshold of 40 000 in it."""
    rng, held = np.random.default_rng(0), 0

    def draw(n):
        targets = rng.integers(0, 2, n)
        score = rng.normal(size=n) + 1.5 * targets
        return np.stack([np.zeros(n), score], axis=1), targets

    logits, targets = draw(40_000)
    truth = choose("sensitivity=0.8:b", logits, targets, ("a", "b"), resamples=1).threshold
    for _ in range(40):
        logits, targets = draw(200)
        point = choose("sensitivity=0.8:b", logits, targets, ("a", "b"), resamples=200)
        held += point.low <= truth <= point.high
    assert held >= 34


def test_rules_are_read_with_the_names_that_people_give():
    assert read_rule("sensitivity=0.9:a:b = c")[1:] == (0.9, "a:b = c")
    assert read_rule("youden：痣: 良性").label == "痣: 良性"
    assert check_rules(["cost=5:MELANOMA"], LABELS)[0][0] == 1
    for text in ("sensitivity:a", "sensitivity=0:a", "specificity=1.5:a", "youden=1:a", "cost=-1:a", "cost=5", "f1:a",
                 "sensitivity=0.9:", "cost=nan:a", "cost=inf:a"):  # fmt: skip
        with pytest.raises(ValueError, match="operating is"):
            read_rule(text)
        with refused("option-value", UsageError, option="--operating", value=text):
            check_rules([text], LABELS)


def test_a_miss_that_costs_more_than_all_false_alarms_costs_as_much_as_them():
    dear, dearest = (choose(f"cost={cost}:melanoma") for cost in ("1e6", "1e308"))
    assert dear.threshold == dearest.threshold
    assert dear.sensitivity.value == 1


def test_the_text_of_a_rule_is_the_same_rule():
    for said in ("sensitivity=0.99999999", "cost=1234567.5"):
        assert read_rule(f"{said}:a").text == said


def test_what_cannot_be_is_refused():
    with refused("label-unknown", UsageError, labels=["melanom"], known=list(LABELS)):
        check_rules(["youden:melanom"], LABELS)
    with refused("option-conflict", UsageError):
        check_rules(["youden:melanoma", "cost=5:Melanoma"], LABELS)
    with refused("operating-images", DataError, label="melanoma", positives=0):
        check_rules(["youden:melanoma"], LABELS, np.where(TARGETS == 1, 0, TARGETS))
    with refused("operating-unreachable", DataError, label="melanoma", rule="sensitivity=0.9", images=300):
        choose("sensitivity=0.9:melanoma", np.zeros((300, 3)))
    with refused("operating-unreachable", DataError, rule="cost=0.01"):
        choose("cost=0.01:melanoma", -LOGITS)


def test_the_answer_is_the_label_furthest_above_its_threshold_else_the_likeliest_without_one():
    def point(label, threshold):
        return OperatingPoint(
            label=label, rule="youden", threshold=threshold, low=0, high=1, n=1, positives=1,
            sensitivity={"value": 1, "low": 0, "high": 1}, specificity={"value": 1, "low": 0, "high": 1},
        )  # fmt: skip

    p = np.array([[0.6, 0.2, 0.2], [0.7, 0.1, 0.2], [0.1, 0.15, 0.75]])
    assert answer_labels(p, LABELS, ()).tolist() == [0, 0, 2]
    assert answer_labels(p, LABELS, [point("melanoma", 0.15)]).tolist() == [1, 0, 1]
    both = [point("melanoma", 0.15), point("痣: 良性", 0.19)]
    assert answer_labels(p, LABELS, both).tolist() == [1, 2, 2]
    assert answer_labels(p, LABELS, [point(name, 0.9) for name in LABELS]).tolist() == [0, 0, 2]
    assert answer_labels(p, LABELS, [point("melanoma", 0.0), point("benign", 0.5)]).tolist() == [1, 1, 1]
