"""What loggers write of a run: settings and results as flat names, and which pictures may go along."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.spec import to_builtins

if TYPE_CHECKING:
    from zoo.runs import RunFolder
    from zoo.spec import EvalReport

__all__ = ["list_figures", "list_pictures", "list_settings"]

_PICTURES = ("history.png", "confusion.png", "labels.png", "reliability.png")
"""Curves and tables only: augmented.png shows the user's images, which may be of patients."""


def list_settings(run: RunFolder) -> dict[str, Any]:
    """Name to value: what decides the result. Where the images lie is not in it, nor a path of this machine."""
    record = run.record
    card = record.card
    nested: dict[str, Any] = {
        "run": record.id,
        "model": card.name,
        "data": record.data.name,
        "data_sha256": record.data.sha256,
        "images": record.data.splits,
        "classes": len(record.labels),
        "preprocess": to_builtins(card.preprocess),
        "train": {name: value for name, value in to_builtins(card.train).items() if name not in {"columns", "group"}},
        "versions": record.versions,
        "python": platform.python_version(),
    }
    return dict(_flatten(nested))


def list_figures(report: EvalReport) -> dict[str, float]:
    """Name to value: each metric of the test images, with both ends of its interval as NAME_low and NAME_high."""
    found: dict[str, float] = {}
    for name, interval in report.metrics.items():
        found[name] = interval.value
        ends = {"low": interval.low, "high": interval.high}
        found |= {f"{name}_{end}": value for end, value in ends.items() if value is not None}
    return found


def list_pictures(run: RunFolder) -> dict[str, Path]:
    """Name to file: the plots that are there."""
    return {Path(name).stem: run.file(name) for name in _PICTURES if run.file(name).is_file()}


def _flatten(nested: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in nested.items():
        flat += _flatten(value, f"{before}{name}.") if isinstance(value, dict) and value else [(before + name, value)]
    return flat
