"""A site's table of answers, as `zoo predict --csv` writes it, read for `zoo monitor`.

What this module does not know: references, tests of drift.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zoo._support.cells import form_of, open_cells
from zoo._support.text import brief, read_inert
from zoo.errors import DataError, UsageError
from zoo.spec import LABEL_SEPARATOR, MEASURED, NOVELTY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zoo.spec import Manifest

__all__ = ["Stream", "read_stream"]

_NEEDED = ("image", "label", "probability", "error")
NUMBERS = ("probability", NOVELTY, *MEASURED)


@dataclass(slots=True)
class Stream:
    """What a table says of its images, in its order.

    Attributes:
        rows: place of each image that has an answer, counted from 1 among all that are looked at.
        labels: labels answered for each of them; of a multilabel model, given.
        decisions: decision on each; empty: the table has none.
        numbers: name of a number to one for each; without those that the table has not.
        failed: of all images looked at, whether it has no answer.
        seed: text of its first row, from which what must be drawn is drawn.
        passed: further images of a group, which are not looked at.
        unmarked: rows, those passed among them, that do not say which file answered.
    """

    rows: list[int] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    numbers: dict[str, list[float]] = field(default_factory=dict)
    failed: list[bool] = field(default_factory=list)
    seed: str = ""
    passed: int = 0
    unmarked: int = 0


def read_stream(path: Path, manifest: Manifest, mark: str, group: str | None = None) -> Stream:
    """Read the answers of a model.

    Args:
        path: a table that `zoo predict --csv` wrote.
        manifest: manifest of that model.
        mark: what its answers hold of its file, see `zoo.edge._results.mark_of`.
        group: a regular expression with one group in parentheses that finds the patient in the name of an image: the
            first image of each is looked at, and no other.

    Raises:
        DataError: the table cannot be read, has no rows, misses columns, is of another file or of a model with other
            labels, or holds a cell that no answer has.
        UsageError: `group` is not such an expression.
    """
    first = None if group is None else _First(group)
    several = manifest.task == "multilabel"
    with_labels = "labels" if several else "label"
    stream = Stream()
    for number, row in _rows(path, manifest, (*_NEEDED, with_labels, "decision", "model", *NUMBERS)):
        answered = row.get("model", "")
        if answered not in {"", mark}:
            raise DataError(
                f"{path}: row {number} was answered by another file, sha256 {answered}…, expected {mark}… of "
                f"{manifest.name}; give that file with --against, or answer the images again",
                code="monitor-other-file",
                row=number,
                found=answered,
                expected=mark,
            )
        stream.unmarked += not answered
        if first is not None and not first.sees(row["image"], path, number):
            stream.passed += 1
            continue
        stream.seed = stream.seed or repr(row)
        stream.failed.append(bool(row["error"]))
        if row["error"]:
            continue
        given = tuple(filter(None, row[with_labels].split(LABEL_SEPARATOR))) if several else (row["label"],)
        if strange := [label for label in given if label not in manifest.labels]:
            raise DataError(
                f"{path}: row {number} answers {strange[0]!r}, which {manifest.name} does not know; give the table of "
                "its own answers",
                code="monitor-other-model",
                model=manifest.name,
                row=number,
                label=strange[0],
            )
        stream.rows.append(len(stream.failed))
        stream.labels.append(given)
        if "decision" in row:
            stream.decisions.append(row["decision"])
        for name in NUMBERS:
            if name in row:
                stream.numbers.setdefault(name, []).append(_number(row[name], name, path, number))
    if not stream.failed:
        raise DataError(f"{path}: holds no answer, expected a row for each image", code="monitor-empty", path=str(path))
    return stream


def _rows(path: Path, manifest: Manifest, wanted: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The wanted columns of each row, those that are there."""
    try:
        form = form_of(path)
        if form is None:
            raise DataError(f"{path}: not a table; expected CSV, TSV or Parquet", code="data-format", path=str(path))
        cells = open_cells(path, form)
        header = [read_inert(name) for name in cells.header]
        of_labels = {name.removeprefix("p_") for name in header if name.startswith("p_")}
        if missing := [name for name in _NEEDED if name not in header] or ([] if of_labels else ["p_LABEL"]):
            raise DataError(
                f"{path}: has no column {brief(missing)}, expected a table that 'zoo predict MODEL IMAGES --csv FILE' "
                "wrote",
                code="monitor-columns",
                path=str(path),
                columns=missing,
            )
        if of_labels != set(manifest.labels):
            differs = sorted(of_labels ^ set(manifest.labels))
            raise DataError(
                f"{path}: is of a model with other labels than {manifest.name} ({brief(differs)}); give the table of "
                "its own answers",
                code="monitor-other-model",
                model=manifest.name,
                labels=differs,
            )
        names = [name for name in dict.fromkeys(wanted) if name in header]
        for number, row in cells.rows([header.index(name) for name in names]):
            yield number, dict(zip(names, map(read_inert, row), strict=True))
    except OSError as problem:
        raise DataError(
            f"{path}: cannot be read ({(problem.strerror or str(problem)).lower()}); check the path and its rights",
            code="file-unreadable",
            path=str(path),
        ) from None


def _number(text: str, name: str, path: Path, row: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name == "probability" and not 0 <= value <= 1):
        kind = "a probability" if name == "probability" else "a number"
        raise DataError(
            f"{path}: row {row} has {text!r} in column {name}, expected {kind}; write the table again",
            code="monitor-value",
            row=row,
            column=name,
        )
    return value


class _First:
    """Which image is the first of its group."""

    def __init__(self, group: str) -> None:
        try:
            self._pattern = re.compile(group)
        except (re.error, RecursionError, OverflowError) as problem:
            raise _refuse(group, str(problem)) from None
        if self._pattern.groups != 1:
            raise _refuse(group, f"it has {self._pattern.groups} groups in parentheses")
        self._seen: set[str] = set()

    def sees(self, image: str, path: Path, row: int) -> bool:
        found = self._pattern.search(image)
        if found is None or found[1] is None:
            raise DataError(
                f"{path}: --group finds nothing in {image!r} of row {row}; mend the expression",
                code="monitor-group",
                row=row,
            )
        new = found[1] not in self._seen
        self._seen.add(found[1])
        return new


def _refuse(group: str, why: str) -> UsageError:
    return UsageError(
        f"--group {group}: {why}, expected a regular expression with one group in parentheses, such as "
        "'patient([0-9]+)'",
        code="option-value",
        option="group",
        value=group,
    )
