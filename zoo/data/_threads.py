"""Run a function over many images with threads: decoding and hashing leave Python's lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from zoo._support.machine import cores

__all__ = ["Progress", "over_chunks"]

Progress = Callable[[int, int], None]
"""Called with (images done, images in all), from the calling thread."""

CHUNK = 32  # images a task: small enough for a smooth progress bar, large enough that tasks cost nothing


def over_chunks(
    work: Callable[[range], None],
    n: int,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    chunk: int = CHUNK,
) -> None:
    """Call `work` on ranges of `chunk` that together cover 0..n, in no fixed order, at most `workers` at a time.

    The first exception stops the rest and is raised.
    """
    workers = min(workers or cores(), max(1, n // chunk))
    chunks = (range(start, min(start + chunk, n)) for start in range(0, n, chunk))
    done = 0
    if workers == 1:
        for only in chunks:
            work(only)
            done += len(only)
            if progress is not None:
                progress(done, n)
        return
    running: dict[Future[None], int] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                # few tasks wait at any time, so a million images do not become a million futures
                while len(running) < 2 * workers and (part := next(chunks, None)) is not None:
                    running[pool.submit(work, part)] = len(part)
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done += running.pop(future)
                    future.result()
                if progress is not None:
                    progress(done, n)
        finally:
            pool.shutdown(cancel_futures=True)
