"""Cells of a column → named groups of images. Numbers are cut by decades or quarters of their own, never by labels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import natural_key
from zoo.tabular import category_key, is_missing, read_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.evaluation._scores import Array

__all__ = ["MISSING", "codes_of_cells", "cut_cells", "cut_numbers", "names_images", "numbers_of"]

MISSING = "missing"
OTHER = "other values"
_MOST_GROUPS = 20
"""Values of a column with a group of their own; the most frequent ones."""
_FEW_NUMBERS = 10
"""Different numbers up to which each is a group, such as a grade or a number of the site."""
_OLDEST = 120  # years


def cut_cells(name: str, cells: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """The groups of a column, each (n,) bool, in natural order, those without a value last.

    Numbers of more than ten different values are cut: a column called age by decades, others at their quartiles.
    Letter case and blanks of texts make no difference, and the twenty most frequent are groups.
    """
    gone = {cell for cell in set(cells) if _is_gone(cell)}
    missing = np.array([cell in gone for cell in cells], np.bool_)
    numbers = numbers_of(cells)
    if numbers is not None and len(np.unique(numbers[~missing])) > _FEW_NUMBERS:
        found = cut_decades(numbers) if _is_age(name, numbers) else cut_numbers(numbers)
    else:
        known = _keys_of(cells)
        keys = [known[cell] for cell in cells]
        counts = Counter(key for key in keys if key is not None)
        spelled = dict(zip(reversed(keys), reversed([" ".join(str(cell).split()) for cell in cells]), strict=True))
        kept = {key for key, _ in counts.most_common(_MOST_GROUPS)}
        names = np.array([spelled[key] if key in kept else OTHER if key else "" for key in keys])
        order = sorted({spelled[key] for key in kept}, key=natural_key)
        found = {text: names == text for text in [*order, *([OTHER] if len(counts) > len(kept) else [])]}
    return found | ({MISSING: missing} if missing.any() else {})


def names_images(cells: Sequence[str]) -> bool:
    """Whether a column has nearly as many different texts as images: it names them and divides nothing."""
    return numbers_of(cells) is None and 2 * len(set(_keys_of(cells).values())) > len(cells)


def numbers_of(cells: Sequence[str]) -> Array | None:
    """(n,) float64, nan where a cell is missing; None: a cell holds something else than a number."""
    known = {cell: np.nan if _is_gone(cell) else read_number(cell) for cell in set(cells)}
    if None in known.values():
        return None
    numbers = np.array([known[cell] for cell in cells], np.float64)
    return None if np.isnan(numbers).all() else numbers


def codes_of_cells(cells: Sequence[str]) -> NDArray[np.int64]:
    """(n,) a number for each value, those without one alike."""
    known = _keys_of(cells)
    keys = [known[cell] or "" for cell in cells]
    return np.asarray(np.unique(keys, return_inverse=True)[1], np.int64)


def cut_decades(years: Array) -> dict[str, NDArray[np.bool_]]:
    """'40 to 49' and so on, as far as any age lies in it."""
    decade = np.floor(years / 10)
    present = np.unique(decade[~np.isnan(decade)]).astype(int).tolist()
    return {f"{10 * one} to {10 * one + 9}": decade == one for one in present}


def cut_numbers(numbers: Array) -> dict[str, NDArray[np.bool_]]:
    """Quarters of the images by a number, ties together; nan is in none."""
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known, (0.25, 0.5, 0.75)))
    part = np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers, "right"))
    masks = [part == one for one in np.unique(part[part >= 0]).tolist()]
    ends = [(numbers[one].min(), numbers[one].max()) for one in masks]
    for digits in (4, 8, 17):  # dates such as 20240131 differ late
        names = [f"{low:.{digits}g} to {high:.{digits}g}" for low, high in ends]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, masks, strict=True))


def _keys_of(cells: Sequence[str]) -> dict[str, str | None]:
    """What each different cell has in common with other spellings of it; None: it is missing."""
    return {cell: None if _is_gone(cell) else category_key(cell) for cell in set(cells)}


def _is_gone(cell: str) -> bool:
    """Whether a cell holds nothing, or says so in the word that this group has."""
    return is_missing(cell) or category_key(cell) == MISSING


def _is_age(name: str, numbers: Array) -> bool:
    known = numbers[~np.isnan(numbers)]
    return "age" in name.casefold().replace("_", " ").split() and known.min() >= 0 and known.max() <= _OLDEST
