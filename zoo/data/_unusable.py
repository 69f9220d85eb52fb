"""Images that cannot be used: which, why, and the refusal that counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zoo._support.text import count_with_verb
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from zoo.data._index import ImageSet
    from zoo.errors import ImageError

__all__ = ["Unusable", "note_skipped", "refusal", "refuse_bad"]

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


def refuse_bad(images: ImageSet, bad: Mapping[int, str], *, skip_bad: bool) -> None:
    """Raise DataError where images, of which `bad` holds positions and reasons, cannot be left out.

    Raises:
        DataError: that is not allowed, or takes a whole class.
    """
    if bad and not skip_bad:
        raise refusal((Unusable(images.ids[i], reason) for i, reason in bad.items()), len(images))
    left = np.delete(images.targets, list(bad), axis=0)
    if lost := set(_find_present(images.targets).tolist()) - set(_find_present(left).tolist()):
        example = next(images.ids[i] for i in bad if lost & set(_find_present(images.targets[i : i + 1]).tolist()))
        raise DataError(
            f"no readable image is left of the class of {example}; restore its files",
            code="class-unreadable",
            image=example,
        )


def _find_present(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes, or labels, that some image has."""
    return np.unique(targets if targets.ndim == 1 else np.nonzero(targets == 1)[1])
