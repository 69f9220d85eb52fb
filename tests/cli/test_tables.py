"""`zoo predict` on very many images: answers wait on disk, and a table that was stopped is resumed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image

import zoo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for i in range(9):
        Image.fromarray(np.full((8, 8), 28 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "5.png").write_bytes(b"broken")
    return tmp_path


@pytest.mark.usefixtures("at_work")
def test_answers_that_waited_on_disk_are_the_same_document(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = run_zoo("predict", "tiny.onnx", images, "--json", "--top", "2")
    monkeypatch.setattr("zoo.edge._document._IN_MEMORY", 100)
    on_disk = run_zoo("predict", "tiny.onnx", images, "--json", "--top", "2")
    assert on_disk == in_memory
    assert in_memory.out == json.dumps(in_memory.document, indent=2, ensure_ascii=False) + "\n"
    assert len(in_memory.document) == 9


@pytest.mark.usefixtures("at_work")
def test_an_unfinished_table_is_gone_on_with_when_that_is_asked_for(images: Path) -> None:
    whole, target = images / "whole.csv", images / "out.csv"
    assert run_zoo("predict", "tiny.onnx", images, "--csv", whole).code == 1
    run_zoo("predict", "tiny.onnx", images, "--csv", target, "--workers", "1")
    assert target.read_bytes() == whole.read_bytes()

    from zoo.edge import predict_csv

    target.unlink()
    results = predict_csv(zoo.open("tiny.onnx"), str(images), target)
    for _ in range(4):
        next(results)
    results.close()  # type: ignore[attr-defined]
    refused = run_zoo("predict", "tiny.onnx", images, "--csv", target, "--json")
    assert refused.code == 1
    assert refused.document["error"]["type"] == "ResumeError"
    ran = run_zoo("predict", "tiny.onnx", images, "--csv", target, "--resume")
    assert "4 rows" in ran.err
    assert "9 rows in" in ran.err
    assert target.read_bytes() == whole.read_bytes()
    assert run_zoo("predict", "tiny.onnx", images, "--resume").code == 2


@pytest.mark.slow
@pytest.mark.usefixtures("at_work")
def test_a_budget_that_is_not_kept_is_exit_3_and_the_numbers_are_there_all_the_same() -> None:
    ran = run_zoo(
        "bench", "tiny.onnx", "runs/tiny", "--runs", "2", "--budget", "size_mb=0.001,latency_ms=1e6", "--json"
    )
    assert ran.code == 3
    assert [one["path"] for one in ran.document] == ["tiny.onnx", "runs/tiny"]
    for one in ran.document:
        (miss,) = one["over_budget"]
        assert miss == {"key": "size_mb", "found": one["size_bytes"] / 1e6, "allowed": 0.001}
    assert ran.err.count("budget: size_mb") == 2
    table = run_zoo("bench", "tiny.onnx", "--runs", "2", "--operators", "--budget", "size_mb=100")
    assert table.code == 0
    assert "p50 ms" in table.out
    assert "Conv" in table.out
