"""Labels of WebDataset samples: numbers or names, one each or a list, and the classes they mean.

'classes.txt' (one name a line) or 'labels.json' (a list of names, or an object of numbers and names) beside the
shards names the classes and orders them. Without it, numbers are their own names, from 0 to the largest, and names
are in natural order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.text import name_each, natural_key
from zoo.data._labels import MAX_CLASSES, check_count
from zoo.errors import DataError
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._sources.tars import Shard

__all__ = ["names_beside", "targets_of"]

_BESIDE = ("classes.txt", "labels.json")


def targets_of(
    read: Sequence[Shard], good: NDArray[np.int64], names: tuple[str, ...] | None, name: str
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Class names, and (m,) or, where labels were written as lists, (m, K) targets of the samples at `good`.

    What a sample lists as unknown is UNKNOWN.
    """
    table: dict[tuple[tuple[str, ...], bool, tuple[str, ...]], int] = {}
    codes = []
    for one in read:
        of_shard = zip(one.labels, one.several, one.unknown, strict=True)
        places = np.array([*(table.setdefault(label, len(table)) for label in of_shard), -1], np.int32)
        codes.append(places[np.frombuffer(one.codes, np.int32)])  # -1 takes the last
    chosen = np.concatenate(codes)[good]
    used = np.unique(chosen).tolist()
    written = list(table)
    if len({written[number][1] for number in used}) > 1:
        raise DataError(
            f"{name}: some samples have one label and others a list; expected one form in all", code="shard-labels"
        )
    several = written[used[0]][1]
    known = {label for number in used for label in (*written[number][0], *written[number][2])}
    classes, numbers = _classes(known, names, name)
    check_count(len(classes), name, several=several)
    targets = np.zeros((len(written), len(classes)) if several else len(written), np.int64)
    for number in used:
        held = [numbers[label] for label in written[number][0]]
        if several:
            targets[number, [numbers[label] for label in written[number][2]]] = UNKNOWN
            targets[number, held] = 1
        else:
            targets[number] = held[0]
    return classes, targets[chosen]


def _classes(used: set[str], names: tuple[str, ...] | None, name: str) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names, and the position of each label that is used among them."""
    numbers = {label: int(label) for label in used if label.isascii() and label.isdigit()}
    if names is not None:
        known = {label: i for i, label in enumerate(names)}
        places = {label: known.get(label, numbers.get(label, -1)) for label in used}
        unknown = sorted(label for label, place in places.items() if not 0 <= place < len(names))
        if unknown:
            raise DataError(
                f"{name}: {name_each('label', unknown, 'is', 'are')} not among the {len(names)} classes "
                "named beside the shards",
                code="label-unknown",
                labels=unknown,
                known=list(names),
            )
        return names, places
    if not numbers:
        ordered = tuple(sorted(used, key=natural_key))
        return ordered, {label: i for i, label in enumerate(ordered)}
    if len(numbers) < len(used):
        examples = f"{min(numbers)!r} and {min(used - set(numbers))!r}"
        raise DataError(
            f"{name}: labels are numbers and names, such as {examples}; name the classes in classes.txt",
            code="shard-labels",
        )
    if max(numbers.values()) >= MAX_CLASSES:
        raise DataError(
            f"{name}: labels go up to {max(numbers.values())}, expected 0 to number of classes - 1",
            code="shard-labels",
            high=max(numbers.values()),
        )
    return tuple(map(str, range(max(numbers.values()) + 1))), numbers


def names_beside(root: Path, name: str) -> tuple[str, ...] | None:
    """Class names as 'classes.txt' or 'labels.json' says them; None where neither is there."""
    path = next((root / file for file in _BESIDE if (root / file).is_file()), None)
    if path is None:
        return None
    try:
        text = path.read_bytes().decode("utf-8-sig")
        names = text.splitlines() if path.suffix == ".txt" else _names_of(msgspec.json.decode(text))
    except (UnicodeDecodeError, msgspec.DecodeError, TypeError, ValueError, RecursionError):
        raise DataError(
            f"{name}: {path.name} is not UTF-8, or neither a list of names nor an object of numbers and names",
            code="shard-names",
            file=path.name,
        ) from None
    names = [one.strip() for one in names if one.strip()]
    if len(set(names)) < len(names) or not names or not all(one.isprintable() for one in names):
        raise DataError(
            f"{name}: {path.name} holds {len(names)} names, expected different ones, one for each class",
            code="shard-names",
            file=path.name,
            names=len(names),
        )
    return tuple(names)


def _names_of(found: Any) -> list[str]:
    """A list of names; or an object, {"0": "cat"} or {"cat": 0}, with every number from 0 on."""
    if isinstance(found, dict):
        pairs = {int(k): v for k, v in found.items()} if all(isinstance(v, str) for v in found.values()) else None
        by_number = {int(v): k for k, v in found.items()} if pairs is None else pairs
        found = [by_number[i] for i in range(len(found))] if sorted(by_number) == list(range(len(found))) else None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise TypeError(type(found))
    return found
