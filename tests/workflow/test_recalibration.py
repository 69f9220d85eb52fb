"""A shipped file fitted to another site: a new file, fitted on some of its images and judged on the others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from refusals import refused
from sites import LABELS, draw, write_site

import zoo
from zoo.edge import describe_decisions
from zoo.edge.bundle import open_model
from zoo.edge.bundle._keys import new_key
from zoo.errors import DataError, ImageError, OutputError, SignatureError, UsageError
from zoo.evaluation import Cases, Values, calibration, fit_temperature, intervals, predict_set
from zoo.evaluation.page import Subject
from zoo.evaluation.page._checklists import TRIPOD, fill
from zoo.spec import RECALIBRATED, TEMPERATURE_STAYS, Abstention
from zoo.workflow._site import compare_losses, divide
from zoo.workflow.evaluate import open_target

RULE = "sensitivity=0.8:right"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("home")
    data = write_site(place / "home.npz")
    run = zoo.train("logistic_regression", data, out=place / "run", operating=[RULE]).run
    return Path(zoo.export(run, bundle=True, out=place / "model.zoo").path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose labels are wrong more often than at home, so that the model is too sure there."""
    return write_site(tmp_path_factory.mktemp("site") / "site.npz", seed=5, wrong=0.3, parts={"test": 400})


@pytest.fixture(scope="module")
def made(bundle: Path, site: Path) -> zoo.Recalibration:
    return zoo.recalibrate(bundle, site, bundle.with_name("site.zoo"))


def test_the_new_file_is_right_about_its_probabilities_where_the_old_one_was_not(made: zoo.Recalibration) -> None:
    assert (made.how, made.fitted, made.after.n) == ("half", 200, 200)
    assert made.temperature > made.temperature_before
    assert made.nll.high < 0
    assert made.brier.high < 0
    assert made.before.calibration is not None
    assert made.after.calibration is not None
    change = made.after.calibration.nll.value - made.before.calibration.nll.value
    assert made.nll.value == pytest.approx(change, abs=1e-9)
    assert made.before.metrics["macro_auroc"].value == pytest.approx(made.after.metrics["macro_auroc"].value, abs=0.02)


def test_sets_of_labels_hold_the_truth_as_often_as_wanted_again(made: zoo.Recalibration) -> None:
    assert made.before.conformal is not None
    assert made.after.conformal is not None
    assert made.before.conformal.reached.high < 0.9 < made.after.conformal.reached.high


def test_all_that_was_fitted_is_of_the_images_that_do_not_judge(
    bundle: Path, site: Path, made: zoo.Recalibration
) -> None:
    part = divide(open_target(bundle, site, split="test", provider="cpu", skip_bad=False), seed=0, include_seen=False)
    fit, judged = part.splits.val, part.splits.test
    assert not set(fit.ids) & set(judged.ids)
    runtime = zoo.open(bundle)
    assert made.temperature == pytest.approx(fit_temperature(predict_set(runtime.logits, fit), fit.targets))
    new = open_model(Path(made.path)).manifest
    assert new.reference is not None
    assert (new.reference.n, new.reference.source) == (200, "recalibration")
    assert [point.n for point in new.operating] == [200]
    assert np.bincount(fit.targets).tolist() == pytest.approx(np.bincount(judged.targets).tolist(), abs=1)


@pytest.mark.parametrize("told", ["all right", "one class"])
def test_the_temperature_stays_where_images_of_the_site_can_not_tell_another(tmp_path: Path, told: str) -> None:
    """A site's few errors, or one class, say nothing of T; 1.0 in its place would undo what was calibrated before."""
    home = write_site(tmp_path / "home.npz", wrong=0.2)
    run = zoo.train("logistic_regression", home, out=tmp_path / "run", settings={"coverage": 0}).run
    old = zoo.open(run).manifest
    assert abs(old.temperature - 1) > 0.01
    pixels, _ = draw(np.random.default_rng(11), 200)
    said = zoo.open(run).logits(np.repeat(pixels[..., None], 3, axis=3)).argmax(axis=1)
    labels = said if told == "all right" else np.zeros(200, int)
    names = {"label_names": np.array(LABELS)}
    np.savez(tmp_path / "site.npz", test_images=pixels, test_labels=labels[:, None], **names)
    found = zoo.recalibrate(run, tmp_path / "site.npz", tmp_path / "new.onnx")
    new = zoo.open(found.path).manifest
    assert (found.temperature, new.temperature) == (old.temperature, old.temperature)
    assert found.notes
    assert any(found.notes[0] in note for note in new.provenance.notes)
    assert any(found.notes[0] in note for note in found.after.notes)
    assert (found.nll.value, found.brier.value) == (0, 0)
    assert new.keeps_temperature
    page = Path(zoo.report(found.path, tmp_path / "site.npz", out=tmp_path / "page").html).read_text()
    assert "fitted on images" not in page, "none of the site has told a temperature"
    assert "temperature, that of the file before it was recalibrated" in page
    assert "), that of the file before it was recalibrated" in page


