"""Comparing models: no false claims, no missed clear ones, and a document with the agreed keys."""

from __future__ import annotations

import json

import msgspec
import numpy as np
from refusals import refused

from zoo.errors import DataError, UsageError
from zoo.evaluation import COMPARED
from zoo.evaluation.comparison import Comparison, Contender, Pair, compare, holm
from zoo.spec import decode, encode

LABELS = ("a", "b", "c")


def answers(n, *, classes=3, strength=1.5, seed=0, base=None, targets=None):
    rng = np.random.default_rng(seed)
    if targets is None:
        targets = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) if base is None else base + 0.7 * rng.normal(size=(n, classes))
    if base is None:
        logits[np.arange(n), targets] += strength
    return logits, targets


def pair(metric, p, low=0.1, high=0.3):
    return Pair(a="x", b="y", metric=metric, delta=0.2, low=low, high=high, p=p, p_holm=p, verdict="cannot tell")


def by_metric(found: Comparison) -> dict[str, Pair]:
    """The pairs of a comparison of two models."""
    return {pair.metric: pair for pair in found.pairs}


def test_the_document_has_the_agreed_keys_and_reads_back():
    logits, targets = answers(80)
    found = compare(
        [Contender("m", logits, latency_ms=3.0, size_bytes=10), Contender("k", logits[:, ::-1])],
        targets,
        LABELS,
    )
    document = json.loads(encode(found))
    assert {"models", "pairs"} <= set(document)
    assert {"name", "metrics", "latency_ms", "size_bytes"} <= set(document["models"][0])
    assert {"a", "b", "metric", "delta", "low", "high", "p", "verdict"} <= set(document["pairs"][0])
    assert {"value", "low", "high"} <= set(document["models"][0]["metrics"]["macro_auroc"])
    assert decode(encode(found), Comparison, "comparison", DataError) == found


def test_a_model_against_itself_can_not_be_told_apart():
    logits, targets = answers(100)
    for found in compare([Contender("m", logits), Contender("copy", logits)], targets, LABELS).pairs:
        assert (found.delta, found.p, found.verdict) == (0.0, 1.0, "cannot tell")
        assert (found.low, found.high) == (None, None), "an interval would be that of models that differ"
        assert "100 images" in found.reason


def test_two_files_of_one_model_answer_alike_within_the_rounding_of_an_export():
    logits, targets = answers(100)
    rounded = logits + np.random.default_rng(5).uniform(-1e-4, 1e-4, logits.shape)
    alike, near = (
        compare([Contender("m", logits), Contender("k", other)], targets, LABELS, resamples=50).pairs
        for other in (rounded, logits + 0.1 * (targets == 0)[:, None] * [1, 0, 0])
    )
    assert all(pair.low is None for pair in alike)
    assert all(pair.low is not None for pair in near), "other probabilities are another model"


def test_a_clearly_better_model_is_called_better_and_the_other_way_round():
    good, targets = answers(300, strength=3)
    bad, _ = answers(300, strength=0.5, targets=targets, seed=1)
    contenders = [Contender("good", good), Contender("bad", bad)]
    for found in compare(contenders, targets, LABELS).pairs:
        assert found.verdict == "better"
        assert 0 < found.low <= found.delta <= found.high
    for found in compare(contenders[::-1], targets, LABELS).pairs:
        assert found.verdict == "worse"
        assert found.high < 0


