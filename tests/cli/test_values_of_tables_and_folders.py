"""What cells and folders hold, as each verb says it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image


def paint(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """24 pictures of two classes; two without a label, a patient spelled two ways, two classes spelled two ways."""
    rows = ["image,label,patient"]
    for i in range(24):
        paint(tmp_path / f"{i}.png", i)
        label = "NA" if i < 2 else ("Benign", "malignant", "benign", "malignant ")[i % 4]
        rows.append(f"{i}.png,{label},{'007' if i == 9 else i % 12}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "t.csv"


def test_check_split_and_info_agree_on_a_table(table: Path, tmp_path: Path) -> None:
    checked = run_zoo("data", "check", table, "--json")
    assert checked.code == 0
    assert {label: sum(splits.values()) for label, splits in checked.document["classes"].items()} == {
        "benign": 11,
        "malignant": 11,
    }
    assert [(f["kind"], f["severity"]) for f in checked.document["findings"]] == [
        ("group_leak", "warning"),
        ("label_mismatch", "warning"),
    ]
    refused = run_zoo("data", "split", table, "--out", tmp_path / "o.csv", "--json")
    assert (refused.code, refused.document["error"]["code"], refused.document["error"]["rows"]) == (1, "table-rows", 2)
    split = run_zoo("data", "split", table, "--out", tmp_path / "o.csv", "--skip-bad", "--json").document
    assert (split["n"], split["labels"]) == (22, ["benign", "malignant"])
    info = run_zoo("data", "info", table, "--json").document
    assert info["classes"] == {"benign": 11, "malignant": 11}
    for notes in (checked.document["notes"], split["notes"], info["notes"]):
        assert sum("one class 'benign'" in note for note in notes) == 1
        assert sum("2 rows" in note for note in notes) == 1
    assert sum("'007' and '7'" in note for note in split["notes"]) == 1
    kept = run_zoo("data", "info", table, "--keep-na", "--json").document
    assert kept["classes"] == {"benign": 11, "malignant": 11, "NA": 2}
    assert run_zoo("data", "check", table, "--keep-na", "--json").document["n"] == 24
    few = run_zoo("data", "split", table, "--out", tmp_path / "k.csv", "--keep-na", "--json").document["error"]
    assert (few["code"], few["label"]) == ("split-too-few", "NA")


def test_check_counts_what_cannot_be_read_once(tmp_path: Path) -> None:
    """'74 unreadable' and '64 images were left out' were said of one folder: 10 had failed later."""
    for label in "ab":
        for i in range(4):
            paint(tmp_path / "set" / label / f"{i}.png", i + (label == "b") * 10)
    (tmp_path / "set" / "a" / "bad.png").write_bytes(b"no picture")
    whole = (tmp_path / "set" / "b" / "0.png").read_bytes()
    (tmp_path / "set" / "b" / "cut.png").write_bytes(whole[: len(whole) - 60])  # its header can be read
    (tmp_path / "set" / "b" / "notes.txt").write_text("x")
    (tmp_path / "set" / "b" / "slide.svs").write_bytes(b"II*\0")
    found = run_zoo("data", "check", tmp_path / "set", "--json").document
    assert sum(one["kind"] == "unreadable" for one in found["findings"]) == found["skipped"] == 2
    assert next(note for note in found["notes"] if "not readable" in note).startswith("2 images")
    assert found["passed_over"] == {".svs": 1, ".txt": 1}


@pytest.mark.slow  # a model is trained
def test_a_training_says_what_it_passed_over_and_keeps_the_groups_it_was_told(tmp_path: Path) -> None:
    for label in "ab":
        for i in range(24):
            paint(tmp_path / "set" / label / f"p{i // 2 + 12 * (label == 'b')}-{i}.png", i + 100 * (label == "b"))
    (tmp_path / "set" / "a" / "film.mp4").write_bytes(b"x")
    run, group = tmp_path / "run", "p([0-9]+)"
    ran = run_zoo("train", "knn", "--data", tmp_path / "set", "--group", group, "--keep-na", "--out", run, "--json")
    assert ran.code == 0, ran.err
    assert ran.document["passed_over"] == {".mp4": 1}
    assert ran.document["test"]["clusters"] == len(set(_patients(run)))
    config = json.loads((run / "run.json").read_text())["card"]["train"]
    assert (config["group"], config["keep_na"]) == (group, True)
    again = run_zoo("evaluate", run, "--data", tmp_path / "set", "--json").document
    assert again["data"] == ran.document["test"]["data"]
    other = run_zoo("evaluate", run, "--data", tmp_path / "set", "--group", "-([0-9]+)", "--include-seen", "--json")
    assert other.code == 0, other.err
    idle = run_zoo("evaluate", run, "--group", group, "--json")
    assert (idle.code, idle.document["error"]["code"]) == (2, "option-ignored")


def _patients(run: Path) -> list[str]:
    rows = (run / "predictions.csv").read_text().splitlines()[1:]
    return [row.partition("/")[2].partition("-")[0] for row in rows]
