"""What a process may use of its machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo import machine

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_cores_used_follow_the_quota_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else decoding and inference in a container start a thread for each core of its host."""
    quota = tmp_path / "cpu.max"
    quota.write_text("150000 100000\n")
    assert machine._quota(quota) == 1.5
    quota.write_text("max 100000\n")
    assert machine._quota(quota) is None
    assert machine._quota(tmp_path / "absent") is None
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)))
    for limit, expected in [(None, 8), (0.5, 1), (1.5, 2), (64.0, 8)]:
        monkeypatch.setattr(machine, "_cgroup_quota", lambda limit=limit: limit)
        assert machine.cores() == expected
