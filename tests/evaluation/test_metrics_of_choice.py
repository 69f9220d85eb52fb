"""The metrics that choose an epoch, and those of grades in order, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused
from sklearn import metrics as sklearn

from zoo.errors import UsageError
from zoo.evaluation import check_metric, judge_by, report
from zoo.spec import UNKNOWN, Fingerprint, read_metric

RNG = np.random.default_rng(0)
TARGETS = RNG.integers(0, 4, 120)
LOGITS = RNG.normal(size=(120, 4)) + 1.2 * (np.arange(4) == TARGETS[:, None])
SEVERAL = RNG.integers(UNKNOWN, 2, (120, 4))
LABELS = ("benign", "melanoma in situ", "痣: 良性", "a:b@0.5")


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_each_metric_is_scikit_learns():
    called, p = LOGITS.argmax(axis=1), softmax(LOGITS)
    expected = {
        "macro_auroc": sklearn.roc_auc_score(TARGETS, p, multi_class="ovr"),
        "balanced_accuracy": sklearn.balanced_accuracy_score(TARGETS, called),
        "accuracy": sklearn.accuracy_score(TARGETS, called),
        "f1": sklearn.f1_score(TARGETS, called, average="macro"),
        "kappa": sklearn.cohen_kappa_score(TARGETS, called),
        "nll": sklearn.log_loss(TARGETS, p),
    }
    for name, value in expected.items():
        assert judge_by(name, LOGITS, TARGETS, LABELS) == pytest.approx(value), name
    quadratic = sklearn.cohen_kappa_score(TARGETS, called, weights="quadratic")
    assert judge_by("kappa", LOGITS, TARGETS, LABELS, ordered=True) == pytest.approx(quadratic)


@pytest.mark.parametrize("specificity", [0.5, 0.9, 0.95, 1.0])
def test_sensitivity_at_a_specificity_is_the_highest_point_of_the_curve_there(specificity):
    for k, label in enumerate(LABELS):
        false, true, _ = sklearn.roc_curve(k == TARGETS, softmax(LOGITS)[:, k], drop_intermediate=False)
        expected = true[false <= 1 - specificity + 1e-12].max()
        assert judge_by(f"sensitivity@{specificity}:{label}", LOGITS, TARGETS, LABELS) == pytest.approx(expected)


def test_a_specificity_that_is_reached_exactly_counts_as_reached():
    """1 - 0.9 is not 0.1 to a computer: one false positive of ten must pass."""
    targets = np.array([0] * 10 + [1] * 4)
    scores = np.array([*range(9), 20, 15, 16, 17, 30.0])
    logits = np.stack([-scores, scores], axis=1)
    assert judge_by("sensitivity@0.9:b", logits, targets, "ab") == pytest.approx(1.0)
    assert judge_by("sensitivity@0.91:b", logits, targets, "ab") == pytest.approx(0.25)


def test_tied_scores_are_never_told_apart():
    targets = np.array([0, 1, 1, 0])
    assert judge_by("sensitivity@0.9:b", np.zeros((4, 2)), targets, "ab") == 0


def test_metrics_of_several_labels_are_means_over_the_labels_that_are_known():
    for name, one in (
        ("f1", sklearn.f1_score),
        ("kappa", sklearn.cohen_kappa_score),
        ("balanced_accuracy", sklearn.balanced_accuracy_score),
    ):
        known = [SEVERAL[:, k] != UNKNOWN for k in range(4)]
        expected = np.mean([one(SEVERAL[m, k], LOGITS[m, k] >= 0) for k, m in enumerate(known)])
        assert judge_by(name, LOGITS, SEVERAL, LABELS) == pytest.approx(expected), name
    held = SEVERAL != UNKNOWN
    expected = sklearn.log_loss(SEVERAL[held], 1 / (1 + np.exp(-LOGITS[held])))
    assert judge_by("nll", LOGITS, SEVERAL, LABELS) == pytest.approx(expected)


def test_a_label_that_no_validation_image_has_is_left_out_of_the_mean():
    """Else one rare label that validation lacks would leave no metric to choose epochs by."""
    several = SEVERAL.copy()
    several[several[:, 3] == 1, 3] = 0
    for name in ("f1", "kappa", "balanced_accuracy"):
        assert judge_by(name, LOGITS, several, LABELS) == pytest.approx(
            judge_by(name, LOGITS[:, :3], several[:, :3], LABELS[:3])
        )
    assert judge_by(f"sensitivity@0.9:{LABELS[3]}", LOGITS, several, LABELS) is None
    assert judge_by(f"sensitivity@0.9:{LABELS[0]}", LOGITS, several, LABELS) is not None


def test_a_metric_of_all_classes_is_undefined_where_one_has_no_image():
    some = TARGETS < 3
    for name in ("macro_auroc", "f1", "kappa", "balanced_accuracy"):
        assert judge_by(name, LOGITS[some], TARGETS[some], LABELS) is None, name
    for name in ("accuracy", "nll", "sensitivity@0.9:benign"):
        assert judge_by(name, LOGITS[some], TARGETS[some], LABELS) is not None, name
    assert judge_by("kappa", LOGITS[some], TARGETS[some], LABELS, ordered=True) is not None
    one = TARGETS == 1
    for ordered in (False, True):
        sure = np.eye(4)[TARGETS[one]] * 9
        assert judge_by("kappa", sure, TARGETS[one], LABELS, ordered=ordered) is None


def test_a_class_is_named_as_people_write_it():
    for text in ("sensitivity@0.9:Melanoma In Situ", "sensitivity@0.9: melanoma in situ"):
        check_metric(text, LABELS)
    assert read_metric("sensitivity@0.9:a:b@0.5").label == "a:b@0.5"
    assert read_metric("sensitivity@0.9：痣: 良性").label == LABELS[2], "a colon of a Chinese keyboard"
    with refused("label-unknown", UsageError, labels=["melanom"], known=list(LABELS)):
        check_metric("sensitivity@0.9:melanom", LABELS)


@pytest.mark.parametrize(
    "text",
    ["", "auroc", "F1", "macro_f1", "sensitivity", "sensitivity@0.9", "sensitivity@0.9:", "sensitivity@90:x",
     "sensitivity@x:y", "sensitivity@0:x", "sensitivity@nan:x", "sensitivity:x@0.9"],
)  # fmt: skip
def test_what_is_no_metric_is_refused(text):
    with pytest.raises(ValueError, match="metric is"):
        read_metric(text)


def judged(logits, targets, *, ordered):
    known = Fingerprint(name="x", sha256="0" * 64, n=len(targets), splits={"test": len(targets)})
    return report(
        logits, targets, "0123", model="m", split="test", temperature=1.0, fingerprint=known, resamples=200,
        ordered=ordered,
    )  # fmt: skip


def test_a_report_of_grades_holds_quadratic_kappa_and_the_error_in_grades_with_intervals():
    found = judged(LOGITS, TARGETS, ordered=True)
    called = LOGITS.argmax(axis=1)
    kappa, error = found.metrics["quadratic_kappa"], found.metrics["mean_absolute_error"]
    assert kappa.value == pytest.approx(sklearn.cohen_kappa_score(TARGETS, called, weights="quadratic"))
    assert error.value == pytest.approx(sklearn.mean_absolute_error(TARGETS, called))
    assert kappa.low < kappa.value < kappa.high
    assert error.low < error.value < error.high
    assert not {"quadratic_kappa", "mean_absolute_error"} & judged(LOGITS, TARGETS, ordered=False).metrics.keys()


def test_perfect_grades_are_not_called_certain():
    """Every resample repeats the value, and Wilson's interval stands on the right side of it."""
    found = judged(np.eye(4)[TARGETS] * 9, TARGETS, ordered=True).metrics
    assert found["quadratic_kappa"].value == 1
    assert 0.9 < found["quadratic_kappa"].low < 1 == found["quadratic_kappa"].high
    assert found["mean_absolute_error"].value == 0 == found["mean_absolute_error"].low
    assert 0 < found["mean_absolute_error"].high < 0.2


def test_grades_of_one_value_have_no_kappa_and_a_reason():
    found = judged(np.eye(4)[np.zeros(30, int)] * 9, np.zeros(30, int), ordered=True)
    assert "quadratic_kappa" in found.undefined
    assert found.metrics["mean_absolute_error"].value == 0