def test_a_fitted_temperature_is_said_to_be_of_the_site(made: zoo.Recalibration) -> None:
    new = open_model(Path(made.path)).manifest
    assert not new.keeps_temperature
    notes = (f"{RECALIBRATED} on 20 images", f"{RECALIBRATED}: {TEMPERATURE_STAYS} 1", *new.provenance.notes)
    twice = msgspec.structs.replace(new, provenance=msgspec.structs.replace(new.provenance, notes=notes))
    assert not twice.keeps_temperature, "the last site has fitted one"


@pytest.mark.parametrize("told", ["one class", "two classes"])
def test_images_that_lack_a_class_settle_no_promise_of_all_classes(tmp_path: Path, told: str) -> None:
    """Sets fitted to one class alone hold the others never, and still promise to hold the truth of 90 %."""
    home = write_site(tmp_path / "home.npz", wrong=0.2)
    run = zoo.train("logistic_regression", home, out=tmp_path / "run").run
    old = zoo.open(run).manifest
    assert old.abstention is not None
    assert old.abstention.sets is not None
    pixels, labels = draw(np.random.default_rng(11), 200, wrong=0.3)
    labels = np.zeros(200, int) if told == "one class" else labels.clip(0, 1)
    np.savez(tmp_path / "site.npz", test_images=pixels, test_labels=labels[:, None], label_names=np.array(LABELS))
    found = zoo.recalibrate(run, tmp_path / "site.npz", tmp_path / "new.onnx")
    new = zoo.open(found.path).manifest
    if told == "one class":
        assert found.temperature == old.temperature
        assert new.abstention == old.abstention
    else:
        assert found.temperature != old.temperature
        assert new.abstention is None or new.abstention.sets is None
    assert any("sets of labels" in note for note in new.provenance.notes)


def test_the_new_bundle_proves_itself_and_says_where_it_comes_from(bundle: Path, made: zoo.Recalibration) -> None:
    proof = zoo.verify(made.path)
    assert proof.images >= 32
    old, new = open_model(bundle).manifest, open_model(Path(made.path)).manifest
    assert new.temperature == made.temperature
    assert made.after.data.sha256 in new.provenance.notes[-2]
    assert (new.provenance.data, new.preprocess, new.labels) == (old.provenance.data, old.preprocess, old.labels)
    assert new.report == made.after
    raw = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    was, now = zoo.open(bundle), zoo.open(made.path)
    np.testing.assert_array_equal(was.logits(raw), now.logits(raw))
    powers = np.exp(was.logits(raw) / made.temperature)
    np.testing.assert_allclose(now.probabilities(raw), powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)


def test_the_resamples_of_a_change_are_weighed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a site of 100 000 images takes 800 MB, and the run is lost where that is not there."""
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 3, 50)
    images: Any = SimpleNamespace(targets=targets, groups=np.arange(50) // 2)
    both: Any = [SimpleNamespace(logits=one, images=images) for one in (logits, 2 * logits)]
    whole = compare_losses(*both, 1.0, 1.5)
    shapes = []
    measured = calibration.losses

    def watched(cases: Cases, weights: np.ndarray) -> Values:
        shapes.append(weights.shape)
        return measured(cases, weights)

    monkeypatch.setattr(calibration, "losses", watched)
    monkeypatch.setattr(intervals, "CELLS", 50 * 300)
    assert compare_losses(*both, 1.0, 1.5) == whole
    assert set(shapes) == {(1, 50), (300, 50), (100, 50)}
    change = losses_of_all(logits * 2 / 1.5, targets) - losses_of_all(logits, targets)
    assert whole[0].value == pytest.approx(change, rel=1e-6)


def losses_of_all(logits: np.ndarray, targets: np.ndarray) -> float:
    shares = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(axis=1, keepdims=True)
    return float(-np.log(shares[np.arange(len(targets)), targets]).mean())


def test_the_images_that_it_was_fitted_on_count_as_seen_afterwards(made: zoo.Recalibration, site: Path) -> None:
    again = zoo.evaluate(made.path, site)
    assert again.seen is not None
    assert (again.seen.count, again.n) == (200, 200)
    assert "or recalibrated it" in again.seen.note
    assert again.metrics == made.after.metrics


def test_its_own_test_images_that_recalibrated_it_are_left_out(bundle: Path, tmp_path: Path) -> None:
    """The set of the model's own training is known to it, but a part of the test images has fitted it since."""
    home = bundle.parent / "home.npz"
    arrays = np.load(home)
    part = {name: arrays[name][:50] for name in ("test_images", "test_labels")}
    np.savez(tmp_path / "part.npz", label_names=arrays["label_names"], **part)
    found = zoo.recalibrate(bundle, tmp_path / "part.npz", tmp_path / "new.zoo")
    report = zoo.evaluate(found.path, home)
    assert report.seen is not None
    assert (report.seen.count, report.seen.of, report.seen.how, report.n) == (found.fitted, 60, "left out", 35)
    lone = zoo.recalibrate(bundle, tmp_path / "part.npz", tmp_path / "new.onnx")
    report = zoo.evaluate(lone.path, home)
    assert report.seen is not None
    assert report.seen.how == "not known"


