"""A multilabel model on the device: every label that holds, none where none does, and nothing new for others."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from edge_models import LABELS, make_manifest, make_model, paint

from zoo.edge import Prediction, Runtime, write_csv
from zoo.edge._tables import describe_answer

RED, YELLOW, BLACK = (255, 0, 0), (255, 200, 0), (0, 0, 0)


@pytest.fixture
def several(tmp_path: Path) -> Path:
    path = tmp_path / "several.onnx"
    path.write_bytes(make_model(make_manifest(task="multilabel")).SerializeToString())
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return [paint(tmp_path / "images" / f"{i}.png", colour) for i, colour in enumerate((RED, YELLOW, BLACK))]


def predicted(model: Path, pictures: list[Path]) -> list[Prediction]:
    results = list(Runtime.open(model).predict(pictures))
    assert all(isinstance(result, Prediction) for result in results)
    return results  # type: ignore[return-value]


def test_every_label_from_a_half_on_is_given(several: Path, pictures: list[Path]) -> None:
    red, yellow, black = predicted(several, pictures)
    assert [one.labels for one in (red, yellow, black)] == [("red",), ("red", "green"), ()]
    assert (yellow.label, yellow.probability) == ("red", yellow.probabilities["red"])
    assert sum(yellow.probabilities.values()) > 1, "labels do not share one probability"
    (edge,) = Runtime.open(several).predict(np.full((4, 4, 3), 127.5).astype(np.float32).round().astype(np.uint8))
    assert isinstance(edge, Prediction)
    assert edge.labels == LABELS, "128 of 255 is just above a half"


def test_the_row_of_a_multiclass_model_is_as_it_was(several: Path, pictures: list[Path], tmp_path: Path) -> None:
    assert predicted(several, pictures)[1].row(top=1) == {
        "image": str(pictures[1]),
        "label": "red",
        "probability": pytest.approx(0.982, abs=1e-3),
        "probabilities": {"red": pytest.approx(0.982, abs=1e-3)},
        "labels": ["red", "green"],
    }
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(make_model().SerializeToString())
    (one,) = predicted(plain, pictures[:1])
    assert one.labels is None
    assert set(one.row()) == {"image", "label", "probability", "probabilities"}


def test_the_table_lists_the_labels_of_an_image(several: Path, pictures: list[Path], tmp_path: Path) -> None:
    runtime = Runtime.open(several)
    missing = tmp_path / "missing.png"
    results = runtime.predict([*pictures, missing])
    write_csv(tmp_path / "out.csv", results, runtime.manifest)
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image", "label", "probability", "labels", "p_red", "p_green", "p_blue", "error"]
    assert [row["labels"] for row in rows] == ["red", "red|green", "", ""]
    assert rows[3]["error"]


def test_the_answer_in_words(several: Path, pictures: list[Path]) -> None:
    red, yellow, black = predicted(several, pictures)
    assert describe_answer(red) == ["red 0.9820"]
    assert describe_answer(yellow) == ["red 0.9820", "green 0.9067"]
    assert describe_answer(black) == ["no label (nearest: red 0.0180)"]
    assert describe_answer(black, 2) == ["red 0.0180", "green 0.0180"]
    assert describe_answer(yellow, 1) == ["red 0.9820", "green 0.9067"], "no label that was given is left out"


def test_the_command_shows_them(several: Path, pictures: list[Path]) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "zoo.edge", "predict", str(several), *map(str, pictures)],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
    )
    told = [line.split("\t", 1)[1] for line in done.stdout.splitlines()]
    assert told == ["red 0.9820", "red 0.9820\tgreen 0.9067", "no label (nearest: red 0.0180)"]
