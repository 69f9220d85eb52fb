"""Processes that decode: the same answers as threads, one image lost to a dead one, nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edge_models import deep_manifest, make_manifest, make_model, paint
from PIL import Image

from zoo._support import processes
from zoo.edge import Failure, Prediction, Runtime
from zoo.edge._decoders import Decoders
from zoo.edge._intake import Intake
from zoo.errors import UsageError
from zoo.spec import InputSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(12):
        paint(tmp_path / "images" / f"{i}.png", (20 * i, 255 - 20 * i, 7), (5 + i, 9))
    (tmp_path / "images" / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "images" / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    (tmp_path / "images" / "deep.png").write_bytes(b"")
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "images" / "deep.png")
    return tmp_path / "images"


def slow(manifest: Any) -> Any:
    return pytest.param(manifest, marks=pytest.mark.slow)


@pytest.mark.parametrize("manifest", [
    make_manifest(),
    slow(make_manifest(input=InputSpec(name="image", dtype="float32", channels=3, stage="resized"))),
    slow(make_manifest(input=InputSpec(name="image", dtype="float32", channels=3, stage="tensor"))),
    slow(deep_manifest()),
], ids=["raw", "resized", "tensor", "deep"])  # fmt: skip
def test_processes_answer_as_threads_do(folder: Path, tmp_path: Path, manifest: Any) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(make_model(manifest).SerializeToString())
    runtime = Runtime.open(path)
    alone = list(runtime.predict(folder))
    assert list(runtime.predict(folder, workers=2)) == alone
    assert [one.image for one in runtime.predict(folder, workers=3, batch_size=4)] == [one.image for one in alone]
    assert {type(one) for one in alone} == {Prediction, Failure}
    others = [np.zeros((4, 4, 3), np.uint8), "\ud800.png", "nul\0.png", tmp_path / "missing.png"]
    assert list(runtime.predict(others, workers=1)) == list(runtime.predict(others))


def test_numbers_that_can_not_be_meant_are_refused(model_file: Path) -> None:
    runtime = Runtime.open(model_file)
    for wrong in ({"workers": -1}, {"batch_size": 0}, {"frame": 0}):
        with pytest.raises(UsageError, match="expected"):
            list(runtime.predict([], **wrong))  # type: ignore[arg-type]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every process that is started; none is left when the test is over."""
    running: list[Any] = []
    popen = processes.subprocess.Popen
    monkeypatch.setattr(processes.subprocess, "Popen", lambda *a, **k: (running.append(popen(*a, **k)), running[-1])[1])
    yield running
    assert running
    assert all(process.poll() is not None for process in running)


def test_a_process_that_dies_once_costs_nothing(model_file: Path, folder: Path, started: list[Any]) -> None:
    runtime = Runtime.open(model_file)
    alone = list(runtime.predict(folder))
    results = runtime.predict(folder, workers=2)
    found = [next(results)]
    for process in list(started):
        process.kill()
        process.wait()
    found += results
    assert found == alone
    assert len(started) == 4


@pytest.mark.parametrize(("ending", "blame"), [("SIGSEGV", "image"), ("SIGKILL", "either")])
def test_an_image_that_ends_its_process_is_a_row_and_the_others_are_answered(
    model_file: Path, folder: Path, started: list[Any], monkeypatch: pytest.MonkeyPatch, ending: str, blame: str
) -> None:
    """A decoder that crashes must not take a million answers with it. Who kills it may be a system short of memory."""
    poison = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
        "from zoo.edge import _decoders as decoders, _intake as intake; "
        "import os, signal; real = intake.read; "
        f"intake.read = lambda p, **k: os.kill(os.getpid(), signal.{ending}) if p.name == '2.png' else real(p, **k); "
        "from {module} import {task}; {task}()"
    )
    alone = list(Runtime.open(model_file).predict(folder))
    monkeypatch.setattr(processes, "PROGRAM", poison)
    found = list(Runtime.open(model_file).predict(folder, workers=2))
    at = [Path(one.image).name for one in found].index("2.png")
    lost = found[at]
    assert isinstance(lost, Failure)
    assert ending in lost.error
    assert lost.blame == blame
    assert found[:at] + found[at + 1 :] == alone[:at] + alone[at + 1 :]
    assert len(started) <= 4


def test_without_an_interpreter_the_work_is_done_here(
    model_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = list(Runtime.open(model_file).predict(folder))
    monkeypatch.setattr(processes.sys, "executable", "/nowhere/python")
    assert list(Runtime.open(model_file).predict(folder, workers=2)) == alone
    monkeypatch.setattr(processes.sys, "frozen", True, raising=False)
    assert list(Runtime.open(model_file).predict(folder, workers=2)) == alone


@pytest.mark.skipif(os.name != "posix", reason="SIGSTOP is POSIX")
def test_leaving_early_does_not_wait_for_a_process_that_hangs(
    model_file: Path, folder: Path, started: list[Any]
) -> None:
    results = Runtime.open(model_file).predict(folder, workers=2)
    next(results)
    for process in started:
        process.send_signal(signal.SIGSTOP)
    results.close()  # type: ignore[attr-defined]
    assert {process.returncode for process in started} == {-signal.SIGKILL}, "a stopped process ends in no other way"


def test_a_decoding_process_loads_no_onnxruntime() -> None:
    """It would cost each of them 60 MB and its start."""
    program = (
        "import sys; from zoo.edge import _decoders as decoders, _intake as intake; import zoo.readers; "
        "print(*{'onnxruntime', 'torch', 'typer'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_a_decoder_that_was_stopped_starts_nothing(model_file: Path, folder: Path) -> None:
    decoders = Decoders(Intake(Runtime.open(model_file).manifest), 1, None)
    decoders.close()
    assert "ended" in decoders.pixels("x", folder / "1.png")
    decoders.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGKILL", None)])
def test_a_stopped_command_leaves_no_process_behind(model_file: Path, folder: Path, sign: signal.Signals) -> None:
    for i in range(20, 4000):
        (folder / f"{i}.png").hardlink_to(folder / "1.png")
    command = [sys.executable, "-m", "zoo.edge", "predict", str(model_file), str(folder), "--workers", "2"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    for _ in range(30):
        child.stdout.readline()
    children = [int(one) for one in _children(child.pid)]
    assert len(children) == 2
    child.send_signal(sign)
    child.stdout.close()
    child.wait(30)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{one}").exists() and not _gone(one) for one in children):
        assert time.monotonic() < deadline, "a decoding process is still there"
        time.sleep(0.05)
    said = child.stderr.read()
    child.stderr.close()
    assert "Traceback" not in said
    assert "ignored" not in said


def _children(of: int) -> list[str]:
    tasks = Path(f"/proc/{of}/task")
    if not tasks.is_dir():
        pytest.skip("processes are looked up in /proc")
    return [one for task in tasks.iterdir() for one in (task / "children").read_text().split()]


def _gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
