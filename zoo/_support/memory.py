"""Memory: how much is free, who keeps what was freed, which folders are made of it, which errors say it ran out."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from zoo._support.machine import cgroups
from zoo._support.text import join_lines
from zoo.errors import ZooError

__all__ = ["describe_want", "free_memory", "keep_memory", "lacks_memory", "lies_in_memory", "return_memory"]

_MEMINFO = Path("/proc/meminfo")
_STATM = Path("/proc/self/statm")
_MOUNTS = Path("/proc/self/mounts")
_OF_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_SAYS_SO = re.compile(
    r"bad.?alloc|(cannot|can't|failed to|unable to) allocate|out of memory|not enough memory|failed to map segment",
    re.IGNORECASE,
)
_PLENTY = 4 << 30
"""Free bytes below which what was freed goes back to the system, as ever."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Numbers of glibc's malloc.h."""
_PLACE_IN_TORCH = re.compile(r"^\[enforce fail at [^\]]*\]\s*\S+ == \S+\s*")


def free_memory() -> float:
    """Bytes that this process may still take without a swap and within its limits (ulimit, its container).

    Infinite where the system does not say.
    """
    of_machine = _number(_MEMINFO, r"^MemAvailable:\s+(\d+) kB", 1024)
    return min(of_machine, _room_of_process(), *map(_room_of_group, cgroups()))


@contextlib.contextmanager
def keep_memory() -> Iterator[None]:
    """Keep what is freed inside the block for what is taken next: glibc alone, and where there is plenty of memory.

    A training takes and frees the same large arrays at every step. glibc maps each of 32 MB and more anew, and the
    system clears it page by page. After the block arrays are mapped again, from the size on that glibc ends up with.
    """
    if free_memory() < _PLENTY or not _set_malloc({_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}):
        yield
        return
    try:
        yield
    finally:
        _set_malloc({_MMAP_MAX: 1 << 16, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20})
        return_memory()


def return_memory() -> None:
    """Hand back to the system what was freed; after a model was opened glibc would keep twice its size."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _set_malloc(settings: dict[int, int]) -> bool:
    """Whether the system's malloc is glibc's, and took all of them."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all(mallopt(name, value) == 1 for name, value in settings.items())
    return False


def _room_of_process() -> float:
    if sys.platform == "win32":
        return math.inf
    import resource

    try:
        pages = [int(count) for count in _STATM.read_text(encoding="ascii").split()]
        taken = {resource.RLIMIT_AS: pages[0], resource.RLIMIT_DATA: pages[5]}
    except (OSError, ValueError, IndexError):
        return math.inf
    limits = ((resource.getrlimit(kind)[0], used * resource.getpagesize()) for kind, used in taken.items())
    return min((max(0, most - used) for most, used in limits if most != resource.RLIM_INFINITY), default=math.inf)


def _room_of_group(folder: Path) -> float:
    """Of a cgroup v2; what it keeps of files can be dropped."""
    most = _number(folder / "memory.max", r"^(\d+)$")
    if most == math.inf:
        return most
    dropped = _number(folder / "memory.stat", r"^inactive_file (\d+)$")
    return max(0.0, most - _number(folder / "memory.current", r"^(\d+)$") + (0 if dropped == math.inf else dropped))


def _number(file: Path, line: str, unit: float = 1) -> float:
    """What a file of the system says in a line, infinite where it does not."""
    try:
        found = re.search(line, file.read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return math.inf
    return unit * int(found[1]) if found else math.inf


def lies_in_memory(folder: Path) -> bool:
    """Whether a file in `folder` takes memory and not disk, as in a tmpfs; no where the system does not say."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        real = folder.resolve()
    except OSError:
        return False
    kinds = {}  # of what is mounted twice at one place, the last one counts
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        kinds[Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place))] = kind
    return next((kinds[one] for one in (real, *real.parents) if one in kinds), "") in _OF_MEMORY


def lacks_memory(problem: BaseException) -> bool:
    """Whether `problem` says that memory ran out; Python, the system, torch and ONNX Runtime share no type for it."""
    if isinstance(problem, ZooError):
        return False
    if isinstance(problem, OSError):
        return problem.errno == errno.ENOMEM
    return isinstance(problem, MemoryError) or bool(_SAYS_SO.search(str(problem)))


def describe_want(problem: BaseException) -> str:
    """What such an error says of what was asked for, on one line of at most 200 characters; "" where it does not."""
    text = _PLACE_IN_TORCH.sub("", join_lines(problem))
    return text if len(text) <= 200 else f"{text[:197]}..."
