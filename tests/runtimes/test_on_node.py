"""The golden set replayed by onnxruntime-node, through the example that users start from."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from runtime_cases import decide_by_all, leaves_nothing_behind, write_picture

import zoo
from zoo._support.files import sha256_file

pytestmark = pytest.mark.slow


def on_node(checkout: Path, *arguments: str | Path) -> tuple[int, Any]:
    command = ["node", "examples/node/predict.mjs", *map(str, arguments)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("model", ["photographs", "deep", "findings"])
@pytest.mark.parametrize("form", ["default", "portable", "own"])
def test_golden_answers_come_again(checkout: Path, request: pytest.FixtureRequest, model: str, form: str) -> None:
    bundle = request.getfixturevalue(model) / f"{form}.zoo"
    status, said = on_node(checkout, bundle)
    assert status == 0, said
    assert said["proof"]["images"] >= 32
    assert said["proof"]["mismatches"] == []
    assert said["proof"]["max_abs_logit"] <= 1e-4


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_a_quantised_file_gives_its_golden_answers(checkout: Path, quantised: Path, kind: str) -> None:
    status, said = on_node(checkout, quantised / f"{kind}.zoo")
    assert status == 0, said
    assert said["proof"]["images"] >= 32


def test_a_spoilt_answer_is_refused(checkout: Path, photographs: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "spoilt.zoo"
    shutil.copytree(photographs / "default.zoo", bundle)
    with np.load(bundle / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["logits"] = arrays["logits"] + np.float32([0, 0.01, 0])
    np.savez_compressed(bundle / "golden.npz", **arrays)
    said = json.loads((bundle / "manifest.json").read_bytes())
    said["files"]["golden.npz"] = sha256_file(bundle / "golden.npz")
    (bundle / "manifest.json").write_text(json.dumps(said))
    picture = write_picture(tmp_path / "picture", arrays["image_0000"])
    status, said = on_node(checkout, bundle, picture)
    assert status == 3
    assert len(said["proof"]["mismatches"]) >= 32
    assert said["predictions"] == [], "who reads no status would take an answer that is not proven"


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
def test_a_changed_file_is_refused(checkout: Path, photographs: Path, tmp_path: Path, name: str) -> None:
    bundle = tmp_path / "changed.zoo"
    shutil.copytree(photographs / "default.zoo", bundle)
    if name == "manifest.json":
        said = json.loads((bundle / name).read_bytes())
        (bundle / name).write_text(json.dumps(said | {"labels": said["labels"][::-1]}))
    else:
        (bundle / name).write_bytes((bundle / name).read_bytes() + b"\0")
    command = ["node", "examples/node/predict.mjs", str(bundle)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert name in done.stderr
    assert not done.stdout


def test_pictures_are_labelled_as_by_predict(checkout: Path, photographs: Path, deep: Path, tmp_path: Path) -> None:
    picture = sorted((photographs / "data/two").iterdir())[3]
    Image.open(picture).save(tmp_path / "picture.ppm")
    expected = next(iter(zoo.open(photographs / "default.zoo").predict(picture)))
    status, said = on_node(checkout, photographs / "default.zoo", tmp_path / "picture.ppm")
    assert status == 0
    assert said["predictions"][0]["label"] == expected.label
    assert said["predictions"][0]["probability"] == pytest.approx(expected.probability, abs=1e-5)

    scan = sorted((deep / "data/one").iterdir())[3]
    write_picture(tmp_path / "scan.pgm", np.asarray(Image.open(scan)))
    expected = next(iter(zoo.open(deep / "default.zoo").predict(scan)))
    _, said = on_node(checkout, deep / "default.zoo", tmp_path / "scan.pgm")
    assert said["predictions"][0]["probability"] == pytest.approx(expected.probability, abs=1e-5)


def test_decisions_are_those_of_predict(checkout: Path, photographs: Path, tmp_path: Path) -> None:
    bundle = decide_by_all(photographs / "default.zoo", tmp_path / "all.zoo")
    with np.load(bundle / "golden.npz") as golden:
        pictures = [write_picture(tmp_path / f"{at}.ppm", golden[f"image_{at:04d}"]) for at in range(8)]
    status, said = on_node(checkout, bundle, *pictures)
    assert status == 0, said
    assert said["proof"]["max_abs_novelty"] <= 1e-4
    expected = [one.row() for one in zoo.open(bundle).predict(pictures)]
    assert {row["decision"] for row in expected} > {"unlike training"}
    for row, wanted in zip(said["predictions"], expected, strict=True):
        for key in ("label", "decision", "set", "operating"):
            assert row[key] == wanted[key]
        assert row["novelty"] == pytest.approx(wanted["novelty"], rel=1e-4)


def test_nothing_is_reported_home(checkout: Path, photographs: Path, tmp_path: Path) -> None:
    command: list[str | Path] = ["node", "examples/node/predict.mjs", photographs / "default.zoo"]
    leaves_nothing_behind(command, tmp_path, cwd=checkout)
