"""Words on one line: how many and which, names in the order people expect, cells that no spreadsheet runs.

Words that come with a file, names of files and labels of models, may be made to look like words of ours: `printable`.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width

from zoo._urls import show_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "brief",
    "count_columns",
    "count_with_verb",
    "file_name",
    "format_count",
    "gigabytes",
    "inert",
    "is_utf8",
    "join_lines",
    "megabytes",
    "name_each",
    "name_owners",
    "name_places",
    "natural_bytes",
    "natural_key",
    "printable",
    "quote_path",
    "read_inert",
    "show_path",
    "spell_name",
    "title_of_metric",
]

_SHOWN = 5  # names on one line
_ABBREVIATIONS = frozenset({"auprc", "auroc", "f1", "nll", "npv", "ppv"})
_DIGITS = re.compile("([0-9]+)")
_ODD_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\udc80-\udcff]")
_ODD = re.compile(_ODD_CHARACTER.pattern + r"|\\x[0-9a-f]{2}")
_IN_DOUBLE_QUOTES = re.compile(r'["$`\\!]')
"""What a shell acts on between double quotes."""
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&])")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?((\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?%?)?", re.ASCII | re.IGNORECASE)
"""A sign, a number, or both: a spreadsheet shows it and runs nothing."""


def escape_markdown(text: str) -> str:
    """`text` as Markdown shows it: it divides no table and begins no tag."""
    return _MARKDOWN.sub(r"\\\1", text)


def brief(names: Iterable[str], most: int = _SHOWN) -> str:
    """The first names, quoted, and how many more there are."""
    listed = list(names)
    shown = ", ".join(repr(name) for name in listed[:most])
    return shown + (f" and {len(listed) - most} more" if len(listed) > most else "")


def name_each(noun: str, names: Iterable[str], one: str, several: str) -> str:
    """Names with their noun and verb: "class 'a' is", "classes 'a', 'b' are"; `one` and `several` are the verb."""
    listed = list(names)
    if len(listed) == 1:
        return f"{noun} {brief(listed)} {one}"
    return f"{noun}{'es' if noun.endswith('s') else 's'} {brief(listed)} {several}"


def name_owners(notes: Iterable[tuple[str, str]], everybody: int) -> list[str]:
    """Each note once, behind the models that it is about: "svm, resnet18: …"; of `everybody`: "all models: …".

    Args:
        notes: a model's name and a note.
        everybody: number of models.
    """
    owners: dict[str, list[str]] = {}
    for name, note in notes:
        owners.setdefault(note, []).append(name)
    return [f"{'all models' if len(who) == everybody else ', '.join(who)}: {note}" for note, who in owners.items()]


def name_places(places: Sequence[Path]) -> list[str]:
    """Each place by its last parts, as many as tell it from the others."""
    named = []
    for place in places:
        ends = (place.parts[-most:] for most in range(1, len(place.parts) + 1))
        free = (end for end in ends if not any(other.parts[-len(end) :] == end for other in places if other != place))
        named.append("/".join(next(free, place.parts)))
    return named


def count_columns(text: str) -> int:
    """Columns of a terminal that a text takes: two for a Chinese character, none for a mark on the letter before."""
    if text.isascii():
        return len(text)
    wide = sum(east_asian_width(sign) in "WF" for sign in text)
    return len(text) + wide - sum(category(sign) in {"Mn", "Me", "Cf"} for sign in text)


def format_count(n: int, noun: str) -> str:
    """'1 image', '1 234 images'."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}".replace(",", " ")


def megabytes(size: int) -> str:
    """Bytes as '4.3 MB' (10^6), small files as '12.0 kB'."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def gigabytes(size: int) -> str:
    """Bytes as '30.1 GB' (10^9), those below 0.1 as `megabytes`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else megabytes(size)


def count_with_verb(n: int, noun: str) -> str:
    """'1 image was', '3 images were'."""
    return f"{format_count(n, noun)} {'was' if n == 1 else 'were'}"


def file_name(name: str) -> str:
    """`name` of a model as a file may be called on any system: hf-hub:timm/resnet18 becomes hf-hub-timm-resnet18."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def show_path(path: str | Path) -> str:
    """`path` as the user would type it from here; an address, such as s3://bucket/images, as it is."""
    if "://" in str(path):
        return str(path)
    try:
        inside = Path(path).resolve().relative_to(Path.cwd().resolve())
    except (ValueError, OSError):
        return str(path)
    return str(inside)


def quote_path(path: str | Path) -> str:
    """`path` in a command that is shown: from here, quoted where a shell needs it, and never taken for an option.

    Double quotes go first, because a sentence puts single ones around a command.
    """
    shown = show_place(show_path(path))
    quoted = shlex.quote(f"./{shown}" if shown.startswith("-") else shown)
    return f'"{shown}"' if quoted == f"'{shown}'" and not _IN_DOUBLE_QUOTES.search(shown) else quoted


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key that puts '2' before '10' and ignores case; names that differ only in case keep an order."""
    parts = _DIGITS.split(name)
    key = tuple((0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p.casefold()) for p in parts if p)
    return key, name


def natural_bytes(name: str) -> bytes:
    """`natural_key` as bytes that sort the same way, followed by a null byte and `name` as the file system spells it.

    A list of a million tuples takes ten times the room of their names, and as long to sort.
    """
    key = bytearray()
    for part in _DIGITS.split(name):
        if part.isascii() and part.isdigit():
            number = part.lstrip("0").encode()
            key += b"\1%c" % min(len(number), 255) + number
        elif part:
            key += b"\2" + os.fsencode(part.casefold()) + b"\0"
    return bytes(key + b"\0" + os.fsencode(name))


def join_lines(said: object, most: int | None = None) -> str:
    """The words of somebody else, often of an error, on one line; of more than `most` characters the first."""
    return " ".join(str(said).split())[:most]


def printable(text: str, keep: str = "") -> str:
    """`text` for a terminal: control characters, which could forge lines or colours, are spelt out but for `keep`."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def is_utf8(name: str) -> bool:
    """Whether a name can be kept in a document: the system gives bytes of another encoding as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def spell_name(name: str) -> str:
    r"""A file's name as a table holds it: control characters, and bytes that are not text, as `\xNN` for each byte.

    Names with such characters, or with what looks like such a spelling, have their backslashes doubled; all others,
    with line breaks and tabs too, are as they are. So every name can be told from its spelling.
    """
    if not _ODD.search(name):
        return name
    return _ODD_CHARACTER.sub(_spell_character, name.replace("\\", "\\\\"))


def _spell_character(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape"))


def inert(text: str) -> str:
    """`text` as a cell of a table; one that a spreadsheet would run as a formula is quoted (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def read_inert(cell: str) -> str:
    """The text that `inert` made `cell` of."""
    return cell[1:] if cell.startswith("'") and inert(cell[1:]) == cell else cell


def title_of_metric(name: str) -> str:
    """'macro AUROC' for macro_auroc; the table of metrics, with the same titles, is not on a device."""
    return " ".join(word.upper() if word in _ABBREVIATIONS else word for word in name.split("_"))
