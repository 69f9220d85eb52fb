"""Predictions as a CSV file that a spreadsheet opens without harm."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from zoo.edge.runtime import Failure, Result
from zoo.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["printable", "recorded", "write_csv"]

# A cell that begins with one of these is run as a formula by spreadsheets (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(target: Path, results: Iterable[Result], labels: tuple[str, ...]) -> int:
    """Write `image, label, probability, p_LABEL…, error`, one row an image; `target` appears when done.

    Args:
        target: the file; replaced when it exists.
        results: as `Runtime.predict` yields them.
        labels: of the model, for the columns.

    Returns:
        The number of rows.

    Raises:
        OutputError: it could not be written.
    """
    return sum(1 for _ in recorded(target, results, labels))


def recorded(target: Path, results: Iterable[Result], labels: tuple[str, ...]) -> Iterator[Result]:
    """`results` unchanged, each written to `target` on its way, as `write_csv` does; arguments as there."""
    with (
        atomic_path(target) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["image", "label", "probability", *(f"p_{label}" for label in labels), "error"])
        for result in results:
            if isinstance(result, Failure):
                rows.writerow([_plain(result.image), "", "", *("" for _ in labels), _plain(result.error)])
            else:
                values = [result.probabilities[label] for label in labels]
                rows.writerow([_plain(result.image), _plain(result.label), result.probability, *values, ""])
            yield result


def printable(name: str) -> str:
    """A file name for a terminal: control characters, which could forge lines or colours, are spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in name)


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
