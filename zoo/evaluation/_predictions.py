"""predictions.csv: what the model said of each image."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.files import atomic_path
from zoo._support.text import inert
from zoo.errors import DataError
from zoo.evaluation._cases import Cases
from zoo.evaluation._report import check_labels
from zoo.spec import LABEL_SEPARATOR

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
    *,
    folds: Sequence[int] | None = None,
) -> None:
    """Write image, label, predicted, correct (1 or 0) and p_LABEL for each class, one row for each image.

    Of a multilabel model: image, labels, predicted (names joined by "|", empty where there is none), exact (1 where
    the two are the same) and p_LABEL. Where labels are unknown, a column `unknown` after labels names them. They do not
    count for exact, which is empty where all are unknown.

    A text that a spreadsheet would run as a formula gets a leading quote (OWASP, CSV injection).

    Args:
        path: the file.
        ids: n names.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN.
        logits: (n, K), before the temperature.
        labels: K names.
        temperature: logits are divided by it.
        folds: n numbers, for a column `fold` after image; None: there is none.

    Raises:
        DataError: ids, targets, logits and labels do not belong together.
        ModelError: a logit is not finite.
        OutputError: the file cannot be written.
    """
    cases = Cases.of(logits, targets, temperature)
    check_labels(cases, labels)
    if len(ids) != cases.n:
        raise DataError(
            f"there are {len(ids)} names for {cases.n} images, expected one for each",
            code="array-shape",
            array="ids",
            found=[len(ids)],
            expected=[cases.n],
        )
    probabilities = cases.probabilities.astype(np.float32)
    # A file name that is not UTF-8 reaches us with surrogates; it is spelt out rather than lost.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        several = cases.task == "multilabel"
        unsure = ["unknown"] if not cases.known.all() else []
        told = ("labels", *unsure, "predicted", "exact") if several else ("label", "predicted", "correct")
        parts = [[]] * cases.n if folds is None else [[fold] for fold in folds]
        writer.writerow(["image", *([] if folds is None else ["fold"]), *told, *(f"p_{label}" for label in labels)])
        rows = zip(ids, parts, cases.truth, cases.known, cases.chosen, cases.right, probabilities, strict=True)
        for name, part, truth, known, chosen, right, row in rows:
            open_ones = [_join_labels(labels, ~known)] if unsure else []
            texts = (_join_labels(labels, truth), *open_ones, _join_labels(labels, chosen))
            exact = int(right == known.mean()) if known.any() else ""
            writer.writerow([inert(name), *part, *map(inert, texts), exact, *(f"{p:.6g}" for p in row)])


def _join_labels(labels: Sequence[str], held: NDArray[np.bool_]) -> str:
    return LABEL_SEPARATOR.join(labels[k] for k in np.flatnonzero(held).tolist())
