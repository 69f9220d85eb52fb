"""What a model says of an image: an answer, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["GIVEN", "Failure", "Prediction", "Result"]

GIVEN = 0.5
"""A label of a multilabel model counts as given from this probability on; evaluation decides alike."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image.

    Attributes:
        image: the path as given or found, or "array N".
        label: the class with the highest probability.
        probability: its probability, in [0, 1], not rounded.
        probabilities: every class to its probability, in the order of the manifest's labels.
        labels: all labels of a multilabel model with a probability of at least 0.5, in the same order. It may be
            empty; `label` then still names the most probable one. None for a multiclass model.
    """

    image: str
    label: str
    probability: float
    probabilities: dict[str, float]
    labels: tuple[str, ...] | None = None

    def row(self, top: int | None = None) -> dict[str, Any]:
        """For `--json`; with `top`, only that many classes, the most probable first; `labels` if there are any."""
        ranked = self.probabilities
        if top is not None:
            ranked = dict(sorted(ranked.items(), key=lambda item: -item[1])[:top])
        row = {
            "image": self.image,
            "label": self.label,
            "probability": self.probability,
            "probabilities": dict(ranked),
        }
        return row if self.labels is None else row | {"labels": list(self.labels)}


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that got no answer, and why. It is never replaced by another image.

    Attributes:
        image: the path as given or found, or "array N".
        error: one line.
    """

    image: str
    error: str

    def row(self, top: int | None = None) -> dict[str, Any]:  # noqa: ARG002 - the same call as Prediction.row
        """For `--json`."""
        return {"image": self.image, "error": self.error}


Result = Prediction | Failure
