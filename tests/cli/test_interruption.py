"""Training that is stopped, repeated, or has no room: what is there stays whole; the line says what to do."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_running import command, run_zoo

import zoo

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_second_training_into_the_same_place_is_refused_in_one_line(copied: Callable[[str], Path]) -> None:
    run = copied("runs/tiny")
    before = (run / "model.onnx").read_bytes()
    ran = run_zoo("train", "simple_cnn", "--epochs", "1", "--out", run)
    assert ran.code == 1
    assert "--resume" in ran.line
    assert "--overwrite" in ran.line
    assert (run / "model.onnx").read_bytes() == before


@pytest.mark.usefixtures("elsewhere")
def test_a_place_that_can_not_be_written_is_refused_in_one_line() -> None:
    Path("file").write_text("in the way")
    for place, code in (("file/run", 1), ("file", 2)):  # a file that is there is a wrong option
        ran = run_zoo("train", "simple_cnn", "--epochs", "1", "--out", place)
        assert ran.code == code, place
        assert ran.line.startswith("zoo: "), place
        assert "--out" in ran.line, place
        assert "defect" not in ran.line, place
    assert Path("file").read_text() == "in the way"


@pytest.mark.usefixtures("at_work")
def test_a_finished_run_is_not_resumed() -> None:
    ran = run_zoo("train", "simple_cnn", "--resume", "--out", "runs/tiny", "--json")
    assert ran.code == 1
    assert ran.document["error"]["type"] == "TrainingError"
    assert "finished" in ran.line


@pytest.mark.usefixtures("at_work")
def test_ctrl_c_before_the_first_run_does_not_point_at_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """'Go on with runs/tiny' would overwrite or mislead when that is yesterday's run."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo, "train", stopped)
    ran = run_zoo("train", "simple_cnn")
    assert ran.code == 130
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("zoo: interrupted ")
    assert "runs/" not in ran.err


RESUME = "zoo train simple_cnn --resume --out stopped"
EXPORT = "zoo export stopped --onnx"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c_keeps_a_run_that_can_be_exported_and_resumed(elsewhere: Path) -> None:
    child = subprocess.Popen(
        [*command(), "train", "simple_cnn", "--epochs", "400", "--set", "patience=0", "--out", "stopped"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    said = []
    for line in child.stderr:
        said.append(line)
        if line.startswith("epoch 2/"):
            child.send_signal(signal.SIGINT)
            break
    out, rest = child.communicate(timeout=120)
    assert child.returncode == 130, "".join(said) + rest
    assert out == ""
    assert "Traceback" not in rest
    line = rest.strip().splitlines()[-1]
    assert line.startswith("zoo: interrupted; ")
    for command_line in RESUME, EXPORT:
        assert f"'{command_line}'" in line

    exported = run_zoo("export", "stopped", "--onnx")
    assert exported.code == 0, exported.err
    assert "training stopped after epoch" in exported.out
    done = json.loads((elsewhere / "stopped" / "run.json").read_text())["epochs_done"]
    resumed = run_zoo("train", "simple_cnn", "--resume", "--out", "stopped", "--epochs", str(done + 1))
    assert resumed.code == 0, resumed.err
    assert re.search(rf"epoch {done} of {done + 1}", resumed.err)
    assert json.loads((elsewhere / "stopped" / "run.json").read_text())["status"] == "done"
