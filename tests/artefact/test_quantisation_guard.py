"""The bars a quantised file is held against, on answers made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.artefact.quantize._guard import (
    compare,
    compare_labelled,
    find_broken_bars,
    find_doubts,
    find_missed_speed,
    judge,
)
from zoo.artefact.quantize._images import draw_several, group_copies
from zoo.data import open_data
from zoo.spec import Alike, Bars, Guard, Interval, QuantizedKind, Speed, Verdict

LABELS = ("benign", "malignant", "normal")
BARS = Bars()


def _answers(n: int, seed: int = 0, certain: float = 2.0) -> tuple[Any, Any]:
    """(n, 3) logits that are mostly right, and (n,) targets with every class as often."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 3
    logits = rng.normal(size=(n, 3)).astype(np.float32)
    logits[np.arange(n), targets] += certain
    return logits, targets


def _guard(before: Any, after: Any, targets: Any, **more: Any) -> Guard:
    return compare_labelled(before, after, targets, LABELS, split="val", temperature=1.0, **more)


def _alike(before: Any, after: Any, **more: Any) -> Alike:
    return compare(before, after, temperature=1.0, task="multiclass", copies=0, **more)


def _judge(
    before: Any, after: Any, targets: Any, kind: QuantizedKind = "int8", bars: Bars = BARS
) -> tuple[Verdict, tuple[str, ...]]:
    """With no other images than the labelled ones."""
    return judge(_guard(before, after, targets), _alike(before, after), kind, bars)


def test_small_noise_is_as_good() -> None:
    logits, targets = _answers(900)
    noise = np.random.default_rng(1).normal(scale=0.003, size=logits.shape).astype(np.float32)
    assert _judge(logits, logits + noise, targets) == ("as good", ())
    guard = _guard(logits, logits + noise, targets)
    assert guard.macro_auroc is not None
    assert -0.01 < guard.macro_auroc.low <= guard.macro_auroc.value <= guard.macro_auroc.high
    assert guard.agreement.low < guard.agreement.value


def test_a_loss_of_auroc_is_worse() -> None:
    logits, targets = _answers(900)
    noise = np.random.default_rng(1).normal(scale=1.0, size=logits.shape)
    verdict, why = _judge(logits, logits + noise, targets)
    assert verdict == "worse"
    assert any(one.startswith("macro AUROC") for one in why)


def test_a_class_that_is_no_longer_called_is_worse_though_auroc_stays() -> None:
    logits, targets = _answers(3000, certain=4.0)
    shifted = logits.copy()
    shifted[:, 1] -= 1.5  # of one column: its ranking is nearly the same, its label is called less
    verdict, why = _judge(logits, shifted, targets)
    assert verdict == "worse"
    assert any("sensitivity of malignant" in one for one in why)
    assert not any("AUROC" in one for one in why)


def test_a_sensitivity_that_another_class_gains_does_not_make_up_for_it() -> None:
    logits, targets = _answers(3000)
    shifted = logits.copy()
    shifted[:, 1] += 0.5
    guard = _guard(logits, shifted, targets)
    assert guard.sensitivity_label in {"benign", "normal"}
    assert guard.sensitivity is not None
    assert guard.sensitivity.value < -0.02


@pytest.mark.parametrize(("every", "verdict"), [(500, "as good"), (150, "cannot tell"), (50, "worse")])
def test_sure_labels_that_change(every: int, verdict: Verdict) -> None:
    logits, targets = _answers(1000, certain=20.0)
    changed = logits.copy()
    for row in range(0, 1000, every):  # 2, 7 or 20 of 1000, spread over the classes
        changed[row] = np.roll(changed[row], 1)
    assert judge(_guard(logits, logits, targets), _alike(logits, changed), "int8", BARS)[0] == verdict


def test_labels_of_which_float32_is_not_sure_may_change() -> None:
    logits, targets = _answers(1000, certain=8.0)
    logits[:100] = [0.01, 0.0, -9.0]
    changed = logits.copy()
    changed[:100] = [0.0, 0.01, -9.0]
    alike = _alike(logits, changed)
    assert alike.agreement.value == pytest.approx(0.9)
    assert alike.sure == 900
    assert alike.kept is not None
    assert alike.kept.value == 1
    assert judge(_guard(logits, logits, targets), alike, "int8", BARS)[0] == "as good"


