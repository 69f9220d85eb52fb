"""Metrics against scikit-learn, with ties, with repeated images, and where they are not defined."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from sklearn import metrics as oracle

from zoo.errors import DataError, ModelError
from zoo.evaluation import CLASS_METRICS, METRICS, Cases, draws, macro_auroc, measure, ones

TIES = [pytest.param(None, id="continuous"), pytest.param(1, id="ties"), pytest.param(0, id="many-ties")]


def answers(n: int, classes: int, *, seed: int = 0, decimals: int | None = None):
    """Probabilities (n, K) as log-probabilities, and targets; rounding makes ties between images."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), targets] += 1.0
    if decimals is not None:
        logits = np.round(logits, decimals)
    return logits, targets


def by_sklearn(targets, logits):
    """Every metric, computed by scikit-learn from the very scores that Cases ranks by."""
    cases = Cases.of(logits, targets)
    classes = logits.shape[1]
    called = cases.predicted
    matrices = oracle.multilabel_confusion_matrix(targets, called, labels=range(classes))
    tn, fp, fn, tp = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1]
    auroc = [oracle.roc_auc_score(targets == k, cases.scores[:, k]) for k in range(classes)]
    auprc = [oracle.average_precision_score(targets == k, cases.scores[:, k]) for k in range(classes)]
    return {
        "accuracy": oracle.accuracy_score(targets, called),
        "balanced_accuracy": oracle.balanced_accuracy_score(targets, called),
        "macro_auroc": np.mean(auroc),
        "macro_auprc": np.mean(auprc),
        "macro_f1": oracle.f1_score(targets, called, average="macro"),
        "mcc": oracle.matthews_corrcoef(targets, called),
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
        "ppv": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "f1": oracle.f1_score(targets, called, average=None),
        "auroc": np.array(auroc),
        "auprc": np.array(auprc),
        "sensitivity_at_specificity_90": [
            sensitivity_at(targets == k, cases.scores[:, k], 0.9) for k in range(classes)
        ],
        "partial_auroc_90": [
            oracle.roc_auc_score(targets == k, cases.scores[:, k], max_fpr=0.1) for k in range(classes)
        ],
    }


def sensitivity_at(truth, scores, specificity):
    false, true, _ = oracle.roc_curve(truth, scores, drop_intermediate=False)
    return true[false <= 1 - specificity + 1e-12].max()


@pytest.mark.parametrize("decimals", TIES)
@pytest.mark.parametrize("classes", [2, 5])
def test_every_metric_agrees_with_scikit_learn(classes, decimals):
    logits, targets = answers(150, classes, decimals=decimals)
    ours = measure(Cases.of(logits, targets), ones(150))
    expected = by_sklearn(targets, logits)
    assert set(ours) == set(expected) == {*METRICS, *CLASS_METRICS}
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name][..., 0], value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("decimals", TIES)
def test_a_weight_of_two_is_the_image_twice(decimals):
    """Otherwise every interval is of another metric than the one printed beside it."""
    logits, targets = answers(120, 3, decimals=decimals)
    weights = np.concatenate(list(draws(120, 4, seed=3)))
    ours = measure(Cases.of(logits, targets), weights)
    for b, weight in enumerate(weights):
        again = np.repeat(np.arange(120), weight.astype(int))
        for name, value in by_sklearn(targets[again], logits[again]).items():
            np.testing.assert_allclose(ours[name][..., b], value, atol=1e-12, err_msg=name)


def test_auroc_agrees_with_scikit_learn_on_probabilities():
    """Users check our number against roc_auc_score(y, softmax(logits))."""
    logits, targets = answers(400, 4, seed=5)
    probabilities = Cases.of(logits, targets).probabilities
    expected = oracle.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    assert measure(Cases.of(logits, targets), ones(400))["macro_auroc"][0] == pytest.approx(expected, abs=1e-4)
    assert macro_auroc(logits, targets) == pytest.approx(expected, abs=1e-4)


