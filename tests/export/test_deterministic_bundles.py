"""Exporting a run twice gives the same bytes: no clock, path, user or order of a hash table goes into a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.runs import open_run

_EXPORT = """
import sys
import zoo
run, out = sys.argv[1:]
zoo.export(run, bundle=True, out=f"{out}/model.zoo")
zoo.export(run, bundle=True, out=f"{out}/model.zoo.zip")
"""


def exported(run: Path, out: Path, seed: str, zone: str) -> dict[str, bytes]:
    """Every byte that a fresh process exports, by file name."""
    out.mkdir()
    surroundings = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "USER": f"user{seed}", "LANG": "C"}
    subprocess.run([sys.executable, "-c", _EXPORT, str(run), str(out)], env=surroundings, check=True, cwd=out)
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(("model", "settings"), [("simple_cnn", {"epochs": 1, "batch_size": 256}), ("svm", {})])
def test_two_processes_write_the_same_bytes(model: str, settings: dict[str, int], tmp_path: Path) -> None:
    """Networks through torch's exporter, estimators through skl2onnx; hash tables in another order each."""
    run = tmp_path / "run"
    zoo.train(model, out=run, **settings)
    first = exported(run, tmp_path / "first", "1", "UTC")
    second = exported(run, tmp_path / "second", "2", "Asia/Tokyo")
    assert len(first) == 7
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []

    assert json.loads(first["model.zoo/manifest.json"])["provenance"]["created"] == open_run(run).record.started
    for name, data in first.items():
        for secret in (str(tmp_path).encode(), b"user1"):
            assert secret not in data, name
