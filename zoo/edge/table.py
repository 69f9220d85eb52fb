"""Predictions as a CSV file that a spreadsheet opens without harm."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zoo.edge.results import Failure, Prediction, Result
from zoo.files import atomic_path
from zoo.spec import LABEL_SEPARATOR
from zoo.text import inert, printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from zoo.spec import Task

__all__ = ["answer", "cells", "columns", "line", "write_csv"]

_SPECIAL = re.compile('[",\r\n]')


def write_csv(target: Path, results: Iterable[Result], labels: tuple[str, ...], task: Task = "multiclass") -> int:
    """Write `image, label, probability, p_LABEL…, error`, one row an image; `target` appears when done.

    Of a multilabel model `labels` follows `probability`: all labels that were given, joined by "|".

    Args:
        target: the file; replaced when it exists.
        results: as `Runtime.predict` yields them.
        labels: of the model, for the columns.
        task: of the model.

    Returns:
        The number of rows.

    Raises:
        OutputError: it could not be written.
    """
    rows = 0
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        stream.write(line(columns(labels, task)))
        for rows, result in enumerate(results, 1):  # noqa: B007 - how many there were
            stream.write(line(cells(result, labels, task)))
    return rows


def columns(labels: tuple[str, ...], task: Task) -> list[str]:
    """The names of the columns."""
    several = ["labels"] if task == "multilabel" else []
    return ["image", "label", "probability", *several, *(f"p_{label}" for label in labels), "error"]


def cells(result: Result, labels: tuple[str, ...], task: Task) -> list[str]:
    """One row; probabilities with all their digits."""
    several = task == "multilabel"
    if isinstance(result, Failure):
        return [inert(result.image), *([""] * (2 + several + len(labels))), inert(result.error)]
    given = [inert(LABEL_SEPARATOR.join(result.labels or ()))] if several else []
    values = [repr(result.probabilities[label]) for label in labels]
    return [inert(result.image), inert(result.label), repr(result.probability), *given, *values, ""]


def line(row: list[str]) -> bytes:
    """A row as it stands in the file; a cell with a comma, a quote or a line break is quoted (RFC 4180)."""
    quoted = ('"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell for cell in row)
    return (",".join(quoted) + "\n").encode("utf-8", "backslashreplace")


def answer(result: Prediction, top: int | None = None) -> list[str]:
    """An answer in words, each 'LABEL 0.9312': the most probable label, or the `top` most probable.

    Of a multilabel model without `top` all labels that were given, the most probable first; where none was, that
    is said, with the one that came nearest.
    """
    given = result.labels is not None and top is None
    ranked = sorted(result.probabilities.items(), key=lambda item: -item[1])
    shown = [item for item in ranked if item[0] in (result.labels or ())] if given else ranked[: top or 1]
    words = [f"{printable(label)} {value:.4f}" for label, value in shown]
    return words or [f"no label (nearest: {printable(result.label)} {result.probability:.4f})"]
