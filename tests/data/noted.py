"""What a data set says of itself, held by its decisive words and never by the sentence."""

from __future__ import annotations

from collections.abc import Iterable


def noted(notes: Iterable[str], *words: str) -> bool:
    """Whether one of the notes holds all of these words."""
    return any(all(word in note for word in words) for note in notes)