def test_one_image_of_a_small_class_refuses_nothing() -> None:
    """160 images, eight classes of 20: the least set that users bring, and one label that changes."""
    rng = np.random.default_rng(0)
    targets = np.arange(160) % 8
    logits = rng.normal(size=(160, 8)).astype(np.float32)
    logits[np.arange(160), targets] += 6
    changed = logits.copy()
    changed[0] = np.roll(changed[0], 1)
    labels = tuple("abcdefgh")
    guard = compare_labelled(logits, changed, targets, labels, split="val", temperature=1.0)
    assert guard.sensitivity is not None
    assert guard.sensitivity.value == pytest.approx(-0.05)
    others, _ = _answers(840, certain=20.0)
    many = [np.concatenate([one, np.pad(others, ((0, 0), (0, 5)), constant_values=-9)]) for one in (logits, changed)]
    assert judge(guard, _alike(*many), "int8", BARS) == ("as good", ())
    assert any("sensitivity of a" in one and "20 images" in one for one in find_doubts(guard, BARS))


def test_many_images_of_a_small_class_are_worse() -> None:
    logits, targets = _answers(60, certain=8.0)
    changed = logits.copy()
    changed[targets == 1] = [9, 0, 0]
    changed[1] = logits[1]
    verdict, why = _judge(logits, changed, targets)
    assert verdict == "worse"
    assert any("sensitivity of malignant" in one for one in why)


def test_few_images_cannot_tell() -> None:
    logits, targets = _answers(30, certain=8.0)  # every image right, before and after
    guard = _guard(logits, logits, targets)
    assert guard.agreement.value == 1.0
    assert guard.macro_auroc is not None
    assert guard.macro_auroc.method == "wilson"
    verdict, why = _judge(logits, logits, targets)
    assert verdict == "cannot tell"
    assert any("30 images" in one for one in why)


def test_images_without_labels_give_few_labelled_ones_power() -> None:
    logits, targets = _answers(30, certain=8.0)
    many, _ = _answers(500, certain=8.0)
    assert judge(_guard(logits, logits, targets), _alike(many, many), "int8", BARS) == ("as good", ())


def test_an_auroc_that_falls_on_few_images_cannot_be_told() -> None:
    logits, targets = _answers(60)
    changed = logits.copy()
    changed[1] = [4, -4, 0]  # one of 20 malignant images is now the last of all
    guard = _guard(logits, changed, targets)
    assert guard.macro_auroc is not None
    assert guard.macro_auroc.value <= -0.01 < guard.macro_auroc.high
    many, _ = _answers(600, certain=20.0)
    verdict, why = judge(guard, _alike(many, many), "int8", BARS)
    assert verdict == "cannot tell"
    assert any("AUROC" in one for one in why)


def test_a_class_without_images_leaves_it_to_the_labels_that_stay() -> None:
    logits, targets = _answers(300, certain=20.0)
    guard = _guard(logits, logits, targets % 2)
    assert guard.macro_auroc is None
    assert guard.undefined is not None
    assert "normal" in guard.undefined
    assert judge(guard, _alike(logits, logits), "int8", BARS)[0] == "cannot tell"
    many = np.concatenate([logits, logits])
    assert judge(guard, _alike(many, many), "int8", BARS)[0] == "as good"


def test_a_network_that_is_never_sure_proves_nothing() -> None:
    flat = np.zeros((900, 3), np.float32)
    alike = _alike(flat, flat)
    assert (alike.sure, alike.kept) == (0, None)
    assert judge(_guard(flat, flat, np.arange(900) % 3), alike, "int8", BARS)[0] == "cannot tell"


