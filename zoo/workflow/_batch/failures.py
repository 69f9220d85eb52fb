"""A part that failed: light, because `zoo.workflow.batch` names it in its result."""

from __future__ import annotations

import msgspec

from zoo.errors import DataError

__all__ = ["TRIES", "PartFailure", "lose"]

TRIES = 3
"""Times that a part is begun in one call."""


class PartFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A part that could not be answered in three tries, and why."""

    part: int
    code: str
    message: str


def lose(part: int) -> DataError:
    """The error of a part whose process ended in each try."""
    return DataError(
        f"part {part}: its process ended {TRIES} times, or its file is not where all nodes see it; look for memory in "
        "Ray's logs and give a place that nodes share, then continue with --resume",
        code="part-lost",
        part=part,
    )
