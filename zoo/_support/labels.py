"""Names of classes: what two spellings of one have in common, and which of those that there are is meant."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from zoo._support.text import brief
from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WHOLE", "class_key", "find_label", "match_labels"]

WHOLE = re.compile(r"(-?)(\d+)(?:\.0+)?", re.ASCII)
"""A whole number, with or without the point that programs add when a column has gaps."""


def class_key(name: str) -> str:
    """What two spellings of one class have in common: Unicode form, blanks, case, and the point of a whole number.

    The case of single letters is kept: 'a' and 'A' are classes of handwriting.
    """
    text = " ".join(unicodedata.normalize("NFC", name).split())
    if number := WHOLE.fullmatch(text):
        return f"{number[1]}{number[2].lstrip('0') or '0'}"
    if sum(character.isalpha() for character in text) < 2:
        return text
    return unicodedata.normalize("NFC", text.casefold())


def match_labels(labels: Sequence[str], known: Sequence[str]) -> tuple[int | None, ...]:
    """For each label its place among those `known`, by name in whatever spelling (`class_key`); None: it has none.

    Where one side tells spellings of a name apart, so does this.
    """
    exact = {label: place for place, label in enumerate(known)}
    times = Counter(map(class_key, known)) | Counter(map(class_key, labels))
    alike = {class_key(label): place for place, label in enumerate(known) if times[class_key(label)] == 1}
    return tuple(exact.get(label, alike.get(class_key(label))) for label in labels)


def find_label(label: str, known: Sequence[str], asked: str | None = None) -> int:
    """The place among those `known` of a label that somebody named, see `match_labels`.

    Args:
        label: what was given.
        known: labels that there are.
        asked: the option and its value, for the message.

    Raises:
        UsageError: there is none of this name.
    """
    (place,) = match_labels((label,), known)
    if place is not None:
        return place
    raise UsageError(
        f"{f'{asked}: ' if asked else ''}no label {label!r}, expected one of {brief(known, 20)}",
        code="label-unknown",
        labels=[label],
        known=list(known),
    )
