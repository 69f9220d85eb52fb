"""Versions of what is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["TOOL", "find_version", "tool_version"]

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
