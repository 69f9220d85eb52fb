"""A finished run outlives its images: its own file passed the gate, and is passed on as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
from refusals import refused

import zoo
from zoo._support.files import sha256_file
from zoo.artefact import set_manifest
from zoo.edge.bundle import open_model
from zoo.errors import DataError, ModelError, OutputError, TamperedError
from zoo.runs import open_run
from zoo.spec import Interval, OperatingPoint
from zoo.workflow._proven import known_reference, read_proven

SHARE = Interval(value=0.9, low=0.8, high=0.95)


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


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"quantize": "int8"}, ["--int8"]),
        ({"operating": ["youden:red"]}, ["--operating"]),
        ({"portable": True, "features": True}, ["--portable", "--features"]),
        ({"preprocess": "normalize"}, ["--preprocess normalize"]),
    ],
)
def test_no_other_kind_of_file_takes_the_place_of_the_runs_own(
    colour_run: zoo.TrainResult, tmp_path: Path, asked: dict[str, Any], options: list[str]
) -> None:
    """The run's report.json and answers are of that file, and later exports take its reference."""
    run = tmp_path / "run"
    shutil.copytree(colour_run.run, run)
    link = tmp_path / "link.onnx"
    link.symlink_to(run / "model.onnx")
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for place in (run / "model.onnx", run / "export/../model.onnx", link):
        with refused("out-run-file", OutputError, options=options):
            zoo.export(run, out=place, overwrite=True, **asked)
    for record in ("run.json", "report.json", "predictions.csv"):
        with refused("out-run-file", OutputError, options=["--out"]):
            zoo.export(run, out=run / record, overwrite=True)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    zoo.export(run, out=run / "model.onnx", overwrite=True)
    assert open_run(run).record.proven == sha256_file(run / "model.onnx")


def test_a_file_with_other_decisions_is_not_taken_for_the_one_that_was_proven(lonely: Path) -> None:
    """An earlier release let one take its place, and noted its hash."""
    point = OperatingPoint(
        label="red", rule="youden", threshold=0.5, low=0.4, high=0.6, sensitivity=SHARE, specificity=SHARE, n=9,
        positives=3,
    )  # fmt: skip
    contents = open_model(lonely / "model.onnx")
    model = onnx.load_from_string(contents.model)
    set_manifest(model, msgspec.structs.replace(contents.manifest, operating=(point,)))
    (lonely / "model.onnx").write_bytes(model.SerializeToString())
    open_run(lonely).update(proven=sha256_file(lonely / "model.onnx"))
    with refused("run-model-other", ModelError, differs=["operating"]):
        read_proven(open_run(lonely))
    assert known_reference(open_run(lonely)) is None


def test_images_that_are_named_are_proven_on(lonely: Path, colours: Path, tmp_path: Path) -> None:
    assert zoo.export(lonely, data=colours, out=tmp_path / "m.onnx").proven == "export"
    with refused("data-missing", DataError):
        zoo.export(lonely, data=tmp_path / "nowhere", out=tmp_path / "x.onnx")
