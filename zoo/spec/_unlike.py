"""What is said of images unlike those of training: part of a report."""

from __future__ import annotations

from zoo.spec._value import Interval, Value

__all__ = ["NoveltyReport", "UnlikeSet"]


class UnlikeSet(Value, frozen=True):
    """Images that are not of the kind that the model was trained on, as who named them says."""

    name: str
    n: int
    auroc: Interval | None
    """Probability that one of them has a higher score than one of the judged images; null: undefined."""
    flagged: Interval | None
    """Share of them that is unlike training by the file's threshold."""


class NoveltyReport(Value, frozen=True):
    """How often the file calls images unlike training, and whether it does so rightly."""

    threshold: float
    share: float
    """Share of images like those of training that was to lie above it."""
    n: int
    flagged: Interval | None
    """Share of the judged images that lies above it."""
    unlike: tuple[UnlikeSet, ...] = ()
    """Sets of other images; empty: none was named."""
