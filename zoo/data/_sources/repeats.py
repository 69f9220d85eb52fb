"""Rows of a table that say of an image what an earlier row says, as tables of boxes and of several readers have them.

Such a row is left out. Where its other columns hold something else, none of the rows speaks for the image there: a
report by reader would be one of the first reader alone. What this module does not know: what columns mean.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from zoo._support.text import brief, count_with_verb, format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Repeats"]


class Repeats:
    """The rows of one table, as they come. Hashes are kept: of a million images texts would take ten times the room."""

    def __init__(self, silent: Sequence[int]) -> None:
        """`silent`: places in a row of the cells in which rows that say the same may differ."""
        self.count = 0
        self.differing: dict[int, set[int]] = {}
        """Of a silent place, the rows that stayed, counted from 0, of which a row that was left out differs there."""
        self._first: dict[int, int] = {}  # hash of a path: the row that stayed
        self._meant = array("q")
        self._told = {place: array("q") for place in silent}

    def holds(self, path: str, said: Sequence[str]) -> bool:
        """Whether an earlier row says the same of the image at `path`; a row that says something new stays."""
        meant = hash(tuple(text for place, text in enumerate(said) if place not in self._told))
        first = self._first.get(hash(path))
        if first is None or self._meant[first] != meant:
            self._first[hash(path)] = len(self._meant)
            self._meant.append(meant)
            for place, told in self._told.items():
                told.append(hash(said[place].strip()))
            return False
        self.count += 1
        for place, told in self._told.items():
            if told[first] != hash(said[place].strip()):
                self.differing.setdefault(place, set()).add(first)
        return True

    def notes(self, names: Sequence[str]) -> list[str]:
        """What was left out, and what was emptied; `names`: of the column at each place."""
        if not self.count:
            return []
        notes = [f"{count_with_verb(self.count, 'row')} left out: they say of an image what another row says"]
        if self.differing:
            images = len(set().union(*self.differing.values()))
            where = brief(names[place] for place in sorted(self.differing))
            notes.append(
                f"rows of one image differ in {where}: there {format_count(images, 'image')} got an empty cell"
            )
        return notes
