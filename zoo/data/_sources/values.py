"""What a cell or a folder's name means: missing, the same class, perhaps the same patient."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from zoo._support.cells import MISSING
from zoo._support.labels import WHOLE, class_key
from zoo._support.text import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "EMPTY",
    "MISSING",
    "NO",
    "UNSURE",
    "YES",
    "choose_spellings",
    "find_missing",
    "group_key",
    "is_none",
    "pair_alike",
    "read_mark",
    "strip_marks",
]

_NOBODY = frozenset({
    "unknown", "anonymous", "anonymized", "anonymised", "deidentified", "de-identified", "removed", "none given",
    "not known", "missing",
})  # fmt: skip
"""In a column of patients: nobody. As a class such a word may be meant, as in ISIC 2019."""

NO, YES, UNSURE, EMPTY = "01-_"
"""What a cell says of one label; see `read_mark`."""

_MARKS = {
    "0": NO, "0.0": NO, "0,0": NO, "false": NO, "1": YES, "1.0": YES, "1,0": YES, "true": YES,
    "-1": UNSURE, "-1.0": UNSURE, "-1,0": UNSURE,
    **dict.fromkeys(MISSING, EMPTY),
}  # fmt: skip

_DASHES = frozenset({"-", "--", "\N{EN DASH}", "\N{EM DASH}"})

_POINT = re.compile(r"(?<=\d)\.0+$")
_BETWEEN = re.compile(r"(?<!\d)[\W_]+|[\W_]+(?!\d)")  # 1.2 is not 12
_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")

_NONE = frozenset({"no finding", "no findings"})


def find_missing(texts: Iterable[str], *, groups: bool = False) -> set[str]:
    """Those of the texts of one column that mean nothing; a dash beside a plus is a value.

    Args:
        texts: the different cells of the column.
        groups: they name patients, of whom 'unknown' and 'anonymous' are none beside others.
    """
    given = set(texts)
    missing = {text for text in given if text.strip().lower() in MISSING}
    if groups:
        nobody = {text for text in given if text.strip().lower() in _NOBODY}
        missing |= nobody if missing | nobody != given else set()
    return missing - _DASHES if any(text.startswith("+") for text in given) else missing


def read_mark(cell: str) -> str | None:
    """What a cell of a column of zeros and ones says: NO, YES, UNSURE or EMPTY; None: it is another cell.

    Empty is "not mentioned", which counts as 0: so the published baselines of CheXpert read it (Irvin et al. 2019,
    arXiv 1901.07031), and only -1 is uncertain.
    """
    known = _MARKS.get(cell)  # nearly always: a table may have a hundred thousand such columns
    return _MARKS.get(cell.strip().lower()) if known is None else known


def is_none(label: str) -> bool:
    """Whether one of several labels says that there is none, 'No Finding' in any case."""
    return " ".join(re.split(r"[\s_-]+", label.strip().casefold())) in _NONE


def choose_spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """One spelling for each class: the most frequent one, of a whole number the shortest; in NFC, without spare blanks.

    Args:
        counts: images of each class as it is spelled.

    Returns:
        For each spelling the one that is taken.
    """
    alike: dict[str, list[str]] = {}
    for name in counts:
        alike.setdefault(class_key(name), []).append(name)
    chosen: dict[str, str] = {}
    for key, names in alike.items():
        votes: dict[str, int] = {}
        for name in names:
            tidy = " ".join(unicodedata.normalize("NFC", name).split())
            votes[tidy] = votes.get(tidy, 0) + counts[name]
        if WHOLE.fullmatch(key):
            best = min((one.partition(".")[0] for one in votes), key=lambda one: (len(one), natural_key(one)))
        else:
            best = min(votes, key=lambda one: (-votes[one], natural_key(one.swapcase())))  # small letters first
        chosen |= dict.fromkeys(names, best)
    return chosen


def strip_marks(text: str) -> str:
    """A text without blanks and marks, but for those between two digits."""
    return _BETWEEN.sub("", text)


def group_key(name: str) -> str:
    """What two spellings of perhaps one patient have in common: also leading zeros, and marks that part no digits."""
    text = unicodedata.normalize("NFKC", name).casefold().strip()
    if not text.isalnum():
        text = strip_marks(_POINT.sub("", text))
    return _ZEROS.sub("", text) if "0" in text else text


def pair_alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names of groups that may mean one patient, in pairs, in natural order: '7' and '007', 'P7' and 'p7'."""
    alike: dict[str, list[str]] = {}
    for name in {name for name in names if name}:
        alike.setdefault(group_key(name) or name, []).append(name)
    several = [sorted(same, key=natural_key) for same in alike.values() if len(same) > 1]
    return [(same[0], other) for same in sorted(several, key=lambda same: natural_key(same[0])) for other in same[1:]]
