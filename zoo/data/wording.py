"""How many and which, said on one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["brief", "counted", "unusable"]


def brief(names: Iterable[str], most: int = 5) -> str:
    """The first names, quoted, and how many more there are."""
    listed = list(names)
    shown = ", ".join(repr(name) for name in listed[:most])
    return shown + (f" and {len(listed) - most} more" if len(listed) > most else "")


def counted(n: int, noun: str) -> str:
    """'1 image was', '3 images were'."""
    return f"1 {noun} was" if n == 1 else f"{n} {noun}s were"


def unusable(reasons: Sequence[str], n: int, most: int = 5) -> str:
    """Which of `n` images can not be used, and the two ways out."""
    more = f" and {len(reasons) - most} more" if len(reasons) > most else ""
    return (
        f"{len(reasons)} of {n} images can not be used: {' | '.join(reasons[:most])}{more}; "
        "restore them, or leave them out with --skip-bad"
    )
