"""From an npz of several labels an image to a verified file and its answers, as a user goes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from refusals import refused
from sklearn.metrics import roc_auc_score

import zoo
from zoo import registry
from zoo.data import open_data
from zoo.errors import DataError
from zoo.workflow._judge import judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.spec import EvalReport

pytestmark = pytest.mark.slow

NAMES = ("bright corner", "stripes")


def findings(path: Path, *, names: tuple[str, ...] = NAMES, seed: int = 0, test: int = 60) -> Path:
    """28 × 28 pictures with a bright corner, stripes, both or none, independently of each other, in noise."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {"label_names": np.array(names)}
    for split, n in (("train", 160), ("val", 60), ("test", test)):
        targets = (rng.random((n, 2)) < 0.45).astype(np.uint8)
        pixels = rng.normal(110, 30, (n, 28, 28))
        pixels[targets[:, 0] == 1, 4:14, 4:14] += 50
        pixels[targets[:, 1] == 1, 16::3] += 50
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = pixels.clip(0, 255).astype(np.uint8), targets
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        findings(root / "chest.npz")
        yield root


@pytest.fixture(scope="module")
def trained(place: Path) -> zoo.TrainResult:
    settings = {"augment": "none", "ema": 0.9}
    return zoo.train("simple_cnn", place / "chest.npz", epochs=8, batch_size=16, out="runs/cnn", settings=settings)


@pytest.fixture(scope="module")
def bundle(trained: zoo.TrainResult, place: Path) -> Path:
    return Path(zoo.export(trained.run, bundle=True, out=place / "chest.zoo").path)


def test_both_findings_are_learned_and_the_file_says_what_it_is(trained: zoo.TrainResult) -> None:
    assert trained.test.metrics["macro_auroc"].low > 0.8
    assert trained.test.confusion is None
    assert trained.test.labels == NAMES
    run, manifest = Path(trained.run), zoo.open(trained.run).manifest
    assert manifest.task == "multilabel"
    record = json.loads((run / "run.json").read_text())
    assert record["task"] == "multilabel"
    assert record["card"]["train"]["label_smoothing"] == 0
    assert any(note.startswith("label_smoothing 0") for note in record["notes"])
    assert manifest.parity is not None
    assert manifest.parity.flips == 0
    assert (run / "labels.png").is_file()
    assert not (run / "confusion.png").exists()


def test_the_numbers_are_those_of_the_files_own_probabilities(trained: zoo.TrainResult, place: Path) -> None:
    splits = open_data(place / "chest.npz")
    raw = np.stack([splits.test.read(i).pixels for i in range(len(splits.test))])
    p = zoo.open(trained.run).probabilities(raw)
    metrics = trained.test.metrics
    assert metrics["macro_auroc"].value == pytest.approx(roc_auc_score(splits.test.targets, p), abs=1e-4)
    assert metrics["accuracy"].value == pytest.approx(((p >= 0.5) == splits.test.targets).mean(), abs=1e-9)
    assert trained.test.calibration is not None
    assert trained.test.calibration.brier.value == pytest.approx(((p - splits.test.targets) ** 2).mean(), abs=1e-5)
    assert zoo.evaluate(trained.run) == trained.test


def test_a_bundle_proves_itself_and_answers_with_every_label(
    trained: zoo.TrainResult, bundle: Path, place: Path
) -> None:
    assert zoo.verify(bundle).images >= 32
    splits = open_data(place / "chest.npz")
    both = np.flatnonzero(splits.test.targets.all(axis=1))[:5]
    (place / "images").mkdir()
    for i in both:
        Image.fromarray(splits.test.read(int(i)).pixels).save(place / "images" / f"{i}.png")
    answers = list(zoo.open(bundle).predict(place / "images"))
    expected = zoo.open(trained.run).probabilities(np.stack([splits.test.read(int(i)).pixels for i in both]))
    for got, row in zip(answers, expected, strict=True):
        assert got.row()["labels"] == [name for name, p in zip(NAMES, row, strict=True) if p >= 0.5]
    assert any(got.row()["labels"] == list(NAMES) for got in answers)


