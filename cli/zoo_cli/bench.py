"""`zoo bench`: what one answer costs on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo import api
from zoo.spec import to_builtins
from zoo_cli.options import Json, Provider, Threads
from zoo_cli.output import columns, document, megabytes, put, shown_path

__all__ = ["bench"]


def bench(
    models: Annotated[list[str], typer.Argument(metavar="MODEL…", help=".onnx files, bundles, or runs, side by side.")],
    *,
    provider: Provider = "cpu",
    threads: Threads = None,
    runs: Annotated[int, typer.Option("--runs", metavar="N", min=1, help="Timed answers.")] = 100,
    as_json: Json = False,
) -> None:
    """Measure latency, memory, cold start, size."""
    found = [(model, api.bench(model, provider=provider, threads=threads, runs=runs)) for model in models]
    if as_json:
        rows = [{"path": model, **to_builtins(bench)} for model, bench in found]
        document(rows[0] if len(rows) == 1 else rows)
        return
    table = [
        (
            shown_path(model),
            f"{bench.p50_ms:.2f}",
            f"{bench.p95_ms:.2f}",
            f"{bench.p99_ms:.2f}",
            f"{bench.images_per_second:.0f}",
            f"{bench.cold_start_ms:.0f}",
            "-" if bench.peak_rss_mb is None else f"{bench.peak_rss_mb:.0f} MB",
            megabytes(bench.size_bytes),
        )
        for model, bench in found
    ]
    header = ("model", "p50 ms", "p95 ms", "p99 ms", "images/s", "cold ms", "memory", "size")
    put(columns(header, table, right=range(1, 8)))
    first = found[0][1]
    put(f"\none image at a time, {first.runs} timed, {first.provider}, {first.threads} threads")
