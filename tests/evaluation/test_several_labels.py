"""Models that give any number of labels an image: every number against scikit-learn, and where there is none."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from refusals import refused
from sklearn import metrics as oracle

from zoo.errors import DataError, ModelError
from zoo.evaluation import (
    CLASS_METRICS,
    METRICS,
    Cases,
    draws,
    fit_temperature,
    macro_auroc,
    measure,
    ones,
    plot_confusion,
    plot_labels,
    plot_reliability,
    reliability,
    report,
    write_predictions,
)
from zoo.evaluation.calibration import losses
from zoo.evaluation.comparison import Contender, compare
from zoo.spec import EvalReport, Fingerprint, Interval, decode, encode

DATA = Fingerprint(name="made", sha256="0" * 64, n=1, splits={"test": 1})
LABELS = ("Mass", "Effusion", "Hernia")
TIES = [pytest.param(None, id="continuous"), pytest.param(1, id="ties"), pytest.param(0, id="many-ties")]


def answers(n: int, labels: int = 3, *, seed: int = 0, decimals: int | None = None):
    """Logits and targets, (n, labels) each; rounding makes ties between images."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, labels)) < 0.35).astype(np.int64)
    logits = rng.normal(-0.3, 1, (n, labels)) + 1.2 * targets
    return (logits if decimals is None else np.round(logits, decimals)), targets


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def judge(logits, targets, labels=LABELS, **options) -> EvalReport:
    given = {"model": "m", "split": "test", "temperature": 1.0, "fingerprint": DATA, "resamples": 200, **options}
    return report(np.asarray(logits), np.asarray(targets), labels, **given)


def by_sklearn(targets, logits):
    called = (sigmoid(logits) >= 0.5).astype(int)
    tables = oracle.multilabel_confusion_matrix(targets, called)
    tn, fp, fn, tp = tables[:, 0, 0], tables[:, 0, 1], tables[:, 1, 0], tables[:, 1, 1]
    columns = list(zip(targets.T, called.T, strict=True))
    return {
        "accuracy": np.mean([oracle.accuracy_score(*column) for column in columns]),
        "balanced_accuracy": np.mean([oracle.balanced_accuracy_score(*column) for column in columns]),
        "macro_auroc": oracle.roc_auc_score(targets, logits, average="macro"),
        "macro_auprc": oracle.average_precision_score(targets, logits, average="macro"),
        "macro_f1": oracle.f1_score(targets, called, average="macro"),
        "mcc": np.mean([oracle.matthews_corrcoef(*column) for column in columns]),
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
        "ppv": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "f1": oracle.f1_score(targets, called, average=None),
        "auroc": oracle.roc_auc_score(targets, logits, average=None),
        "auprc": oracle.average_precision_score(targets, logits, average=None),
        "partial_auroc_90": [oracle.roc_auc_score(y, x, max_fpr=0.1) for y, x in zip(targets.T, logits.T, strict=True)],
    }


@pytest.mark.parametrize("decimals", TIES)
@pytest.mark.parametrize("labels", [2, 5])
def test_every_metric_agrees_with_scikit_learn(labels, decimals):
    """2^-16 is the step of our ranks; scores are given in whole steps so that both sides see the same ties."""
    logits, targets = answers(150, labels, decimals=decimals)
    logits = np.rint(logits * 2**16) / 2**16
    ours = measure(Cases.of(logits, targets), ones(150))
    expected = by_sklearn(targets, logits)
    # test_metrics.py holds the table complete; here are those whose meaning for several labels is one of its own.
    assert {*expected} <= {*ours} == {*METRICS, *CLASS_METRICS}
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name][..., 0], value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("decimals", TIES)
def test_a_weight_of_two_is_the_image_twice(decimals):
    logits, targets = answers(120, 3, decimals=decimals)
    logits = np.rint(logits * 2**16) / 2**16
    weights = np.concatenate(list(draws(120, 4, seed=3)))
    ours = measure(Cases.of(logits, targets), weights)
    for b, weight in enumerate(weights):
        again = np.repeat(np.arange(120), weight.astype(int))
        for name, value in by_sklearn(targets[again], logits[again]).items():
            np.testing.assert_allclose(ours[name][..., b], value, atol=1e-12, err_msg=name)


def test_the_losses_agree_with_scikit_learn():
    logits, targets = answers(200)
    cases = Cases.of(logits, targets, temperature=1.7)
    weights = np.concatenate([ones(200), np.random.default_rng(0).integers(0, 3, (1, 200))])
    ours, p = losses(cases, weights), sigmoid(logits / 1.7)
    for b, weight in enumerate(weights):
        brier = [oracle.brier_score_loss(targets[:, k], p[:, k], sample_weight=weight) for k in range(3)]
        nll = [oracle.log_loss(targets[:, k], p[:, k], sample_weight=weight) for k in range(3)]
        assert ours["brier"][b] == pytest.approx(np.mean(brier))
        assert ours["nll"][b] == pytest.approx(np.mean(nll))


