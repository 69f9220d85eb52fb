"""`zoo explain` as a user types it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_running import run_zoo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("at_work")
def test_each_image_gets_a_line_and_a_picture(tmp_path: Path) -> None:
    done = run_zoo("explain", "tiny.zoo", "images", "--out", tmp_path / "maps")
    assert done.code == 0, done.err
    assert [line.split("\t")[0] for line in done.out.splitlines()] == [f"images/{i}.png" for i in range(4)]
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [f"{i}.heat.png" for i in range(4)]
    assert "does not prove" in done.line, "a map is never given without what it does not mean"


@pytest.mark.usefixtures("at_work")
def test_document_holds_the_numbers(tmp_path: Path) -> None:
    done = run_zoo("explain", "tiny.onnx", "images/0.png", "--label", "7", "--json", "--out", tmp_path / "maps")
    (row,) = done.document
    assert (row["label"], row["height"], row["width"]) == ("7", 8, 8)
    assert 0 <= row["base"] <= 1
    assert len({len(line) for line in row["values"]}) == 1


@pytest.mark.usefixtures("at_work")
def test_image_without_a_map_is_named_and_fails(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    done = run_zoo("explain", "tiny.zoo", "images/0.png", tmp_path / "bad.png", "--out", tmp_path / "maps", "--json")
    assert done.code == 1
    assert "error" in done.document[1]
    assert "1 of 2" in done.line


@pytest.mark.usefixtures("at_work")
def test_gradients_of_a_run_draw_the_map_and_its_file_gives_the_numbers(tmp_path: Path) -> None:
    asked = ("runs/tiny", "images/0.png", "--out", tmp_path / "maps", "--overwrite", "--json")
    (row,) = run_zoo("explain", *asked, "--gradcam").document
    (occluded,) = run_zoo("explain", *asked, "--draws", "0").document
    assert (row["method"], occluded["method"]) == ("gradcam", "occlusion")
    assert (row["label"], row["base"]) == (occluded["label"], pytest.approx(occluded["base"], abs=1e-6))
    assert np.shape(row["values"]) == (8, 8), "a cell is never smaller than a pixel"
    assert -1 <= row["randomised"] <= 1
    assert occluded["randomised"] is None


@pytest.mark.usefixtures("at_work")
def test_the_score_stands_beside_what_a_map_does_not_mean(tmp_path: Path) -> None:
    done = run_zoo("explain", "runs/tiny", "images", "--out", tmp_path / "maps", "--gradcam", "--draws", "1")
    assert done.code == 0, done.err
    assert done.err.count("same map with random weights") == 1
    assert "does not prove" in done.err


@pytest.mark.usefixtures("at_work")
def test_a_file_has_no_gradients(tmp_path: Path) -> None:
    done = run_zoo("explain", "tiny.zoo", "images", "--out", tmp_path / "maps", "--gradcam", "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "gradcam-file")
    assert not (tmp_path / "maps").exists()


@pytest.mark.usefixtures("elsewhere")
def test_a_model_without_gradients_is_refused() -> None:
    assert run_zoo("train", "logistic_regression", "--out", "classical").code == 0
    done = run_zoo("explain", "classical", "x.png", "--gradcam", "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "gradcam-no-map")
    assert done.document["error"]["model"] == "logistic_regression"