def test_an_equal_model_can_not_be_told_apart(trained: zoo.TrainResult, bundle: Path, place: Path) -> None:
    found = zoo.compare([trained.run, bundle], place / "chest.npz")
    assert {pair.metric for pair in found.pairs} == {"macro_auroc", "accuracy"}
    assert {pair.verdict for pair in found.pairs} == {"cannot tell"}


def test_labels_of_other_data_are_matched_by_name(trained: zoo.TrainResult, place: Path) -> None:
    """The same pictures with their columns the other way round are the same question."""
    with np.load(place / "chest.npz") as content:
        turned = {k: v[:, ::-1] if k.endswith("labels") else v for k, v in content.items()}
    turned["label_names"] = np.array(NAMES[::-1])
    np.savez(place / "turned.npz", **turned)
    again = zoo.evaluate(trained.run, place / "turned.npz")
    assert again.labels == NAMES
    assert again.metrics == trained.test.metrics
    findings(place / "other.npz", names=("bright corner", "nodule"))
    with pytest.raises(DataError, match="'nodule'"):
        zoo.evaluate(trained.run, place / "other.npz")


def test_patients_of_the_data_are_what_is_resampled(trained: zoo.TrainResult, place: Path) -> None:
    """The report of a file knows the groups of its images, whoever found them."""
    splits = open_data(place / "chest.npz")
    test = dataclasses.replace(splits.test, groups=np.arange(60) // 4)
    plugin = registry.load("simple_cnn").plugin

    def report(data: object) -> EvalReport:
        return judge(plugin, zoo.open(trained.run), data, "test").report  # type: ignore[arg-type]

    assert report(splits).clusters is None
    found = report(dataclasses.replace(splits, test=test))
    assert (found.n, found.clusters) == (60, 15)
    assert found.metrics["accuracy"].value == trained.test.metrics["accuracy"].value


def test_models_and_data_of_different_tasks_do_not_mix(trained: zoo.TrainResult, place: Path) -> None:
    with np.load(place / "chest.npz") as content:
        single = {k: v[:, 0] if k.endswith("labels") else v for k, v in content.items()}
    np.savez(place / "single.npz", **single)
    with pytest.raises(DataError, match="exactly one"):
        zoo.evaluate(trained.run, place / "single.npz")
    zoo.train("random_forest", place / "single.npz", out="runs/forest")
    with pytest.raises(DataError, match="exactly one"):
        zoo.evaluate("runs/forest", place / "chest.npz")


def test_a_classical_model_is_refused_before_anything_is_written(place: Path) -> None:
    for model in ("svm", "gradient_boosting"):
        with refused("task-unsupported", DataError, model=model) as caught:
            zoo.train(model, place / "chest.npz", out="runs/refused")
        assert "\n" not in str(caught.value)
    assert not Path("runs/refused").exists()


def test_an_interrupted_run_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state holds a multilabel run as it does any other, and its export ends in a sigmoid."""
    from zoo.learn import fit as fitting
    from zoo.runs import open_run

    module = __import__("sys").modules["zoo.learn._fit"]
    assert module.fit is fitting
    keep, calls = module.keep, []

    def stopping(*given: object) -> object:
        state = keep(*given)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return state

    monkeypatch.setattr(module, "keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        zoo.train("simple_cnn", place / "chest.npz", epochs=3, out="runs/broken")
    monkeypatch.setattr(module, "keep", keep)
    assert open_run(Path("runs/broken")).record.status == "interrupted"
    done = zoo.train("simple_cnn", resume=True, out="runs/broken")
    assert open_run(Path(done.run)).record.epochs_done == 3
    assert zoo.open(done.run).manifest.task == "multilabel"
