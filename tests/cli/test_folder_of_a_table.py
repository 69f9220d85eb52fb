"""Each verb takes the folder of a published table for that table: none trains or judges on its folders as classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image


@pytest.fixture(scope="module")
def ham(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HAM10000 in small: a table beside two folders of images, two images of each lesion."""
    folder = tmp_path_factory.mktemp("published") / "ham"
    rows, rng = ["lesion_id,image_id,dx,age"], np.random.default_rng(0)
    for i in range(48):
        place = folder / f"HAM10000_images_part_{1 + i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 128, (8, 8, 3), np.uint8) + np.uint8(127 * (i % 4 > 1))
        Image.fromarray(pixels).save(place / f"ISIC_{i:07}.png")
        rows.append(f"HAM_{i // 2},ISIC_{i:07},{'mel' if i % 4 > 1 else 'nv'},{40 + i}")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(rows))
    return folder


def test_every_verb_takes_the_folder_for_its_table(ham: Path, elsewhere: Path) -> None:
    info = run_zoo("data", "info", ham, "--json").document
    assert (info["classes"], info["groups"], info["columns"]["label"]) == ({"mel": 24, "nv": 24}, 24, "dx")
    assert run_zoo("data", "check", ham, "--json").document["classes"] == {"mel": {"all": 24}, "nv": {"all": 24}}
    assert run_zoo("data", "split", ham, "--json").document["groups"] == 24
    compared = run_zoo("compare", "logistic_regression", "knn", "--data", ham, "--json").document
    assert compared["labels"] == ["mel", "nv"]
    run = next((elsewhere / "runs").glob("knn*"))
    judged = run_zoo("evaluate", run, "--json").document
    assert set(judged["per_class"]) == {"mel", "nv"}
    assert run_zoo("evaluate", run, "--data", ham, "--json").document["data"] == judged["data"]
    again = run_zoo("evaluate", run, "--data", ham / "HAM10000_metadata.csv", "--json").document
    assert again["data"] == judged["data"], "the folder and its table are one set"


def test_folders_that_are_parts_train_only_when_the_user_says_so(ham: Path, elsewhere: Path) -> None:
    bare = elsewhere / "bare"
    for folder in ham.glob("*_part_*"):
        (bare / folder.name).mkdir(parents=True)
        for image in folder.iterdir():
            (bare / folder.name / image.name).write_bytes(image.read_bytes())
    refused = run_zoo("train", "knn", "--data", bare, "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "folder-parts")
    ran = run_zoo("train", "knn", "--data", bare, "--columns", "label=folder", "--out", "run", "--json")
    assert ran.code == 0, ran.err
    assert set(run_zoo("evaluate", "run", "--json").document["per_class"]) == {folder.name for folder in bare.iterdir()}
