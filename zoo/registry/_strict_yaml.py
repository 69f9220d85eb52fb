"""YAML that is only data: text keys, none twice, no aliases, no tags, finite numbers, not deep.

A plain word means one thing or is refused. YAML 1.1 reads 010 as 8, 1:30 as 90 and no as false, YAML 1.2 does not, and
few people know either; 1e-3 is a number here, as everyone means it. Quotes make a word of anything.

Importing PyYAML is felt in `zoo list`, so this is imported only where something has to be parsed.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from zoo._support.text import join_lines
from zoo.errors import CatalogueError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["UnclearError", "load", "read"]

MAX_DEPTH = 16
"""A card nests four deep."""

_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MEANT = {
    word: value
    for value, words in {None: ("", "~", "null"), True: ("true",), False: ("false",)}.items()
    for plain in words
    for word in (plain, plain.capitalize(), plain.upper())
}
_TWO_MEANINGS = {
    word: truth
    for plain, truth in {"yes": "true", "no": "false", "on": "true", "off": "false"}.items()
    for word in (plain, plain.capitalize(), plain.upper())
}
_DIGITS = frozenset("0123456789.eE+-")
_UNCLEAR = (
    (r"[-+]?0[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?", "begins with 0, which some read to the base 8"),
    (r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?", "is a number to the base 60 for some, text for others"),
    (r"[-+]?0[xXoObB][0-9a-fA-F_]+", "is a number for some, text for others"),
    (r"[-+]?[0-9]+_[0-9_]*(\.[0-9_]*)?", "is a number for some, text for others"),
)
"""Compiled where one is met, not before."""


class UnclearError(ValueError):
    """Text that is not one clear value; the reason alone, which the caller puts in the words of its own error.

    Attributes:
        line: of the text, from 1.
    """

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def load(data: bytes, what: str) -> Any:
    """The document in `data`, which is called `what` in errors.

    Raises:
        CatalogueError: not valid YAML, an alias, a tag, a repeated key, a word of two meanings, or too deep.
    """
    try:
        return read(data.decode("utf-8"))
    except UnclearError as problem:
        raise CatalogueError(
            f"{what}: {problem} (line {problem.line})", code="catalogue-yaml", catalogue=what, line=problem.line
        ) from None
    except UnicodeDecodeError as problem:
        raise CatalogueError(f"{what}: {problem}", code="catalogue-yaml", catalogue=what) from None


def read(text: str) -> Any:
    """The one value that `text` holds; None where it holds none.

    Raises:
        UnclearError: as `load`.
    """
    events = yaml.parse(text, Loader=_Fastest)
    try:
        next(events)  # of the stream
        if isinstance(next(events), yaml.StreamEndEvent):
            return None
        value = _value(next(events), events, 1)
        next(events)  # the end of the document
        if not isinstance(more := next(events), yaml.StreamEndEvent):
            _refuse(more, "expected one document, found another document")
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        reason = getattr(problem, "problem", None) or str(problem)
        raise UnclearError(join_lines(reason), 1 if mark is None else mark.line + 1) from None
    return value


def _value(event: Any, events: Iterator[Any], depth: int) -> Any:
    kind = type(event)
    if kind is yaml.AliasEvent or event.anchor is not None:
        _refuse(event, "anchors and aliases are not allowed; write the value out")
    if event.tag is not None:
        _refuse(event, f"tags such as {event.tag!r} are not allowed; write the value plainly")
    if kind is yaml.ScalarEvent:
        return _plain(event) if event.implicit[0] else event.value
    if depth > MAX_DEPTH:
        _refuse(event, f"nested more than {MAX_DEPTH} deep")
    if kind is yaml.SequenceStartEvent:
        values = []
        while type(item := next(events)) is not yaml.SequenceEndEvent:
            values.append(_value(item, events, depth + 1))
        return values
    table: dict[str, Any] = {}
    while type(item := next(events)) is not yaml.MappingEndEvent:
        key = _value(item, events, depth + 1)
        if not isinstance(key, str):
            _refuse(item, f"key {getattr(item, 'value', '')!r} is not text; put it in quotes")
        if key in table:
            _refuse(item, f"key {key!r} appears twice")
        table[key] = _value(next(events), events, depth + 1)
    return table


def _plain(event: Any) -> Any:
    """What a word without quotes means."""
    word: str = event.value
    if not word or word[0] not in "-+.0123456789":
        if word in _MEANT:
            return _MEANT[word]
        if word in _TWO_MEANINGS:
            _refuse(
                event, f"{word!r} is a truth value for some, text for others; write {_TWO_MEANINGS[word]}, or quotes"
            )
        if word == "<<":
            _refuse(event, "merge keys are not allowed; write the fields out")
        return word
    bare = word.lstrip("+-")
    if _DIGITS.issuperset(word) and not (bare[:1] == "0" and bare[1:2].isdecimal()):
        try:  # these characters leave float() and int() no more than decimal numbers, to which text is not refused
            number = int(word) if bare.isdecimal() else float(word)
        except ValueError as problem:
            if bare.isdecimal() and len(word) - len(bare) < 2:  # more digits than Python converts
                _refuse(event, str(problem))
            return word
        if not math.isfinite(number):
            _refuse(event, f"{word} is not a finite number")
        return number
    if bare.lower() in {".inf", ".nan"}:
        _refuse(event, f"{word} is not a finite number")
    for form, why in _UNCLEAR:
        if re.fullmatch(form, word):
            _refuse(event, f"{word!r} {why}; write a plain decimal number, or quotes around text")
    return word


def _refuse(place: Any, reason: str) -> NoReturn:
    raise UnclearError(reason, place.start_mark.line + 1)
