"""`--uncertain` on every verb that reads a table."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def chest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """90 pictures of 8 × 8, whose upper and lower half the table speaks of with 1, 0, -1 and nothing."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["path,label:Edema,label:Mass"]
    for i in range(90):
        has = rng.random(2) < 0.5
        pixels = rng.normal(100, 20, (8, 8))
        pixels[:4] += 60 * has[0]
        pixels[4:] += 60 * has[1]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{i}.png")
        cells = ["-1.0" if rng.random() < 0.2 else "1.0" if one else rng.choice(["0.0", ""]) for one in has]
        lines.append(f"{i}.png,{','.join(cells)}")
    (tmp_path / "chest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "chest.csv"


def cells(path: Path) -> list[str]:
    with path.open() as stream:
        return [row[name] for row in csv.DictReader(stream) for name in ("label:Edema", "label:Mass")]


def test_a_table_is_described_under_each_choice(chest: Path) -> None:
    given = cells(chest)
    counts = {}
    for rule in ("ignore", "positive", "negative"):
        found = run_zoo("data", "info", "chest.csv", "--uncertain", rule, "--json").document
        counts[rule] = sum(found["classes"].values())
        assert any(f"{given.count('-1.0')} labels" in note for note in found["notes"])
        assert any(f"{given.count('')} empty cells" in note for note in found["notes"])
    assert counts["ignore"] == counts["negative"] == given.count("1.0")
    assert counts["positive"] == given.count("1.0") + given.count("-1.0")
    assert run_zoo("data", "info", "chest.csv", "--uncertain", "maybe").code == 2


def test_the_audit_advises_to_train_by_the_choice_that_it_was_given(chest: Path) -> None:
    assert "--uncertain" not in run_zoo("data", "check", "chest.csv").out.splitlines()[-1]
    found = run_zoo("data", "check", "chest.csv", "--uncertain", "positive")
    assert "--uncertain positive" in found.out.splitlines()[-1]
    document = run_zoo("data", "check", chest, "--uncertain", "positive", "--json").document
    assert sum(document["classes"][label]["all"] for label in ("Edema", "Mass")) == sum(
        cell in {"1.0", "-1.0"} for cell in cells(chest)
    )


def test_a_division_keeps_what_is_unknown_or_what_was_chosen(chest: Path) -> None:
    given = cells(chest)
    assert run_zoo("data", "split", "chest.csv", "--out", "plain.csv").code == 0
    assert cells(chest.with_name("plain.csv")).count("-1") == given.count("-1.0")
    assert run_zoo("data", "split", "chest.csv", "--uncertain", "negative", "--out", "zeros.csv").code == 0
    written = cells(chest.with_name("zeros.csv"))
    assert (written.count("-1"), written.count("1")) == (0, given.count("1.0"))


def test_a_run_is_evaluated_as_it_was_trained_or_as_is_asked(chest: Path) -> None:
    trained = run_zoo(
        "train",
        "logistic_regression",
        "--data",
        chest,
        "--size",
        "8",
        "--uncertain",
        "positive",
        "--out",
        "run",
        "--json",
    )
    assert trained.code == 0, trained.err
    assert json.loads((chest.parent / "run/run.json").read_text())["card"]["train"]["uncertain"] == "positive"
    again = run_zoo("evaluate", "run", "--json").document
    assert again == trained.document["test"]
    assert "known" not in again["per_class"]["Edema"]
    other = run_zoo("evaluate", "run", "--uncertain", "ignore", "--json").document
    assert other["n"] == again["n"]
    assert other["per_class"]["Edema"]["known"] < other["n"]
    assert "known" in run_zoo("evaluate", "run", "--uncertain", "ignore").out
    refused = run_zoo("train", "knn", "--data", chest, "--size", "8", "--out", "knn", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "labels-unknown")
    assert not (chest.parent / "knn").exists()
