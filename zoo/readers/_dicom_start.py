"""Where the elements of a DICOM file begin: behind the preamble, or at the first byte of a file that has none.

Old devices, and programs that cut files, leave out the 128 bytes and the letters DICM of PS3.10 section 7.1. Such a
file is known by its first elements, of group 0002 or 0008, which must follow each other as elements do.
"""

from __future__ import annotations

import struct
from itertools import pairwise

__all__ = ["BIG_ENDIAN", "EXPLICIT", "IMPLICIT", "LONG", "find_start", "guess_syntax"]

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"

LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Value representations whose length has four bytes (PS3.5 section 7.1.2)."""
_VRS = LONG | {
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"),
    *(b"ST", b"TM", b"UI", b"UL", b"US"),
}
_PREAMBLE = 132
_FIRST_GROUPS = frozenset({b"\2\0", b"\x08\0", b"\0\x08"})
_FIRST_MOST = 0x0070
"""The first element of group 0008 comes early in it; 0x0070 is the manufacturer."""
_LENGTH_MOST = 0xFFFE
"""The elements at the start hold short texts."""
_UNDEFINED = 0xFFFFFFFF


def find_start(head: bytes) -> int | None:
    """Position of the first element; None: not a DICOM file.

    Args:
        head: the first bytes of the file, `zoo.readers.HEAD_BYTES` of them.
    """
    if head[128:132] == b"DICM":
        return _PREAMBLE
    if head[:2] not in _FIRST_GROUPS:  # asked of very many files
        return None
    return 0 if _are_elements(head, guess_syntax(head)) else None


def guess_syntax(head: bytes) -> str:
    """The transfer syntax that elements are written in, by the first of them.

    Args:
        head: at least its first six bytes.
    """
    if head[4:6] not in _VRS:
        return IMPLICIT
    return BIG_ENDIAN if head[:1] == b"\0" else EXPLICIT


def _are_elements(head: bytes, syntax: str) -> bool:
    """Whether some bytes begin as elements in ascending order, three of them, or two that say their VR."""
    order, explicit = ">" if syntax == BIG_ENDIAN else "<", syntax != IMPLICIT
    tags: list[int] = []
    at = 0
    while at + 8 <= len(head):
        group, number, vr, length = struct.unpack_from(f"{order}HH2sH", head, at)
        if tags and group != 2 == tags[0] >> 16:
            break  # the dataset behind group 0002 has a syntax of its own
        size = 8
        if not explicit:
            (length,) = struct.unpack_from(f"{order}I", head, at + 4)
        elif vr not in _VRS:
            return False
        elif vr in LONG:
            if at + 12 > len(head):
                break
            size, (length,) = 12, struct.unpack_from(f"{order}I", head, at + 8)
        tags.append(group << 16 | number)
        if length == _UNDEFINED:
            break  # a sequence
        if length % 2 or length > _LENGTH_MOST:
            return False
        at += size + length
    ascending = all(first < second for first, second in pairwise(tags))
    return len(tags) >= (2 if explicit else 3) and ascending and tags[0] & 0xFFFF <= _FIRST_MOST
