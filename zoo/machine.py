"""What this process may use of its machine."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["cores"]


def cores() -> int:
    """CPUs this process may use: its affinity mask, bounded by the cgroup v2 quota, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def _cgroup_quota() -> float | None:
    """The smallest cpu.max (quota / period) from this process's cgroup up to the root, if any."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return None
    root = Path("/sys/fs/cgroup")
    folder = root / own.lstrip("/")
    quotas = [_quota(level / "cpu.max") for level in (folder, *folder.parents) if level.is_relative_to(root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(path: Path) -> float | None:
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
