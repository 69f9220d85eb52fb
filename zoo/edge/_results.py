"""What a model says of an image: an answer, or why there is none."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo.edge._decision_words import describe_decision
from zoo.edge._intake import blame_of
from zoo.errors import ImageError
from zoo.spec import FEATURES, LABEL_SEPARATOR, MEASURED, NOVELTY, Display, Rows, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from zoo.edge._decide import Decision
    from zoo.edge._intake import Blame
    from zoo.spec import Manifest

__all__ = ["Answers", "Failure", "Prediction", "Result", "decision_columns", "mark_of", "read_predictions"]


class _Answered(Display):
    """What a prediction and a failure have in common."""

    __slots__ = ()

    def row(self, top: int | None = None) -> dict[str, Any]:
        """For `--json`."""
        raise NotImplementedError

    def tables(self) -> dict[str, Table]:
        """One row with the columns of `zoo predict --csv`."""
        row = self.row()
        several = {"labels": LABEL_SEPARATOR.join(row["labels"])} if "labels" in row else {}
        several |= decision_columns(row) | _of_file(row.get("model"))
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
        label: the class with the highest probability, or the one that the operating points call; see
            `zoo.edge.decide`.
        probability: its probability, in [0, 1], not rounded.
        probabilities: every class to its probability, in the order of the manifest's labels.
        labels: all labels of a multilabel model with a probability of at least their operating point, else 0.5, in the
            same order. It may be empty; `label` then still names the most probable one. None for a multiclass model.
        features: (D,) float32, what the last layer made the answer of; None: they were not asked for.
        decision: whether `label` is the answer, or the model says that it does not know: uncertain, unlike training.
            None: the file never abstains.
        set: the conformal set of labels, in the same order; None: the file has no sets.
        operating: each label with an operating point to whether it reaches it; None: the file has no points.
        novelty: how unlike the images of training it is; None: the file does not decide by it.
        measured: brightness, contrast and colour of the raw image, see `zoo.edge.measure_pixels`; None: not asked for.
        model: which file answered, as `mark_of` writes it; None: statistics were not asked for.
    """

    image: str
    label: str
    probability: float
    probabilities: dict[str, float]
    labels: tuple[str, ...] | None = None
    features: NDArray[np.float32] | None = field(default=None, compare=False)
    decision: Decision | None = None
    set: tuple[str, ...] | None = None
    operating: dict[str, bool] | None = None
    novelty: float | None = None
    measured: dict[str, float] | None = None
    model: str | None = None

    def row(self, top: int | None = None) -> dict[str, Any]:
        """For `--json`; with `top`, only that many classes, the most probable first; what is None is left out."""
        ranked = self.probabilities
        if top is not None:
            ranked = dict(sorted(ranked.items(), key=lambda item: -item[1])[:top])
        row = {
            "image": self.image,
            "label": self.label,
            "probability": self.probability,
            "probabilities": dict(ranked),
        }
        more = {
            "labels": None if self.labels is None else list(self.labels),
            "decision": self.decision,
            "set": None if self.set is None else list(self.set),
            "operating": self.operating,
            "novelty": self.novelty,
        }
        said = {name: value for name, value in more.items() if value is not None}
        return row | said | (self.measured or {}) | _of_file(self.model)

    def headline(self) -> str:
        """The image, its label and the probability, or why there is none; all labels that a multilabel model gives."""
        if (unsaid := describe_decision(self)) is not None:
            return f"{self.image}: {unsaid}"
        given = [self.label] if self.labels is None else self.labels
        said = ", ".join(f"{label} {self.probabilities[label]:.3f}" for label in given)
        return f"{self.image}: {said or f'no label (nearest: {self.label} {self.probability:.3f})'}"


@dataclass(frozen=True, slots=True, repr=False)
class Failure(_Answered):
    """An image that got no answer, and why. It is never replaced by another image.

    Attributes:
        image: the path as given or found, or "array N".
        error: one line.
        model: as of a `Prediction`.
        code: of the error; answers that were read again from a table or a ledger have none of it.
    """

    image: str
    error: str
    model: str | None = None
    code: str = field(default=ImageError.default_code, compare=False)

    @property
    def blame(self) -> Blame:
        """Whose fault it is.

        "machine": a package or memory is missing, and the image may be sound. "either": its decoder was killed, or a
        disk or share failed over it.
        """
        return blame_of(self.code)

    def row(self, top: int | None = None) -> dict[str, Any]:  # noqa: ARG002 - the same call as Prediction.row
        """For `--json`; `blame` is there where it is not the image."""
        blame = {} if self.blame == "image" else {"blame": self.blame}
        return {"image": self.image, "error": self.error} | blame | _of_file(self.model)

    def headline(self) -> str:
        """The image, and why it has no answer."""
        return f"{self.image}: no answer, {self.error}"


Result = Prediction | Failure


def mark_of(sha256: str) -> str:
    """The first 12 digits of the sha256 of an ONNX file: what its answers hold of it."""
    return sha256[:12]


def _of_file(model: str | None) -> dict[str, str]:
    return {} if model is None else {"model": model}


def read_predictions(
    manifest: Manifest, names: Sequence[str], found: Mapping[str, NDArray[np.floating[Any]]], model: str | None = None
) -> list[Prediction]:
    """Make the predictions of N images from what the file answered.

    Args:
        manifest: by which it is decided.
        names: a name for each image.
        found: name of an output to its rows: probabilities (N, K), where asked for novelty (N,), features (N, D) and
            "measured" (N, 3), which is of the raw images.
        model: which file answered, see `Prediction`.
    """
    from zoo.edge._decide import decide

    labels, rows = manifest.labels, found["probabilities"]
    scores, features, measured = found.get(NOVELTY), found.get(FEATURES), found.get("measured")
    decided = decide(rows, scores, manifest)

    def named(held: NDArray[np.bool_] | None, at: int) -> tuple[str, ...] | None:
        return None if held is None else tuple(label for label, there in zip(labels, held[at], strict=True) if there)

    pointed = [(point.label, labels.index(point.label)) for point in manifest.operating]
    results = []
    for at, name in enumerate(names):
        values = [float(value) for value in rows[at]]
        best = int(decided.labels[at])
        results.append(
            Prediction(
                name,
                labels[best],
                values[best],
                dict(zip(labels, values, strict=True)),
                named(decided.given, at),
                None if features is None else features[at],
                None if decided.decisions is None else decided.decisions[at],
                named(decided.sets, at),
                {label: bool(decided.called[at, place]) for label, place in pointed} or None,
                None if scores is None else float(scores[at]),
                None if measured is None else dict(zip(MEASURED, map(float, measured[at]), strict=True)),
                model,
            )
        )
    return results


def decision_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Cells of a table that a `Prediction.row` has of decisions: labels of the set, labels that reach their point."""
    cells = {name: row[name] for name in ("decision", "set", "operating", NOVELTY, *MEASURED) if name in row}
    if "set" in cells:
        cells["set"] = LABEL_SEPARATOR.join(cells["set"])
    if "operating" in cells:
        cells["operating"] = LABEL_SEPARATOR.join(label for label, called in cells["operating"].items() if called)
    return cells


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
