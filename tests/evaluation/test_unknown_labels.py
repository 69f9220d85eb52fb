"""Labels that nobody knows of an image (-1): every number against scikit-learn on what is known."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from refusals import refused
from sklearn import metrics as oracle

from zoo.errors import DataError
from zoo.evaluation import (
    CLASS_METRICS,
    Cases,
    draws,
    fit_temperature,
    learn_weights,
    macro_auroc,
    measure,
    ones,
    plot_labels,
    plot_reliability,
    reliability,
    report,
    write_predictions,
)
from zoo.evaluation.calibration import losses
from zoo.evaluation.comparison import Contender, compare
from zoo.spec import UNKNOWN, EvalReport, Fingerprint, Interval, decode, encode

DATA = Fingerprint(name="made", sha256="0" * 64, n=1, splits={"test": 1})
LABELS = ("Edema", "Fracture", "Mass")


def answers(n: int = 120, *, seed: int = 0, unknown: float = 0.3):
    """Logits and targets, (n, 3) each; a share of the targets is unknown, and the first image knows nothing."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 3)) < 0.4).astype(np.int64)
    logits = np.round(rng.normal(-0.2, 1, (n, 3)) + truth, 1)
    targets = np.where(rng.random((n, 3)) < unknown, UNKNOWN, truth)
    targets[0] = UNKNOWN
    return logits, targets


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def judge(logits, targets, **options) -> EvalReport:
    given = {"model": "m", "split": "test", "temperature": 1.0, "fingerprint": DATA, "resamples": 200, **options}
    return report(np.asarray(logits), np.asarray(targets), LABELS, **given)


def value(found: Interval | int) -> float:
    assert isinstance(found, Interval)
    assert found.low <= found.value <= found.high
    return found.value


def by_sklearn(targets, logits):
    """Metric: its value of each label, on the images that know the label."""
    found: dict[str, list[float]] = {name: [] for name in ("accuracy", *CLASS_METRICS)}
    for k in range(targets.shape[1]):
        known = targets[:, k] != UNKNOWN
        y, x = targets[known, k], logits[known, k]
        called = (x >= 0).astype(int)
        found["accuracy"].append(oracle.accuracy_score(y, called))
        found["sensitivity"].append(oracle.recall_score(y, called))
        found["specificity"].append(oracle.recall_score(y, called, pos_label=0))
        found["ppv"].append(oracle.precision_score(y, called))
        found["npv"].append(oracle.precision_score(y, called, pos_label=0))
        found["f1"].append(oracle.f1_score(y, called))
        found["auroc"].append(oracle.roc_auc_score(y, x))
        found["auprc"].append(oracle.average_precision_score(y, x))
        found["partial_auroc_90"].append(oracle.roc_auc_score(y, x, max_fpr=0.1))
        false, true, _ = oracle.roc_curve(y, x, drop_intermediate=False)
        found["sensitivity_at_specificity_90"].append(true[false <= 0.1 + 1e-12].max())
    return found


def test_every_metric_is_that_of_scikit_learn_on_the_known_labels():
    """Counted as 0 or as -1, what nobody knows would move every one of them."""
    logits, targets = answers()
    found, expected = judge(logits, targets), by_sklearn(targets, logits)
    for k, label in enumerate(LABELS):
        assert found.per_class[label]["n"] == (targets[:, k] == 1).sum()
        assert found.per_class[label]["known"] == (targets[:, k] != UNKNOWN).sum()
        for name in CLASS_METRICS:
            assert value(found.per_class[label][name]) == pytest.approx(expected[name][k]), (label, name)
    assert found.metrics["accuracy"].value == pytest.approx(np.mean(expected["accuracy"]))
    for name, of in (("macro_auroc", "auroc"), ("macro_auprc", "auprc"), ("macro_f1", "f1")):
        assert found.metrics[name].value == pytest.approx(np.mean(expected[of])), name
    balanced = np.mean([expected["sensitivity"], expected["specificity"]])
    assert found.metrics["balanced_accuracy"].value == pytest.approx(balanced)
    assert macro_auroc(logits, targets) == pytest.approx(np.mean(expected["auroc"]))
    assert decode(encode(found), EvalReport, "report.json", DataError) == found


