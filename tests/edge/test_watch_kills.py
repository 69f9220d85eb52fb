"""`zoo watch` as a process that is killed again and again: at the end each image has one answer, that of predict."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from edge_models import paint
from waiting import wait_until

from zoo.edge import Runtime
from zoo.edge._watch import name_answer
from zoo.edge._watch.ledger import LEDGER

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows"),
]

ROOT = Path(__file__).resolve().parents[2]
IMAGES, KILLS, MANY = 300, 20, 600


def start(place: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "zoo.edge", "watch", "in", "out", "--model", "model.onnx", "--settle", "0"]
    return subprocess.Popen(
        [*command, *more], cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def arrive(place: Path, numbers: Sequence[int]) -> None:
    """Images that come as careful senders send them: under a temporary name, then renamed."""
    for number in numbers:
        image = paint(place / f"sending/{number}.png", (number % 256, number * 7 % 256, number * 31 % 256))
        target = place / f"in/{number % 5}/{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.replace(target)


def answered(place: Path) -> int:
    return len(list((place / "out").rglob("*.json")))


@pytest.mark.parametrize("moving", [False, True])
def test_many_kills_leave_one_answer_for_each_image(model_file: Path, tmp_path: Path, moving: bool) -> None:
    chance = random.Random(moving)  # noqa: S311 - when to kill is no secret
    more = ["--interval", "0.05", *(["--move-to", "done"] if moving else [])]
    (tmp_path / "in").mkdir()
    arrive(tmp_path, range(100))
    sent, killed_at = 100, []
    for _ in range(KILLS):
        before = answered(tmp_path)
        process = start(tmp_path, *more)
        if before < sent:
            wait_until(lambda before=before: answered(tmp_path) > before, 120)  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.3))
        fresh = range(sent, min(IMAGES, sent + 15))
        arrive(tmp_path, fresh)
        sent += len(fresh)
        time.sleep(chance.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed_at.append(answered(tmp_path))
    assert sent == IMAGES
    assert len({*killed_at}) >= 5, "the kills came while images were answered"
    last = start(tmp_path, "--once", *more)
    _, said = last.communicate()
    assert last.returncode == 0, said

    names = [f"{number % 5}/{number}.png" for number in range(IMAGES)]
    with sqlite3.connect(tmp_path / "out" / LEDGER) as ledger:
        counts = Counter(os.fsdecode(path) for (path,) in ledger.execute("SELECT path FROM answers"))
    ledger.close()
    assert counts == dict.fromkeys(names, 1)
    there = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert there == {LEDGER, *map(name_answer, names)}
    images = tmp_path / ("done" if moving else "in")
    assert {path.relative_to(images).as_posix() for path in images.rglob("*.png")} == {*names}
    expected = Runtime.open(model_file).predict([images / name for name in names])
    for name, result in zip(names, expected, strict=True):
        row = json.loads((tmp_path / "out" / name_answer(name)).read_bytes())
        assert row == result.row() | {"image": f"in/{name}"}


@pytest.mark.usefixtures("model_file")
def test_sigterm_ends_after_the_image_in_work_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """Its lines fill the pipe (64 KiB on Linux, 400 lines) before the last image, so it waits until they are read."""
    arrive(tmp_path, range(MANY))
    process = start(tmp_path, "--json")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGTERM)
    more, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert re.findall(r"\d+", said.splitlines()[-1])[0] == str(len([*lines, *more.splitlines()]))
    rows = [json.loads(line) for line in [*lines, *more.splitlines()]]
    assert 3 <= len(rows) < MANY
    assert len(list((tmp_path / "out").rglob("*.json"))) == len(rows), "no answer is half written"
    again = start(tmp_path, "--json", "--once")
    others, _ = again.communicate()
    rows += [json.loads(line) for line in others.splitlines()]
    assert len(rows) == len({row["image"] for row in rows}) == MANY


@pytest.mark.usefixtures("model_file")
def test_a_kill_lets_the_next_program_in(tmp_path: Path) -> None:
    arrive(tmp_path, range(3))
    process = start(tmp_path, "--json")
    assert process.stdout is not None
    process.stdout.readline()
    second = start(tmp_path, "--once", "--json")
    said, _ = second.communicate()
    assert (second.returncode, json.loads(said)["error"]["code"]) == (1, "output-busy")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    third = start(tmp_path, "--once")
    third.communicate()
    assert third.returncode == 0
