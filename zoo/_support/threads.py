"""How the threads of a computation wait for each other, and how many there are.

OpenMP's threads, which torch and scikit-learn compute with, spin while they wait: the core is theirs though they do
nothing. Where anything else runs on the machine, they keep it from the thread that they wait for. OpenMP reads
its variables once, when torch is imported, so they are set when `zoo` is. `docs/decisions/0087` has the measurements,
`benchmarks/waiting.py` takes them.

ONNX Runtime has threads of its own; `zoo.edge._session` tells them not to spin.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from zoo._support.machine import cores, free_cores

__all__ = ["WAITING", "choose_threads", "describe_crowd", "find_crowd"]

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables that say how threads wait: OpenMP's own, and those of GNU's and of LLVM's library."""


def choose_threads(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables to set, so that threads sleep while they wait, and this process starts one at most for each core.

    What the user has set stays as it is. Numbers do not hang on how threads wait. They hang on how many there are,
    which changes only in a container whose share of processor time is smaller than the cores that it sees.

    Args:
        environment: variables that are set already.
    """
    chosen = {}
    if not any(name in environment for name in WAITING):
        chosen["OMP_WAIT_POLICY"] = "PASSIVE"
    if "OMP_NUM_THREADS" not in environment and cores() < _visible_cores():
        chosen["OMP_NUM_THREADS"] = str(cores())
    return chosen


def find_crowd(threads: int) -> float | None:
    """The cores that other work leaves where they are too few for `threads`; None: enough, or nobody knows."""
    free = free_cores()
    return None if free is None or free > threads - 0.5 else free


def describe_crowd(threads: int) -> str | None:
    """What to say where other work uses the cores that `threads` of a computation are for; None: it does not.

    Threads that share a picture wait for the last of them, so two beside one busy process may be slower than one. The
    number is not lowered by itself: sums come out in another order, and the bytes of a run would hang on the load.
    """
    free = find_crowd(threads) if threads > 1 else None
    if free is None:
        return None
    fewer = max(1, int(free))  # always less than threads
    return (
        f"other work leaves {free:.1f} cores for {threads} threads; OMP_NUM_THREADS={fewer} may be several times as "
        "fast beside it"
    )


def _visible_cores() -> int:
    """The cores that OpenMP would take: it knows of affinity, and not of a container's share of time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