@pytest.mark.parametrize("patients", [False, True])
def test_mirrored_copies_are_no_further_evidence(tmp_path: Path, patients: bool) -> None:
    """A hundred images and 300 copies of them say no more than 100 images of as many patients."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"label_names": np.array(LABELS)}
    for part, n in (("train", 60), ("val", 40), ("test", 3)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (n, 8, 8), np.uint8)
        arrays[f"{part}_labels"] = np.arange(n)[:, None] % 3
    np.savez(tmp_path / "set.npz", **arrays)
    found = open_data(tmp_path / "set.npz")
    val, train = (
        dataclasses.replace(one, groups=np.arange(len(one)) if patients else None) for one in (found.val, found.train)
    )
    parts = draw_several(val, train, 1000, seed=0)
    groups = group_copies(val, parts[1:])
    assert sum(map(len, parts)) == len(groups) == 400
    assert np.bincount(groups).tolist() == [4] * 100
    logits, _ = _answers(400, certain=20.0)
    alike = _alike(logits, logits, groups=groups)
    assert alike.kept is not None
    assert alike.kept.low == pytest.approx(Interval.of_share(1.0, 100).low)
    assert judge(_guard(logits, logits, np.arange(400) % 3), alike, "int8", BARS)[0] == "cannot tell"


def test_patients_are_resampled_whole() -> None:
    logits, targets = _answers(900)
    changed = logits.copy()
    changed[:90] += np.random.default_rng(1).normal(scale=0.9, size=(90, 3)).astype(np.float32)
    alone = _guard(logits, changed, targets)
    patients = _guard(logits, changed, targets, groups=np.arange(900) // 90)
    assert alone.clusters is None
    assert patients.clusters == 10
    assert alone.macro_auroc is not None
    assert patients.macro_auroc is not None
    assert patients.macro_auroc.low < alone.macro_auroc.low
    assert patients.agreement.low < alone.agreement.low
    assert alone.kept is not None
    assert patients.kept is not None
    assert patients.kept.low < alone.kept.low


def test_several_labels_an_image_are_judged_label_by_label() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((600, 3)) < 0.3).astype(np.int64)
    logits = (4 * targets - 2 + rng.normal(size=(600, 3))).astype(np.float32)

    def judged(after: Any) -> tuple[Verdict, tuple[str, ...]]:
        alike = compare(logits, after, temperature=1.0, task="multilabel", copies=0)
        return judge(_guard(logits, after, targets), alike, "int8", BARS)

    assert judged(logits + rng.normal(scale=1e-3, size=logits.shape)) == ("as good", ())
    lost = logits.copy()
    lost[:, 2] -= 1
    verdict, why = judged(lost)
    assert verdict == "worse"
    assert any("sensitivity of normal" in one for one in why)
    assert any("labels of which float32 is sure" in one for one in why)


def test_logits_that_shrink_as_one_are_worse_though_every_label_and_rank_stays() -> None:
    logits, targets = _answers(900)
    guard = _guard(logits, logits * np.float32(0.01), targets)
    assert guard.agreement.value == 1
    assert any(one.startswith("probabilities move") for one in find_broken_bars(guard, "int8", BARS))


def test_fp16_may_not_move_a_probability_by_more_than_5e_3() -> None:
    logits, targets = _answers(900)
    moved = logits.copy()
    moved[0] *= 1.05
    assert _judge(logits, moved, targets)[0] == "as good"
    verdict, why = _judge(logits, moved, targets, "fp16")
    assert verdict == "worse"
    assert any("a probability moves" in one for one in why)
    assert _judge(logits, moved, targets, "fp16", Bars(probability=0.1))[0] == "as good"


@pytest.mark.parametrize("wrong", [-0.1, 1.0, float("nan")])
def test_a_bar_is_a_share(wrong: float) -> None:
    with pytest.raises(ValueError, match="auroc"):
        Bars(auroc=wrong)


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
    assert any("sensitivity of benign" in why for why in find_doubts(guard, BARS))
    assert find_broken_bars(guard, "int8", BARS) == ()
    wrecked = np.roll(logits, 1, axis=1)
    assert len(find_broken_bars(_guard(logits, wrecked, targets), "int8", BARS)) == 4
