"""What a file remembers of its validation images: the reference of `zoo monitor`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import numpy as np

from zoo.spec import MEASURED, NOVELTY, Reference

if TYPE_CHECKING:
    from zoo.spec import Manifest
    from zoo.workflow._answered import Answered

__all__ = ["count_failed", "draw_reference"]


def draw_reference(
    answered: Answered,
    manifest: Manifest,
    *,
    unread: float | None,
    source: Literal["validation", "recalibration"] = "validation",
) -> Reference:
    """Draw it from answers to images that the model was not trained on.

    Args:
        answered: what the file, or the training side that it was proven against, says of them.
        manifest: what the file decides by.
        unread: share of such images that cannot be read, and were left out before; None: it is not known.
        source: whose images they are.
    """
    from zoo.artefact import probabilities_of
    from zoo.edge import decide
    from zoo.edge._monitor import round_number

    rows = answered.drawn
    probabilities = probabilities_of(answered.logits[rows], manifest.temperature, manifest.task)
    score = None if manifest.novelty is None or answered.scores is None else answered.scores[rows]
    decided = decide(probabilities, score, manifest)
    numbers = {"probability": probabilities[np.arange(len(rows)), decided.labels]}
    numbers |= {} if score is None else {NOVELTY: score}
    numbers |= {name: answered.measured[:, at] for at, name in enumerate(MEASURED)}
    given = np.eye(len(manifest.labels), dtype=bool)[decided.labels] if decided.given is None else decided.given
    made = Counter(decided.decisions or ())
    novel_too = () if score is None else ("unlike training",)
    return Reference(
        n=len(rows),
        grouped=answered.images.groups is not None,
        source=source,
        labels={label: int(given[:, at].sum()) for at, label in enumerate(manifest.labels)},
        decisions={name: made[name] for name in ("label", "uncertain", *novel_too)} if decided.decisions else {},
        failed=count_failed(len(rows), unread),
        values={name: tuple(sorted(round_number(float(one)) for one in row)) for name, row in numbers.items()},
    )


def count_failed(n: int, unread: float | None) -> int | None:
    """How many images that cannot be read come with `n` that can; as `Reference.failed`."""
    return None if unread is None else round(n * unread / (1 - unread))
