"""From grades in order to a verified file, its report and its answers, as a user goes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image
from refusals import refused
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

import zoo
from zoo.contract._pictures import two_labels
from zoo.data import open_data
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("severe", "none", "mild")
ORDER = ("none", "mild", "severe")


def graded(path: Path, names: tuple[str, ...]) -> Path:
    """8 × 8 pictures that are brighter the higher the grade; class k of the file is the grade of its name."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"label_names": np.array(names)}
    rank = np.argsort(np.argsort([ORDER.index(name) if name in ORDER else float(name) for name in names]))
    for split, n in (("train", 90), ("val", 60), ("test", 60)):
        targets = np.arange(n) % 3
        pixels = rng.normal(90, 25, (n, 8, 8)) + 18 * rank[targets][:, None, None] + rng.normal(0, 9, (n, 1, 1))
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = pixels.clip(0, 255).astype(np.uint8), targets
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("grades")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        graded(root / "named.npz", NAMES)
        graded(root / "numbers.npz", ("10", "2", "-1"))
        yield root


@pytest.fixture(scope="module")
def trained(place: Path) -> dict:
    assert place == Path.cwd()
    ran = run_zoo(
        "train", "simple_cnn", "--data", "named.npz", "--task", "ordinal", "--order", "none, mild,severe", "--metric",
        "kappa", "--epochs", "4", "--out", "runs/cnn", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found: dict = ran.document
    return found


def test_run_file_and_report_say_that_classes_are_grades(trained: dict, place: Path) -> None:
    record = json.loads((place / "runs/cnn/run.json").read_text("utf-8"))
    assert (record["task"], record["labels"]) == ("ordinal", list(ORDER))
    assert trained["best"]["metric"] == "val_kappa"
    assert "quadratic_kappa" in trained["test"]["metrics"]
    assert "mean_absolute_error" in trained["test"]["metrics"]
    manifest = zoo.open("runs/cnn").manifest
    assert (manifest.task, manifest.labels) == ("ordinal", ORDER)
    assert manifest.parity is not None
    assert manifest.parity.flips == 0
    assert any("none, mild, severe" in note for note in record["notes"])


def test_the_numbers_are_those_of_the_files_own_answers(trained: dict) -> None:
    splits = open_data("named.npz")
    raw = np.stack([splits.test.read(i).pixels for i in range(len(splits.test))])
    p = zoo.open("runs/cnn").probabilities(raw)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    truth = np.array([ORDER.index(splits.labels[t]) for t in splits.test.targets])
    kappa = cohen_kappa_score(truth, p.argmax(axis=1), weights="quadratic")
    error = mean_absolute_error(truth, p.argmax(axis=1))
    assert trained["test"]["metrics"]["quadratic_kappa"]["value"] == pytest.approx(kappa)
    assert trained["test"]["metrics"]["mean_absolute_error"]["value"] == pytest.approx(error)
    assert zoo.evaluate("runs/cnn").metrics["quadratic_kappa"].value == pytest.approx(kappa)
    assert zoo.evaluate("runs/cnn", "named.npz").metrics["mean_absolute_error"].value == pytest.approx(error)


def test_a_bundle_proves_itself_and_answers(trained: dict, place: Path) -> None:
    bundle = zoo.export(trained["run"], bundle=True, out=place / "grades.zoo").path
    assert zoo.verify(bundle).images >= 32
    assert "quadratic kappa" in (place / "grades.zoo" / "CARD.md").read_text("utf-8")
    (place / "images").mkdir()
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(place / "images" / "bright.png")
    ran = run_zoo("predict", bundle, "images", "--csv", "answers.csv", "--json")
    assert ran.code == 0, ran.err
    (row,) = ran.document
    assert set(row["probabilities"]) == set(ORDER)
    with (place / "answers.csv").open(encoding="utf-8") as stream:
        assert "labels" not in next(csv.reader(stream)), "an image has one grade"


@pytest.mark.usefixtures("trained")
def test_classical_models_report_grades_and_join_an_ensemble(place: Path) -> None:
    for model in ("logistic_regression", "random_forest"):
        done = zoo.train(model, "named.npz", task="ordinal", order=ORDER, metric="kappa", out=f"runs/{model}")
        assert done.best is not None
        assert done.best.metric == "val_kappa"
        record = json.loads((Path(done.run) / "run.json").read_text("utf-8"))
        assert any("as classes" in note for note in record["notes"]), "what is not learnt is said"
    both = zoo.train("ensemble:runs/logistic_regression,runs/random_forest", out="runs/both")
    assert both.test.labels == ORDER
    assert "quadratic_kappa" in both.test.metrics
    assert both.best is not None
    assert both.best.metric == "val_kappa", "as of its members"
    again = zoo.export("runs/both", out=place / "both.onnx")
    assert zoo.open(again.path).manifest.task == "ordinal"
    found = zoo.compare(["runs/cnn", "runs/both"])
    assert all("quadratic_kappa" in model.metrics for model in found.models)


@pytest.mark.usefixtures("place")
def test_numbers_are_ordered_as_numbers() -> None:
    done = zoo.train("logistic_regression", "numbers.npz", task="ordinal", out="runs/numbers")
    assert done.test.labels == ("-1", "2", "10")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"task": "ordinal"}, "grades-order"),
        ({"task": "ordinal", "order": ["none", "mild"]}, "grades-order"),
        ({"task": "ordinal", "order": ["none", "mild", "severe", "worse"]}, "grades-order"),
        ({"task": "ordinal", "order": ["none", "mild", "Mild", "severe"]}, "grades-order"),
        ({"task": "ordinal", "order": ["none", "mild", "mild"]}, "setting-value"),
        ({"order": ["none", "mild", "severe"]}, "setting-value"),
        ({"task": "grades"}, "setting-value"),
    ],
)
def test_an_order_that_is_none_is_refused(fields: dict, code: str) -> None:
    with refused(code):
        zoo.train("logistic_regression", "named.npz", out="runs/refused", **fields)
    assert not Path("runs/refused").exists()


def test_several_labels_are_no_grades(place: Path) -> None:
    with refused("grades-several", DataError):
        zoo.train("simple_cnn", two_labels(place / "two.npz", side=8), task="ordinal", out="runs/refused")
