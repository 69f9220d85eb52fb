"""Class names: their order, and whether every split has every class."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.wording import brief
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.data.index import SplitName, Splits

__all__ = ["align", "check_classes", "natural_key"]


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key that puts '2' before '10' and ignores case; names that differ only in case keep an order."""
    parts = re.split(r"([0-9]+)", name)
    key = tuple((0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p.casefold()) for p in parts if p)
    return key, name


def check_classes(
    labels: Sequence[str],
    targets: NDArray[np.int64],
    rows: Mapping[SplitName, NDArray[np.int64]],
    *,
    name: str,
) -> None:
    """Refuse splits in which nothing can be learned or measured about a class.

    Raises:
        DataError: a class has no image in one of the splits.
    """
    for split, chosen in rows.items():
        counts = np.bincount(targets[chosen], minlength=len(labels))
        missing = [label for label, count in zip(labels, counts, strict=True) if not count]
        if missing:
            raise DataError(
                f"{name}: class {brief(missing)} has no image in {split}; add images of it, "
                "or take the class out of every split"
            )


def align(splits: Splits, labels: tuple[str, ...]) -> Splits:
    """Put targets into the class order of a model, matched by name.

    A class of the model that the data does not have stays, without images.

    Args:
        splits: data whose targets count by `splits.labels`.
        labels: class names of the model, in the order of its outputs.

    Raises:
        DataError: the data has a class that the model does not know.
    """
    if splits.labels == labels:
        return splits
    unknown = [label for label in splits.labels if label not in labels]
    if unknown:
        raise DataError(
            f"{splits.fingerprint.name}: class {brief(unknown)} is unknown to the model; "
            f"the data has {brief(splits.labels)}, the model knows {brief(labels)}; "
            "rename the class folders, or take a model trained on these classes"
        )
    order = np.array([labels.index(label) for label in splits.labels], np.int64)
    return splits.relabelled(labels, order)
