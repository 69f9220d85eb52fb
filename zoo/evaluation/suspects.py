"""Labels that are likely wrong, by what a model answers to images that it has not learnt from.

Confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70:1373, equations 1 and 2): a label is doubted where another
class has at least the probability that it has on average among the images that bear its name. So a class of which the
model is never sure is not suspected for that. Ranked by the difference of the two probabilities (the normalised margin
of the same paper, section 3.2).

A doubt is not a proof: where the model is wrong in the same way for many images, their labels are doubted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.evaluation._cases import Cases

__all__ = ["Suspect", "rank_suspects"]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that is likely wrong.

    Attributes:
        image: position of the image among the cases.
        given: position of the label that it bears; of several labels, of the one that is doubted.
        suggested: position of the label that the model suggests; of several labels that is `given` again.
        probability: of what is suggested, in [0, 1]; of several labels, that it has the label, or has it not.
        given_probability: of what is given.
        held: of several labels, whether the image is said to have the label; None: one label an image.
        rank: 1 is the likeliest of all.
        rank_in_class: 1 is the likeliest among those that bear the same label.
    """

    image: int
    given: int
    suggested: int
    probability: float
    given_probability: float
    held: bool | None
    rank: int
    rank_in_class: int


def rank_suspects(cases: Cases) -> tuple[Suspect, ...]:
    """Find labels that are likely wrong, the likeliest first.

    Args:
        cases: n images with their answers, at the temperature of the file. The model must not have learnt from them:
            pooled answers of folds, or test and validation images.

    Returns:
        Of several labels an image may be there more than once.
    """
    p = cases.probabilities
    if cases.task == "multilabel":
        image, given = np.nonzero(cases.known)
        held = cases.truth[image, given]
        usual, usual_absent = _usual(p, cases.truth)[given], _usual(1 - p, cases.known & ~cases.truth)[given]
        has = p[image, given]
        suggested, own = given, np.where(held, has, 1 - has)
        other = 1 - own
        doubted = other >= np.where(held, usual_absent, usual)
    else:
        image, given, held = np.arange(cases.n), cases.targets, np.ones(cases.n, np.bool_)
        sure = np.where(p >= _usual(p, cases.truth), p, -1.0)  # (n, K)
        suggested = sure.argmax(axis=1)
        own, other = p[image, given], sure[image, suggested]
        doubted = suggested != given
    rows = np.flatnonzero(doubted & (other > own))
    rows = rows[np.argsort(own[rows] - other[rows], kind="stable")]
    turns = [0] * cases.classes
    found = []
    for rank, row in enumerate(rows.tolist(), 1):
        turns[given[row]] += 1
        found.append(
            Suspect(
                image=int(image[row]),
                given=int(given[row]),
                suggested=int(suggested[row]),
                probability=float(other[row]),
                given_probability=float(own[row]),
                held=bool(held[row]) if cases.task == "multilabel" else None,
                rank=rank,
                rank_in_class=turns[given[row]],
            )
        )
    return tuple(found)


def _usual(p: NDArray[np.float64], held: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(K,) mean probability of each class where it is the label; 2, which none reaches, where it never is."""
    n = held.sum(axis=0)
    mean: NDArray[np.float64] = np.divide((p * held).sum(axis=0), n, out=np.full(p.shape[1], 2.0), where=n > 0)
    return mean
