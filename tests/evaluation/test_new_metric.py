"""A metric is one entry of one table; reports, comparisons and the command line follow by themselves."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from zoo.evaluation import METRICS, Cases, ClassMetric, ImageMetric, metrics, ones, report, title_of
from zoo.evaluation.comparison import Contender, compare
from zoo.spec import Fingerprint
from zoo_cli.compare import as_text

NEW = {
    "macro_specificity": ClassMetric("macro specificity", lambda tally: tally.specificity.mean(axis=0)),
    "top2_accuracy": ImageMetric(
        "top-2 accuracy",
        lambda cases: (np.argsort(-cases.scores, axis=1)[:, :2] == cases.targets[:, None]).any(axis=1) * 1.0,
    ),
}


@pytest.fixture
def two_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, metric in NEW.items():
        monkeypatch.setitem(METRICS, name, metric)  # type: ignore[arg-type]
    for module in ("zoo.evaluation.comparison", "zoo.evaluation"):
        monkeypatch.setattr(importlib.import_module(module), "COMPARED", ("macro_auroc", *NEW))


def answers(seed: int = 0, absent: int | None = None):
    rng = np.random.default_rng(seed)
    targets = np.random.default_rng(7).integers(0, 3, 90)
    if absent is not None:
        targets[targets == absent] = 0
    logits = rng.normal(size=(90, 3))
    logits[np.arange(90), targets] += 1.5
    return logits, targets


def judged(logits, targets):
    known = Fingerprint(name="x", sha256="0" * 64, n=90, splits={"test": 90})
    return report(logits, targets, "abc", model="m", split="test", temperature=1.0, fingerprint=known, resamples=100)


@pytest.mark.usefixtures("two_more")
def test_a_report_holds_a_new_metric_with_its_interval():
    logits, targets = answers()
    found = judged(logits, targets).metrics
    called = logits.argmax(axis=1)
    expected = np.mean([np.mean(called[targets != k] != k) for k in range(3)])
    assert found["macro_specificity"].value == pytest.approx(expected)
    assert found["macro_specificity"].low < expected < found["macro_specificity"].high
    assert found["top2_accuracy"].value == pytest.approx(np.mean(np.argsort(logits)[:, 0] != targets))


@pytest.mark.usefixtures("two_more")
def test_a_missing_class_leaves_out_a_metric_of_classes_and_no_metric_of_images():
    found = judged(*answers(absent=2))
    assert "macro_specificity" in found.undefined
    assert "top2_accuracy" in found.metrics


@pytest.mark.usefixtures("two_more")
def test_compare_tests_pairs_on_a_new_metric_and_shows_its_column():
    """Otherwise a contributor's metric is in the report and missing where models are chosen."""
    (logits, targets), (others, _) = answers(), answers(seed=1)
    found = compare([Contender("a", logits), Contender("b", others)], targets, "abc", resamples=100)
    assert [pair.metric for pair in found.pairs] == ["macro_auroc", *NEW]
    assert all(pair.delta is not None for pair in found.pairs)
    header = next(line for line in as_text(found).splitlines() if line.startswith("model"))
    assert header.split("  ")[0] == "model"
    for metric in NEW.values():
        assert f"{metric.title} (95 %)" in header


def test_a_metric_of_images_needs_as_many_trials_as_images_differ():
    """Otherwise a handful of images would be taken for a proof (see zoo.compare)."""
    logits, targets = answers()
    swapped = logits.copy()
    swapped[:4] = -swapped[:4]
    a, b = Cases.of(logits, targets), Cases.of(swapped, targets)
    differ = int((a.right != b.right).sum())
    assert METRICS["accuracy"].paired_trials(a, b) == (90, differ)
    smaller = max(np.bincount(targets))
    assert METRICS["macro_auroc"].paired_trials(a, b)[1] == min(smaller, 90 - smaller)


def test_every_metric_of_the_table_lies_between_nothing_and_one():
    """Wilson's interval, and the word 'better', hold for such metrics only."""
    values = metrics.measure(Cases.of(*answers()), ones(90))
    assert all(0 <= values[name][0] <= 1 for name in METRICS)


def test_a_metric_of_a_later_release_is_shown_by_its_name():
    assert title_of("macro_auroc") == "macro AUROC"
    assert title_of("kappa") == "kappa"
