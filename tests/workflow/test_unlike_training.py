"""From training to the shipped file: it says of an image that it is unlike those of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import class_folder, photograph
from PIL import Image
from refusals import refused

import zoo
from zoo.edge import Runtime
from zoo.errors import UsageError, WeightsError
from zoo.runs import open_run
from zoo.spec import NOVELTY, EvalReport


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folder(tmp_path_factory.mktemp("unlike") / "tiles")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of nothing."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for at in range(10):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"{at}.png")
    return folder


@pytest.fixture(scope="module")
def run(tiles: Path) -> Path:
    return Path(zoo.train("simple_cnn", tiles, size=32, epochs=4, out=tiles.parent / "run").run)


def test_the_file_scores_what_it_was_trained_on_lower_than_noise(run: Path) -> None:
    runtime = Runtime.open(run / "model.onnx")
    manifest = runtime.manifest
    assert manifest.outputs == ("probabilities", "logits", NOVELTY)
    assert manifest.abstention is not None
    assert manifest.abstention.novelty == open_run(run).record.abstention.novelty  # type: ignore[union-attr]
    assert manifest.abstention.novelty.n == 16
    assert manifest.parity is not None
    assert manifest.parity.max_abs_novelty is not None
    assert manifest.parity.max_abs_novelty < 1e-3
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    assert runtime.novelty(noise).min() > runtime.novelty(photograph("flower")[None, :64, :64])[0]


def test_the_report_says_how_many_are_flagged(run: Path, noise: Path) -> None:
    report: EvalReport = zoo.evaluate(run, unlike=[noise, noise / "0.png"])
    assert report.novelty is not None
    assert report.novelty.n == report.n
    several, one = report.novelty.unlike
    assert (several.name, several.n, one.name, one.n) == (noise.name, 10, "0.png", 1)
    assert several.auroc is not None
    assert several.auroc.value > 0.8
    assert zoo.evaluate(run).novelty.flagged == report.novelty.flagged  # type: ignore[union-attr]


@pytest.mark.parametrize("options", [{"portable": True}, {"preprocess": "none"}], ids=["portable", "tensor"])
def test_other_exports_keep_score_and_threshold(run: Path, tmp_path: Path, options: dict[str, object]) -> None:
    zoo.export(run, out=tmp_path / "other.onnx", **options)  # type: ignore[arg-type]
    found = Runtime.open(tmp_path / "other.onnx").manifest
    assert NOVELTY in found.outputs
    assert found.abstention == Runtime.open(run / "model.onnx").manifest.abstention


def test_a_run_without_the_score_says_so_where_it_is_asked_for(tiles: Path, noise: Path) -> None:
    out = tiles.parent / "without"
    zoo.train("simple_cnn", tiles, size=16, epochs=1, out=out, settings={"novelty": False})
    assert Runtime.open(out / "model.onnx").manifest.abstention is None
    with refused("novelty-missing", UsageError):
        zoo.evaluate(out, unlike=[noise])


def test_a_classical_model_scores_by_what_its_estimator_sees(tiles: Path, noise: Path) -> None:
    out = tiles.parent / "forest"
    zoo.train("random_forest", tiles, size=16, out=out)
    report: EvalReport = zoo.evaluate(out, unlike=[noise])
    assert report.novelty is not None
    assert report.novelty.unlike[0].auroc.value > 0.8  # type: ignore[union-attr]


def test_a_network_without_one_row_of_features_notes_that_it_has_no_score(tiles: Path) -> None:
    out = tiles.parent / "map"
    zoo.train("unet_resnet18", tiles, size=32, epochs=1, out=out)
    record = open_run(out).record
    assert record.abstention is None
    assert any("unlike training" in note for note in record.notes)


def test_a_run_whose_space_was_lost_is_not_exported(run: Path, tmp_path: Path) -> None:
    kept = run / "novelty.npz"
    content = kept.read_bytes()
    try:
        kept.write_bytes(content[:-20])
        with refused("weights-hash", WeightsError):
            zoo.export(run, portable=True, out=tmp_path / "lost.onnx")
    finally:
        kept.write_bytes(content)
