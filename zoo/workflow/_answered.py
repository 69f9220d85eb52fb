"""What a model or its file says of a set of images, in one pass: what decisions and the reference are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.spec import MEASURED, NOVELTY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.artefact import Shippable
    from zoo.data import ImageSet
    from zoo.edge import Runtime

__all__ = ["Answered", "answer_images"]

MOST = 256
"""Images whose pixels are measured: the reference holds no more."""


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A set of images and what was answered.

    Attributes:
        images: the n images.
        logits: (n, K) float32.
        scores: (n,) float32, how unlike training each is; None: the model does not say.
        drawn: (m,) places of the images that were measured, at most 256, one of each group, in order.
        measured: (m, 3) float32, what `zoo.edge.measure_pixels` says of them.
    """

    images: ImageSet
    logits: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    drawn: NDArray[np.intp]
    measured: NDArray[np.float32]


def answer_images(model: Shippable | Runtime, images: ImageSet, seed: int) -> Answered:
    """Ask the training side, or a file, for every image.

    Args:
        model: what is asked, from raw pixels.
        images: the set; not empty.
        seed: seed of the draw of those that are measured.

    Raises:
        DataError: the set is empty, or an image cannot be read.
        ModelError: the model answers with another shape, or with a number that is not finite.
    """
    from zoo.edge import Runtime, measure_pixels
    from zoo.evaluation import predict_set

    drawn = _draw(images, seed)
    wanted = np.zeros(len(images), np.bool_)
    wanted[drawn] = True
    scores: list[NDArray[np.float32]] = []
    measured: list[NDArray[np.float32]] = []
    done = 0

    def logits(batch: NDArray[Any], *columns: Any) -> NDArray[np.float32]:
        nonlocal done
        if isinstance(model, Runtime):
            found = model.decisive(batch, *columns)
            answers, novelty = found["logits"], found.get(NOVELTY)
        else:
            answers, novelty = model.raw_answers(batch, *columns)
        scores.extend(() if novelty is None else (novelty,))
        measured.append(measure_pixels(batch[wanted[done : done + len(batch)]]))
        done += len(batch)
        return answers

    answers = predict_set(logits, images)
    return Answered(
        images,
        answers,
        np.concatenate(scores) if scores else None,
        drawn,
        np.concatenate(measured).reshape(-1, len(MEASURED)),
    )


def _draw(images: ImageSet, seed: int) -> NDArray[np.intp]:
    order = np.random.default_rng(seed).permutation(len(images))
    if images.groups is not None:
        order = order[np.sort(np.unique(images.groups[order], return_index=True)[1])]
    return np.sort(order[:MOST])
