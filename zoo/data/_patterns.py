"""The patient in the name of each image: found by a user's expression, or an expression that seems to find it."""

from __future__ import annotations

import re
import signal
import threading
from typing import TYPE_CHECKING

from zoo._support.text import brief, format_count
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zoo.data._index import Pool

__all__ = ["PATIENCE", "capture", "suggest_group"]

PATIENCE = 2.0
"""Seconds that an expression may search in one id, which takes a microsecond unless it tries again and again."""


_WORDS = ("patient", "subject", "participant", "subj", "pat", "sub", "case", "pid", "pt")
_SURE = (
    r"_([0-9a-f]{16})_",  # INbreast: 20586908_6c613a14b80a85a3_MG_R_CC_ANON
    r"(TCGA-[0-9A-Z]{2}-[0-9A-Z]{4})",
    r"SOB_[BM]_[A-Z]+-([0-9]{2}-[0-9]+[A-Z]*)-",  # BreakHis: SOB_B_A-14-22549AB-40-001
    *(f"{one}[-_ ]?([0-9]+)" for word in _WORDS for one in (word, word.title(), word.upper())),
    r"(?:^|/)[pP]([0-9]{8})/",  # MIMIC-CXR: p10/p10000032/s50414267
    r"([^/]*[0-9][^/]*)_(?:left|right|[LR]|OD|OS|LCC|RCC|LMLO|RMLO)\b",  # EyePACS: 10_left
)
"""Where names of files say the patient."""
_LIKELY = (
    r"(?:^|[/_-])[pP]([0-9]+)[_./-]",
    r"(?:^|/)([A-Za-z]*[0-9]+)[_-][^/]*$",  # the first word of the file's name, with digits
)
"""Where they often do; a number of a class or of a part of the set may be there as well."""
_SAMPLE = 1000  # names that are looked at before all are
_PARTS = 3  # of a division


def suggest_group(pool: Pool) -> tuple[str, ...]:
    """A note with an expression that seems to find the patient in each name, or none.

    Every name must fit, and some patient must have two images. Where the expression may as well find classes or splits,
    there must be more patients than those.
    """
    ids = pool.ids
    step = max(1, len(ids) // _SAMPLE)
    sample = [ids[row] for row in range(0, len(ids), step)]
    for text in (*_SURE, *_LIKELY):
        pattern = re.compile(text)
        if not all(map(pattern.search, sample)):
            continue
        found = list(_search(pattern, ids))
        count = len(set(found))
        least = 1 if text in _SURE else max(len(pool.labels), _PARTS)
        if all(found) and least < count < len(found):
            images = format_count(len(found), "image")
            return (f"names of files seem to name {count} patients in {images}; keep them whole with --group '{text}'",)
    return ()


def capture(pool: Pool, group: str, *, every: bool) -> list[str]:
    """What the expression finds in each id; arguments and errors as `zoo.data._groups.names_of`."""
    try:
        pattern = re.compile(group)
    except (re.error, RecursionError, OverflowError) as problem:
        raise DataError(
            f"group {group!r} is not a column of {pool.name} and not a regular expression ({problem})",
            code="group-pattern",
            group=group,
        ) from None
    if pattern.groups != 1:
        raise DataError(
            f"group {group!r} is not a column of {pool.name}; as a regular expression it has {pattern.groups} groups "
            "in parentheses, expected one, such as 'patient([0-9]+)'",
            code="group-pattern",
            group=group,
            groups=pattern.groups,
        )
    found = list(_search(pattern, pool.ids))
    without = [row for row, value in enumerate(found) if not value]
    if without and (every or len(without) == len(found)):
        raise DataError(
            f"group {group!r} finds nothing in {len(without)} of {len(found)} ids "
            f"({brief((pool.ids[row] for row in without), 2)}); mend it, so that "
            f"{'every image has' if every else 'images have'} a group",
            code="group-unmatched",
            group=group,
            without=len(without),
            images=len(found),
        )
    return found


def _search(pattern: re.Pattern[str], names: Sequence[str]) -> Iterator[str]:
    """What the one group of `pattern` holds in each name, "" where nothing is found.

    An expression such as '(a+)+$' tries more ways than there are atoms; a timer looks whether the search gets on. Only
    the main thread of a POSIX process can be interrupted so.

    Raises:
        DataError: it stays at one name for `PATIENCE` seconds.
    """
    done, seen = 0, -1

    def look(*_: object) -> None:
        nonlocal seen
        if seen == done:
            raise DataError(
                f"group {pattern.pattern!r} takes more than {PATIENCE:g} seconds for {names[done]!r}; put no "
                "repetition inside a repetition, as in 'patient([0-9]+)'",
                code="group-pattern-slow",
                group=pattern.pattern,
                image=names[done],
                seconds=PATIENCE,
            )
        seen = done

    timed = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, look) if timed else None
    if timed:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE, PATIENCE)
    try:
        for name in names:
            match = pattern.search(name)
            yield (match[1] or "") if match else ""
            done += 1
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
