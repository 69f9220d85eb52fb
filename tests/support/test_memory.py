"""Memory: what says that it ran out, and which folders are made of it."""

from __future__ import annotations

import errno
import math
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from zoo._support import memory
from zoo._support.memory import describe_want, free_memory, lacks_memory, lies_in_memory
from zoo.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

OF_TORCH = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 4 bytes"


@pytest.mark.parametrize(
    ("problem", "is_one"),
    [
        (MemoryError(), True),
        (RuntimeError(OF_TORCH), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OutputError("out of memory is said of something else"), False),
    ],
)
def test_want_of_memory_is_told_from_other_errors(problem: Exception, is_one: bool) -> None:
    """It was called a defect, and the user was told to report it."""
    assert lacks_memory(problem) is is_one


def test_the_place_in_the_source_of_torch_is_not_for_the_reader() -> None:
    assert describe_want(RuntimeError(OF_TORCH)).startswith("DefaultCPUAllocator")
    assert len(describe_want(RuntimeError("x" * 999))) == 200


def test_a_folder_of_memory_is_known_by_what_is_mounted_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    inside, spaced = tmp_path / "ram" / "deep", tmp_path / "a disk"
    inside.mkdir(parents=True)
    spaced.mkdir()
    named = str(spaced).replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path}/ram tmpfs rw 0 0\ntmpfs {named} tmpfs rw 0 0\n")
    monkeypatch.setattr(memory, "_MOUNTS", mounts)
    assert lies_in_memory(inside)
    assert lies_in_memory(spaced)
    assert not lies_in_memory(tmp_path)
    with mounts.open("a") as stream:
        stream.write(f"/dev/vdb {tmp_path}/ram ext4 rw 0 0\n")  # mounted over it
    assert not lies_in_memory(inside)
    monkeypatch.setattr(memory, "_MOUNTS", tmp_path / "absent")
    assert not lies_in_memory(inside)


def test_free_memory_ends_at_the_limits_of_the_process_and_of_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of 2 GB on a machine of 64 was told that 32 GB of images fit."""
    resource = pytest.importorskip("resource", reason="limits as POSIX has them")
    page, hard = resource.getpagesize(), resource.getrlimit(resource.RLIMIT_AS)[1]
    statm = tmp_path / "statm"
    statm.write_text("100 9 9 9 0 40 0\n")
    monkeypatch.setattr(memory, "_STATM", statm)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "absent")
    monkeypatch.setattr(memory, "cgroups", lambda: [tmp_path])
    limits = {resource.RLIMIT_AS: (resource.RLIM_INFINITY, hard), resource.RLIMIT_DATA: (resource.RLIM_INFINITY, hard)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    assert free_memory() == math.inf
    limits[resource.RLIMIT_AS] = (1000 * page, hard)
    assert free_memory() == 900 * page
    limits[resource.RLIMIT_DATA] = (41 * page, hard)
    assert free_memory() == page
    limits[resource.RLIMIT_DATA] = (40 * page - 1, hard)
    assert free_memory() == 0
    limits.update(dict.fromkeys(limits, (resource.RLIM_INFINITY, hard)))
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() == math.inf
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300\n")
    assert free_memory() == 1300


def test_free_memory_is_what_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "cgroups", list)
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 9 kB\nMemAvailable:    2 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", told)
    assert free_memory() == 2048
    told.unlink()
    assert free_memory() == math.inf


FAULTS = """
import ctypes, math, resource, sys
from zoo._support import memory
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
def count():
    for turn in range(4):
        if turn == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        place = library.malloc(64 << 20)
        ctypes.memset(place, 1, 64 << 20)
        library.free(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
memory.free_memory = lambda: math.inf
with memory.keep_memory():
    print(count())
print(count())
memory.free_memory = lambda: 1 << 30
with memory.keep_memory():
    print(count())
"""
"""Pages that the system gives while 64 MB are taken, written and freed, the third time and a fourth."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc decides by itself")
def test_memory_that_was_freed_is_kept_inside_the_block_and_given_back_after_it() -> None:
    """In a process of its own: one that once ran out of memory takes large arrays from elsewhere."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, after, short = map(int, done.stdout.split())
    assert kept < 100 < after, "each array is mapped anew, page by page"
    assert short > 100, "memory is short, so nothing is kept"
