"""What a process may use of its machine."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from zoo._support import machine

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.mark.parametrize(
    ("text", "name", "flags"),
    [
        (
            "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2\n\nmodel name\t: Other\n",
            "Some CPU",
            "fpu avx2",
        ),
        ("processor\t: 0\nFeatures\t: asimd asimddp\n", "told elsewhere", "asimd asimddp"),
        (None, "told elsewhere", ""),
    ],
)
def test_the_processor_is_the_first_that_linux_lists(
    text: str | None, name: str, flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine, "_CPUINFO", file)
    monkeypatch.setattr(machine.platform, "processor", lambda: "told elsewhere")
    assert machine.processor() == (name, frozenset(flags.split()), bool(flags))


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        ("machdep.cpu.brand_string: M2\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_BF16: 0\n", "asimddp"),
        (
            "machdep.cpu.features: FPU AVX1.0\nmachdep.cpu.leaf7_features: AVX2 AVX512VNNI\n",
            "fpu avx1.0 avx2 avx512_vnni",
        ),
        ("no such key", ""),
    ],
)
def test_macos_is_asked_and_its_names_become_those_of_linux(
    said: str, flags: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, said, ""))
    found = machine.processor()
    assert (found.flags, found.complete) == (frozenset(flags.split()), bool(flags))
    assert found.name


def test_a_system_that_tells_nothing_has_a_name_and_no_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "platform", "plan9")
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "")
    assert machine.processor() == ("unknown CPU", frozenset(), False)
