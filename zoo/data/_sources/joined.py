"""Several labels in one cell: what divides them, found out for a whole column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zoo._support.text import brief, natural_key
from zoo.data._sources.values import is_none
from zoo.spec import LABEL_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["divide_labels"]

_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
"""One text of a list, as Python and JSON write it."""
_COLLECTION = re.compile(rf"\(\s*\)|[({{]\s*(?:(?:{_QUOTED.pattern})\s*,?\s*)+[)}}]|set\(\)")
"""A tuple or a set of texts, as Python writes it."""
_WORDS = re.compile(r"\s*[+&/\\^~]\s*|\s+(?:and|und|et|with)\s+", re.IGNORECASE)
"""What may divide labels as well, and may be a part of a name; it does not divide."""


def divide_labels(cells: Sequence[str]) -> tuple[list[set[str]], tuple[str, ...]]:
    """The labels that each cell names.

    A bar always divides, and so does a list in brackets. A semicolon or a comma divides where a part of a cell is also
    a part of another cell, or all of it. A blank divides where every part of every such cell is all of another cell.

    Args:
        cells: the different cells of the column.

    Returns:
        For each cell its labels, none where it says 'No Finding'; and notes on what was found out.
    """
    lists = [_read_list(cell) for cell in cells]
    plain = [cell for cell, one in zip(cells, lists, strict=True) if one is None and not is_none(cell)]
    divider = _find_divider(plain)
    found: list[set[str]] = []
    for cell, one in zip(cells, lists, strict=True):
        parts = _divide(cell, divider) if one is None and not is_none(cell) else one or []
        found.append({part for part in parts if part and not is_none(part)})
    notes = []
    if any(one is not None for one in lists):
        notes.append("cells in brackets were taken for lists of labels")
    if divider is not None and divider != LABEL_SEPARATOR:
        example = min((cell for cell in plain if divider in cell), key=natural_key)
        word = {" ": "blanks"}.get(divider, f"{divider!r}")
        notes.append(f"labels in one cell are divided by {word}: {example!r} names {len(_divide(example, divider))}")
    labels: set[str] = set().union(*found)
    if made := sorted((one for one in labels if _is_made_of(one, labels)), key=natural_key):
        own = "a label of its own" if len(made) == 1 else "labels of their own"
        notes.append(f"{brief(made)} counted as {own}, though other cells name the parts; '|' divides labels")
    if len(labels) > 1 and all(len(one) == 1 for one in found):
        notes.append("each row has exactly one label; --columns label=COLUMN takes them for classes")
    return found, tuple(notes)


def _find_divider(cells: Iterable[str]) -> str | None:
    there = set(cells)
    if any(LABEL_SEPARATOR in cell for cell in there):
        return LABEL_SEPARATOR
    for divider in ";,":
        parts = [_divide(cell, divider) for cell in there]
        several = [one for one in parts if len(one) > 1]
        times: dict[str, int] = {}
        for one in parts:
            for part in set(one):
                times[part] = times.get(part, 0) + 1
        if several and any(times[part] > 1 for one in several for part in one):
            return divider
    spaced = [cell.split() for cell in there if len(cell.split()) > 1]
    return " " if spaced and all(part in there for one in spaced for part in one) else None


def _is_made_of(label: str, labels: set[str]) -> bool:
    parts = _WORDS.split(label)
    return len(parts) > 1 and all(part in labels for part in parts)


def _divide(cell: str, divider: str | None) -> list[str]:
    if divider is None:
        return [cell.strip()]
    parts = cell.split() if divider == " " else cell.split(divider)
    return [part for part in (one.strip() for one in parts) if part]


def _read_list(cell: str) -> list[str] | None:
    """The texts of "['normal', 'COPD signs']", "{'normal'}" or '[normal, scoliosis]'; None: it is not a list."""
    text = cell.strip()
    if _COLLECTION.fullmatch(text):
        return [(a or b).strip() for a, b in _QUOTED.findall(text)]
    if not (text.startswith("[") and text.endswith("]")):
        return None
    quoted = [(a or b).strip() for a, b in _QUOTED.findall(text)]
    return quoted or [one for one in (part.strip(" '\"") for part in text[1:-1].split(",")) if one]