def test_calibration_is_over_known_labels():
    logits, targets = answers()
    known = targets != UNKNOWN
    y, p = targets[known], sigmoid(logits)[known]
    found = judge(logits, targets).calibration
    assert found is not None
    assert found.brier.value == pytest.approx(oracle.brier_score_loss(y, p))
    assert found.nll.value == pytest.approx(oracle.log_loss(y, p))
    curve = reliability(Cases.of(logits, targets))
    assert curve.count.sum() == known.sum()
    assert (curve.units <= known.any(axis=1).sum()).all()
    assert (curve.accuracy * curve.count)[curve.count > 0].sum() == pytest.approx(y.sum())


def test_a_temperature_is_fitted_to_known_labels():
    """Of all labels the known half is four times too sure; the rest says nothing, whatever it is filled with."""
    rng = np.random.default_rng(1)
    raw = rng.normal(0, 1.5, (2000, 1))
    truth = (rng.random((2000, 1)) < sigmoid(raw)).astype(np.int64)
    logits = np.hstack([4 * raw, rng.normal(0, 1, (2000, 1))])
    targets = np.hstack([truth, np.full((2000, 1), UNKNOWN)])
    assert fit_temperature(logits, targets) == pytest.approx(4, rel=0.15)
    assert fit_temperature(logits, np.full_like(targets, UNKNOWN)) == 1.0
    few = np.where(np.arange(2000)[:, None] < 19, targets, UNKNOWN)
    assert fit_temperature(logits, few) == 1.0


def test_a_resample_is_judged_as_the_images_it_holds():
    """Else intervals would be of something else than the value."""
    logits, targets = answers(60)
    (weights,) = draws(60, 20, seed=3)
    found, lost = measure(Cases.of(logits, targets), weights), losses(Cases.of(logits, targets), weights)
    for b, row in enumerate(weights.astype(int)):
        again = Cases.of(np.repeat(logits, row, axis=0), np.repeat(targets, row, axis=0))
        point = measure(again, ones(again.n)) | losses(again, ones(again.n))
        for name, values in (found | lost).items():
            np.testing.assert_allclose(values[..., b], point[name][..., 0], err_msg=name)


def test_what_is_unknown_changes_no_number_whatever_the_model_says():
    logits, targets = answers()
    other = np.where(targets == UNKNOWN, -logits + 0.3, logits)
    assert judge(other, targets) == judge(logits, targets)
    groups = np.arange(120) // 4
    assert judge(other, targets, groups=groups) == judge(logits, targets, groups=groups)


def test_a_label_that_is_known_of_no_image_is_named_and_left_out_of_means():
    logits, targets = answers()
    targets[:, 1] = UNKNOWN
    found = judge(logits, targets)
    assert found.per_class["Fracture"] == {"n": 0, "known": 0}
    assert {name for name in found.undefined if name.startswith("Fracture.")} == {
        f"Fracture.{name}" for name in CLASS_METRICS
    }
    expected = by_sklearn(targets[:, [0, 2]], logits[:, [0, 2]])
    assert found.metrics["macro_auroc"].value == pytest.approx(np.mean(expected["auroc"]))
    assert found.metrics["accuracy"].value == pytest.approx(np.mean(expected["accuracy"]))
    assert any("Fracture" in note for note in found.notes)


def test_a_label_with_known_positives_only_leaves_means_undefined_with_the_reason():
    logits, targets = answers()
    targets[:, 1] = np.where(targets[:, 1] == 0, UNKNOWN, targets[:, 1])
    found = judge(logits, targets)
    assert "Fracture" in found.undefined["macro_auroc"]
    assert "Fracture.specificity" in found.undefined
    assert value(found.per_class["Fracture"]["sensitivity"]) >= 0


