"""predictions.csv and the plots."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from zoo._support.text import inert, read_inert
from zoo.errors import DataError, OutputError
from zoo.evaluation import plot_confusion, plot_reliability, report, write_predictions
from zoo.spec import Fingerprint

DATA = Fingerprint(name="made", sha256="0" * 64, n=1, splits={"test": 1})


def read(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_predictions_read_back_with_names_that_need_quoting(tmp_path):
    logits = np.log(np.array([[0.2, 0.8], [0.6, 0.4]]))
    ids = ['a, "b"\n.png', "ärzte/1.png"]
    write_predictions(tmp_path / "p.csv", ids, np.array([1, 1]), logits, ["no, not", "yes"])
    first, second = read(tmp_path / "p.csv")
    assert list(first) == ["image", "label", "predicted", "correct", "p_no, not", "p_yes"]
    assert [first["image"], second["image"]] == ids
    assert (first["predicted"], first["correct"]) == ("yes", "1")
    assert (second["predicted"], second["correct"]) == ("no, not", "0")
    assert float(first["p_yes"]) == pytest.approx(0.8, abs=1e-6)


def test_probabilities_are_those_of_the_shipped_temperature(tmp_path):
    write_predictions(tmp_path / "p.csv", ["a"], np.array([0]), np.array([[4.0, 0.0]]), ["x", "y"], 4.0)
    assert float(read(tmp_path / "p.csv")[0]["p_x"]) == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_file_name_never_becomes_a_formula(tmp_path, start):
    write_predictions(tmp_path / "p.csv", [f"{start}cmd()"], np.array([0]), np.array([[1.0, 0.0]]), [f"{start}a", "b"])
    row = read(tmp_path / "p.csv")[0]
    assert row["image"] == f"'{start}cmd()"
    assert row["label"] == f"'{start}a"


@pytest.mark.parametrize("name", ["-1", "+1.5", "-.5", "-1e-3", "-1,5", "-50%", "-", "+"])
def test_a_number_is_not_a_formula(tmp_path, name):
    """Labels -1 and 1 of a table would not be found again in the answers."""
    write_predictions(tmp_path / "p.csv", [name], np.array([0]), np.array([[1.0, 0.0]]), [name, "b"])
    row = read(tmp_path / "p.csv")[0]
    assert (row["image"], row["label"], row["predicted"]) == (name, name, name)


@pytest.mark.parametrize("text", ["-1", "=1", "-1+1", "'=1", "'a", "", "-a", "+49 1", "@x", "\t=1", "a"])
def test_a_cell_is_read_back_as_it_was(text):
    assert read_inert(inert(text)) == text or text == "'=1"


def test_a_name_that_is_not_utf8_is_spelt_out(tmp_path):
    write_predictions(tmp_path / "p.csv", ["caf\udce9.png"], np.array([0]), np.array([[1.0, 0.0]]), ["a", "b"])
    assert read(tmp_path / "p.csv")[0]["image"] == "caf\\udce9.png"


def test_a_refused_table_leaves_the_old_one(tmp_path):
    target = tmp_path / "p.csv"
    target.write_text("old")
    with refused("array-shape", DataError, array="ids", found=[1], expected=[2]):
        write_predictions(target, ["a"], np.array([0, 1]), np.zeros((2, 2)), ["a", "b"])
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def answers(classes):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, 200)
    return rng.normal(size=(200, classes)) + 3 * np.eye(classes)[targets], targets


def is_picture(path):
    with Image.open(path) as image:
        return image.format == "PNG" and min(image.size) > 400 and len(image.convert("L").getcolors(1000)) > 20


@pytest.mark.parametrize(
    "labels",
    [
        ["normal", "pneumonia, bacterial or viral, with effusion"],
        ["$x^", "病気", "c_{1}"],
        [f"class {k}" for k in range(8)],
        [str(k) for k in range(40)],
    ],
    ids=["long", "odd", "8", "40"],
)
def test_a_confusion_matrix_is_drawn_whatever_the_labels(tmp_path, labels):
    """A dollar sign must not be read as mathematics, a missing glyph not stop an evaluation."""
    logits, targets = answers(len(labels))
    found = report(
        logits,
        targets,
        labels,
        model="net",
        split="test",
        temperature=1.0,
        fingerprint=DATA,
        resamples=2,
    )
    plot_confusion(found, tmp_path / "confusion.png")
    assert is_picture(tmp_path / "confusion.png")


@pytest.mark.parametrize("title", ["net on test", "$x^ 病気", ""])
def test_a_reliability_plot_is_drawn_whatever_the_title(tmp_path, title):
    plot_reliability(*answers(3), tmp_path / "reliability.png", title=title)
    assert is_picture(tmp_path / "reliability.png")


def test_a_plot_that_can_not_be_written_says_where(tmp_path):
    (tmp_path / "file").write_text("")
    with refused("output-unwritable", OutputError):
        plot_reliability(np.eye(2), np.array([0, 1]), tmp_path / "file" / "r.png")
