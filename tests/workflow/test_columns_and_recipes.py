"""Columns beside the image together with what else a training is told: it works with them, or says that it cannot."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from beside_images import write_table
from PIL import Image
from refusals import refused

import zoo
from zoo import registry
from zoo.edge import Runtime
from zoo.errors import DataError, UsageError
from zoo.evaluation import predict_set
from zoo.runs import TAUGHT, open_run
from zoo.workflow._answered import answer_images
from zoo.workflow._images import images_of
from zoo.workflow._prove import build, shippable
from zoo.workflow.export import export

if TYPE_CHECKING:
    from collections.abc import Iterator

N = 100
SPLIT = ["train", "train", "train", "val", "test"]


def cells_of(labels: list[str]) -> dict[str, list[str]]:
    ages = np.random.default_rng(0).normal(55, 5, N) + [10 * (label == "old") for label in labels]
    return {
        "split": [SPLIT[at % 5] for at in range(N)],
        "age": [f"{age:.1f}" for age in ages],
        "sex": ["FM"[at % 3 % 2] for at in range(N)],
    }


def labels() -> list[str]:
    return ["old" if draw else "young" for draw in np.random.default_rng(1).integers(0, 2, N)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("together")
    write_table(root / "data", cells_of(labels()), labels())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


def learn(place: Path, name: str, settings: dict[str, Any] | None = None, **budget: Any) -> zoo.TrainResult:
    return zoo.train("simple_cnn", place / "data" / "table.csv", out=place / name, epochs=2, precision="fp32",
                     settings=settings or {}, **budget)  # fmt: skip


@pytest.fixture(scope="module")
def result(place: Path) -> zoo.TrainResult:
    settings = {"flips": True, "mixup": 0.2, "cutmix": 1.0, "sam": 0.02, "average": "soup", "cache": "stream"}
    return learn(place, "all", settings, inputs=("age", "sex"))


def test_a_run_under_every_knob_gives_a_bundle_that_proves_itself(result: zoo.TrainResult, place: Path) -> None:
    bundle = Path(export(result.run, bundle=True, out=place / "all.zoo").path)
    assert zoo.verify(bundle, isolated=False).images >= 32
    manifest = Runtime.open(bundle).manifest
    assert manifest.table is not None
    assert manifest.table.names == ("age", "sex")
    assert manifest.provenance.config.flips
    assert any("mirror image" in note for note in open_run(Path(result.run)).record.notes)


def test_features_of_a_model_with_columns_are_refused(result: zoo.TrainResult, place: Path) -> None:
    with refused("inputs-unsupported", UsageError, columns=["age", "sex"]):
        export(result.run, features=True, out=place / "features.onnx")
    assert not (place / "features.onnx").exists()


def test_adjusted_logits_keep_their_columns(result: zoo.TrainResult) -> None:
    run = open_run(Path(result.run))
    record, data = run.record, images_of(run, None)
    trained = registry.load(record.plugin.name).plugin.load(record.card, run)
    shifted = shippable(trained, msgspec.structs.replace(record, shift=(0.5, -1.0)))
    before, after = (answer_images(one, data.val, 0).logits for one in (shippable(trained, record), shifted))
    np.testing.assert_allclose(after - before, np.tile(np.float32([[0.5, -1.0]]), (len(data.val), 1)), atol=1e-5)
    _, manifest = build(run, shifted, data)
    assert manifest.parity is not None
    assert manifest.parity.flips == 0


def test_a_teacher_is_asked_with_the_columns_of_each_image(result: zoo.TrainResult, place: Path) -> None:
    student = learn(place, "student", inputs=("age", "sex"), teacher=result.run)
    with np.load(Path(student.run) / TAUGHT) as answers:
        taught = answers["logits"]
    data, runtime = images_of(open_run(Path(student.run)), None), zoo.open(result.run)
    expected = predict_set(runtime.logits, data.train) / runtime.manifest.temperature
    np.testing.assert_allclose(taught, expected, atol=1e-4)
    assert zoo.open(student.run).manifest.table is not None


@pytest.mark.parametrize(("inputs", "lost"), [((), ["age", "sex"]), (("age",), ["sex"])])
def test_a_teacher_whose_columns_the_student_is_not_given_is_refused(
    result: zoo.TrainResult, place: Path, inputs: tuple[str, ...], lost: list[str]
) -> None:
    with refused("inputs-missing", DataError, columns=lost):
        learn(place, "never", inputs=inputs, teacher=result.run)
    assert not (place / "never").exists()


def test_a_teacher_that_sees_the_image_alone_teaches_one_with_columns(place: Path) -> None:
    alone = zoo.train("svm", place / "data" / "table.csv", size=8, out=place / "alone")
    student = learn(place, "more", inputs=("age",), teacher=alone.run)
    assert zoo.open(student.run).manifest.table is not None


def test_a_stack_of_channels_takes_columns_too(place: Path) -> None:
    """Three gray files of a row are one image; the age of the row is its column."""
    folder, rng = place / "stacks", np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for at, label in enumerate(labels()):
        names = [f"{stain}{at}.png" for stain in ("dapi", "gfp", "rfp", "cy")]
        for name in names:
            Image.fromarray(rng.integers(0, 255, (9, 9), np.uint8)).save(folder / name)
        rows.append([*names, label, SPLIT[at % 5], cells_of(labels())["age"][at]])
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["dapi", "gfp", "rfp", "cy", "label", "split", "age"], *rows])
    found = zoo.train("simple_cnn", folder / "table.csv", out=place / "stacked", epochs=1, inputs=("age",),
                      columns={"image": "dapi+gfp+rfp+cy"})  # fmt: skip
    runtime = zoo.open(found.run)
    assert runtime.manifest.preprocess.channels == 4
    assert runtime.logits(np.zeros((2, 9, 9, 4), np.uint8), {"age": ["61", "40"]}).shape == (2, 2)
    with refused("inputs-missing", DataError, columns=["age"]):
        runtime.logits(np.zeros((1, 9, 9, 4), np.uint8))
    bundle = export(found.run, bundle=True, out=place / "stacked.zoo").path
    assert zoo.verify(bundle, isolated=False).images >= 32
