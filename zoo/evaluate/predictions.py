"""predictions.csv: what the model said of each image."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import DataError
from zoo.evaluate.metrics import Cases
from zoo.evaluate.reporting import check_labels
from zoo.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["write_predictions"]


def write_predictions(  # noqa: PLR0917 - the order of the columns it writes
    path: Path,
    ids: Sequence[str],
    targets: NDArray[Any],
    logits: NDArray[Any],
    labels: Sequence[str],
    temperature: float = 1.0,
) -> None:
    """Write image, label, predicted, correct (1 or 0) and p_LABEL for each class, one row for each image.

    A text that a spreadsheet would run as a formula gets a leading quote (OWASP, CSV injection).

    Args:
        path: the file.
        ids: n names.
        targets: (n,) int in [0, K).
        logits: (n, K), before the temperature.
        labels: K names.
        temperature: logits are divided by it.

    Raises:
        DataError: ids, targets, logits and labels do not belong together.
        ModelError: a logit is not finite.
        OutputError: the file can not be written.
    """
    cases = Cases.of(logits, targets, temperature)
    check_labels(cases, labels)
    if len(ids) != cases.n:
        raise DataError(f"there are {len(ids)} names for {cases.n} images, expected one for each")
    probabilities = cases.probabilities.astype(np.float32)
    # A file name that is not UTF-8 reaches us with surrogates; it is spelt out rather than lost.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", "label", "predicted", "correct", *(f"p_{label}" for label in labels)])
        for name, target, predicted, row in zip(ids, cases.targets, cases.predicted, probabilities, strict=True):
            writer.writerow(
                [
                    _inert(name),
                    _inert(labels[target]),
                    _inert(labels[predicted]),
                    int(target == predicted),
                    *(f"{p:.6g}" for p in row),
                ]
            )


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
