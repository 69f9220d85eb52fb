"""Threads of a computation sleep while they wait, and are no more than the cores that are allowed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from zoo._support import machine, threads
from zoo._support.threads import WAITING, choose_threads, describe_crowd

if TYPE_CHECKING:
    from pathlib import Path


def _told(module: str, **asked: str) -> subprocess.CompletedProcess[str]:
    """What a process of Python says whose variables nobody has set but `asked`, and no .pth file either."""
    paths = [path for path in sys.path if path]
    program = (
        f"import sys, os; sys.path[:0] = {paths!r}; import {module}\n"
        f"print(*(os.environ.get(name) for name in {WAITING!r}))\n"
    )
    left = {name: value for name, value in os.environ.items() if name not in {*WAITING, "OMP_NUM_THREADS"}}
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], env=left | asked, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize(
    "module", ["zoo", "zoo.edge", "zoo_cli.main", "zoo.contract._examine", "zoo._support.processes"]
)
def test_every_way_in_lets_threads_sleep(module: str) -> None:
    """A small network trained 30 times slower beside other work, because its threads spun."""
    assert _told(module).stdout.split() == ["PASSIVE", "None", "None"]


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP there, which tells what it took")
def test_torch_hears_of_it_before_it_starts_threads() -> None:
    """OpenMP reads its variables once, so a line behind the import of torch would change nothing."""
    said = _told("zoo.learn", OMP_DISPLAY_ENV="TRUE").stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in said
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in _told("zoo.learn", OMP_DISPLAY_ENV="TRUE", OMP_WAIT_POLICY="ACTIVE").stderr


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_says_of_waiting_stays(name: str) -> None:
    assert "OMP_WAIT_POLICY" not in choose_threads({name: "7"})


def test_a_container_gets_no_more_threads_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP starts a thread for each core of the host, and they take turns on the share of two."""
    monkeypatch.setattr(threads, "_visible_cores", lambda: 64)
    monkeypatch.setattr(threads, "cores", lambda: 2)
    assert choose_threads({})["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in choose_threads({"OMP_NUM_THREADS": "5"})
    monkeypatch.setattr(threads, "cores", lambda: 64)
    assert "OMP_NUM_THREADS" not in choose_threads({})


@pytest.mark.parametrize(
    ("idle", "threads", "said"),
    [
        (0, 2, "OMP_NUM_THREADS=1 "),
        (55, 2, "OMP_NUM_THREADS=1 "),
        (75, 2, "OMP_NUM_THREADS=1 "),
        (90, 2, None),
        (0, 1, None),
    ],
)
def test_a_training_beside_other_work_is_told_of_it(
    idle: int, threads: int, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads beside one busy process trained a ResNet-18 at a quarter of the speed of one."""
    stat = tmp_path / "stat"
    times = iter([f"cpu  0 0 0 0 0 0 0 0\ncpu0 {idle}\n", f"cpu  {100 - idle} 0 0 {idle} 0 0 0 0 0 0\n"])

    def pass_time(_: float) -> None:
        stat.write_text(next(times))

    pass_time(0)
    monkeypatch.setattr(machine, "_STAT", stat)
    monkeypatch.setattr(machine.time, "sleep", pass_time)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    found = describe_crowd(threads)
    assert (found is None) if said is None else (found is not None and said in found)


def test_a_system_that_does_not_say_is_not_crowded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_STAT", tmp_path / "none")
    assert describe_crowd(8) is None
