"""What a model may cost on a device, as a gate: `latency_ms=10,size_mb=20`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zoo.edge._bench import Bench

__all__ = ["KEYS", "Miss", "misses", "parse"]

KEYS = ("latency_ms", "p95_ms", "p99_ms", "cold_start_ms", "memory_mb", "size_mb", "images_per_second")
"""What a budget can name. All are limits from above, but images_per_second, which is one from below.

latency_ms is the median, by the upper end of its interval: a model that passes is within the budget, not perhaps.
"""


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a budget that a model does not keep."""

    key: str
    found: float | None
    """None: it cannot be measured on this system."""
    allowed: float

    def __str__(self) -> str:
        found = "not known on this system" if self.found is None else f"{self.found:.4g}"
        return f"{self.key} {found}, allowed {'at least' if self.key == _FLOOR else 'at most'} {self.allowed:g}"


_FLOOR = "images_per_second"
_FOUND: Mapping[str, Callable[[Bench], float | None]] = {
    "latency_ms": lambda bench: bench.p50_high_ms,
    "p95_ms": lambda bench: bench.p95_ms,
    "p99_ms": lambda bench: bench.p99_ms,
    "cold_start_ms": lambda bench: bench.cold_start_ms,
    "memory_mb": lambda bench: bench.peak_rss_mb,
    "size_mb": lambda bench: bench.size_bytes / 1e6,
    "images_per_second": lambda bench: bench.images_per_second,
}


def parse(text: str) -> dict[str, float]:
    """'latency_ms=10,size_mb=20' as numbers by key.

    Raises:
        UsageError: an unknown or repeated key, or a value that is not a positive number.
    """
    allowed: dict[str, float] = {}
    for entry in text.split(","):
        key, _, value = (part.strip() for part in entry.partition("="))
        if key not in KEYS:
            raise UsageError(
                f"budget names {key!r}, expected some of {', '.join(KEYS)}, as in latency_ms=10,size_mb=20",
                code="budget-key",
                key=key,
            )
        if key in allowed:
            raise UsageError(f"budget names {key} twice, expected it once", code="budget-key", key=key)
        try:
            allowed[key] = float(value)
        except ValueError:
            allowed[key] = math.nan
        if not 0 < allowed[key] < math.inf:
            raise UsageError(
                f"budget gives {key} as {value!r}, expected a positive number",
                code="budget-value",
                key=key,
                value=value,
            )
    return allowed


def misses(bench: Bench, allowed: Mapping[str, float]) -> tuple[Miss, ...]:
    """Every line of the budget that the model does not keep, in the budget's order."""
    wrong = []
    for key, limit in allowed.items():
        found = _FOUND[key](bench)
        if found is None or (found < limit if key == _FLOOR else found > limit):
            wrong.append(Miss(key=key, found=found, allowed=limit))
    return tuple(wrong)