def test_a_sure_answer_has_a_finite_loss():
    """1 - 1e-50 rounds to 1; the log-likelihood of a wrong label must not be infinite for that."""
    cases = Cases.of(np.array([[400.0, -400.0]]), np.array([[0, 1]]))
    assert losses(cases, ones(1))["nll"][0] == pytest.approx(400)


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_the_temperature_recovers_a_known_scale(scale):
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(3000, 4))
    targets = (rng.random((3000, 4)) < sigmoid(logits)).astype(int)
    assert fit_temperature(scale * logits, targets) == pytest.approx(scale, rel=0.06)


def test_the_temperature_stays_at_one_where_images_can_not_tell():
    logits, targets = answers(200)
    assert fit_temperature(logits[:19], targets[:19]) == 1.0
    assert fit_temperature(logits, np.zeros_like(targets)) == 1.0
    assert fit_temperature(2.0 * targets - 1, targets) == 1.0
    assert fit_temperature(np.zeros((0, 3)), np.zeros((0, 3), int)) == 1.0


def test_the_calibration_error_pools_every_label():
    """Two images of two labels: three at 0.9, of which two hold, and one at 0.2 that does not."""
    p = np.array([[0.9, 0.9], [0.9, 0.2]])
    curve = reliability(Cases.of(np.log(p / (1 - p)), np.array([[1, 1], [0, 0]])))
    assert curve.ece == pytest.approx((3 * abs(2 / 3 - 0.9) + 0.2) / 4)
    assert curve.count.sum() == 4
    assert curve.units[curve.count == 3].tolist() == [2], "two images, not three labels, are independent"


def test_the_training_loops_auroc_is_the_reports_and_leaves_out_what_is_not_there():
    """Else a rare label that no validation image has would make all epochs equal."""
    logits, targets = answers(300)
    whole = measure(Cases.of(logits, targets), ones(300))
    assert macro_auroc(logits, targets) == pytest.approx(whole["macro_auroc"][0], abs=1e-12)
    targets[:, 2] = 0
    assert macro_auroc(logits, targets) == pytest.approx(whole["auroc"][:2, 0].mean(), abs=1e-12)
    assert macro_auroc(logits, np.zeros_like(targets)) is None


def test_a_report_holds_every_number_and_reads_back():
    logits, targets = answers(90)
    found = judge(logits, targets, groups=np.arange(90) // 3)
    assert set(found.metrics) == set(METRICS)
    assert found.undefined == {}
    assert found.confusion is None
    assert found.clusters == 30
    for k, row in enumerate(found.per_class.values()):
        assert set(row) == {"n", *CLASS_METRICS}
        assert row["n"] == targets[:, k].sum()
    assert found.calibration.brier.value == pytest.approx(np.mean((sigmoid(logits) - targets) ** 2))
    assert decode(encode(found), EvalReport, "report.json", DataError) == found


def test_a_label_that_no_image_or_every_image_has_is_named():
    logits, targets = answers(60)
    targets[:, 1], targets[:, 2] = 0, 1
    found = judge(logits, targets)
    why = "no image with label Effusion and no image without label Hernia among the 60 evaluated"
    for name in ("balanced_accuracy", "macro_auroc", "macro_auprc", "macro_f1"):
        assert found.undefined[name] == why
        assert name not in found.metrics
    assert "with label Effusion" in found.undefined["Effusion.auroc"]
    assert "without label Hernia" in found.undefined["Hernia.specificity"]
    assert "accuracy" in found.metrics
    assert "specificity" in found.per_class["Effusion"]
    assert "auroc" in found.per_class["Mass"]


def test_a_perfect_auroc_is_not_one_to_one():
    """Nine images with the rarer side of a label are the trials, and images, not labels, those of the accuracy."""
    targets = np.zeros((40, 2), int)
    targets[:9, 0], targets[:28, 1] = 1, 1
    found = judge(4.0 * targets - 2, targets, LABELS[:2])
    for name in METRICS:
        assert (found.metrics[name].value, found.metrics[name].method) == (1.0, "wilson")
    assert found.metrics["macro_auroc"].low == pytest.approx(9 / (9 + 3.8415), abs=1e-4)
    assert found.metrics["accuracy"].low == pytest.approx(40 / (40 + 3.8415), abs=1e-4)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(1, 4), st.sampled_from([0.1, 3, 60]), st.booleans())
