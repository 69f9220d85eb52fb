"""A file over which a native decoder dies: one row, one answer 422 or 503, and everything else goes on."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dying import FATAL, GREEDY, KILLED, compressed_tiff, python_path
from edge_models import make_bundle, paint
from serving import serving
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "dying").mkdir()
    return {"PYTHONPATH": python_path(tmp_path / "dying")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paint(tmp_path / "images" / "a.png", (250, 3, 3))
    (tmp_path / "images" / "b.tif").write_bytes(compressed_tiff(FATAL))
    (tmp_path / "images" / "c.tif").write_bytes(compressed_tiff(FATAL + 10))
    return tmp_path / "images"


def run(command: Sequence[str | Path], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, "PYTHONWARNINGS": "error", **environment}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=whole, capture_output=True, text=True, check=False, timeout=100
    )


def test_predict_gives_a_row_for_each_file(tmp_path: Path, folder: Path, environment: dict[str, str]) -> None:
    model = make_bundle(tmp_path / "m.zoo")
    done = run(["-m", "zoo.edge", "predict", model, folder, "--json"], environment)
    rows = json.loads(done.stdout)
    assert ["error" in row for row in rows] == [False, True, False]
    assert "SIGSEGV" in rows[1]["error"]
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_watch_waits_for_a_decoder_that_was_killed_and_answers_one_that_crashed(
    tmp_path: Path, folder: Path, environment: dict[str, str]
) -> None:
    """A scan that a system short of memory stopped is no scan that cannot be read."""
    model = make_bundle(tmp_path / "m.zoo")
    (folder / "d.tif").write_bytes(compressed_tiff(KILLED))
    watch = ["-m", "zoo.edge", "watch", folder, tmp_path / "out", "--model", model, "--once", "--settle", "0", "--json"]
    done = run(watch, environment)
    assert done.returncode == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == ["a.png.json", "b.tif.json", "c.tif.json"]
    assert "d.tif is not answered" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["error" in row for row in rows] == [False, True, False]
    done = run(watch, {})
    assert done.returncode == 0
    assert [Path(json.loads(line)["image"]).name for line in done.stdout.splitlines()] == ["d.tif"]


def test_serve_answers_422_and_lives(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
    with serving(make_bundle(tmp_path / "m.zoo"), environment=environment) as server:
        for _ in range(2):
            answer = server.ask("POST", "/predict", compressed_tiff(FATAL))
            assert answer.status == 422
            assert b"SIGSEGV" in answer.body
            assert server.ask("POST", "/predict", compressed_tiff(FATAL + 10)).status == 200
        code, _, said = server.leave()
    assert code == 0
    assert "Traceback" not in said


def test_serve_says_503_where_the_decoder_was_killed(tmp_path: Path, environment: dict[str, str]) -> None:
    """422 told the client that its scan is bad, and it was not sent again."""
    pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
    killed, sound = compressed_tiff(KILLED), compressed_tiff(FATAL + 10)
    log = tmp_path / "access"
    with serving(make_bundle(tmp_path / "m.zoo"), "--access-log", log, environment=environment) as server:
        for data, word in ((killed, b"SIGKILL"), (compressed_tiff(GREEDY), b"memory")):
            for path in ("/predict", "/explain"):
                answer = server.ask("POST", path, data)
                assert (answer.status, answer.headers["retry-after"]) == (503, "1"), path
                assert word in answer.body
        texts = [base64.b64encode(data).decode() for data in (sound, compressed_tiff(FATAL), killed)]
        several = server.ask(
            "POST", "/predict", json.dumps({"images": texts}).encode(), Content_Type="application/json"
        )
        assert [(row.get("blame"), "error" in row) for row in several.json] == [
            (None, False),
            (None, True),
            ("either", True),
        ]
        name = server.ask("GET", "/models").json[0]["name"]
        tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "data": [texts[0], texts[2]]}
        asked = json.dumps({"inputs": [tensor]}).encode()
        infer = server.ask("POST", f"/v2/models/{name}/infer", asked, Content_Type="application/json")
        assert (infer.status, infer.headers["retry-after"]) == (503, "1")
        counted = server.ask("GET", "/metrics").body.decode()
        wait_until(lambda: len(log.read_text().splitlines()) == 8)  # a line follows its answer
    assert 'zoo_refused_total{reason="decoder"} 6.0' in counted
    assert 'zoo_refused_total{reason="image"} 1.0' in counted
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["status"] for line in lines] == [503] * 4 + [200, 200, 503, 200]
