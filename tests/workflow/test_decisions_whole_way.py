"""Operating points and sets of labels, from what is asked for to the file: refused in time, chosen once, kept apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from refusals import refused

import zoo
from zoo import registry
from zoo.data import open_data
from zoo.edge.bundle import open_model
from zoo.errors import DataError, UsageError
from zoo.runs import open_run
from zoo.spec import Abstention, ConformalSets, Manifest, Novelty, TrainConfig, to_builtins
from zoo.workflow._decide import Asked, choose_anew, settle
from zoo.workflow._other_points import choose_for_report
from zoo.workflow.evaluate import open_target

MODEL = "logistic_regression"
LABELS = ("left", "right", "odd")
RULE = "sensitivity=0.8:right"


def write_set(path: Path, *, several: bool = False, seed: int = 0) -> Path:
    """Noise with a light left or right half, one time in eight with neither."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {"label_names": np.array(LABELS)}
    for split, n in (("train", 90), ("val", 120), ("test", 150)):
        truth = rng.choice(3, n, p=(0.5, 0.375, 0.125))
        pixels = rng.normal(110, 60, (n, 8, 8))
        pixels[truth == 0, :, :4] += 28
        pixels[truth == 1, :, 4:] += 28
        arrays[f"{split}_images"] = pixels.clip(0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = (truth[:, None] == np.arange(3)).astype(np.uint8) if several else truth[:, None]
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data") / "halves.npz")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "one"
    zoo.train(MODEL, data, out=place, operating=[RULE, "youden:ODD"], settings={"error": 0.4})
    return place


def test_what_validation_settles_is_in_the_run_the_file_and_the_report(run: Path) -> None:
    record, manifest = open_run(run).record, open_model(run / "model.onnx").manifest
    assert [(point.label, point.rule) for point in record.operating] == [
        ("right", "sensitivity=0.8"),
        ("odd", "youden"),
    ]
    assert (manifest.operating, manifest.abstention) == (record.operating, record.abstention)
    assert record.abstention is not None
    assert record.abstention.sets is not None
    assert record.abstention.error is not None
    assert (record.abstention.sets.coverage, record.abstention.sets.n) == (0.9, (120,))
    report = manifest.report
    assert report is not None
    assert report.operating is not None
    assert report.conformal is not None
    assert report.abstention is not None
    assert [point.threshold for point in report.operating.points] == [one.threshold for one in record.operating]
    assert report.operating.points[0].n == 150
    assert (report.conformal.wanted, report.abstention.wanted) == (0.9, 0.4)
    assert report.conformal.reached.value > 0.8
    assert msgspec.structs.replace(report, notes=()) == msgspec.structs.replace(zoo.evaluate(run), notes=())


def test_by_default_there_are_sets_and_no_point(data: Path, tmp_path: Path) -> None:
    zoo.train(MODEL, data, out=tmp_path / "plain")
    zoo.train(MODEL, data, out=tmp_path / "none", settings={"coverage": 0, "novelty": False})
    plain, none = (open_run(tmp_path / name).record for name in ("plain", "none"))
    assert (plain.operating, none.operating, none.abstention) == ((), (), None)
    assert plain.abstention is not None
    assert isinstance(plain.abstention.sets, ConformalSets)
    assert (plain.abstention.sets.method, plain.abstention.sets.per_class, plain.abstention.error) == (
        "lac",
        False,
        None,
    )


def test_what_cannot_be_is_refused_before_a_run_is_made(data: Path, tmp_path: Path) -> None:
    several = write_set(tmp_path / "several.npz", several=True)
    wrong = {
        "label-unknown": ({"operating": ["youden:melanoma"]}, data, UsageError),
        "setting-value": ({"operating": ["sensitivity:right"]}, data, UsageError),
        "option-value": ({"settings": {"error": 0.1}}, several, UsageError),
    }
    for code, (budget, source, kind) in wrong.items():
        with refused(code, kind):
            zoo.train(MODEL, source, out=tmp_path / "run", **budget)
    for settings in ({"coverage": 1}, {"error": 0}, {"operating": ["youden:right", "cost=2:right"]}):
        with refused("setting-value", UsageError):
            zoo.train(MODEL, data, out=tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_a_rule_that_the_answers_cannot_follow_costs_a_note_and_not_the_training(data: Path) -> None:
    images = open_data(data).val
    asked = dataclasses.replace(Asked.of(TrainConfig()), operating=("sensitivity=0.9:right", "youden:left"))
    flat = np.zeros((len(images), 3))
    found = settle(flat, images, LABELS, asked, temperature=1.0, strict=False)
    assert found.operating == ()
    assert len(found.notes) == 2
    with refused("operating-unreachable", DataError, label="right"):
        settle(flat, images, LABELS, asked, temperature=1.0, strict=True)


def test_patients_count_once_and_that_is_said(data: Path) -> None:
    images = open_data(data).val
    grouped = dataclasses.replace(images, groups=np.arange(len(images)) // 5)
    logits = np.random.default_rng(0).normal(size=(120, 3)) + 2 * (images.targets[:, None] == np.arange(3))
    asked = Asked.of(TrainConfig(error=0.3, operating=("sensitivity=0.9:right",)))
    found = settle(logits, grouped, LABELS, asked, temperature=1.0, strict=True)
    assert found.abstention is not None
    assert found.abstention.sets is not None
    assert found.abstention.error is not None
    assert (found.abstention.sets.n, found.abstention.error.n) == ((24,), 24)
    assert any("24 groups once" in note for note in found.notes)
    few = settle(logits[:8], images.subset(range(8)), LABELS, Asked.of(TrainConfig()), temperature=1.0, strict=True)
    assert few.abstention is None
    assert few.notes


def test_several_labels_have_points_and_no_sets(tmp_path: Path) -> None:
    source = write_set(tmp_path / "several.npz", several=True)
    zoo.train(MODEL, source, out=tmp_path / "run", operating=[RULE])
    manifest = open_model(tmp_path / "run" / "model.onnx").manifest
    assert len(manifest.operating) == 1
    assert manifest.abstention is None or manifest.abstention.sets is None
    report = manifest.report
    assert report is not None
    assert report.operating is not None
    assert (report.operating.points[0].label, report.conformal, report.abstention) == ("right", None, None)


def test_an_export_takes_other_points_and_leaves_the_run_alone(run: Path, tmp_path: Path) -> None:
    files = [run / name for name in ("run.json", "model.onnx", "report.json")]
    before = [file.read_bytes() for file in files]
    own = open_run(run).record
    made = zoo.export(run, bundle=True, operating=["cost=5:left"], out=tmp_path / "other.zoo")
    manifest = open_model(Path(made.path)).manifest
    assert [(point.label, point.rule) for point in manifest.operating] == [("left", "cost=5")]
    assert manifest.abstention is not None
    assert own.abstention is not None
    assert manifest.abstention.sets == own.abstention.sets
    assert manifest.report is not None
    assert manifest.report.operating is not None
    assert [point.label for point in manifest.report.operating.points] == ["left"]
    assert before == [file.read_bytes() for file in files]
    with refused("label-unknown", UsageError):
        zoo.export(run, operating=["youden:melanoma"], out=tmp_path / "no.onnx")
    assert not (tmp_path / "no.onnx").exists()
    with refused("operating-without-run", UsageError):
        zoo.evaluate(made.path, open_run(run).record.source, operating=["youden:left"])


def test_a_report_takes_other_points_from_the_runs_own_validation_images(run: Path, tmp_path: Path) -> None:
    elsewhere = write_set(tmp_path / "elsewhere.npz")
    arrays = dict(np.load(elsewhere))
    rng = np.random.default_rng(9)
    for split in ("train", "val", "test"):  # other images, with labels that mean nothing
        arrays[f"{split}_images"] = rng.integers(0, 256, arrays[f"{split}_images"].shape, np.uint8)
    np.savez(elsewhere, **arrays)
    here, there = zoo.evaluate(run, operating=["cost=5:left"]), zoo.evaluate(run, elsewhere, operating=["cost=5:left"])
    assert here.operating is not None
    assert there.operating is not None
    assert here.operating.points[0].threshold == there.operating.points[0].threshold
    assert here.operating.points[0].tp != there.operating.points[0].tp
    assert here.notes[-1] == there.notes[-1]
    with refused("option-conflict", UsageError):
        zoo.evaluate(run, operating=["cost=5:left"], split="val")


def test_a_report_with_other_points_withholds_as_a_file_exported_with_them(run: Path, tmp_path: Path) -> None:
    """A threshold that bounds the error of other answers says nothing of these."""
    rules = ["cost=5:left"]
    settled: Manifest = choose_for_report(open_target(run, None, split="test", provider="cpu"), rules, "test")[0]
    made = open_model(Path(zoo.export(run, operating=rules, out=tmp_path / "other.onnx").path)).manifest
    own = open_model(run / "model.onnx").manifest
    found = [one.abstention and one.abstention.error for one in (settled, made, own)]
    assert all(found)
    assert found[0].threshold == pytest.approx(found[1].threshold, abs=1e-5)
    assert found[0].threshold != pytest.approx(found[2].threshold, abs=1e-3)
    report = zoo.evaluate(run, operating=rules)
    assert report.abstention is not None
    assert made.report is not None
    assert report.abstention == made.report.abstention


def test_a_page_shows_the_thresholds_that_gave_its_figures_and_the_card_those_of_the_file(
    run: Path, tmp_path: Path
) -> None:
    """Or a reader takes the share that one threshold answers for that of another."""
    rules = ["cost=5:left"]
    settled: Manifest = choose_for_report(open_target(run, None, split="test", provider="cpu"), rules, "test")[0]
    own = open_model(run / "model.onnx").manifest
    found = [one.abstention and one.abstention.error for one in (settled, own)]
    assert all(found)
    anew, old = (f"{one.threshold:.4g}" for one in found)
    assert anew != old
    made = zoo.report(run, operating=rules, out=tmp_path / "page")
    page, card = Path(made.html).read_text(), Path(str(made.card)).read_text()
    assert f"largest probability is below {anew}" in page
    assert f"largest probability is below {old}" not in page
    assert old in card
    assert anew not in card
    assert "Images answered" not in card
    same = zoo.report(run, prevalence=["0.3"], out=tmp_path / "same")
    assert "Images answered" in Path(str(same.card)).read_text()


def test_predictive_values_at_a_prevalence_are_asked_of_the_report(run: Path) -> None:
    report = zoo.evaluate(run, prevalence=["0.3", "odd=0.01"])
    assert report.operating is not None
    assert [point.at and point.at.prevalence for point in report.operating.points] == [0.3, 0.01]
    assert [row["prevalence"] for row in report.tables()["operating"]] == [0.3, 0.01]
    with refused("label-unknown", UsageError):
        zoo.evaluate(run, prevalence=["left=0.3"])


def test_a_quantised_file_settles_its_decisions_on_its_own_answers(run: Path, data: Path) -> None:
    manifest, images = open_model(run / "model.onnx").manifest, open_data(data).val
    logits = np.random.default_rng(0).normal(size=(120, 3)) + 2 * (images.targets[:, None] == np.arange(3))
    anew, _ = choose_anew(manifest, logits, images)
    asked = Asked.of(open_run(run).record.card.train)
    found = settle(logits, images, LABELS, asked, temperature=manifest.temperature, strict=True)
    assert anew.operating == found.operating
    assert anew.abstention is not None
    assert found.abstention is not None
    assert (anew.abstention.sets, anew.abstention.error) == (found.abstention.sets, found.abstention.error)
    assert anew.operating != manifest.operating
    assert anew.temperature == manifest.temperature


def test_too_few_images_leave_no_sets_of_another_temperature(run: Path, data: Path) -> None:
    """Or a recalibrated file promises 99 % by quantiles of answers that it no longer gives."""
    manifest, val = open_model(run / "model.onnx").manifest, open_data(data).val
    novelty = Novelty(kind="features", threshold=1.0, share=0.01, n=900)
    sets = ConformalSets(method="lac", coverage=0.99, per_class=False, quantiles=(0.83,), n=(900,))
    old = Abstention(sets=sets, novelty=novelty)
    few = val.subset(np.arange(60))
    logits = np.random.default_rng(0).normal(size=(60, 3))
    before = msgspec.structs.replace(manifest, operating=(), abstention=old)
    anew, notes = choose_anew(before, logits, few)
    assert anew.abstention == Abstention(novelty=novelty)
    assert len(notes) == 1
    alone = msgspec.structs.replace(before, abstention=msgspec.structs.replace(old, novelty=None))
    assert choose_anew(alone, logits, few)[0].abstention is None


def test_models_of_all_images_after_folds_decide_nothing(data: Path, tmp_path: Path) -> None:
    """No image is held out from them on which a threshold could be chosen."""
    done = zoo.train_folds(MODEL, data, folds=3, out=tmp_path / "over", then="all", operating=[RULE])
    assert done.final is not None
    assert all(len(open_run(Path(one)).record.operating) == 1 for one in done.folds)
    last = open_run(Path(done.final)).record
    assert (last.operating, last.abstention) == ((), None)
    with refused("operating-without-run", UsageError):
        zoo.export(done.final, operating=[RULE], out=tmp_path / "no.onnx")
    with refused("operating-without-run", UsageError):
        zoo.evaluate(done.final, write_set(tmp_path / "others.npz", seed=1), operating=[RULE])


def test_the_record_of_an_older_release_has_no_decisions(run: Path) -> None:
    record = to_builtins(open_run(run).record)
    for name in ("operating", "abstention"):
        del record[name]
    for name in ("operating", "coverage", "sets", "sets_per_class", "error"):
        del record["card"]["train"][name]
    found = msgspec.convert(record, type(open_run(run).record))
    assert (found.operating, found.abstention) == ((), None)
    assert registry.find(MODEL).train.coverage == 0.9
