"""A run is trained by one process at a time; the others are told who that is."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_running import run_zoo
from refusals import refused

import zoo
from zoo.errors import TrainingError
from zoo.runs import hold_run, is_live, open_run
from zoo.testing import colour_folder

HOLDER = """
import os, sys
from pathlib import Path
from zoo.runs import Trainer, hold_run, open_run
place = Path(sys.argv[1])
with hold_run(place):
    if place.is_dir():
        open_run(place).update(trainer=Trainer(pid=os.getpid(), host="here"))
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(place: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock, as a training does."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("one")
    zoo.train("svm", colour_folder(root / "colours", per_class=8, side=16), out=root / "done")
    return root


def test_a_second_process_is_refused_until_the_first_has_ended(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes once trained into one folder, both said ok, and one result existed nowhere."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "done", "run")
    run = open_run(Path("run"))
    run.update(status="interrupted")
    run.file("model.onnx").unlink()
    data = ["--data", str(trained / "colours")]
    with start_holder(Path("run")) as child:
        assert is_live(Path("run"))
        Path("link").symlink_to("run", target_is_directory=True)
        for place, *words in (
            ("run", "--overwrite", *data),
            ("run", "--resume"),
            ("link", "--resume", "auto", *data),
            (str(tmp_path / "run"), *data),
        ):
            ran = run_zoo("train", "svm", "--out", place, *words, "--json")
            error = ran.document["error"]
            assert (ran.code, error["code"], error["pid"], error["host"]) == (1, "run-busy", child.pid, "here")
        judged = run_zoo("evaluate", "run", "--json")
        assert (judged.code, judged.document["error"]["code"]) == (1, "run-busy")
        assert "--resume" not in judged.line
        exported = run_zoo("export", "run", "--onnx", "--out", "best.onnx")
        assert exported.code == 0, exported.err
        assert "running" in exported.out
        open_run(Path("run")).update(best=None)
        refused_export = run_zoo("export", "run", "--onnx", "--json")
        assert (refused_export.code, refused_export.document["error"]["code"]) == (1, "run-busy")
        child.kill()
    assert not is_live(Path("run"))
    ran = run_zoo("train", "svm", "--out", "run", "--overwrite", *data)
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in Path().glob(".*")) == []
    record = open_run(Path("run")).record
    assert record.trainer is None  # whose computer it was is nobody's business


def test_two_runs_beside_each_other_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with hold_run(tmp_path / "a"), hold_run(tmp_path / "b"):
        with refused("run-busy", TrainingError, run=str(tmp_path / "a"), pid=None), hold_run(tmp_path / "a"):
            pass
        with hold_run(tmp_path / "a", first=False):  # it trains along
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32" or platform.system() == "Darwin", reason="sees /proc, which none can write")
def test_where_no_lock_can_be_had_training_goes_on_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with hold_run(Path("/proc/run")):
        pass
    assert "no lock" in caplog.text
    assert not is_live(Path("/proc/run"))
