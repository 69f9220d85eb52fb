"""The bars a quantised file is held against, on answers made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zoo.artefact.quantize._guard import compare, find_broken_bars, find_missed, find_missed_speed
from zoo.spec import Guard, Interval, Speed

LABELS = ("benign", "malignant", "normal")


def _answers(n: int, seed: int = 0, certain: float = 2.0) -> tuple[Any, Any]:
    """(n, 3) logits that are mostly right, and (n,) targets with every class as often."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 3
    logits = rng.normal(size=(n, 3)).astype(np.float32)
    logits[np.arange(n), targets] += certain
    return logits, targets


def _guard(before: Any, after: Any, targets: Any, **more: Any) -> Guard:
    return compare(before, after, targets, LABELS, split="val", temperature=1.0, **more)


def test_small_noise_passes() -> None:
    logits, targets = _answers(900)
    noise = np.random.default_rng(1).normal(scale=0.003, size=logits.shape).astype(np.float32)
    guard = _guard(logits, logits + noise, targets)
    assert find_missed(guard, "int8") == ()
    assert guard.macro_auroc is not None
    assert -0.01 < guard.macro_auroc.low <= guard.macro_auroc.value <= guard.macro_auroc.high
    assert guard.agreement.low < guard.agreement.value


def test_a_loss_of_auroc_is_refused() -> None:
    logits, targets = _answers(900)
    noise = np.random.default_rng(1).normal(scale=1.0, size=logits.shape)
    found = find_missed(_guard(logits, logits + noise, targets), "int8")
    assert any(why.startswith("macro AUROC") for why in found)
    assert not any("too few" in why for why in found)


def test_a_class_that_is_no_longer_called_is_refused_though_auroc_stays() -> None:
    logits, targets = _answers(3000, certain=4.0)
    shifted = logits.copy()
    shifted[:, 1] -= 1.0  # of one column: its ranking is nearly the same, its label is called less
    found = find_missed(_guard(logits, shifted, targets), "int8")
    assert any("sensitivity of malignant" in why for why in found)
    assert not any("AUROC" in why for why in found)


def test_a_sensitivity_that_another_class_gains_does_not_make_up_for_it() -> None:
    logits, targets = _answers(3000)
    shifted = logits.copy()
    shifted[:, 1] += 0.5
    guard = _guard(logits, shifted, targets)
    assert guard.sensitivity_label in {"benign", "normal"}
    assert guard.sensitivity is not None
    assert guard.sensitivity.value < -0.02


def test_agreement_below_99_in_100_is_refused() -> None:
    logits, targets = _answers(1000, certain=6.0)
    changed = logits.copy()
    for row in range(0, 1000, 50):  # 20 of 1000, spread over the classes
        changed[row] = np.roll(changed[row], 1)
    found = find_missed(_guard(logits, changed, targets), "int8")
    assert any("labels agree" in why and "98.0%" in why for why in found)


def test_too_few_images_are_named_as_the_reason() -> None:
    logits, targets = _answers(30, certain=8.0)  # every image right, before and after
    guard = _guard(logits, logits, targets)
    assert guard.agreement.value == 1.0
    assert guard.macro_auroc is not None
    assert guard.macro_auroc.method == "wilson"
    (why,) = find_missed(guard, "int8")
    assert "30 images" in why
    assert "too few" in why


def test_identical_answers_on_enough_images_pass() -> None:
    logits, targets = _answers(600, certain=12.0)
    assert find_missed(_guard(logits, logits, targets), "int8") == ()


def test_one_rare_class_makes_many_images_count_as_few() -> None:
    logits, targets = _answers(600, certain=12.0)
    rare = np.flatnonzero((targets != 2) | (np.arange(600) < 30))  # ten images of the third class
    guard = _guard(logits[rare], logits[rare], targets[rare])
    assert len(rare) > 400
    assert any("too few" in why for why in find_missed(guard, "int8"))


def test_a_class_without_images_can_not_be_proven() -> None:
    logits, targets = _answers(300)
    guard = _guard(logits, logits, targets % 2)
    assert guard.macro_auroc is None
    assert any("macro AUROC" in why and "normal" in why for why in find_missed(guard, "int8"))


def test_patients_are_resampled_whole() -> None:
    logits, targets = _answers(900)
    changed = logits.copy()
    changed[:90] += np.random.default_rng(1).normal(scale=0.3, size=(90, 3)).astype(np.float32)
    alone = _guard(logits, changed, targets)
    patients = _guard(logits, changed, targets, groups=np.arange(900) // 90)
    assert alone.clusters is None
    assert patients.clusters == 10
    assert alone.macro_auroc is not None
    assert patients.macro_auroc is not None
    assert patients.macro_auroc.low < alone.macro_auroc.low
    assert patients.agreement.low < alone.agreement.low


def test_several_labels_an_image_are_judged_label_by_label() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((600, 3)) < 0.3).astype(np.int64)
    logits = (4 * targets - 2 + rng.normal(size=(600, 3))).astype(np.float32)
    guard = _guard(logits, logits + rng.normal(scale=1e-3, size=logits.shape), targets)
    assert find_missed(guard, "int8") == ()
    lost = logits.copy()
    lost[:, 2] -= 1
    found = find_missed(_guard(logits, lost, targets), "int8")
    assert any("sensitivity of normal" in why for why in found)
    assert any("labels agree" in why for why in found)


def test_logits_that_shrink_as_one_are_refused_though_every_label_and_rank_stays() -> None:
    logits, targets = _answers(900)
    guard = _guard(logits, logits * np.float32(0.01), targets)
    assert guard.agreement.value == 1
    for found in (find_missed(guard, "int8"), find_broken_bars(guard, "int8")):
        assert any(why.startswith("probabilities move") for why in found)


def test_fp16_may_not_move_a_probability_by_more_than_5e_3() -> None:
    logits, targets = _answers(900)
    moved = logits.copy()
    moved[0] *= 1.05
    guard = _guard(logits, moved, targets)
    assert find_missed(guard, "int8") == ()
    assert any("a probability moves" in why for why in find_missed(guard, "fp16"))


@pytest.mark.parametrize(("low", "refused"), [(1.01, False), (1.0, True), (0.7, True)])
def test_faster_means_that_the_whole_interval_is(low: float, refused: bool) -> None:
    speed = Speed(
        ratio=Interval(value=1.2, low=low, high=1.4), float32_ms=12.0, ms=10.0, pairs=30, threads=1, machine="any"
    )
    assert bool(find_missed_speed(speed)) is refused


def test_speed_that_can_not_be_measured_here_is_no_reason() -> None:
    assert find_missed_speed(None) == ()


def test_test_images_refuse_only_what_they_show_to_be_broken() -> None:
    logits, targets = _answers(120, certain=3.0)
    one = logits.copy()
    one[0] = [-9, 9, -9]  # one of 40 benign images: beyond 0.02, and nothing that 40 images could show
    guard = _guard(logits, one, targets)
    assert any("sensitivity of benign" in why for why in find_missed(guard, "int8"))
    assert find_broken_bars(guard, "int8") == ()
    wrecked = np.roll(logits, 1, axis=1)
    found = find_broken_bars(_guard(logits, wrecked, targets), "int8")
    assert len(found) == 4
