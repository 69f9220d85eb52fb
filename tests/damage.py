"""Files with faults in them: bits flipped, bytes set, ends cut off, bytes put in."""

from __future__ import annotations

from random import Random

_TELLING = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
"""Bytes at the ends of what a number can be."""
_HEAD = 2048
"""Bytes in which formats keep their numbers; a fault there is worth more than one among the pixels."""


def damage(data: bytes, random: Random) -> bytes:
    """A copy with one to six faults, of kinds and at places that `random` chooses."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        if not found:
            break
        most = min(len(found), _HEAD) if random.random() < 0.6 else len(found)
        at, kind = random.randrange(most), random.randrange(6)
        if kind == 0:
            found[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            found[at] = random.choice(_TELLING)
        elif kind == 2:
            found[at] = random.randrange(256)
        elif kind == 3:
            del found[at:]
        elif kind == 4:
            found[at:at] = random.randbytes(random.choice((1, 2, 4, 16)))
        else:
            del found[at : at + random.choice((1, 2, 4, 16))]
    return bytes(found)
