"""Images that cannot be used: which, why, and the refusal that counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zoo._support.text import count_with_verb
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zoo.errors import ImageError

__all__ = ["Unusable", "note_skipped", "refusal"]

_SHOWN = 5  # images that are named


class Unusable(NamedTuple):
    """One image that cannot be used.

    Attributes:
        name: how the image is called.
        reason: why, without its name.
    """

    name: str
    reason: str

    @classmethod
    def of(cls, problem: ImageError, name: str) -> Unusable:
        """The image of `problem`, which is `name` where the problem itself names none."""
        return cls(problem.name or name, problem.reason)

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def note_skipped(n: int) -> tuple[str, ...]:
    """The note on `n` images that were left out because they cannot be read; none for 0."""
    return (f"{count_with_verb(n, 'image')} left out: not readable",) if n else ()


def refusal(images: Iterable[Unusable], n: int, *, of: str | None = None) -> DataError:
    """The error about `images` of `n` that cannot be used; a reason that all of them share is given once.

    Args:
        images: at least one.
        n: number of images in all.
        of: name of the data set; None: the line names none.
    """
    bad = list(images)
    names = [image.name for image in bad[:_SHOWN]]
    same = len(bad) > 1 and len({image.reason for image in bad}) == 1
    shown = f"{bad[0]} | the same: {', '.join(names[1:])}" if same else " | ".join(map(str, bad[:_SHOWN]))
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    out = "restore them, or leave them out with --skip-bad" if len(bad) < n else "no image is left"
    return DataError(
        f"{'' if of is None else f'{of}: '}{len(bad)} of {n} images cannot be used: {shown}{more}; {out}",
        code="images-unusable",
        unusable=len(bad),
        images=n,
        first=[image._asdict() for image in bad[:_SHOWN]],
    )
