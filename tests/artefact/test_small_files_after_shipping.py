"""An int8 and an fp16 file at a site: their own scores of novelty, watched, and fitted to the site's images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from quantising import Digits, digits_npz, timed_as, trained_digits

import zoo
from zoo.artefact.quantize import _ladder as ladder
from zoo.edge import Runtime, predict_csv
from zoo.edge._monitor import round_number
from zoo.edge.bundle import open_model
from zoo.evaluation import settle_novelty
from zoo.spec import NOVELTY, Novelty

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return trained_digits(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def int8(digits: Digits) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "measure", timed_as(1.5))
        return Path(zoo.export(digits.run, quantize="int8", bundle=True, out=digits.run / "int8.zoo").path)


@pytest.fixture(scope="module")
def fp16(digits: Digits) -> Path:
    return Path(zoo.export(digits.run, quantize="fp16", target="gpu", out=digits.run / "half.onnx").path)


def pixels(digits: Digits, split: str) -> np.ndarray:
    images = digits.splits.split(split)
    return np.stack([images.read(at).pixels for at in range(len(images))])


def novelty_of(file: Path) -> Novelty:
    found = zoo.open(file).manifest.novelty
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_threshold_and_reference_are_of_the_files_own_scores(
    digits: Digits, kind: str, request: pytest.FixtureRequest
) -> None:
    file: Path = request.getfixturevalue(kind)
    runtime, images = zoo.open(file), pixels(digits, "val")
    own, float32 = (one.novelty(images) for one in (runtime, zoo.open(digits.run / "model.onnx")))
    manifest = runtime.manifest
    assert manifest.quantization is not None
    assert manifest.quantization.kind == kind
    assert not np.array_equal(own, own.astype(np.float16)), "the score itself is computed in float32"
    assert not np.array_equal(own, float32)
    assert np.median(np.abs(own / float32 - 1)) < 0.1
    assert novelty_of(file) == settle_novelty(own, novelty_of(file).share) != settle_novelty(float32, 0.02)
    assert manifest.reference is not None
    kept = set(manifest.reference.values[NOVELTY])
    assert kept <= {round_number(float(score)) for score in own}
    assert not kept <= {round_number(float(score)) for score in float32}
    assert manifest.report is not None
    assert manifest.report.novelty is not None
    flagged = runtime.novelty(pixels(digits, "test")) > novelty_of(file).threshold
    assert manifest.report.novelty.flagged.value == pytest.approx(flagged.mean())


def test_the_guard_accepted_the_fp16_file_and_the_manifest_says_so(fp16: Path) -> None:
    record = zoo.open(fp16).manifest.quantization
    assert record is not None
    assert record.val is not None
    assert record.test is not None
    assert record.val.max_abs_probability <= record.bars.probability
    assert [(rung.name, rung.verdict, rung.refused) for rung in record.rungs] == [("fp16", "as good", ())]


def write_table(runtime: Runtime, images: np.ndarray, target: Path) -> Path:
    list(predict_csv(runtime, list(images), target))
    return target


def test_an_int8_file_is_watched_by_its_own_scores(digits: Digits, int8: Path, tmp_path: Path) -> None:
    runtime, images = zoo.open(int8), pixels(digits, "test")[:200]
    same = zoo.monitor(write_table(runtime, images, tmp_path / "same.csv"), int8)
    assert same.verdict == "no drift shown"
    assert {NOVELTY, "unlike training"} <= {one.name for one in same.statistics}
    noise = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
    drift = {one.name: one for one in zoo.monitor(write_table(runtime, noise, tmp_path / "x.csv"), int8).alarms}
    assert {NOVELTY, "unlike training"} <= drift.keys()
    site: Any = drift["unlike training"].site
    assert site.value == pytest.approx((runtime.novelty(noise) > novelty_of(int8).threshold).mean(), abs=0.1)


def test_an_int8_file_is_fitted_to_a_site_and_stays_the_file_that_was_guarded(
    digits: Digits, int8: Path, tmp_path: Path
) -> None:
    with np.load(digits_npz(tmp_path / "again.npz")) as arrays:
        images, labels = arrays["test_images"][:400], arrays["test_labels"][:400]
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(labels.shape) < 0.3, rng.integers(0, 10, labels.shape), labels)
    noisy = (images + rng.normal(0, 20, images.shape)).clip(0, 255).astype(np.uint8)
    np.savez(tmp_path / "site.npz", test_images=noisy, test_labels=labels)
    made = zoo.recalibrate(int8, tmp_path / "site.npz", tmp_path / "here.zoo")
    assert made.temperature > made.temperature_before
    assert made.nll.high < 0
    old, new = open_model(int8).manifest, open_model(Path(made.path)).manifest
    assert new.quantization == old.quantization
    assert new.novelty == old.novelty
    assert new.reference is not None
    kept = {round_number(float(score)) for score in zoo.open(int8).novelty(np.repeat(noisy[..., None], 3, axis=3))}
    assert set(new.reference.values[NOVELTY]) <= kept
    raw = pixels(digits, "test")[:9]
    np.testing.assert_array_equal(zoo.open(int8).logits(raw), zoo.open(made.path).logits(raw))
    assert zoo.verify(made.path).images >= 32
    graphs = [onnx.load_from_string(open_model(one).model).graph for one in (int8, Path(made.path))]
    first, second = ({one.name: one.SerializeToString() for one in graph.initializer} for graph in graphs)
    assert [name for name in first if first[name] != second[name]] == ["post/temperature"]
    assert new.provenance.notes[:-2] == old.provenance.notes
