"""A finished run outlives its images: its own file passed the gate, and is passed on as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from refusals import refused

import zoo
from zoo.errors import DataError, ModelError, TamperedError
from zoo.runs import open_run


@pytest.fixture
def lonely(colour_run: zoo.TrainResult, tmp_path: Path) -> Path:
    """A finished run whose images are gone."""
    run = tmp_path / "lonely run"
    shutil.copytree(colour_run.run, run)
    open_run(run).update(source=str(tmp_path / "gone"))
    return run


def test_the_file_is_the_one_that_was_proven_at_training(lonely: Path, tmp_path: Path) -> None:
    made = zoo.export(lonely, out=tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == (lonely / "model.onnx").read_bytes()
    assert (made.proven, made.golden) == ("training", None)
    assert made.parity == zoo.open(lonely).manifest.parity
    assert f"not at {lonely.parent / 'gone'}" in made.notes[0]


def test_its_bundle_has_drawn_golden_images_and_verifies(lonely: Path, tmp_path: Path) -> None:
    made = zoo.export(lonely, bundle=True, out=tmp_path / "m.zoo")
    assert (made.proven, made.golden, made.golden_images) == ("training", "generated", 32)
    proof = zoo.verify(made.path)
    assert (proof.golden, proof.images, proof.max_abs_logit) == ("generated", 32, pytest.approx(0, abs=1e-5))
    assert (tmp_path / "m.zoo/model.onnx").read_bytes() == (lonely / "model.onnx").read_bytes()
    assert zoo.export(lonely, bundle=True, out=tmp_path / "again.zoo").size_bytes == made.size_bytes


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ({"quantize": "int8"}, "--int8"),
        ({"quantize": "fp16"}, "--fp16"),
        ({"portable": True}, "--portable"),
        ({"preprocess": "none"}, "--preprocess none"),
        ({"evidence": True}, "--evidence"),
        ({"bundle": True, "golden": "own"}, "--golden own"),
    ],
)
def test_what_is_made_or_proven_on_images_is_refused(lonely: Path, asked: dict[str, Any], option: str) -> None:
    with refused("export-needs-images", DataError, run=lonely.name, options=[option], cause="data-missing") as caught:
        zoo.export(lonely, **asked)
    assert f'zoo export "{lonely}"' in str(caught.value), "a path with a blank is quoted"
    assert not (lonely / "export").exists()


def test_another_file_in_its_place_is_not_passed_on(lonely: Path, svm_run: zoo.TrainResult, tmp_path: Path) -> None:
    model = lonely / "model.onnx"
    good = model.read_bytes()
    middle = len(good) // 2
    model.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    with refused("model-checksum", TamperedError):
        zoo.export(lonely, out=tmp_path / "x.onnx")
    shutil.copy(Path(svm_run.run) / "model.onnx", model)
    with refused("run-model-other", ModelError, run=lonely.name) as caught:
        zoo.export(lonely, bundle=True, out=tmp_path / "x.zoo")
    assert {"trained", "sha256"} <= set(caught.value.fields["differs"])
    open_run(lonely).update(proven=None)  # as an older release left it
    with refused("run-model-other", ModelError):
        zoo.export(lonely, out=tmp_path / "x.onnx")
    model.write_bytes(good)
    assert zoo.export(lonely, out=tmp_path / "x.onnx").proven == "training"
    model.unlink()
    with refused("data-moved", DataError, run=lonely.name):
        zoo.export(lonely, out=tmp_path / "y.onnx")


def test_images_that_are_named_are_proven_on(lonely: Path, colours: Path, tmp_path: Path) -> None:
    assert zoo.export(lonely, data=colours, out=tmp_path / "m.onnx").proven == "export"
    with refused("data-missing", DataError):
        zoo.export(lonely, data=tmp_path / "nowhere", out=tmp_path / "x.onnx")