def test_every_number_is_finite_and_inside_its_interval(seed, n, labels, scale, grouped):
    logits, targets = answers(n, labels, seed=seed)
    names = [f"label {k}" for k in range(labels)]
    found = judge(scale * logits, targets, names, resamples=40, groups=np.arange(n) // 2 if grouped else None)
    numbers = [*found.metrics.items(), ("brier", found.calibration.brier), ("nll", found.calibration.nll)]
    numbers += [(m, value) for row in found.per_class.values() for m, value in row.items() if m != "n"]
    for name, value in numbers:
        assert isinstance(value, Interval)
        assert (-1 if name == "mcc" else 0) <= value.low <= value.value <= value.high, name
        assert value.high <= (np.inf if name == "nll" else 1), name
        assert value.low < value.high, name
    assert len(found.metrics) + sum(m in found.undefined for m in METRICS) == len(METRICS)


@pytest.mark.parametrize(
    ("logits", "targets", "error", "code", "fields"),
    [
        (np.zeros((2, 2)), [[0, 2], [0, 0]], DataError, "target-range", {"found": [0, 2], "expected": [-1, 1]}),
        (np.zeros((2, 2)), [[0, -2], [0, 0]], DataError, "target-range", {"found": [-2, 0], "expected": [-1, 1]}),
        (np.zeros((2, 2)), [[-1, -1], [-1, -1]], DataError, "labels-unknown", {"images": 2}),
        (np.zeros((2, 3)), [[0, 1], [0, 0]], DataError, "array-shape", {"array": "targets", "expected": [2, 3]}),
        (np.zeros((2, 2)), [[0.5, 1], [0, 0]], DataError, "array-shape", {"array": "targets"}),
        (np.zeros((0, 2)), np.zeros((0, 2), int), DataError, "array-shape", {"array": "logits"}),
        (np.array([[0, np.inf], [0, 0]]), [[0, 1], [0, 0]], ModelError, "model-answer-not-finite", {"images": 1}),
    ],
)
def test_logits_and_targets_that_do_not_fit_are_refused(logits, targets, error, code, fields):
    with refused(code, error, **fields) as caught:
        Cases.of(logits, np.array(targets))
    assert "\n" not in str(caught.value)


def test_predictions_name_every_label_of_an_image(tmp_path):
    logits = np.array([[2.0, 1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, -3.0]])
    targets = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    write_predictions(tmp_path / "p.csv", ["a", "b", "c"], targets, logits, ["=Mass", "Effusion", "Hernia"], 2.0)
    with (tmp_path / "p.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image", "labels", "predicted", "exact", "p_=Mass", "p_Effusion", "p_Hernia"]
    assert [row["labels"] for row in rows] == ["'=Mass|Effusion", "'=Mass|Effusion", ""]
    assert [row["predicted"] for row in rows] == ["'=Mass|Effusion", "Effusion", ""]
    assert [row["exact"] for row in rows] == ["1", "0", "1"]
    assert float(rows[0]["p_=Mass"]) == pytest.approx(sigmoid(1), abs=1e-6)


@pytest.mark.parametrize("labels", [["Mass", "pleural thickening, left or right"], [f"$x_{k}" for k in range(40)]])
def test_labels_are_drawn_whatever_their_names_and_also_where_one_is_undefined(tmp_path, labels):
    logits, targets = answers(120, len(labels))
    targets[:, 1] = 0
    found = judge(logits, targets, labels, resamples=20)
    plot_labels(found, tmp_path / "labels.png")
    plot_reliability(logits, targets, tmp_path / "reliability.png", title="net on test", groups=np.arange(120) // 2)
    for name in ("labels.png", "reliability.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 250
            assert len(image.convert("L").getcolors(1000)) > 20
    with refused("task-unsupported", DataError):
        plot_confusion(found, tmp_path / "confusion.png")


def test_models_are_compared_by_auroc_and_by_labels_right():
    good, targets = answers(200)
    found = compare([Contender("good", good + 2 * targets), Contender("plain", good)], targets, LABELS)
    verdicts = {pair.metric: pair.verdict for pair in found.pairs}
    assert (verdicts["macro_auroc"], verdicts["accuracy"]) == ("better", "better")
    expected = by_sklearn(targets, good)["accuracy"]
    assert found.models[1].metrics["accuracy"].value == pytest.approx(expected)


def test_the_smallest_p_counts_images_in_which_the_models_differ_not_labels():
    """Three images whose six labels all changed are three trials: p cannot be below 2^-2."""
    targets = np.zeros((30, 6), int)
    targets[:15] = 1
    right = 4.0 * targets - 2
    worse = right.copy()
    worse[:3] *= -1
    found = compare([Contender("right", right), Contender("worse", worse)], targets, "abcdef")
    pair = next(pair for pair in found.pairs if pair.metric == "accuracy")
    assert (pair.delta, pair.p, pair.verdict) == (pytest.approx(0.1), 0.25, "cannot tell")