def test_pairing_sees_what_two_separate_intervals_hide():
    """A model that is right wherever the other is, and on ten of 300 images more."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 300)
    wrong = rng.random(300) < 0.25
    worse = np.eye(3)[np.where(wrong, (targets + 1) % 3, targets)]
    better = worse.copy()
    mended = np.flatnonzero(wrong)[:12]
    better[mended] = np.eye(3)[targets[mended]]
    a, b = Contender("a", better), Contender("b", worse)
    found = compare([a, b], targets, LABELS)
    rows = found.models
    assert rows[0].metrics["accuracy"].low < rows[1].metrics["accuracy"].high
    assert by_metric(found)["accuracy"].verdict == "better"


def test_equally_good_models_are_seldom_called_different():
    """60 null comparisons at a nominal rate of 5 %; more than 8 called would be claims made of noise."""
    called = dict.fromkeys(COMPARED, 0)
    for seed in range(60):
        base, targets = answers(80, classes=2, seed=seed)
        a, _ = answers(80, classes=2, seed=1000 + seed, base=base, targets=targets)
        b, _ = answers(80, classes=2, seed=2000 + seed, base=base, targets=targets)
        for found in compare([Contender("a", a), Contender("b", b)], targets, "ab", resamples=200, seed=seed).pairs:
            called[found.metric] += found.verdict != "cannot tell"
    assert all(count <= 8 for count in called.values()), called


def test_three_images_are_no_proof():
    """Every resample agrees that the first model is better; three images can still not tell."""
    targets = np.array([0, 1, 0])
    right = np.eye(2)[targets]
    found = compare([Contender("right", right), Contender("wrong", 1 - right)], targets, "ab")
    assert {pair.verdict for pair in found.pairs} == {"cannot tell"}
    accuracy = by_metric(found)["accuracy"]
    assert (accuracy.delta, accuracy.p) == (1.0, 0.25)
    assert accuracy.low < 0.5


def test_holm_multiplies_by_the_pairs_that_are_left():
    """p = 0.01, 0.04, 0.03 of three: 0.03, 0.06, 0.06 (Holm 1979)."""
    found = holm([pair("accuracy", p) for p in (0.01, 0.04, 0.03)])
    assert [round(each.p_holm, 12) for each in found] == [0.03, 0.06, 0.06]
    assert [each.verdict for each in found] == ["better", "cannot tell", "cannot tell"]
    assert [each.p for each in found] == [0.01, 0.04, 0.03]


def test_a_p_at_the_floor_of_the_resamples_says_that_it_may_be_smaller():
    """2 / (B + 1) where no resample went the other way, times Holm's factor; more resamples lower it."""
    good, targets = answers(300, strength=4)
    bad, _ = answers(300, strength=0.3, targets=targets, seed=1)
    same, _ = answers(300, strength=4, targets=targets, seed=2)
    contenders = [Contender("good", good), Contender("bad", bad), Contender("same", same)]
    for resamples in (199, 1999):
        found = compare(contenders, targets, LABELS, resamples=resamples)
        first, level, last = (pair for pair in found.pairs if pair.metric == "accuracy")
        assert [pair.at_floor for pair in (first, level, last)] == [True, False, True]
        assert (first.p, last.p) == (2 / (resamples + 1),) * 2
        assert first.p_holm == last.p_holm == 3 * first.p


def test_a_p_that_few_images_bound_is_not_one_that_resamples_would_lower():
    targets = np.array([0, 1, 0, 1])
    right = np.eye(2)[targets]
    for found in compare([Contender("right", right), Contender("wrong", 1 - right)], targets, "ab").pairs:
        assert (found.p, found.at_floor) == (2.0 ** (1 - (4 if found.metric == "accuracy" else 2)), False)


def test_a_corrected_p_that_a_floor_decides_is_at_most_it():
    """p = 0.002 at the floor, times 3, is above p = 0.0025, times 2: the second is bounded by the first."""
    floor = msgspec.structs.replace(pair("accuracy", 0.002), at_floor=True)
    found = holm([floor, pair("accuracy", 0.0025), pair("accuracy", 0.5)])
    assert [each.p_holm for each in found] == [0.006, 0.006, 0.5]
    assert [each.at_floor for each in found] == [True, True, False]


def test_a_number_of_resamples_that_can_not_be_is_refused():
    logits, targets = answers(20)
    for resamples in (0, 100_001):
        with refused("resamples-invalid", UsageError, found=resamples):
            compare([Contender("m", logits)], targets, LABELS, resamples=resamples)


def test_tests_by_class_find_the_class_that_one_model_misses():
    good, targets = answers(300, strength=4)
    blind = good.copy()
    blind[:, 2] -= 3  # seldom calls the third class, and ranks as before
    found = compare([Contender("good", good), Contender("blind", blind)], targets, LABELS, per_class=True)
    assert [(pair.label, pair.metric) for pair in found.per_class] == [
        (label, metric) for label in LABELS for metric in ("auroc", "sensitivity")
    ]
    missed = found.per_class[-1]
    called = [(logits.argmax(axis=1) == 2)[targets == 2].mean() for logits in (good, blind)]
    assert missed.delta == called[0] - called[1]
    assert missed.verdict == "better"
    assert missed.p_holm == 6 * missed.p, "corrected over all classes and metrics"
    assert found.per_class[1].verdict != "better", "the first class is found no more seldom"
    assert compare([Contender("m", good)], targets, LABELS, resamples=20).per_class == ()


