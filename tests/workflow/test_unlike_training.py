"""From training to the shipped file: it says of an image that it is unlike those of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import tiles
from PIL import Image
from refusals import refused

import zoo
from zoo.edge import Runtime
from zoo.errors import ImageError, UsageError, WeightsError
from zoo.runs import open_run
from zoo.spec import NOVELTY, EvalReport
from zoo.testing import colour_folder


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_folder(tmp_path_factory.mktemp("unlike") / "colours", per_class=40)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cuts of photographs."""
    folder = tmp_path_factory.mktemp("photos")
    for at, (a, b) in enumerate(zip(tiles("china"), tiles("flower"), strict=True)):
        if at % 10 == 0 and at < 50:
            Image.fromarray(a).save(folder / f"china{at}.png")
            Image.fromarray(b).save(folder / f"flower{at}.png")
    return folder


@pytest.fixture(scope="module")
def run(colours: Path) -> Path:
    return Path(zoo.train("simple_cnn", colours, size=32, epochs=4, out=colours.parent / "run").run)


def test_the_file_says_what_is_unlike_its_training(run: Path, photos: Path) -> None:
    runtime = Runtime.open(run / "model.onnx")
    manifest = runtime.manifest
    assert manifest.outputs == ("probabilities", "logits", NOVELTY)
    assert manifest.abstention == open_run(run).record.abstention
    assert manifest.abstention is not None
    assert manifest.abstention.novelty is not None
    assert manifest.abstention.novelty.n == 18
    assert manifest.parity is not None
    assert manifest.parity.max_abs_novelty is not None
    assert manifest.parity.max_abs_novelty < 1e-3
    scores = [runtime.novelty(np.asarray(Image.open(place))[None])[0] for place in photos.iterdir()]
    assert np.mean(np.array(scores) > manifest.abstention.novelty.threshold) > 0.7


def test_the_report_says_how_many_are_flagged(run: Path, photos: Path) -> None:
    report: EvalReport = zoo.evaluate(run, unlike=[photos, photos / "china0.png"])
    assert report.novelty is not None
    assert report.novelty.n == report.n
    several, one = report.novelty.unlike
    assert (several.name, several.n, one.name, one.n) == (photos.name, 10, "china0.png", 1)
    assert several.auroc is not None
    assert several.auroc.value > 0.8
    assert zoo.evaluate(run).novelty.flagged == report.novelty.flagged  # type: ignore[union-attr]


def test_each_place_has_a_name_of_its_own_and_counts_once(run: Path, photos: Path, tmp_path: Path) -> None:
    places = [tmp_path / "a" / "x" / "same", tmp_path / "b" / "x" / "same", tmp_path / "other"]
    for place in places:
        place.mkdir(parents=True)
        (place / "one.png").write_bytes((photos / "china0.png").read_bytes())
    report: EvalReport = zoo.evaluate(run, unlike=[*places, places[0] / ".." / "same"])
    assert report.novelty is not None
    assert [one.name for one in report.novelty.unlike] == ["a/x/same", "b/x/same", "other"]


def test_an_image_of_another_kind_that_cannot_be_read_is_left_out_where_that_is_asked_for(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "good.png").write_bytes((photos / "china0.png").read_bytes())
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError):
        zoo.evaluate(run, unlike=[tmp_path])
    report: EvalReport = zoo.evaluate(run, unlike=[tmp_path], skip_bad=True)
    assert report.novelty is not None
    assert report.novelty.unlike[0].n == 1
    with pytest.raises(ImageError):  # nothing is left
        zoo.evaluate(run, unlike=[tmp_path / "bad.png"], skip_bad=True)


@pytest.mark.parametrize("options", [{"portable": True}, {"preprocess": "none"}], ids=["portable", "tensor"])
def test_other_exports_keep_score_and_threshold(run: Path, tmp_path: Path, options: dict[str, object]) -> None:
    zoo.export(run, out=tmp_path / "other.onnx", **options)  # type: ignore[arg-type]
    found = Runtime.open(tmp_path / "other.onnx").manifest
    assert NOVELTY in found.outputs
    assert found.abstention == Runtime.open(run / "model.onnx").manifest.abstention


def test_a_run_without_the_score_says_so_where_it_is_asked_for(colours: Path, photos: Path) -> None:
    out = colours.parent / "without"
    zoo.train("simple_cnn", colours, size=16, epochs=1, out=out, settings={"novelty": False})
    abstention = Runtime.open(out / "model.onnx").manifest.abstention
    assert abstention is not None, "sets of labels stay"
    assert abstention.novelty is None
    with refused("novelty-missing", UsageError):
        zoo.evaluate(out, unlike=[photos])


def test_a_classical_model_scores_by_what_its_estimator_sees(colours: Path, photos: Path) -> None:
    out = colours.parent / "forest"
    zoo.train("random_forest", colours, size=16, out=out)
    report: EvalReport = zoo.evaluate(out, unlike=[photos])
    assert report.novelty is not None
    assert report.novelty.unlike[0].auroc.value > 0.8  # type: ignore[union-attr]


def test_a_run_whose_space_was_lost_is_not_exported(run: Path, tmp_path: Path) -> None:
    kept = run / "novelty.npz"
    content = kept.read_bytes()
    try:
        kept.write_bytes(content[:-20])
        with refused("weights-hash", WeightsError):
            zoo.export(run, portable=True, out=tmp_path / "lost.onnx")
    finally:
        kept.write_bytes(content)
