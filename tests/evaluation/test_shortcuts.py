"""What predicts the label without the model, and what its errors follow: found where it is planted, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import tiles

from zoo.evaluation import Cases, Watch, file_types, find_shortcuts, judge_baselines, say_shortcuts
from zoo.evaluation.corruption import corrupt
from zoo.evaluation.properties import PROPERTIES, measure_batch


def cases_of(targets: np.ndarray, strength: float, seed: int = 0, groups: np.ndarray | None = None) -> Cases:
    logits = np.random.default_rng(seed).normal(size=(len(targets), int(targets.max()) + 1))
    logits[np.arange(len(targets)), targets] += strength
    return Cases.of(logits, targets, groups=groups)


def test_brightness_that_tells_the_classes_apart_is_a_shortcut() -> None:
    rng = np.random.default_rng(10)
    targets = rng.integers(0, 2, 300)
    properties = {"brightness": 2.2 * targets + rng.normal(size=300), "contrast": rng.normal(size=300)}
    found = {row.feature: row for row in find_shortcuts(cases_of(targets, 2), properties, {})}
    assert found["brightness"].reaches
    assert found["brightness"].auroc.value > 0.85
    assert not found["contrast"].reaches
    assert len(say_shortcuts(list(found.values()))) == 1


def test_a_dependence_with_two_turns_is_found_too() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, 400)
    size = np.where(targets == 1, rng.choice([-3.0, 3.0], 400), 0.0) + rng.normal(size=400)
    (row,) = find_shortcuts(cases_of(targets, 2), {"size": size}, {})
    assert row.reaches


def test_a_weak_property_beside_a_strong_model_is_none() -> None:
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 2, 500)
    (row,) = find_shortcuts(cases_of(targets, 4), {"brightness": targets + rng.normal(size=500)}, {})
    assert row.p_holm < 0.01
    assert not row.reaches


def test_a_column_of_the_table_can_be_a_shortcut_and_one_that_names_images_cannot() -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 3, 300)
    sites = [f"site {one}" if rng.random() < 0.9 else "site 9" for one in targets]
    names = [f"patient {at}" for at in range(300)]
    found = find_shortcuts(cases_of(targets, 2), {}, {"site": sites, "name": names})
    assert [row.feature for row in found] == ["site"]
    assert found[0].reaches


def test_errors_that_follow_a_property_are_said() -> None:
    rng = np.random.default_rng(4)
    targets = rng.integers(0, 2, 600)
    contrast = rng.normal(size=600)
    logits = rng.normal(size=(600, 2))
    logits[np.arange(600), targets] += np.where(contrast < -0.5, 0.0, 4.0)
    cases = Cases.of(logits, targets)
    found = {row.feature: row for row in find_shortcuts(cases, {"contrast": contrast, "size": rng.random(600)}, {})}
    assert found["contrast"].follows
    assert not found["contrast"].reaches
    assert not found["size"].follows


@pytest.mark.parametrize("patients", [None, 50])
def test_noise_is_hardly_ever_a_shortcut(patients: int | None) -> None:
    rng = np.random.default_rng(5)
    said = 0
    for seed in range(60):
        who = np.arange(200) if patients is None else rng.integers(0, patients, 200)
        targets = rng.integers(0, 2, who.max() + 1)[who]
        properties = {name: rng.normal(size=who.max() + 1)[who] for name in PROPERTIES}
        groups = None if patients is None else who
        said += bool(say_shortcuts(find_shortcuts(cases_of(targets, 1.5, seed, groups), properties, {})))
    assert said <= 7  # at most 3 are expected of 60


def test_too_few_images_of_a_class_say_nothing() -> None:
    targets = np.array([1] * 4 + [0] * 96)
    assert find_shortcuts(cases_of(targets, 2), {"brightness": np.arange(100.0)}, {}) == ()


def test_baselines_have_the_metrics_of_a_model() -> None:
    rng = np.random.default_rng(6)
    targets = (rng.random(400) < 0.3).astype(np.int64)
    found = judge_baselines(cases_of(targets, 2), 3 * targets + rng.normal(size=400))
    majority, brightness = found["majority class"], found["brightness"]
    assert majority["accuracy"].value == pytest.approx((targets == 0).mean())
    assert majority["accuracy"].low < majority["accuracy"].value < majority["accuracy"].high
    assert majority["macro_auroc"].value == 0.5
    assert majority["balanced_accuracy"].value == 0.5
    assert brightness["accuracy"].value > 0.88
    assert brightness["macro_auroc"].value > 0.9


def test_several_labels_have_shortcuts_and_baselines() -> None:
    rng = np.random.default_rng(7)
    targets = rng.integers(0, 2, (400, 3))
    logits = rng.normal(size=(400, 3)) + 2 * (targets - 0.5)
    cases = Cases.of(logits, targets)
    brightness = targets.sum(axis=1) * 2 + rng.normal(size=400)
    (row,) = find_shortcuts(cases, {"brightness": brightness}, {})
    assert row.auroc.value > 0.7
    assert judge_baselines(cases, brightness)["brightness"]["macro_auroc"].value == pytest.approx(row.auroc.value)


def test_properties_of_a_real_photograph_are_its_own() -> None:
    picture = tiles("china")[0]
    batch = np.stack([picture, np.minimum(picture.astype(int) + 40, 255).astype(np.uint8)])
    dark, bright = (dict(zip(PROPERTIES, row, strict=True)) for row in measure_batch(batch))
    assert dark["brightness"] == pytest.approx(picture.mean() / 255)
    assert dark["contrast"] == pytest.approx(picture.std() / 255)
    assert bright["brightness"] > dark["brightness"] + 20 / 255
    assert (dark["size"], dark["aspect"]) == (picture.shape[0] * picture.shape[1], picture.shape[1] / picture.shape[0])


def test_a_burned_in_mark_stands_out_of_plain_photographs() -> None:
    plain = [tile for name in ("china", "flower") for tile in tiles(name)[:8]]
    marked = [corrupt(tile, "mark", 3, seed=at) for at, tile in enumerate(plain)]
    at = PROPERTIES.index("mark")
    with_it, without = (np.array([measure_batch(tile[None])[0, at] for tile in some]) for some in (marked, plain))
    assert np.median(with_it) > 2 * np.quantile(without, 0.9)
    assert (with_it > without).mean() > 0.9


def test_a_model_that_was_asked_otherwise_gives_no_properties() -> None:
    watch = Watch(lambda batch: np.zeros((len(batch), 2), np.float32))
    watch(np.zeros((3, 8, 8, 3), np.uint8))
    assert set(watch.properties(3)) == set(PROPERTIES)
    assert watch.properties(4) == {}


def test_file_types_are_the_suffixes_of_names() -> None:
    assert list(file_types(["train/a.PNG", "b.jpg", "test/17"])) == [".png", ".jpg", ""]
