"""A place that cannot take a batch is one typed line, and holds nothing half-written."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from batches import painted, rows_of
from refusals import refused

import zoo
from zoo.errors import OutputError, ResumeError
from zoo.store.place import Place

ROOT = Path(__file__).resolve().parents[2]
LIMITED = """
import resource, signal, sys
from zoo_cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return painted(tmp_path / "images", 40)


def names_in(place: Path) -> set[str]:
    return {path.name for path in place.rglob("*") if path.is_file()}


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
@pytest.mark.parametrize("full", ["begun", "listing", "part"])
def test_a_full_disk_is_one_line_and_the_batch_continues_or_never_was(
    model_file: Path, images: Path, tmp_path: Path, full: str
) -> None:
    ask = functools.partial(zoo.predict_batch, model_file, images, format="csv", statistics=True)
    ask(tmp_path / "whole")
    expected, place = rows_of(tmp_path / "whole"), tmp_path / "out"
    sizes = [path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.suffix in {".csv", ".jsonl"}]
    assert len(sizes) == 2
    most = {"begun": 10, "listing": min(sizes) - 1, "part": max(sizes) - 1}[full]
    verb = ["predict", str(model_file), str(images), "--out", str(place), "--format", "csv", "--statistics", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(most), *verb], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "output-unwritable"
    assert "Traceback" not in done.stderr
    assert place.exists() == (full == "part")
    assert not [name for name in names_in(tmp_path) if name.endswith(".part")]
    assert ask(place, resume=True).finished
    assert rows_of(place) == expected


@pytest.mark.parametrize("stage", ["begun.json", "start", "000000.jsonl", "index.json"])
@pytest.mark.parametrize("there", [True, False])
def test_a_place_that_refuses_a_write_before_the_first_part_is_as_it_was(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, there: bool
) -> None:
    place, write = tmp_path / "out", Place.write
    if there:
        place.mkdir()

    def refuse(self: Place, name: str, data: bytes) -> None:
        if name.endswith(f"/{stage}"):
            raise OutputError("cannot write: read-only", code="output-unwritable")
        write(self, name, data)

    monkeypatch.setattr(Place, "write", refuse)
    with refused("output-unwritable", OutputError):
        zoo.predict_batch(model_file, images, place, format="csv")
    assert place.exists() == there
    assert names_in(place) == set()


def test_a_batch_whose_beginning_is_damaged_is_replaced_on_request(
    model_file: Path, images: Path, tmp_path: Path
) -> None:
    ask = functools.partial(zoo.predict_batch, model_file, images, tmp_path / "out", format="csv")
    ask()
    expected = rows_of(tmp_path / "out")
    (tmp_path / "out" / "_zoo" / "begun.json").write_bytes(b"{")
    with refused("document-malformed", ResumeError):
        ask(resume=True)
    assert ask(overwrite=True).answered == 41
    assert rows_of(tmp_path / "out") == expected


@pytest.mark.parametrize("name", ["_zoo/begun.json", "manifest.json", "_zoo/listing/index.json"])
def test_a_folder_in_the_place_of_a_file_is_one_error(
    model_file: Path, images: Path, tmp_path: Path, name: str
) -> None:
    ask = functools.partial(zoo.predict_batch, model_file, images, tmp_path / "out", format="csv", resume=True)
    ask()
    for one in ("manifest.json", name):
        (tmp_path / "out" / one).unlink(missing_ok=True)
    (tmp_path / "out" / name).mkdir()
    with refused("output-unwritable", OutputError):
        ask()


def test_a_place_that_nobody_may_write_or_that_is_a_file_is_refused(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with refused("output-unwritable", OutputError):
        zoo.predict_batch(model_file, images, tmp_path / "file", format="csv")
    assert (tmp_path / "file").read_bytes() == b"mine"

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with refused("output-unwritable", OutputError):
        zoo.predict_batch(model_file, images, tmp_path / "out", format="csv")
    assert not (tmp_path / "out").exists()
