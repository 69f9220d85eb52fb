"""What a program that runs for years says on stderr: a fault that comes back is said when it comes back.

What would be wrong with the product: a share that is away for the second time, and nobody is told.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from zoo.edge import _print
from zoo.edge._watch import Pass
from zoo.edge._watch_verb import _Statistics

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("zoo")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until `now` is changed."""
    held = SimpleNamespace(now=0.0)
    held.monotonic = lambda: held.now
    monkeypatch.setattr(_print, "time", held)
    return held


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_is_said_once_and_one_that_may_come_back_again_after_its_time(
    capsys: pytest.CaptureFixture[str], clock: SimpleNamespace
) -> None:
    with _print._messages():
        for clock.now in (0.0, 59.0, 60.0, 61.0, 1e9):
            log.warning("once")
            log.warning("disk", extra={"again_after": 60.0})
    assert lines(capsys) == ["warning: once", *["warning: disk"] * 3]


def test_lines_are_remembered_to_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    with _print._messages():
        for number in range(_print.REMEMBERED + 1):
            log.warning("%d", number)
        assert len(lines(capsys)) == _print.REMEMBERED + 1
        log.warning("%d", _print.REMEMBERED)
        assert lines(capsys) == []


def test_each_outage_of_a_watched_folder_is_said_when_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    fine = Pass(files=0, answered=0, failed=0, waiting=0, moved=0, seconds=0.0, troubles=())
    away, both = replace(fine, troubles=("away",)), replace(fine, troubles=("away", "other"))
    statistics = _Statistics()
    with _print._messages():
        for one in (fine, away, away, fine, away, both, both):
            statistics.add(one)
    assert lines(capsys) == ["warning: away", "warning: away", "warning: other"]


def test_a_reload_is_said_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
    from zoo.edge.serve import _reload

    with _print._messages():
        for _ in range(2):
            _reload._say(logging.INFO, "same")
    times, words = zip(*(line.split(" ") for line in lines(capsys)), strict=True)
    assert words == ("same", "same")
    assert all(datetime.fromisoformat(one).tzinfo is UTC for one in times)


def test_a_refusal_is_said_again_after_its_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clock: SimpleNamespace
) -> None:
    pytest.importorskip("pynetdicom", reason="the extra 'dicom-net' is not installed")
    from zoo.edge._receive import Settings
    from zoo.edge._receive.server import _Store

    sender: Any = SimpleNamespace(requestor=SimpleNamespace(ae_title="CT1", address="10.0.0.7"))
    with _print._messages():
        for clock.now in (0.0, 1.0, 3600.0):
            _Store(tmp_path, Settings())._refuse(sender, "full")
    assert len(lines(capsys)) == 2
