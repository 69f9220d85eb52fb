"""Classes that are grades in order: which order, and what cannot be one."""

from __future__ import annotations

import dataclasses
import math
import shlex
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.labels import match_labels
from zoo._support.text import brief, natural_key
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.data._index import Splits

__all__ = ["order_grades"]


def order_grades(splits: Splits, order: Sequence[str] = ()) -> Splits:
    """The same images, their classes taken for grades: the lowest first.

    Args:
        splits: data whose classes are grades.
        order: all of them from the lowest to the highest, in any spelling of theirs; empty: they are numbers.

    Raises:
        DataError: an image may have several labels; classes are not numbers and no order is given, or it names others.
    """
    name, labels = splits.fingerprint.name, splits.labels
    if splits.task == "multilabel":
        raise DataError(
            f"{name}: gives any number of labels an image, and a grade is one class an image; leave --task ordinal "
            "out, or name one column of grades with --columns label=COLUMN",
            code="grades-several",
            data=name,
        )
    wanted = _match(name, labels, order) if order else _sort(name, labels)
    places = np.array([wanted.index(label) for label in labels], np.int64)
    return dataclasses.replace(splits.relabel(wanted, places), ordered=True)


def _sort(name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    numbers = [_number(label) for label in labels]
    if None in numbers or len(set(numbers)) < len(numbers):
        guess = ",".join(sorted(labels, key=natural_key))
        raise DataError(
            f"{name}: classes {brief(labels)} are not all different numbers, and so in no order; say it from the "
            f"lowest to the highest, such as --order {shlex.quote(guess)}",
            code="grades-order",
            data=name,
            labels=list(labels),
        )
    return tuple(label for _, label in sorted(zip(numbers, labels, strict=True)))


def _number(label: str) -> float | None:
    try:
        found = float(label)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _match(name: str, labels: tuple[str, ...], order: Sequence[str]) -> tuple[str, ...]:
    """The labels of the data in the order given; each is named once."""
    places = match_labels(order, labels)
    found = [one if place is None else labels[place] for one, place in zip(order, places, strict=True)]
    missing = [label for label in labels if label not in found]
    unknown = [one for one in found if one not in labels]
    if missing or unknown or len(found) > len(labels):
        said = [f"{brief(unknown)} of --order not among the classes"] if unknown else []
        said += [f"{brief(missing)} not in --order"] if missing else []
        raise DataError(
            f"{name}: {' and '.join(said) or 'a class twice in --order'}; name each of {','.join(labels)} once, from "
            "the lowest to the highest",
            code="grades-order",
            data=name,
            labels=list(labels),
            order=list(order),
        )
    return tuple(found)
