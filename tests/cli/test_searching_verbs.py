"""`zoo pick` and `zoo tune`: what they print, and the command that they offer."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

import numpy as np
import pytest
from cli_running import run_zoo

from zoo_cli.tune import _spell


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An archive of gray pictures, with or without stripes, in a folder whose name has a blank."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 120), ("val", 60), ("test", 60)):
        targets = np.arange(count) % 2
        images = rng.normal(110, 40, (count, 12, 12))
        images[targets == 1, ::2] += 30
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images.clip(0, 255).astype(np.uint8), targets
    Path("my set").mkdir()
    np.savez("my set/stripes.npz", **arrays)
    return "my set/stripes.npz"


def test_pick_shows_why_and_tells_programs_the_same(stripes: str) -> None:
    asked = ["pick", "--data", stripes, "--models", "logistic_regression,random_forest", "--budget", "minutes=5"]
    shown = run_zoo(*asked)
    assert shown.code == 0, shown.err
    told = run_zoo(*asked, "--json")
    assert {"model", "run", "table", "test"} <= told.document.keys()
    row = next(row for row in told.document["table"] if not row["dropped"])
    assert f"*  {row['model']}" in shown.out
    assert f"{row['latency_ms']:.2f} ms" in shown.out
    assert "less on validation than the pick" in shown.out
    assert f"zoo export {told.document['run']} --onnx" in shown.out
    assert told.document["test"]["split"] == "test"


@pytest.mark.parametrize("names", [",", "", "svm,"])
def test_pick_refuses_an_empty_name_of_a_model(stripes: str, names: str) -> None:
    """A lone comma searched the whole catalogue."""
    error = run_zoo("pick", "--data", stripes, "--models", names, "--json").document["error"]
    assert (error["code"], error["option"]) == ("option-value", "--models")


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
def test_tune_offers_the_command_that_trains_its_run_again(stripes: str) -> None:
    asked = ("--trials", "1", "--epochs", "1", "--set", "steps=null", "--set", "clip=0.123456789")
    shown = run_zoo("tune", "simple_cnn", "--data", stripes, *asked, "--out", "search")
    assert shown.code == 0, shown.err
    (line,) = (line for line in shown.out.splitlines() if line.startswith("again"))
    command = shlex.split(line.removeprefix("again"))
    assert command[:5] == ["zoo", "train", "simple_cnn", "--data", stripes]
    assert {"steps=null", "clip=0.123456789"} <= {*command}, "wrapped, the first line would train another recipe"
    ran = run_zoo(*command[1:], "--out", "again")
    assert ran.code == 0, ran.err
    weights = [Path(run, "weights.safetensors").read_bytes() for run in ("search/trials/0000", "again")]
    assert weights[0] == weights[1]


def test_the_command_that_trains_again_says_all_of_a_recipe() -> None:
    recipe = {
        "task": "ordinal", "order": ("none", "very mild"), "skip_bad": True, "leaks": "keep", "lr": 1e-05,
        "settings": {"steps": None, "preprocess.intensity": {"type": "window", "center": 40, "width": 400}},
    }  # fmt: skip
    assert shlex.split(_spell(recipe)) == [
        "--lr", "1e-05", "--task", "ordinal", "--order", "none,very mild", "--skip-bad", "--keep-leaks",
        "--set", "steps=null", "--set", 'preprocess.intensity={"type": "window", "center": 40, "width": 400}',
    ]  # fmt: skip
