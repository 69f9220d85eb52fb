"""How long one image takes here, and what the process costs.

Latency is measured in this process after a warm-up. Cold start and peak memory would be
flattered by what is already loaded, so a fresh child process measures them: from its
start to its first answer.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.machine import cores
from zoo._support.processes import command
from zoo._support.text import format_count, megabytes
from zoo.edge._profiling import Operator
from zoo.edge._profiling import operators as profile
from zoo.edge._runtime import Runtime
from zoo.errors import ModelError, UsageError, ZooError
from zoo.preprocess import raw_channels
from zoo.spec import Display

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Bench", "answer_cold", "bench", "median_interval", "side_by_side"]

_WARM_UP = 3
_COLD_ANSWERS = 5  # the first one is timed; memory has settled after a few
_COLD_STARTS = 3
_MEGABYTE = 1e6
_CHILD_SECONDS = 300
_TASK = f"{__name__}:answer_cold"


class Bench(Display, msgspec.Struct, frozen=True, kw_only=True):
    """One model on one provider; times in milliseconds, sizes in 10^6 bytes unless the name says bytes."""

    provider: str
    p50_ms: float
    """Median time of one run of `batch_size` images."""
    p50_low_ms: float
    """95 % interval of the median, from below; see `median_interval`."""
    p50_high_ms: float
    p95_ms: float
    p99_ms: float
    peak_rss_mb: float | None
    """Largest resident memory of a fresh process that opened the model and answered; null: unknown here."""
    cold_start_ms: float
    """From the start of a process to its first answer, median of a few: interpreter, imports, opening, one run."""
    size_bytes: int
    """Size of the ONNX file."""
    threads: int
    runs: int
    batch_size: int
    images_per_second: float
    """`batch_size` / mean time of a run."""
    image_size: tuple[int, int]
    """(height, width) of the raw image."""
    nodes: dict[str, int]
    """How many nodes of the graph run on which provider; empty on the CPU alone."""
    operators: tuple[Operator, ...] | None = None
    """Where the time goes, the slowest first; null: it was not asked."""

    def headline(self) -> str:
        """The median time with its interval, and what the process costs."""
        median = f"{self.p50_ms:.2f} ms ({self.p50_low_ms:.2f} to {self.p50_high_ms:.2f})"
        how = f"{format_count(self.batch_size, 'image')} at a time, {format_count(self.threads, 'thread')}"
        costs = f"cold start {self.cold_start_ms:.0f} ms, {megabytes(self.size_bytes)}"
        return f"{self.provider}: {median} for {how}; {costs}"


def bench(path: Path | str, **how: Any) -> Bench:
    """Measure one model; arguments and errors as `side_by_side`."""
    (measured,) = side_by_side([path], **how)
    return measured


def side_by_side(
    paths: Sequence[Path | str],
    *,
    provider: str = "cpu",
    runs: int = 100,
    threads: int | None = None,
    image_size: tuple[int, int] | None = None,
    batch_size: int = 1,
    operators: bool = False,
    allow_fallback: bool = False,
) -> list[Bench]:
    """Measure models on images of noise, preprocessing included.

    Several are timed in turns, one run of each after the other: what else the machine does, and how warm it is, then
    meets all of them alike. All are in memory at that time.

    Args:
        paths: .onnx files or bundles.
        provider: what to run on.
        runs: timed runs of each, at least 1.
        threads: threads inside one operator; None: as many as this process has CPUs.
        image_size: (height, width) of the raw image; None: the size the network works at.
        batch_size: images in a run.
        operators: also say where the time goes.
        allow_fallback: let the CPU run nodes that the provider does not take; see `Runtime.open`.

    Raises:
        ModelError: `Runtime.open` refuses the model, or the child process failed.
        ProviderError: `Runtime.open` refuses the provider.
        UsageError: `runs`, `image_size` or `batch_size` below 1.
    """
    if runs < 1 or batch_size < 1 or (image_size is not None and min(image_size) < 1):
        raise UsageError(
            f"runs is {runs}, batch size {batch_size}, image size {image_size}, expected 1 or more",
            code="option-value",
            runs=runs,
            batch_size=batch_size,
            image_size=image_size,
        )
    how: dict[str, Any] = {"provider": provider, "threads": threads, "allow_fallback": allow_fallback}
    opened = [Runtime.open(path, **how) for path in paths]
    sizes = [image_size or runtime.manifest.preprocess.size for runtime in opened]
    images = [_noise(runtime, size, batch_size) for runtime, size in zip(opened, sizes, strict=True)]
    seconds = _time(opened, images, runs)
    about = [(runtime.size_bytes, runtime.nodes) for runtime in opened]
    feeds = [
        runtime.feed(image, runtime.draw_columns(batch_size)) for runtime, image in zip(opened, images, strict=True)
    ]
    del opened  # a second copy of each model would not fit every device
    found = []
    for path, size, times, (size_bytes, nodes), feed in zip(paths, sizes, seconds, about, feeds, strict=True):
        cold, peak = _cold_start(Path(path), size, batch_size, how)
        p50, p95, p99 = (float(value) for value in np.percentile(times, [50, 95, 99]) * 1e3)
        low, high = median_interval(times * 1e3)
        found.append(
            Bench(
                provider=provider,
                p50_ms=p50,
                p50_low_ms=low,
                p50_high_ms=high,
                p95_ms=p95,
                p99_ms=p99,
                peak_rss_mb=peak,
                cold_start_ms=cold,
                size_bytes=size_bytes,
                threads=threads or cores(),
                runs=runs,
                batch_size=batch_size,
                images_per_second=float(batch_size / times.mean()),
                image_size=size,
                nodes=nodes,
                operators=profile(Path(path), feed, **how) if operators else None,
            )
        )
    return found


def median_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """A 95 % interval of the median, whatever the distribution.

    From the k-th least to the k-th greatest of n values, with the largest k for which at most k - 1 of n fair coins
    are heads no oftener than 2.5 % (Conover, Practical Nonparametric Statistics, 1999, section 3.2); of five or fewer
    from the least to the greatest, which hold it less often. It takes the values as independent: where a machine is
    slow for a while, the truth is wider.
    """
    ordered = np.sort(values)
    n = len(ordered)
    tail, k = 0.0, 0
    while True:
        tail += math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
        if tail > 0.025:
            break
        k += 1
    below = max(0, k - 1)
    return float(ordered[below]), float(ordered[n - 1 - below])


def _time(opened: list[Runtime], images: list[NDArray[Any]], runs: int) -> NDArray[np.float64]:
    """(models, runs) seconds. Each round runs every model once, and begins with another one."""
    beside = [runtime.draw_columns(len(image)) for runtime, image in zip(opened, images, strict=True)]
    pairs = list(zip(range(len(opened)), opened, images, beside, strict=True))
    for _, runtime, image, columns in pairs:
        for _ in range(_WARM_UP):
            runtime.probabilities(image, columns)
    seconds = np.empty((len(opened), runs))
    for run in range(runs):
        first = run % len(pairs)
        for at, runtime, image, columns in (*pairs[first:], *pairs[:first]):
            start = time.perf_counter()
            runtime.probabilities(image, columns)
            seconds[at, run] = time.perf_counter() - start
    return seconds


def answer_cold(text: str) -> None:
    """What the child process does: an order as JSON in, one JSON document on stdout.

    It says answered, `time.time()` at the first answer, and peak_rss_mb after a few.
    A `ZooError` is one line on stderr.
    """
    order = json.loads(text)
    size, batch_size = tuple(order.pop("size")), order.pop("batch_size")
    try:
        runtime = Runtime.open(**order)
    except ZooError as problem:
        sys.exit(str(problem))
    image, columns = _noise(runtime, size, batch_size), runtime.draw_columns(batch_size)
    runtime.probabilities(image, columns)
    answered = time.time()
    for _ in range(_COLD_ANSWERS - 1):
        runtime.probabilities(image, columns)
    sys.stdout.write(json.dumps({"answered": answered, "peak_rss_mb": _peak_megabytes()}))


def _cold_start(
    path: Path, size: tuple[int, int], batch_size: int, how: Mapping[str, Any]
) -> tuple[float, float | None]:
    """Median milliseconds of a few fresh processes, and the largest memory among them."""
    children = [_child(path, size, batch_size, how) for _ in range(_COLD_STARTS)]
    peaks = [peak for _, peak in children if peak is not None]
    return statistics.median(cold for cold, _ in children), max(peaks, default=None)


def _child(path: Path, size: tuple[int, int], batch_size: int, how: Mapping[str, Any]) -> tuple[float, float | None]:
    order = json.dumps({"path": str(path), "size": size, "batch_size": batch_size, **how})
    start = time.time()
    try:
        done = subprocess.run(
            command(_TASK, order), capture_output=True, text=True, timeout=_CHILD_SECONDS, check=False
        )
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, OSError, ValueError) as problem:
        raise ModelError(f"{path}: the cold start could not be measured: {problem}", code="bench-failed") from None
    if answer is None:
        said = " ".join(done.stderr.split()[-40:]) or f"exit {done.returncode}"
        raise ModelError(f"{path}: the cold start could not be measured: {said}", code="bench-failed")
    return (answer["answered"] - start) * 1e3, answer["peak_rss_mb"]


def _noise(runtime: Runtime, size: tuple[int, int], batch_size: int) -> NDArray[Any]:
    """(N, H, W, C) raw noise from a fixed seed, within the range the model takes."""
    random = np.random.default_rng(0)
    kind = runtime.raw_kind
    shape = (batch_size, *size, raw_channels(runtime.manifest.preprocess, kind))
    if kind == "uint8":
        return random.integers(0, 256, shape, dtype=np.uint8)
    most = min(4095.0, *(spec.largest for spec in runtime.manifest.views))  # 12 bits, as most 16-bit images hold
    return (random.random(shape, np.float32) * np.float32(most)).astype(kind)


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