def test_nothing_is_replaced_and_the_source_stays(bundle: Path, site: Path, made: zoo.Recalibration) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    for place in (bundle, Path(made.path)):
        with refused("out-occupied", OutputError):
            zoo.recalibrate(bundle, site, place)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_what_cannot_be_fitted_is_refused(bundle: Path, site: Path, tmp_path: Path) -> None:
    with refused("recalibrate-own", UsageError):
        zoo.recalibrate(bundle, bundle.with_name("home.npz"), tmp_path / "new.onnx")
    with refused("option-missing", UsageError):
        zoo.recalibrate(bundle, None, tmp_path / "new.onnx")
    with refused("out-name", UsageError):
        zoo.recalibrate(bundle, site, tmp_path / "new")
    few = write_site(tmp_path / "few.npz", seed=9, parts={"test": 30})
    with refused("recalibrate-few", DataError, found=15):
        zoo.recalibrate(bundle, few, tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


def test_every_text_of_the_new_file_names_the_images_that_settled_it(
    bundle: Path, site: Path, made: zoo.Recalibration, tmp_path: Path
) -> None:
    """Or a paper says that validation images of the training chose what the site's images have chosen."""
    new = open_model(Path(made.path)).manifest
    words = describe_decisions(new)
    for kind in ("operating points", "sets of labels"):
        assert "200 images of the site" in words[kind] or "200 independent images of the site" in words[kind]
        assert "validation" not in words[kind]
    zoo.report(made.path, site, out=tmp_path / "new")
    page, card = ((tmp_path / "new" / name).read_text(encoding="utf-8") for name in ("report.html", "CARD.md"))
    wrong = ("on validation images", "from validation images", "fitted on validation", "like those of validation (")
    assert [said for said in wrong if said in page] == []
    assert "Fixed on images of the site" in card
    assert "on validation image" not in card
    assert ("The threshold of novelty is that of training" in card) is (new.novelty is not None)
    filled = fill(TRIPOD, Subject(report=made.after, manifest=new, external=True))
    assert f"temperature {made.temperature_before:.4g} became {made.temperature:.4g}" in filled["12f"]
    assert f"{made.nll} nats" in filled["24"]
    assert str(made.brier) in filled["24"]
    zoo.report(bundle, site, out=tmp_path / "old")
    assert "on validation images" in (tmp_path / "old" / "report.html").read_text(encoding="utf-8")
    old = fill(TRIPOD, Subject(report=made.before, manifest=open_model(bundle).manifest, external=True))
    assert (old["12f"], old["24"]) == ("", "")


def test_sets_that_the_site_is_too_small_for_are_given_up_and_that_is_said(tmp_path: Path) -> None:
    """Or the new file promises 99 % by quantiles that were settled at another temperature."""
    home = write_site(tmp_path / "home.npz")
    run = zoo.train("logistic_regression", home, out=tmp_path / "run", settings={"coverage": 0.99}).run
    few = write_site(tmp_path / "few.npz", seed=6, wrong=0.3, parts={"val": 60, "test": 90})
    made = zoo.recalibrate(run, few, tmp_path / "new.onnx")
    old, new = zoo.open(run).manifest, zoo.open(made.path).manifest
    assert old.abstention is not None
    assert old.abstention.sets is not None
    assert new.abstention == Abstention(novelty=old.novelty)
    assert made.after.conformal is None
    assert any(note in new.provenance.notes[-2] for note in made.notes)
    assert not any("validation" in note for note in made.notes)
    row = next(row for row in made.tables()["changes"] if str(row["what"]).startswith("coverage"))
    assert row["before"] is not None
    assert row["after"] is None


def test_a_validation_split_of_the_site_fits_and_its_test_split_judges(bundle: Path, tmp_path: Path) -> None:
    data = write_site(tmp_path / "divided.npz", seed=6, wrong=0.3, parts={"val": 120, "test": 90})
    made = zoo.recalibrate(bundle, data, tmp_path / "new.onnx")
    assert (made.how, made.fitted, made.after.n) == ("validation", 120, 90)
    assert zoo.open(made.path).manifest.temperature == made.temperature


def test_an_image_that_cannot_be_read_is_left_out_of_what_fits_too(bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for part in ("val", "test"):
        for at, (image, label) in enumerate(zip(*draw(rng, 60), strict=True)):
            place = tmp_path / "site" / part / LABELS[label] / f"{at}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place)
    damaged = tmp_path / "site" / "val" / "left" / "damaged.png"
    damaged.write_bytes(next(damaged.parent.glob("*.png")).read_bytes()[:60])
    with refused("image-undecodable", ImageError):
        zoo.recalibrate(bundle, tmp_path / "site", tmp_path / "strict.onnx")
    made = zoo.recalibrate(bundle, tmp_path / "site", tmp_path / "new.onnx", skip_bad=True)
    assert (made.how, made.fitted, made.after.n) == ("validation", 60, 60)
    reference = zoo.open(made.path).manifest.reference
    assert reference is not None
    assert (reference.n, reference.failed) == (60, 1)


def test_groups_stay_whole(bundle: Path, tmp_path: Path) -> None:
    pixels, told = draw(np.random.default_rng(2), 240)
    folder = tmp_path / "patients"
    for at, (image, label) in enumerate(zip(pixels, told, strict=True)):
        place = folder / LABELS[label] / f"patient{at // 4}_{at}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    found = open_target(bundle, folder, split="test", provider="cpu", skip_bad=False, group="patient([0-9]+)_")
    part = divide(found, seed=0, include_seen=False)
    fit, judged = part.splits.val.groups, part.splits.test.groups
    assert fit is not None
    assert judged is not None
    assert not set(fit.tolist()) & set(judged.tolist())
    assert len(set(fit.tolist())) == len(set(judged.tolist())) == 30


def test_an_ensemble_is_fitted_as_a_whole_and_its_members_stay(bundle: Path, site: Path, tmp_path: Path) -> None:
    home = bundle.with_name("home.npz")
    small = zoo.train("logistic_regression", home, size=4, out=tmp_path / "small").run
    run = zoo.train(f"ensemble:{bundle.with_name('run')},{small}", out=tmp_path / "both", operating=[RULE]).run
    source = Path(zoo.export(run, bundle=True, out=tmp_path / "both.zoo").path)
    made = zoo.recalibrate(source, site, tmp_path / "here.zoo")
    assert made.temperature > made.temperature_before
    assert made.nll.high < 0
    old, new = open_model(source).manifest, open_model(Path(made.path)).manifest
    assert len(new.members) == 2
    assert new.members == old.members
    assert [(point.label, point.n) for point in new.operating] == [("right", 200)]
    assert new.reference is not None
    assert new.reference.source == "recalibration"
    raw = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(zoo.open(source).logits(raw), zoo.open(made.path).logits(raw))
    assert zoo.verify(made.path).images >= 32
    again = zoo.evaluate(made.path, site)
    assert again.seen is not None
    assert again.seen.count == 200


@pytest.mark.parametrize("suffix", [".zoo", ".zoo.zip"])
def test_a_signature_stays_with_the_bundle_that_was_signed(
    bundle: Path, site: Path, tmp_path: Path, suffix: str
) -> None:
    """Who signed has not seen the new file, so nothing of the new one may look signed."""
    pytest.importorskip("cryptography", reason="signatures need cryptography")
    source = Path(zoo.export(bundle.with_name("run"), bundle=True, out=tmp_path / f"signed{suffix}").path)
    ours, others = (tmp_path / name for name in ("ours", "others"))
    for key in (ours, others):
        new_key(key)
    zoo.sign(source, ours)
    with refused("signature-key", SignatureError):
        zoo.recalibrate(source, site, tmp_path / "wrong.zoo", key=f"{others}.pub")
    assert not (tmp_path / "wrong.zoo").exists()
    made = zoo.recalibrate(source, site, tmp_path / f"here{suffix}", key=f"{ours}.pub")
    assert len(made.notes) == len(zoo.recalibrate(bundle, site, tmp_path / "unsigned.onnx").notes) + 1
    assert open_model(Path(made.path)).signed == "none"
    with refused("signature-missing", SignatureError):
        zoo.verify(made.path, key=f"{ours}.pub")
    assert zoo.verify(source, key=f"{ours}.pub").images >= 32
    zoo.sign(made.path, others)
    assert zoo.verify(made.path, key=f"{others}.pub").images >= 32
