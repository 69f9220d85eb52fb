"""`zoo bench`: what one answer costs on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.errors import GateError
from zoo.spec import to_builtins
from zoo_cli.options import AllowFallback, Json, Provider, Threads
from zoo_cli.output import columns, counted, document, megabytes, put, say, shown_path

if TYPE_CHECKING:
    from zoo.edge import Bench
    from zoo.edge.profiling import Operator

__all__ = ["bench"]

SMALL = 0.01
"""Share of the time below which operators are shown together."""


def bench(
    models: Annotated[list[str], typer.Argument(metavar="MODEL…", help=".onnx files, bundles, or runs, side by side.")],
    *,
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    threads: Threads = None,
    runs: Annotated[int, typer.Option("--runs", metavar="N", min=1, help="Timed answers of each.")] = 100,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Images in one answer.")] = 1,
    operators: Annotated[bool, typer.Option("--operators", help="Also show where the time goes.")] = False,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="K=V,…", help="Exit 3 unless kept: latency_ms=10,size_mb=20.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure latency, memory, cold start, size.

    A budget names latency_ms (median), p95_ms, p99_ms, cold_start_ms, memory_mb, size_mb, images_per_second.
    """
    from zoo.edge import side_by_side
    from zoo.edge.budget import misses, parse
    from zoo.locate import model_file

    allowed = parse(budget) if budget is not None else {}
    found = side_by_side(
        [model_file(Path(model)) for model in models],
        provider=provider,
        threads=threads,
        runs=runs,
        batch_size=batch_size,
        operators=operators,
        allow_fallback=allow_fallback,
    )
    over = [misses(one, allowed) for one in found]
    if as_json:
        rows = [
            {"path": model, **to_builtins(one), **({"over_budget": to_builtins(wrong)} if allowed else {})}
            for model, one, wrong in zip(models, found, over, strict=True)
        ]
        document(rows[0] if len(rows) == 1 else rows)
    else:
        put(_table(models, found))
        for model, one in zip(models, found, strict=True):
            if one.operators is not None:
                put(_where(model, one))
    for model, wrong in zip(models, over, strict=True):
        if wrong:
            say(f"{shown_path(model)} is over its budget: {'; '.join(map(str, wrong))}")
    if any(over):
        raise typer.Exit(GateError.exit_code)


def _table(models: Sequence[str], found: Sequence[Bench]) -> str:
    rows = [
        (
            shown_path(model),
            f"{one.p50_ms:.2f} ({one.p50_low_ms:.2f} to {one.p50_high_ms:.2f})",
            f"{one.p95_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.images_per_second:.0f}",
            f"{one.cold_start_ms:.0f}",
            "-" if one.peak_rss_mb is None else f"{one.peak_rss_mb:.0f} MB",
            megabytes(one.size_bytes),
        )
        for model, one in zip(models, found, strict=True)
    ]
    header = ("model", "p50 ms (95 % interval)", "p95 ms", "p99 ms", "images/s", "cold ms", "memory", "size")
    first = found[0]
    how = "one image at a time" if first.batch_size == 1 else f"{counted(first.batch_size, 'image')} at a time"
    turns = ", in turns" if len(found) > 1 else ""
    return (
        f"{columns(header, rows, right=range(1, 8))}\n\n"
        f"{how}, {first.runs} timed{turns}, {first.provider}, {counted(first.threads, 'thread')}"
    )


def _where(model: str, one: Bench) -> str:
    parts = one.operators or ()
    large = [part for part in parts if part.share >= SMALL]
    rows = [(part.operator, part.provider, *_numbers([part])) for part in large]
    if len(large) < len(parts):
        rows.append((f"{len(parts) - len(large)} others", "", *_numbers(parts[len(large) :])))
    header = ("operator", "provider", "calls", "ms", "share")
    return f"\n{shown_path(model)}, by operator:\n{columns(header, rows, right=range(2, 5))}"


def _numbers(parts: Sequence[Operator]) -> tuple[str, str, str]:
    calls, ms, share = (sum(getattr(part, name) for part in parts) for name in ("calls", "ms", "share"))
    return f"{calls:.0f}", f"{ms:.3f}", f"{share:.1%}"
