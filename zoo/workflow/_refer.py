"""What a file remembers of its validation images: the reference of `zoo monitor`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from zoo.spec import MEASURED, NOVELTY, Reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data import ImageSet
    from zoo.edge import Runtime
    from zoo.spec import Manifest

__all__ = ["draw_reference"]

MOST = 256
"""Images that are asked: the answers of ResNet-18 at 224 px take 4 seconds on two cores."""


def draw_reference(
    runtime: Runtime,
    manifest: Manifest,
    images: ImageSet,
    *,
    source: Literal["validation", "recalibration"] = "validation",
) -> Reference | None:
    """Ask the file, from raw pixels, for images that it was not trained on.

    Args:
        runtime: the file, opened.
        manifest: what it decides by, which may be newer than the one in the file.
        images: validation images; at most `MOST` of them are drawn, and one of each group.
        source: whose images they are.

    Returns:
        What to keep; None: the set is empty.
    """
    from zoo.edge import decide, measure_pixels
    from zoo.edge._monitor import round_number
    from zoo.evaluation import predict_set

    if not len(images):
        return None
    order = np.random.default_rng(manifest.provenance.config.seed).permutation(len(images))
    if images.groups is not None:
        order = order[np.sort(np.unique(images.groups[order], return_index=True)[1])]
    chosen = images.subset(np.sort(order[:MOST]))
    labels = len(manifest.labels)

    def answer(batch: NDArray[Any], *columns: Any) -> NDArray[np.float32]:
        found = runtime.decisive(batch, *columns)
        score = found.get(NOVELTY, np.zeros(len(batch), np.float32))
        return np.column_stack([found["probabilities"], score, measure_pixels(batch)])

    found = predict_set(answer, chosen)
    probabilities, score = found[:, :labels], found[:, labels]
    novel = manifest.novelty is not None
    decided = decide(probabilities, score if novel else None, manifest)
    numbers = {"probability": probabilities[np.arange(len(found)), decided.labels]}
    numbers |= {NOVELTY: score} if novel else {}
    numbers |= {name: found[:, labels + 1 + at] for at, name in enumerate(MEASURED)}
    given = np.eye(labels, dtype=bool)[decided.labels] if decided.given is None else decided.given
    made = Counter(decided.decisions or ())
    novel_too = ("unlike training",) if novel else ()
    return Reference(
        n=len(found),
        grouped=images.groups is not None,
        source=source,
        labels={label: int(given[:, at].sum()) for at, label in enumerate(manifest.labels)},
        decisions={name: made[name] for name in ("label", "uncertain", *novel_too)} if decided.decisions else {},
        values={name: tuple(sorted(round_number(float(one)) for one in row)) for name, row in numbers.items()},
    )
