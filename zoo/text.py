"""Words on one line: how many and which, names in the order people expect, cells that no spreadsheet runs.

Words that come with a file, names of files and labels of models, may be made to look like words of ours: `printable`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["amount", "brief", "counted", "file_name", "inert", "natural_bytes", "natural_key", "printable", "unusable"]

_SHOWN = 5  # names or reasons on one line
_DIGITS = re.compile("([0-9]+)")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def brief(names: Iterable[str], most: int = _SHOWN) -> str:
    """The first names, quoted, and how many more there are."""
    listed = list(names)
    shown = ", ".join(repr(name) for name in listed[:most])
    return shown + (f" and {len(listed) - most} more" if len(listed) > most else "")


def amount(n: int, noun: str) -> str:
    """'1 image', '3 images'."""
    return f"1 {noun}" if n == 1 else f"{n} {noun}s"


def counted(n: int, noun: str) -> str:
    """'1 image was', '3 images were'."""
    return f"{amount(n, noun)} {'was' if n == 1 else 'were'}"


def file_name(name: str) -> str:
    """`name` of a model as a file may be called on any system: hf-hub:timm/resnet18 becomes hf-hub-timm-resnet18."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def unusable(reasons: Sequence[str], n: int) -> str:
    """Which of `n` images can not be used, and the ways out; a reason that all of them share is given once."""
    heads, _, whys = zip(*(reason.rpartition(": ") for reason in reasons), strict=True)
    same = len(reasons) > 1 and all(heads) and len(set(whys)) == 1
    shown = f"{reasons[0]} | the same: {', '.join(heads[1:_SHOWN])}" if same else " | ".join(reasons[:_SHOWN])
    more = f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    out = "restore them, or leave them out with --skip-bad" if len(reasons) < n else "no image is left"
    return f"{len(reasons)} of {n} images can not be used: {shown}{more}; {out}"


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
    return f"'{text}" if text.startswith(_FORMULA) else text
