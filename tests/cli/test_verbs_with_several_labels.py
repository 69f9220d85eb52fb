"""The verbs on a model that gives several labels an image."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with chest.npz and a short run on it; every picture has both labels, one or none."""
    root = tmp_path_factory.mktemp("chest")
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"label_names": np.array(["bright", "striped"])}
    for split, n in (("train", 96), ("val", 40), ("test", 40)):
        targets = np.stack([np.arange(n) % 2, np.arange(n) // 2 % 2], axis=1)
        pixels = rng.normal(90, 20, (n, 28, 28))
        pixels[targets[:, 0] == 1, :14] += 70
        pixels[targets[:, 1] == 1, 15::3] += 70
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = pixels.clip(0, 255).astype(np.uint8), targets
    np.savez(root / "chest.npz", **arrays)
    for i, picture in enumerate(arrays["test_images"][:4]):
        Image.fromarray(picture).save(root / f"{i}.png")
    data, out = root / "chest.npz", root / "run"
    ran = run_zoo(
        "train", "simple_cnn", "--data", data, "--out", out, "--epochs", "8", "--batch-size", "8",
        "--set", "augment=none", "--set", "ema=0.9",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return root


def test_evaluate_says_of_each_label_how_good_it_is(chest: Path) -> None:
    found = run_zoo("evaluate", chest / "run", "--json").document
    assert found["confusion"] is None
    assert found["labels"] == list(found["per_class"]) == ["bright", "striped"]
    assert found["metrics"]["macro_auroc"]["value"] > 0.9
    text = run_zoo("evaluate", chest / "run")
    assert text.code == 0, text.err
    assert "label " in text.out
    assert "striped" in text.out


def test_predict_gives_every_label_that_holds(chest: Path) -> None:
    pictures = [chest / f"{i}.png" for i in range(4)]
    rows = run_zoo("predict", chest / "run", *pictures, "--json").document
    assert all({"image", "label", "probability", "probabilities", "labels"} <= set(row) for row in rows)
    for row in rows:
        assert row["labels"] == [label for label, p in row["probabilities"].items() if p >= 0.5]
    lines = run_zoo("predict", chest / "run", *pictures).out.splitlines()
    told = ["no label" not in line for line in lines]
    assert told == [bool(row["labels"]) for row in rows]
    ran = run_zoo("predict", chest / "run", *pictures, "--csv", chest / "out.csv")
    assert ran.code == 0, ran.err
    head = (chest / "out.csv").read_text().splitlines()[0]
    assert head == "image,label,probability,labels,decision,novelty,p_bright,p_striped,error"


def test_compare_takes_two_of_them(chest: Path) -> None:
    file = shutil.copytree(chest / "run", chest / "copy")
    found = run_zoo("compare", chest / "run", file, "--data", chest / "chest.npz", "--json")
    assert found.code == 0, found.err
    assert [pair["verdict"] for pair in found.document["pairs"]] == ["cannot tell", "cannot tell"]
    text = run_zoo("compare", chest / "run", file, "--data", chest / "chest.npz").out
    assert text.startswith("40 images, ")
    assert "cannot tell" in text


def test_a_classical_model_says_which_to_take_instead(chest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chest)
    ran = run_zoo("train", "svm", "--data", "chest.npz", "--json")
    error = ran.document["error"]
    assert (ran.code, error["code"], error["model"]) == (1, "task-unsupported", "svm")
    assert "simple_cnn" in ran.err
    assert not (chest / "runs").exists()
