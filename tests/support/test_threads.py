"""Threads of a computation sleep while they wait, and are no more than the cores that are allowed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from zoo._support import threads
from zoo._support.threads import WAITING, choose_threads


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
