"""Words on one line: how many and which, names in the order people expect, cells that no spreadsheet runs.

Words that come with a file, names of files and labels of models, may be made to look like words of ours: `printable`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "brief",
    "count_with_verb",
    "file_name",
    "format_count",
    "inert",
    "megabytes",
    "natural_bytes",
    "natural_key",
    "printable",
    "read_inert",
]

_SHOWN = 5  # names on one line
_DIGITS = re.compile("([0-9]+)")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?((\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?%?)?", re.ASCII | re.IGNORECASE)
"""A sign, a number, or both: a spreadsheet shows it and runs nothing."""


def brief(names: Iterable[str], most: int = _SHOWN) -> str:
    """The first names, quoted, and how many more there are."""
    listed = list(names)
    shown = ", ".join(repr(name) for name in listed[:most])
    return shown + (f" and {len(listed) - most} more" if len(listed) > most else "")


def format_count(n: int, noun: str) -> str:
    """'1 image', '1 234 images'."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}".replace(",", " ")


def megabytes(size: int) -> str:
    """Bytes as '4.3 MB' (10^6), small files as '12.0 kB'."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def count_with_verb(n: int, noun: str) -> str:
    """'1 image was', '3 images were'."""
    return f"{format_count(n, noun)} {'was' if n == 1 else 'were'}"


def file_name(name: str) -> str:
    """`name` of a model as a file may be called on any system: hf-hub:timm/resnet18 becomes hf-hub-timm-resnet18."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


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


def printable(text: str, keep: str = "") -> str:
    """`text` for a terminal: control characters, which could forge lines or colours, are spelt out but for `keep`."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def inert(text: str) -> str:
    """`text` as a cell of a table; one that a spreadsheet would run as a formula is quoted (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def read_inert(cell: str) -> str:
    """The text that `inert` made `cell` of."""
    return cell[1:] if cell.startswith("'") and inert(cell[1:]) == cell else cell
