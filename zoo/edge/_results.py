"""What a model says of an image: an answer, or why there is none."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo.spec import Display, Rows, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GIVEN", "Answers", "Failure", "Prediction", "Result"]

GIVEN = 0.5
"""A label of a multilabel model counts as given from this probability on; evaluation decides alike."""


class _Answered(Display):
    """What a prediction and a failure have in common."""

    __slots__ = ()

    def row(self, top: int | None = None) -> dict[str, Any]:
        """For `--json`."""
        raise NotImplementedError

    def tables(self) -> dict[str, Table]:
        """One row with the columns of `zoo predict --csv`."""
        row = self.row()
        several = {"labels": "|".join(row["labels"])} if "labels" in row else {}
        shares = {f"p_{label}": value for label, value in row.get("probabilities", {}).items()}
        first = {name: row.get(name) for name in ("image", "label", "probability")}
        return {"answers": Table([first | several | shares | {"error": row.get("error")}])}

    def to_dict(self) -> dict[str, Any]:
        """`row` with all classes."""
        return self.row()


@dataclass(frozen=True, slots=True, repr=False)
class Prediction(_Answered):
    """The answer for one image.

    Attributes:
        image: the path as given or found, or "array N".
        label: the class with the highest probability.
        probability: its probability, in [0, 1], not rounded.
        probabilities: every class to its probability, in the order of the manifest's labels.
        labels: all labels of a multilabel model with a probability of at least 0.5, in the same order. It may be
            empty; `label` then still names the most probable one. None for a multiclass model.
        features: (D,) float32, what the last layer made the answer of; None: they were not asked for.
    """

    image: str
    label: str
    probability: float
    probabilities: dict[str, float]
    labels: tuple[str, ...] | None = None
    features: NDArray[np.float32] | None = field(default=None, compare=False)

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

    def headline(self) -> str:
        """The image, its label and the probability; all labels that a multilabel model gives."""
        given = [self.label] if self.labels is None else self.labels
        said = ", ".join(f"{label} {self.probabilities[label]:.3f}" for label in given)
        return f"{self.image}: {said or f'no label (nearest: {self.label} {self.probability:.3f})'}"


@dataclass(frozen=True, slots=True, repr=False)
class Failure(_Answered):
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

    def headline(self) -> str:
        """The image, and why it has no answer."""
        return f"{self.image}: no answer, {self.error}"


Result = Prediction | Failure


class Answers(Iterator[Result]):
    """Results one after the other, each computed when it is asked for; `to_frame` asks for all that are left."""

    def __init__(self, results: Generator[Result]) -> None:
        self._results = results

    def __next__(self) -> Result:
        return next(self._results)

    def __repr__(self) -> str:
        return "Answers(each is computed when it is asked for: list(…), to_frame(), or a loop)"

    def close(self) -> None:
        """Stop: nothing more is decoded or answered."""
        self._results.close()

    def to_frame(self) -> Any:
        """What is left as a `pandas.DataFrame`, with the columns of `zoo predict --csv`.

        Raises:
            UsageError: pandas is not installed.
            ZooError: whatever `Runtime.predict` raises.
        """
        return Rows(self).to_frame()
