"""Every hostile file of the table in docs/security.md is refused in one line; it runs nothing and leaves nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from edge_models import paint
from hostile_models import BUNDLES, CANARY, FILES, good_bundle
from PIL import Image
from work import counted

from zoo.edge import Runtime
from zoo.edge.__main__ import main
from zoo.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def hostile_file(name: str, folder: Path) -> Path:
    made = FILES[name][0](folder)
    path = folder / "m.onnx"
    path.write_bytes(made.SerializeToString() if isinstance(made, onnx.ModelProto) else made)
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_before_it_runs(name: str, tmp_path: Path) -> None:
    path = hostile_file(name, tmp_path)
    before = listing(tmp_path)
    with counted() as work, pytest.raises(ModelError) as caught:
        Runtime.open(path)
    assert work.calls < 50_000
    line = str(caught.value)
    assert FILES[name][1] in line
    assert line.startswith(str(path))
    assert "\n" not in line
    assert len(line) < 600
    assert listing(tmp_path) == before
    assert CANARY not in before


@pytest.mark.parametrize("name", BUNDLES)
def test_a_hostile_bundle_is_refused_by_both_verbs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said, status = BUNDLES[name]
    bundle = good_bundle(tmp_path)
    change(bundle)
    image = paint(tmp_path / "red.png", (255, 0, 0))
    before = listing(tmp_path)
    for arguments in (["predict", bundle, image], ["verify", bundle]):
        assert main([str(argument) for argument in arguments]) == status
        shown = capsys.readouterr()
        assert said in shown.err
        assert shown.err.count("\n") == 1
        assert not shown.out
    assert listing(tmp_path) == before


SHELL = ["3 a zip of pickles", "16 a hard link", "23 a domain", "25 an endless loop", "26 a huge constant", "8 NaN"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHELL)
def test_a_user_who_types_the_command_sees_the_line_and_exit_1(name: str, tmp_path: Path) -> None:
    path, image = hostile_file(name, tmp_path), tmp_path / "red.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(image)
    before = listing(tmp_path)
    zoo = shutil.which("zoo")
    command = [zoo] if zoo else [sys.executable, "-m", "zoo_cli"]
    table = str(tmp_path / "answers.csv")
    done = subprocess.run(
        [*command, "predict", str(path), str(image), "--csv", table], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert FILES[name][1] in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert listing(tmp_path) == before
