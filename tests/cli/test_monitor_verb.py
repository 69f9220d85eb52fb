"""`zoo monitor` and `zoo evaluate --recalibrate`: read, answered in words and as JSON, and a gate where asked."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from cli_running import run_zoo

from zoo.edge.__main__ import main as edge


@pytest.fixture
def answers(at_work: Path, tmp_path: Path) -> Path:
    """Sixty answers, all of images much lighter than digits are."""
    few = tmp_path / "few.csv"
    assert run_zoo("predict", "tiny.zoo", at_work / "images", "--csv", few, "--statistics").code == 0
    with few.open(newline="") as stream:
        header, *rows = list(csv.reader(stream))
    place = header.index("brightness")
    many = tmp_path / "many.csv"
    with many.open("w", newline="") as stream:
        light = [[*rows[at % 4][:place], str(0.9 + at / 1000), *rows[at % 4][place + 1 :]] for at in range(60)]
        csv.writer(stream).writerows([header, *light])
    return many


def test_drift_is_said_and_is_a_gate_only_where_asked(answers: Path) -> None:
    said = run_zoo("monitor", answers, "--against", "tiny.zoo")
    assert said.code == 0, said.err
    assert said.out.splitlines()[0].startswith("simple_cnn: drift since about image 1 in ")
    gate = run_zoo("monitor", answers, "--against", "tiny.zoo", "--fail", "--json")
    assert gate.code == 3
    found = gate.document
    assert (found["verdict"], found["images"], found["alpha"]) == ("drift", 60, 0.01)
    (light,) = (one for one in found["statistics"] if one["name"] == "brightness")
    assert light["evidence"] > light["threshold"]
    assert light["since"] <= light["alarm"] <= 60


def test_a_device_says_the_same(answers: Path) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = edge(["monitor", str(answers), "--against", "tiny.zoo", "--json", "--fail"])
    assert code == 3
    assert json.loads(out.getvalue()) == run_zoo("monitor", answers, "--against", "tiny.zoo", "--json").document


def test_the_table_of_another_model_ends_with_1(answers: Path) -> None:
    renamed = answers.with_name("renamed.csv")
    renamed.write_text(answers.read_text().replace("p_9", "p_ten", 1))
    ran = run_zoo("monitor", renamed, "--against", "tiny.zoo", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "monitor-other-model")


def test_statistics_are_columns_only_where_asked(at_work: Path, tmp_path: Path) -> None:
    for name, more in (("plain", ()), ("more", ("--statistics",))):
        assert run_zoo("predict", "tiny.zoo", at_work / "images", "--csv", tmp_path / f"{name}.csv", *more).code == 0
    plain, more_columns = ((tmp_path / f"{name}.csv").read_text().splitlines()[0] for name in ("plain", "more"))
    assert more_columns.replace("brightness,contrast,colour,model,", "") == plain
    shown = run_zoo("predict", "tiny.zoo", at_work / "images", "--statistics", "--json").document
    assert 0 < shown[0]["brightness"] < 1


@pytest.mark.slow
def test_a_recalibrated_file_is_written_and_compared(at_work: Path, tmp_path: Path) -> None:
    from zoo.data import open_data

    digits = open_data("digits").train
    rng = np.random.default_rng(0)
    pixels = np.stack([digits.read(at).pixels[..., 0] for at in range(200)])
    noisy = (pixels + rng.normal(0, 60, pixels.shape)).clip(0, 255).astype(np.uint8)
    names = np.array([str(digit) for digit in range(10)])
    np.savez(tmp_path / "site.npz", test_images=noisy, test_labels=digits.targets[:200, None], label_names=names)
    asked = ("evaluate", "tiny.zoo", "--data", tmp_path / "site.npz", "--recalibrate")
    ran = run_zoo(*asked, tmp_path / "new.onnx")
    assert ran.code == 0, ran.err
    assert any(line.startswith("change of NLL") for line in ran.out.splitlines())
    assert run_zoo(*asked, tmp_path / "new.onnx", "--json").document["error"]["code"] == "out-occupied"
    clash = run_zoo(*asked, tmp_path / "other.onnx", "--operating", "youden:3", "--json")
    assert (clash.code, clash.document["error"]["code"]) == (2, "option-ignored")
    document = run_zoo(*asked, tmp_path / "again.onnx", "--json").document
    assert {"path", "fitted", "before", "after", "nll", "brier", "temperature"} <= document.keys()
    assert at_work.is_dir()