def test_trials_of_an_interval_without_width_are_the_images_that_know():
    """A Wilson interval of all right among 100 images, of which 9 know anything, must not be that of 100."""
    logits, targets = np.tile([[4.0], [-4.0]], (50, 1)), np.full((100, 1), UNKNOWN)
    targets[:9, 0] = [1, 0, 1, 0, 1, 0, 1, 0, 1]
    found = report(logits, targets, ["Mass"], model="m", split="test", temperature=1.0, fingerprint=DATA, resamples=200)
    accuracy = found.metrics["accuracy"]
    assert (accuracy.value, accuracy.method) == (1.0, "wilson")
    assert accuracy.low == pytest.approx(9 / (9 + 1.959964**2), rel=1e-5)


def test_images_of_which_nothing_is_known_cannot_be_judged():
    logits, targets = answers()
    with refused("labels-unknown", DataError, images=120):
        judge(logits, np.full_like(targets, UNKNOWN))


def test_models_are_compared_on_known_labels():
    """A model that is better where nobody knows the truth is not better."""
    logits, targets = answers(300)
    better = np.where(targets == UNKNOWN, logits, np.round(logits + 2.0 * (2 * targets - 1), 1))
    elsewhere = np.where(targets == UNKNOWN, -9.0, logits)
    contenders = [Contender("a", better), Contender("b", logits), Contender("c", elsewhere)]
    found = compare(contenders, targets, LABELS, resamples=400)
    pairs = {(pair.a, pair.b, pair.metric): pair for pair in found.pairs}
    assert pairs["a", "b", "macro_auroc"].verdict == "better"
    expected = by_sklearn(targets, better)["auroc"], by_sklearn(targets, logits)["auroc"]
    assert pairs["a", "b", "macro_auroc"].delta == pytest.approx(np.mean(expected[0]) - np.mean(expected[1]))
    assert pairs["b", "c", "macro_auroc"].delta == pytest.approx(0)
    assert pairs["b", "c", "accuracy"].verdict == "cannot tell"


def test_weights_of_an_ensemble_are_learnt_from_known_labels():
    logits, targets = answers(300)
    other = np.where(targets == UNKNOWN, 9.0, np.random.default_rng(2).normal(size=logits.shape))
    found = learn_weights([logits, other], targets)
    same = learn_weights([logits, np.where(targets == UNKNOWN, -9.0, other)], targets)
    assert found == same
    assert found.units == (targets != UNKNOWN).any(axis=1).sum()


def test_predictions_name_what_is_unknown(tmp_path):
    """An empty cell of labels would say that the image has none."""
    targets = np.array([[1, UNKNOWN, 0], [UNKNOWN, UNKNOWN, UNKNOWN], [0, 1, 0], [1, UNKNOWN, UNKNOWN]])
    logits = np.array([[2.0, 1.0, -1.0], [1.0, -1.0, -1.0], [1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
    write_predictions(tmp_path / "p.csv", ["a", "b", "c", "d"], targets, logits, LABELS)
    with (tmp_path / "p.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["labels"] for row in rows] == ["Edema", "", "Fracture", "Edema"]
    assert [row["unknown"] for row in rows] == ["Fracture", "Edema|Fracture|Mass", "", "Fracture|Mass"]
    assert [row["predicted"] for row in rows] == ["Edema|Fracture", "Edema", "Edema|Fracture", "Edema|Mass"]
    assert [row["exact"] for row in rows] == ["1", "", "0", "1"]
    write_predictions(tmp_path / "q.csv", ["c"], targets[2:3], logits[2:3], LABELS)
    assert (tmp_path / "q.csv").read_text().startswith("image,labels,predicted,exact,p_Edema")


def test_plots_are_drawn_where_labels_are_unknown(tmp_path):
    logits, targets = answers()
    targets[:, 2] = UNKNOWN
    plot_labels(judge(logits, targets), tmp_path / "l.png")
    plot_reliability(logits, targets, tmp_path / "r.png")
    assert (tmp_path / "l.png").stat().st_size > 1000
    assert (tmp_path / "r.png").stat().st_size > 1000