def test_of_two_classes_the_one_auroc_is_tested_once():
    logits, targets = answers(80, classes=2)
    found = compare(
        [Contender("m", logits), Contender("k", logits[:, ::-1])], targets, "ab", per_class=True, resamples=50
    )
    assert [(pair.label, pair.metric) for pair in found.per_class] == [
        ("a", "sensitivity"), ("b", "auroc"), ("b", "sensitivity"),
    ]  # fmt: skip


def test_a_verdict_needs_an_interval_off_zero_too():
    assert holm([pair("accuracy", 0.01, low=0.0)])[0].verdict == "cannot tell"


def test_many_models_get_resamples_enough_for_the_correction():
    """With 1000 resamples the smallest p is 0.002, and 0.002 times 28 pairs can never be under 0.05."""
    logits, targets = answers(60, strength=6)
    noise, _ = answers(60, strength=0, seed=1)
    contenders = [Contender("good", logits), *(Contender(f"bad {i}", noise + 1e-3 * i) for i in range(7))]
    found = compare(contenders, targets, LABELS)
    assert found.resamples == 2800
    assert found.pairs[0].verdict == "better"
    assert len(found.pairs) == len(COMPARED) * 28


def test_an_undefined_metric_is_listed_with_its_reason():
    logits, targets = answers(40)
    targets[targets == 2] = 0
    found = compare([Contender("m", logits), Contender("k", -logits)], targets, LABELS)
    auroc, accuracy = (by_metric(found)[name] for name in ("macro_auroc", "accuracy"))
    assert (auroc.metric, auroc.delta, auroc.p, auroc.verdict) == ("macro_auroc", None, None, "cannot tell")
    assert auroc.reason is not None
    assert "class c" in auroc.reason
    assert found.models[0].undefined["macro_auroc"] == auroc.reason
    assert accuracy.delta is not None
    assert found.pareto_axes == ("accuracy",)


def test_the_pareto_front_leaves_out_what_another_beats_on_everything():
    good, targets = answers(200, strength=3)
    bad, _ = answers(200, strength=0.5, targets=targets, seed=1)
    found = compare(
        [
            Contender("large", good, latency_ms=9, size_bytes=90),
            Contender("small", bad, latency_ms=1, size_bytes=10),
            Contender("beaten", bad, latency_ms=9.5, size_bytes=90),
        ],
        targets,
        LABELS,
        resamples=50,
    )
    assert found.pareto_axes == ("macro_auroc", "latency_ms", "size_bytes")
    assert {row.name: row.pareto for row in found.models} == {"large": True, "small": True, "beaten": False}


def test_equal_models_are_both_on_the_front():
    logits, targets = answers(50)
    found = compare([Contender("m", logits), Contender("k", logits)], targets, LABELS, resamples=20)
    assert [row.pareto for row in found.models] == [True, True]


def test_latencies_whose_spreads_overlap_do_not_decide_who_is_on_the_front():
    """Measured again, either of two equal models may be the faster one by a hair."""
    logits, targets = answers(50)

    def front(*ranges):
        models = [
            Contender(f"m{k}", logits, latency_ms=(low + high) / 2, latency_range_ms=(low, high))
            for k, (low, high) in enumerate(ranges)
        ]
        return [row.pareto for row in compare(models, targets, LABELS, resamples=20).models]

    assert front((1.0, 1.3), (1.2, 1.6)) == [True, True]
    assert front((1.0, 1.1), (1.2, 1.6)) == [True, False]


def test_a_table_of_one_model_has_no_pairs():
    logits, targets = answers(50)
    found = compare([Contender("m", logits)], targets, LABELS, resamples=20)
    assert found.pairs == ()
    assert msgspec.to_builtins(found)["models"][0]["name"] == "m"


def test_comparisons_that_can_not_be_meant_are_refused():
    logits, targets = answers(50)
    with refused("name-twice", UsageError, name="m"):
        compare([Contender("m", logits), Contender("m", logits)], targets, LABELS)
    with refused("compare-too-few", UsageError):
        compare([], targets, LABELS)
    with refused("array-shape", DataError, array="targets", expected=[49]):
        compare([Contender("m", logits[:49])], targets, LABELS)
