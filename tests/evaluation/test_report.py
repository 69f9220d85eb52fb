"""The report: complete, honest about what it cannot say, and a document that reads back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from zoo.errors import DataError, ModelError
from zoo.evaluation import CLASS_METRICS, METRICS, report
from zoo.spec import EvalReport, Fingerprint, Interval, decode, encode

DATA = Fingerprint(name="made", sha256="0" * 64, n=1, splits={"test": 1})


def judge(logits, targets, labels=None, **options) -> EvalReport:
    logits = np.asarray(logits, dtype=np.float32)
    labels = labels or [f"class {k}" for k in range(logits.shape[1])]
    options = {"resamples": 200, "temperature": 1.0, **options}
    return report(logits, np.asarray(targets), labels, model="m", split="test", fingerprint=DATA, **options)


def onehot(targets, classes):
    return np.eye(classes)[np.asarray(targets)]


def numbers(found: EvalReport):
    yield from found.metrics.items()
    for label, row in found.per_class.items():
        yield from ((f"{label}.{name}", value) for name, value in row.items() if name != "n")
    yield from (("brier", found.calibration.brier), ("nll", found.calibration.nll))


def test_a_report_holds_every_number_and_reads_back():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 90)
    found = judge(rng.normal(size=(90, 3)) + onehot(targets, 3), targets, notes=["a defect"])
    assert set(found.metrics) == set(METRICS)
    assert found.undefined == {}
    assert found.notes == ("a defect",)
    for k, row in enumerate(found.per_class.values()):
        assert set(row) == {"n", *CLASS_METRICS}
        assert row["n"] == (targets == k).sum() == sum(found.confusion.counts[k])
    assert sum(map(sum, found.confusion.counts)) == found.n == 90
    assert decode(encode(found), EvalReport, "report.json", DataError) == found


def test_the_same_seed_gives_the_same_report():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    assert judge(logits, targets, seed=4) == judge(logits, targets, seed=4)
    assert judge(logits, targets, seed=4) != judge(logits, targets, seed=5)


def test_an_absent_class_is_named_and_never_zero():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 40)
    found = judge(rng.normal(size=(40, 3)), targets, ["cat", "dog", "yak"])
    reason = "no image of class yak among the 40 evaluated"
    for name in ("macro_auroc", "macro_auprc", "macro_f1", "balanced_accuracy"):
        assert found.undefined[name] == reason
        assert name not in found.metrics
    for name in ("sensitivity", "f1", "auroc", "auprc"):
        assert found.undefined[f"yak.{name}"] == reason
        assert name not in found.per_class["yak"]
    assert found.per_class["yak"]["n"] == 0
    assert "specificity" in found.per_class["yak"]
    assert "accuracy" in found.metrics


def test_many_absent_classes_make_a_short_reason():
    found = judge(np.zeros((4, 30)), [0, 1, 0, 1])
    assert "23 more" in found.undefined["macro_f1"]


def test_a_class_never_called_has_no_ppv_but_an_f1_of_zero():
    targets = np.array([0, 1] * 20)
    found = judge(np.tile([1.0, 0.0], (40, 1)), targets, ["no", "yes"])
    assert {"yes.ppv", "no.npv"} <= set(found.undefined)
    assert found.per_class["yes"]["f1"].value == 0.0
    assert found.per_class["yes"]["sensitivity"].method == "wilson"
    assert found.per_class["yes"]["sensitivity"].high > 0.1
    assert found.metrics["macro_auroc"].value == 0.5


def test_one_class_only_is_said_so():
    found = judge(np.zeros((12, 2)), np.zeros(12, int), ["no", "yes"])
    assert "12 evaluated" in found.undefined["no.specificity"]
    assert found.undefined["no.auroc"] == found.undefined["no.specificity"]
    assert "macro_auroc" in found.undefined


def test_a_perfect_auroc_is_not_one_to_one():
    targets = np.array([0] * 30 + [1] * 8)
    found = judge(4 * onehot(targets, 2), targets)
    for name in METRICS:
        value = found.metrics[name]
        assert (value.value, value.high, value.method) == (1.0, 1.0, "wilson")
    # Eight positives are the trials behind the AUROC, 38 images behind the accuracy.
    assert found.metrics["macro_auroc"].low == pytest.approx(8 / (8 + 3.8415), abs=1e-4)
    assert found.metrics["accuracy"].low == pytest.approx(38 / (38 + 3.8415), abs=1e-4)
    assert found.calibration.nll.high > found.calibration.nll.value
    assert found.calibration.brier.high > found.calibration.brier.value


def test_too_few_images_for_an_interval_means_no_number():
    """Twenty classes of one image: nearly every resample misses one."""
    targets = np.arange(20)
    found = judge(onehot(targets, 20), targets)
    assert found.undefined["macro_auroc"].startswith("too few")
    assert "macro_auroc" not in found.metrics
    assert found.metrics["accuracy"].value == 1.0


def test_temperature_moves_calibration_and_not_accuracy():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 200)
    logits = rng.normal(size=(200, 2)) + onehot(targets, 2)
    sharp, soft = judge(10 * logits, targets), judge(10 * logits, targets, temperature=10.0)
    assert soft.metrics["accuracy"] == sharp.metrics["accuracy"]
    assert soft.calibration.nll.value < sharp.calibration.nll.value
    assert soft.calibration.temperature == 10.0


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(2, 5), st.sampled_from([0.1, 3, 60]))
def test_every_number_is_finite_and_inside_its_interval(seed, n, classes, scale):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    found = judge(scale * rng.normal(size=(n, classes)), targets, resamples=40)
    for name, value in numbers(found):
        assert isinstance(value, Interval)
        assert np.isfinite([value.value, value.low, value.high]).all(), name
        assert (-1 if name == "mcc" else 0) <= value.low <= value.value <= value.high, name
        assert value.high <= {"brier": 2, "nll": np.inf}.get(name, 1), name
        assert value.low < value.high, name
    named = {*found.metrics, *(f"{label}.{m}" for label, row in found.per_class.items() for m in row)}
    assert not named & set(found.undefined)
    assert len(found.metrics) + sum(m in found.undefined for m in METRICS) == len(METRICS)
    assert all(found.undefined.values())


def test_a_correlation_with_what_is_always_the_same_is_undefined():
    """scikit-learn says 0."""
    called = judge(np.tile([1.0, 0.0], (40, 1)), np.array([0, 1] * 20), ["no", "yes"])
    assert called.undefined["mcc"] == "all of the 40 images were called no"
    assert judge(np.eye(2)[[0, 1] * 6], np.zeros(12, int), ["no", "yes"]).undefined["mcc"].startswith("all of the 12")
    several = judge(np.tile([1.0, -1.0], (20, 1)), np.array([[0, 1], [1, 0]] * 10), ["cold", "warm"])
    assert "cold, warm" in several.undefined["mcc"]


def test_labels_must_be_one_different_name_a_class():
    with refused("label-count", DataError, found=2, expected=3):
        judge(np.zeros((4, 3)), [0, 1, 2, 0], ["a", "b", "a"])


def test_a_model_that_answers_nan_is_refused():
    with refused("model-answer-not-finite", ModelError, images=1, first=0):
        judge([[0, np.nan], [0, 1]], [0, 1])
