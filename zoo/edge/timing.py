"""How long one image takes here, and what the process costs.

Latency is measured in this process on one image after a warm-up. Cold start and peak memory would be
flattered by what is already loaded, so a fresh child process measures them: from its
start to its first answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo.edge.runtime import Runtime
from zoo.errors import ModelError, UsageError
from zoo.machine import cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Bench", "answer_cold", "bench"]

_WARM_UP = 3
_COLD_ANSWERS = 5  # the first one is timed; memory has settled after a few
_MEGABYTE = 1e6
_CHILD_SECONDS = 300


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one provider; times in milliseconds, sizes in 10^6 bytes unless the name says bytes."""

    provider: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    peak_rss_mb: float | None
    """Largest resident memory of a fresh process that opened the model and answered; null: unknown here."""
    cold_start_ms: float
    """From the start of a process to its first answer: interpreter, imports, opening, one run."""
    size_bytes: int
    """Of the ONNX file."""
    threads: int
    runs: int
    images_per_second: float
    """At batch 1: 1000 / mean latency."""
    image_size: tuple[int, int]
    """(height, width) of the raw image."""


def bench(
    path: Path | str,
    *,
    provider: str = "cpu",
    runs: int = 50,
    threads: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Bench:
    """Measure a model on one image of noise, preprocessing included.

    Args:
        path: a .onnx file or a bundle.
        provider: what to run on.
        runs: timed runs, at least 1.
        threads: threads inside one operator; None: as many as this process has CPUs.
        image_size: (height, width) of the raw image; None: the size the network works at.

    Raises:
        ModelError: as `Runtime.open`, or the child process failed.
        ProviderError: the provider is not there.
        UsageError: `runs` or `image_size` below 1.
    """
    if runs < 1 or (image_size is not None and min(image_size) < 1):
        raise UsageError(f"runs is {runs} and image size {image_size}, expected 1 or more")
    runtime = Runtime.open(path, provider=provider, threads=threads)
    size = image_size or runtime.manifest.preprocess.size
    image = _noise(runtime, size)
    for _ in range(_WARM_UP):
        runtime.probabilities(image)
    seconds = np.empty(runs)
    for run in range(runs):
        start = time.perf_counter()
        runtime.probabilities(image)
        seconds[run] = time.perf_counter() - start
    size_bytes = runtime.size_bytes
    del runtime  # two copies of the model would not fit every device
    cold, peak = _child(Path(path), provider, threads, size)
    p50, p95, p99 = (float(value) for value in np.percentile(seconds, [50, 95, 99]) * 1e3)
    return Bench(
        provider=provider,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        peak_rss_mb=peak,
        cold_start_ms=cold,
        size_bytes=size_bytes,
        threads=threads or cores(),
        runs=runs,
        images_per_second=float(1 / seconds.mean()),
        image_size=size,
    )


def answer_cold(path: Path, provider: str, threads: int | None, size: tuple[int, int]) -> dict[str, float | None]:
    """What the child process does.

    Returns:
        answered: `time.time()` at the first answer; peak_rss_mb after a few.
    """
    runtime = Runtime.open(path, provider=provider, threads=threads)
    image = _noise(runtime, size)
    runtime.probabilities(image)
    answered = time.time()
    for _ in range(_COLD_ANSWERS - 1):
        runtime.probabilities(image)
    return {"answered": answered, "peak_rss_mb": _peak_megabytes()}


def _child(path: Path, provider: str, threads: int | None, size: tuple[int, int]) -> tuple[float, float | None]:
    command = [sys.executable, "-m", "zoo.edge", "_child", str(path.absolute()), "--provider", provider]
    command += ["--image-size", str(size[0]), str(size[1])]
    if threads is not None:
        command += ["--threads", str(threads)]
    start = time.time()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CHILD_SECONDS, check=False)
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, OSError, ValueError) as problem:
        raise ModelError(f"{path}: the cold start could not be measured: {problem}") from None
    if answer is None:
        said = " ".join(done.stderr.split()[-40:]) or f"exit {done.returncode}"
        raise ModelError(f"{path}: the cold start could not be measured: {said}")
    return (answer["answered"] - start) * 1e3, answer["peak_rss_mb"]


def _noise(runtime: Runtime, size: tuple[int, int]) -> NDArray[Any]:
    """(1, H, W, C) raw noise from a fixed seed, within the range the model takes."""
    random = np.random.default_rng(0)
    kind = runtime.raw_kind
    if kind == "uint8":
        return random.integers(0, 256, (1, *size, 3), dtype=np.uint8)
    return random.integers(0, 4096, (1, *size, 1)).astype(kind)  # 12 bits, as most 16-bit images hold


def _peak_megabytes() -> float | None:
    """Peak resident memory of this process alone; getrusage counts what the parent held when it forked."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        kibibytes = next(line for line in lines if line.startswith("VmHWM:")).split()[1]
        return int(kibibytes) * 1024 / _MEGABYTE
    except (OSError, StopIteration, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / _MEGABYTE
