"""A part that failed: light, because `zoo.workflow.batch` names it in its result."""

from __future__ import annotations

import msgspec

__all__ = ["PartFailure"]


class PartFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A part that could not be answered in three tries, and why."""

    part: int
    code: str
    message: str
