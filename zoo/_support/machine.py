"""What this process may use of its machine, and which processor that has."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Processor", "cgroups", "cores", "free_cores", "processor"]

_CPUINFO = Path("/proc/cpuinfo")
_STAT = Path("/proc/stat")

_OF_APPLE = {
    "avx512vnni": "avx512_vnni", "avx512bf16": "avx512_bf16", "feat_dotprod": "asimddp", "feat_bf16": "bf16",
    "feat_i8mm": "i8mm",
}  # fmt: skip
"""Names that macOS gives to instructions, and those of Linux."""

_OF_WINDOWS = {40: "avx2", 41: "avx512f", 43: "asimddp"}
"""PF_AVX2_INSTRUCTIONS_AVAILABLE and others of winnt.h; it has no number for VNNI and bf16 on x86."""


class Processor(NamedTuple):
    """What is known of the CPU."""

    name: str
    """What it calls itself."""
    flags: frozenset[str]
    """Instruction sets that it has, by the names of Linux."""
    complete: bool
    """Whether it has no others; where that is not known a missing flag means nothing."""


def processor() -> Processor:
    """The CPU of this machine, as far as the system tells: by /proc/cpuinfo, by sysctl or by the API of Windows."""
    readers = {"linux": _of_linux, "darwin": _of_apple, "win32": _of_windows}
    name, flags, complete = readers.get(sys.platform, lambda: Processor("", frozenset(), False))()
    return Processor(name or platform.processor() or platform.machine() or "unknown CPU", flags, complete)


def cores() -> int:
    """CPUs this process may use: its affinity mask, bounded by the cgroup v2 quota, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def free_cores() -> float | None:
    """CPUs of the whole machine that did nothing while this thread slept for 0.05 s; None: the system does not say."""
    before = _read_times()
    time.sleep(0.05)
    after = _read_times()
    if before is None or after is None or after[1] <= before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1]) * (os.cpu_count() or 1)


def _read_times() -> tuple[int, int] | None:
    """Of all CPUs since the start: ticks without work, waits for a disk among them, and all ticks (proc_stat(5))."""
    try:
        ticks = [int(word) for word in _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)
    except (OSError, ValueError, IndexError):
        return None


def cgroups() -> list[Path]:
    """The folder of this process's cgroup v2 and those above it, whose limits all hold; none: there are none."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    root = Path("/sys/fs/cgroup")
    folder = root / own.lstrip("/")
    return [level for level in (folder, *folder.parents) if level.is_relative_to(root)]


def _cgroup_quota() -> float | None:
    """The smallest cpu.max (quota / period) from this process's cgroup up to the root, if any."""
    quotas = [_quota(level / "cpu.max") for level in cgroups()]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(path: Path) -> float | None:
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _of_linux() -> Processor:
    """From the block of the first CPU."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = frozenset(told.get("flags", told.get("Features", "")).split())  # ARM calls them features
    return Processor(told.get("model name", ""), flags, bool(flags))


def _of_apple() -> Processor:
    import subprocess

    try:
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "machdep.cpu", "hw.optional.arm"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return Processor("", frozenset(), False)
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in asked.stdout.splitlines())}
    listed = " ".join(told.get(f"machdep.cpu.{key}", "") for key in ("features", "leaf7_features")).lower().split()
    arm = [key.rpartition(".")[2].lower() for key, value in told.items() if ".arm.FEAT_" in key and value == "1"]
    flags = frozenset(_OF_APPLE.get(flag, flag) for flag in (*listed, *arm))
    return Processor(told.get("machdep.cpu.brand_string", ""), flags, bool(flags))


def _of_windows() -> Processor:
    if sys.platform != "win32":  # what follows is only there; mypy takes this line for it too
        return Processor("", frozenset(), False)
    import ctypes
    import winreg

    place, name = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0", ""
    with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
        name = str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    has = ctypes.windll.kernel32.IsProcessorFeaturePresent
    return Processor(name, frozenset(flag for number, flag in _OF_WINDOWS.items() if has(number)), False)
