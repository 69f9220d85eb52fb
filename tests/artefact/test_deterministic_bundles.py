"""Exporting a run twice gives the same bytes: no clock, path, user or order of a hash table goes into a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import zoo
from zoo.edge.bundle._archive import write_archive
from zoo.runs import open_run

_EXPORT = "import sys, zoo; zoo.export(sys.argv[1], bundle=True, out=sys.argv[2], golden='generated')"


def exported(run: Path, out: Path, seed: str, zone: str) -> Path:
    """The bundle that a fresh process writes."""
    out.parent.mkdir()
    surroundings = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "USER": f"user{seed}", "LANG": "C"}
    subprocess.run([sys.executable, "-c", _EXPORT, str(run), str(out)], env=surroundings, check=True, cwd=out.parent)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("model", "settings"), [("simple_cnn", {"epochs": 1, "batch_size": 256}), ("svm", {})])
def test_two_processes_write_the_same_bytes(model: str, settings: dict[str, int], tmp_path: Path) -> None:
    """Networks through torch's exporter, estimators through skl2onnx; hash tables in another order each."""
    run = tmp_path / "run"
    zoo.train(model, out=run, **settings)
    folder = exported(run, tmp_path / "first" / "model.zoo", "1", "UTC")
    archive = exported(run, tmp_path / "second" / "model.zoo.zip", "2", "Asia/Tokyo")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(files) == 7
    with zipfile.ZipFile(archive) as members:
        assert [name for name in sorted(members.namelist()) if members.read(name) != files.get(name)] == []
    in_order = ("manifest.json", *sorted(files.keys() - {"manifest.json"}))
    write_archive(tmp_path / "expected.zip", ((name, files[name]) for name in in_order))
    assert archive.read_bytes() == (tmp_path / "expected.zip").read_bytes()

    assert json.loads(files["manifest.json"])["provenance"]["created"] == open_run(run).record.started
    for name, data in (*files.items(), (archive.name, archive.read_bytes())):
        for secret in (str(tmp_path).encode(), b"user1"):
            assert secret not in data, name
