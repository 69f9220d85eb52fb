"""The runtime as one file, in a Python that has nothing installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from runtime_cases import small_pictures

import zoo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("shiv") is None, reason="no shiv: 'pip install shiv'"),
    pytest.mark.skipif(sys.platform == "win32", reason="the file is started as on POSIX"),
]

TOOL = Path(__file__).resolve().parents[2] / "tools" / "device_file.py"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("device") / "zoo.pyz"
    subprocess.run([sys.executable, str(TOOL), str(made)], check=True, capture_output=True)
    return made


def test_it_proves_a_bundle_and_answers_as_the_installed_runtime(file: Path, tmp_path: Path) -> None:
    run = zoo.train("simple_cnn", small_pictures(tmp_path / "data"), out=tmp_path / "run", size=16, epochs=2).run
    bundle = tmp_path / "small.zoo"
    zoo.export(run, bundle=True, out=bundle)
    pictures = sorted(map(str, (tmp_path / "data").rglob("*.png")))[:6]
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False, symlinks=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    clean["SHIV_ROOT"] = str(tmp_path / "unpacked")

    def start(*arguments: str) -> Any:
        command = [str(bare / "bin" / "python"), str(file), *arguments, "--json"]
        done = subprocess.run(command, env=clean, cwd=tmp_path, check=True, capture_output=True)
        return json.loads(done.stdout)

    assert start("verify", str(bundle))["images"] >= 32
    found = subprocess.run(
        [sys.executable, "-m", "zoo.edge", "predict", str(bundle), *pictures, "--json"], check=True, capture_output=True
    )
    assert start("predict", str(bundle), *pictures) == json.loads(found.stdout)
    files = [one for one in (tmp_path / "unpacked").rglob("*") if one.is_file() and one.suffix != ".pyc"]
    assert sum(one.stat().st_size for one in files) < 125e6
    assert file.stat().st_size < 50e6
