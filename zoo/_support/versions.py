"""Versions of what is installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

__all__ = ["TOOL", "find_version", "is_older", "tool_version"]

TOOL = "edgezoo"
"""Our own distribution."""


def find_version(distribution: str) -> str | None:
    """Version of an installed distribution; None: it is not installed, such as a source tree."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def tool_version() -> str:
    """This tool's; "0" in a source tree that is not installed."""
    return find_version(TOOL) or "0"


def is_older(one: str, other: str) -> bool:
    """Whether a version's release is before another's: 1.9.2 before 1.18.0; 1.18 and 1.18.0+cu12 are one release."""
    first, second = (_release(text) for text in (one, other))
    return first < second


def _release(text: str) -> tuple[int, ...]:
    """The leading numbers, without the zeros that end them."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    numbers = [int(part) for part in found.group().split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