def test_the_training_loops_auroc_is_the_reports():
    """Otherwise the best epoch is chosen by another number than the one reported."""
    for decimals in (None, 0):
        logits, targets = answers(300, 3, seed=1, decimals=decimals)
        cases = Cases.of(logits, targets)
        expected = measure(cases, ones(300))["macro_auroc"][0]
        assert macro_auroc(logits, targets) == pytest.approx(expected, abs=1e-12)
        assert macro_auroc(cases.probabilities, targets) == pytest.approx(expected, abs=1e-5)


def test_a_missing_class_is_not_averaged_away():
    logits, targets = answers(50, 3)
    targets[targets == 2] = 0
    values = measure(Cases.of(logits, targets), ones(50))
    for name in ("balanced_accuracy", "macro_auroc", "macro_auprc", "macro_f1"):
        assert np.isnan(values[name][0]), name
    assert macro_auroc(logits, targets) is None


def test_very_confident_images_are_still_ranked():
    """float64 probabilities of 1 - 1e-20 and 1 - 1e-30 are both 1; their order must not be lost."""
    logits = np.array([[0.0, 40.0], [0.0, 50.0], [0.0, 60.0], [0.0, 70.0]])
    targets = np.array([0, 0, 1, 1])
    assert macro_auroc(logits, targets) == 1.0
    assert macro_auroc(logits[::-1], targets) == 0.0


def test_equal_probabilities_of_a_forest_tie_whatever_the_other_classes_say():
    """log(0.3) from float32 differs in its last bits from row to row; such noise must not order images."""
    votes = np.array([[30, 50, 20], [30, 40, 30], [30, 60, 10], [30, 35, 35]], dtype=np.float32) / 100
    logits = np.log(votes) + np.float32(0.1) * np.arange(4, dtype=np.float32)[:, None]
    assert len(np.unique(Cases.of(logits, np.array([0, 1, 2, 0])).scores[:, 0])) == 1


def test_infinitely_far_logits_do_not_overflow():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cases = Cases.of(np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0.0]]), np.array([0, 1]))
    assert np.isfinite(cases.scores).all()
    assert np.isfinite(cases.log_probabilities).all()


@pytest.mark.parametrize(
    ("logits", "targets", "error", "code", "fields"),
    [
        (np.zeros((2, 2)), [0, 2], DataError, "target-range", {"found": [0, 2], "expected": [0, 1]}),
        (np.zeros((2, 2)), [0, -1], DataError, "target-range", {"found": [-1, 0], "expected": [0, 1]}),
        (np.zeros((2, 2)), [0, 1, 1], DataError, "array-shape", {"array": "targets", "expected": [2]}),
        (np.zeros((2, 2)), [0.0, 1.0], DataError, "array-shape", {"array": "targets"}),
        (np.zeros((0, 2)), np.zeros(0, int), DataError, "array-shape", {"array": "logits"}),
        (np.zeros((2, 1)), [0, 0], DataError, "array-shape", {"array": "logits"}),
        (np.array([[0, 1], [np.nan, 0]]), [0, 1], ModelError, "model-answer-not-finite", {"images": 1}),
    ],
)
def test_logits_and_targets_that_do_not_fit_are_refused(logits, targets, error, code, fields):
    with refused(code, error, **fields) as caught:
        Cases.of(logits, np.array(targets))
    assert "\n" not in str(caught.value)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(2, 6), st.sampled_from([None, 0]))
def test_every_value_is_in_range_or_undefined(seed, n, classes, decimals):
    logits, targets = answers(n, classes, seed=seed, decimals=decimals)
    for name, values in measure(Cases.of(logits, targets), next(draws(n, 20, seed))).items():
        defined = values[~np.isnan(values)]
        assert ((defined >= (-1 - 1e-12 if name == "mcc" else 0)) & (defined <= 1 + 1e-12)).all(), name
