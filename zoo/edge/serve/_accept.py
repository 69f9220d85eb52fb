"""Which of the forms that an answer can have a client accepts (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from python_multipart.multipart import parse_options_header

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DICOM", "DICOM_JSON", "EXPLICIT", "RELATED", "choose_form", "read_type"]

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
RELATED = 'multipart/related; type="application/dicom"'
EXPLICIT = "1.2.840.10008.1.2.1"
"""Explicit VR Little Endian, the transfer syntax of all that is sent."""

_LONGEST = 2000
_RANGE = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+')
_WEIGHT = re.compile(r"(0(\.\d{0,3})?|1(\.0{0,3})?)")


def choose_form(header: str, offered: Sequence[str]) -> str | None:
    """The media type to answer with; None: the client accepts none of them.

    Each is weighed by the most specific range that it is in. Of equal weights the one goes first that the client names
    more exactly, then earlier, then the one that is offered earlier.

    Args:
        header: the value of Accept; empty: everything is accepted.
        offered: media types, some with the parameter "type".
    """
    if header.strip() in {"", "*/*"}:
        return offered[0]
    if len(header) > _LONGEST:
        return None
    best: tuple[float, int, int] = (0.0, 0, 0)
    chosen = None
    ranges = [read_type(text) for text in _RANGE.findall(header) if text.strip()]
    for form in offered:
        found = [(_fit(one, form), -place, one[1].get("q", "1")) for place, one in enumerate(ranges)]
        exact, place, weight = max((one for one in found if one[0]), default=(0, 0, "0"))
        rank = (float(weight) if _WEIGHT.fullmatch(weight) else 0.0, exact, place if exact > 1 else 0)
        if rank[0] > 0 and (chosen is None or rank > best):
            best, chosen = rank, form
    return chosen


def read_type(text: str) -> tuple[str, dict[str, str]]:
    """A media type or range in lower case, and its parameters; names of these are in lower case, too."""
    kind, given = parse_options_header(text)
    return kind.decode("latin-1"), {name.decode("latin-1"): value.decode("latin-1") for name, value in given.items()}


def _fit(asked: tuple[str, dict[str, str]], form: str) -> int:
    """How exactly a range names a form, from 1; 0: it does not."""
    kind, given = asked
    own, its = read_type(form)
    if kind == "*/*":
        return 1
    if kind == f"{own.partition('/')[0]}/*":
        return 2
    part = its.get("type")
    if kind != own or given.get("transfer-syntax", "*") not in {"*", EXPLICIT}:
        return 0
    return 3 if part is None or given.get("type", part).lower() == part else 0
