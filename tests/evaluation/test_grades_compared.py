"""Graded models in pairs: quadratic kappa is tested beside accuracy, which does not see how far off a grade is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from zoo.evaluation.comparison import Contender, compare
from zoo.evaluation.page import make_comparison_page
from zoo_cli.compare import as_text

GRADES = ("0", "1", "2", "3", "4")


def called(grades: np.ndarray) -> np.ndarray:
    return np.eye(5)[grades] * 4


def drawn(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, and two models that are wrong of the same images: by one grade, and by as many as there can be."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 5
    wrong = rng.random(n) < 0.3
    near = np.where(wrong, np.where(truth == 4, 3, truth + 1), truth)
    far = np.where(wrong, np.where(truth < 2, 4, 0), truth)
    return truth, near, far


def test_a_model_that_is_wrong_by_less_is_better_in_kappa_alone() -> None:
    truth, near, far = drawn()
    found = compare([Contender("near", called(near), ordered=True), Contender("far", called(far), ordered=True)],
                    truth, GRADES)  # fmt: skip
    by_metric = {pair.metric: pair for pair in found.pairs}
    assert list(by_metric) == ["macro_auroc", "accuracy", "quadratic_kappa"]
    assert by_metric["accuracy"].delta == 0
    pair = by_metric["quadratic_kappa"]
    kappas = [cohen_kappa_score(truth, one, weights="quadratic") for one in (near, far)]
    assert pair.delta == pytest.approx(kappas[0] - kappas[1])
    assert pair.low is not None
    assert 0 < pair.low < pair.delta
    assert pair.verdict == "better"
    assert "near is better than far in quadratic kappa" in as_text(found)
    assert "quadratic kappa (95 %)" in as_text(found)
    assert make_comparison_page(found).count("quadratic kappa against latency") == 0, "no latency was measured"


def test_kappas_of_all_pairs_are_one_family_of_holm() -> None:
    truth, near, far = drawn(60)
    rng = np.random.default_rng(1)
    three = [Contender(name, called(one) + rng.normal(0, 0.1, (60, 5)), ordered=True)
             for name, one in (("near", near), ("far", far), ("again", near))]  # fmt: skip
    pairs = [pair for pair in compare(three, truth, GRADES, resamples=500).pairs if pair.metric == "quadratic_kappa"]
    assert len(pairs) == 3
    smallest = min(pairs, key=lambda pair: pair.p or 1)
    assert smallest.p is not None
    assert smallest.p_holm == pytest.approx(min(1, 3 * smallest.p))


def test_three_images_are_no_proof_of_kappa_either() -> None:
    """Both models are wrong of them, one by more: without that count no p bound would hold it back."""
    truth, near, _ = drawn(100)
    worse = near.copy()
    some = np.flatnonzero((near != truth) & (truth == 0))[:3]
    worse[some] = 4
    found = compare([Contender("a", called(near), ordered=True), Contender("b", called(worse), ordered=True)],
                    truth, GRADES)  # fmt: skip
    pair = found.pairs[-1]
    assert pair.metric == "quadratic_kappa"
    assert pair.p is not None
    assert pair.p >= 0.25
    assert pair.verdict == "cannot tell"


def test_the_interval_reaches_as_far_as_kappa_does() -> None:
    """Of two grades the right and the reversed answers have kappas of 1 and -1 in every resample."""
    truth = np.arange(40) % 2
    right, reversed_ = np.eye(2)[truth] * 4, np.eye(2)[1 - truth] * 4
    found = compare([Contender("a", right, ordered=True), Contender("b", reversed_, ordered=True)], truth, "ab")
    pair = found.pairs[-1]
    assert (pair.delta, pair.high) == (2, 2)
    assert pair.low is not None
    assert 1.5 < pair.low < 2


def test_grades_that_define_no_kappa_say_why() -> None:
    truth = np.zeros(30, np.int64)
    found = compare([Contender(name, called(truth), ordered=True) for name in "ab"], truth, GRADES)
    pair = found.pairs[-1]
    assert (pair.metric, pair.delta) == ("quadratic_kappa", None)
    assert pair.reason


def test_classes_without_an_order_have_no_kappa() -> None:
    truth, near, far = drawn(50)
    found = compare([Contender("a", called(near)), Contender("b", called(far))], truth, GRADES, resamples=50)
    assert {pair.metric for pair in found.pairs} == {"macro_auroc", "accuracy"}
    assert found.compared == ("macro_auroc", "accuracy")
