"""Where the time of one answer goes, operator by operator, as ONNX Runtime's profiler tells it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo.edge._session import PROVIDERS, open_session
from zoo.edge.bundle import open_model
from zoo.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Operator", "operators"]

_RUNS = 20  # a million events, ONNX Runtime's most, are 20 runs of a graph of 50 000 nodes
_WARM_UP = 3
_KERNEL = "_kernel_time"


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """All nodes of one operator that one provider runs, in one answer."""

    operator: str
    provider: str
    calls: float
    """Nodes run in an answer."""
    ms: float
    """Mean time of an answer spent in them; profiling itself slows small nodes."""
    share: float
    """Share of the time in all operators, in [0, 1]."""


def operators(
    path: Path, feed: Mapping[str, NDArray[Any]], *, provider: str, threads: int | None, allow_fallback: bool
) -> tuple[Operator, ...]:
    """Profile some answers; the slowest operator comes first.

    Names are those of the optimised graph: ONNX Runtime fuses nodes and may hand whole parts to an accelerator.

    Args:
        path: a .onnx file or a bundle.
        feed: the batch, as the graph takes it; see `Runtime.feed`.
        provider: what to run on.
        threads: threads inside one operator.
        allow_fallback: let the CPU run nodes that the provider does not take; see `Runtime.open`.

    Raises:
        ModelError: `Runtime.open` refuses the model, or the profile cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-profile-") as folder:
        contents = open_model(path)
        session = open_session(
            contents.model,
            str(path),
            provider=provider,
            threads=threads,
            nodes=contents.nodes,
            allow_fallback=allow_fallback,
            profile=Path(folder) / "profile",
        )
        for _ in range(_WARM_UP + _RUNS):
            session.run(["probabilities"], dict(feed))
        written = Path(session.end_profiling())
        try:
            events = json.loads(written.read_bytes())
            return _sum_up(events)
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise ModelError(
                f"{path}: onnxruntime's profile cannot be read ({type(problem).__name__})", code="profile-unreadable"
            ) from None


def _sum_up(events: list[dict[str, Any]]) -> tuple[Operator, ...]:
    runs = sorted(event["ts"] for event in events if event["name"] == "model_run")
    warm = runs[_WARM_UP]
    short = {entry.execution_provider: name for name, entry in PROVIDERS.items()}
    found: dict[tuple[str, str], list[int]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL) and event["ts"] >= warm:
            what = event["args"]
            found.setdefault((what["op_name"], what["provider"]), []).append(event["dur"])
    total = sum(sum(durations) for durations in found.values()) or 1
    rows = [
        Operator(
            operator=operator,
            provider=short.get(provider, provider),
            calls=len(durations) / _RUNS,
            ms=sum(durations) / _RUNS / 1e3,  # microseconds
            share=sum(durations) / total,
        )
        for (operator, provider), durations in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.ms))
