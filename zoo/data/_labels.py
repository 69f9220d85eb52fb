"""Class names: their order, and whether every split has every class."""

from __future__ import annotations

import dataclasses
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.labels import match_labels
from zoo._support.text import brief, name_each, natural_key
from zoo.data._sources.values import choose_spellings, strip_marks
from zoo.errors import DataError
from zoo.spec import LABEL_SEPARATOR, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.data._index import Pool, SplitName, Splits
    from zoo.spec import Task

__all__ = [
    "MAX_CLASSES",
    "align",
    "balance",
    "check_classes",
    "check_count",
    "check_names",
    "count_labels",
    "describe_spelled_alike",
    "find_rarest",
    "label_text",
    "log_prior",
    "merge_spellings",
]


MAX_CLASSES = 65_536
"""A larger label is taken for a mistake; each class costs an output of the network."""
_MOST_LABELS = 4096
"""Of multilabel data, which keeps a number for every image and label."""
_SHOWN = 5
"""Notes of one kind."""
_LONGEST = 255
"""Characters of a class name, as of a folder's."""


def check_count(classes: int, name: str, *, several: bool) -> None:
    """Refuse so many classes, or labels an image may have `several` of, that the column must mean something else.

    Raises:
        DataError: more than 65536, or of labels more than 4096.
    """
    most, what = (_MOST_LABELS, "labels") if several else (MAX_CLASSES, "classes")
    if classes > most:
        raise DataError(
            f"{name}: {classes} {what}, expected at most {most}; is it a column of free text or of numbers?",
            code="label-many",
            data=name,
            labels=classes,
            most=most,
        )


def check_names(labels: Sequence[str], name: str) -> None:
    """Refuse class names that a table, a page or a terminal would not show as they are, or that a list would divide.

    Raises:
        DataError: one that is not printable (control characters, marks that turn the direction of writing), too long
            or empty, or that cannot be told from two.
    """
    bad = [label for label in labels if not label.isprintable() or not label.strip()]
    if bad:
        raise DataError(
            f"{name}: class {bad[0][:_LONGEST]!a} is not printable text; rename it",
            code="label-name",
            label=bad[0][:_LONGEST],
        )
    if long := next((label for label in labels if len(label) > _LONGEST), None):
        raise DataError(
            f"{name}: class '{long[:40]}…' has {len(long)} characters, expected at most {_LONGEST}; rename it",
            code="label-name",
            label=long[:_LONGEST],
        )
    if double := [label for label in labels if LABEL_SEPARATOR in label]:
        raise DataError(
            f"{name}: class {brief(double)} holds {LABEL_SEPARATOR!r}, which separates labels of one image; rename it",
            code="label-name",
            label=double[0],
        )


def merge_spellings(pool: Pool) -> Pool:
    """One class for all spellings of its name, see `class_key`; what was merged is a note."""
    chosen = choose_spellings(
        dict(zip(pool.labels, count_labels(pool.targets, len(pool.labels)).tolist(), strict=True))
    )
    if all(spelled == name for spelled, name in chosen.items()):
        return pool
    names = list(dict.fromkeys(chosen.values()))
    if list(pool.labels) == sorted(pool.labels, key=natural_key):
        names.sort(key=natural_key)
    merged: list[str] = []
    renamed: list[str] = []
    alike: dict[str, list[str]] = {}
    for label in pool.labels:
        alike.setdefault(chosen[label], []).append(label)
    for name in names:
        spellings = alike[name]
        if len(spellings) > 1:
            twice = len({unicodedata.normalize("NFC", one) for one in spellings}) < len(spellings)
            forms = ", in two Unicode forms," if twice else ""
            merged.append(f"{brief(spellings)}{forms} were taken for one class {name!r}")
        elif unicodedata.normalize("NFC", spellings[0]) != name:
            renamed.append(f"class {spellings[0]!r} is called {name!r}")
    notes = [*_shorten(merged), *_shorten(renamed)]
    place = {name: number for number, name in enumerate(names)}
    order = np.array([place[chosen[label]] for label in pool.labels], np.int64)
    if pool.targets.ndim == 1:
        targets = order[pool.targets]
    else:
        targets = np.stack([_join(pool.targets[:, order == k]) for k in range(len(names))], axis=1)
    return dataclasses.replace(pool, labels=tuple(names), targets=targets, notes=(*pool.notes, *notes))


def _join(spelled: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) one label of the (n, m) spellings of it: there where one says so, absent where all say so, else UNKNOWN."""
    return np.where((spelled == 1).any(axis=1), 1, np.where((spelled == UNKNOWN).any(axis=1), UNKNOWN, 0))


def _shorten(notes: Sequence[str]) -> Sequence[str]:
    """The first notes of many, and how many more there are; of 1000 classes all would be alike."""
    if len(notes) <= _SHOWN:
        return notes
    return [*notes[: _SHOWN - 1], f"{notes[_SHOWN - 1]}, and so on for {len(notes) - _SHOWN} more"]


def describe_spelled_alike(labels: Sequence[str]) -> tuple[str, ...]:
    """A line for classes that differ in marks and blanks only, or in the case of a single letter."""
    plain: dict[str, list[str]] = {}
    for label in labels:
        plain.setdefault(strip_marks(label.casefold()), []).append(label)
    return tuple(
        f"classes {brief(same)} differ only in spelling; make them one, or rename them"
        for key, same in plain.items()
        if key and len(same) > 1
    )


def label_text(labels: Sequence[str], target: Any) -> str:
    """The name of a target's class; of a multilabel target, (K,), the names of the labels that are 1, joined."""
    if np.ndim(target) == 0:
        return labels[int(target)]
    return LABEL_SEPARATOR.join(labels[k] for k in np.flatnonzero(np.equal(target, 1)).tolist())


def count_labels(targets: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(K,) images of each class, or with each label."""
    return np.bincount(targets, minlength=classes) if targets.ndim == 1 else (targets == 1).sum(axis=0)


def balance(targets: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """What an image of each class counts where classes are balanced: n / (K n_c), on average 1 (see `TrainConfig`).

    Args:
        targets: (n,) class numbers, or (n, K) of zeros, ones and UNKNOWN.
        classes: K.

    Returns:
        (K,); of several labels (K, 2), what an absent and a present label count, of the images that it is known of.
    """
    if targets.ndim == 1:
        sides = count_labels(targets, classes)
        return np.asarray(len(targets) / (classes * np.maximum(sides, 1)))
    sides = np.stack([(targets == 0).sum(axis=0), (targets == 1).sum(axis=0)], axis=1)  # (K, 2)
    return np.asarray(sides.sum(axis=1, keepdims=True) / (2 * np.maximum(sides, 1)))


def log_prior(targets: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """What logit adjustment is by (Menon et al. 2021, arXiv 2007.07314, equations 9 and 10, tau 1).

    Args:
        targets: (n,) class numbers, or (n, K) of zeros, ones and UNKNOWN, of the training images.
        classes: K.

    Returns:
        (K,): log of the share of each class; of several labels the log-odds of each, among the images that it is known
        of. A side without an image counts as if it had one.
    """
    if targets.ndim == 1:
        counts = np.maximum(count_labels(targets, classes), 1)
        return np.asarray(np.log(counts / counts.sum()))
    present, absent = (np.maximum((targets == value).sum(axis=0), 1) for value in (1, 0))
    return np.asarray(np.log(present / absent))


def find_rarest(targets: NDArray[np.int64], classes: int) -> tuple[int, float]:
    """The class with the fewest images and its share, or the label with the smallest among those it is known of."""
    counts = count_labels(targets, classes)
    known = len(targets) if targets.ndim == 1 else (targets != UNKNOWN).sum(axis=0)
    shares = counts / np.maximum(known, 1)
    return int(shares.argmin()), float(shares.min())


def check_classes(
    labels: Sequence[str],
    targets: NDArray[np.int64],
    rows: Mapping[SplitName, NDArray[np.int64]],
    *,
    name: str,
) -> tuple[str, ...]:
    """Refuse splits in which nothing can be learned or measured about a class.

    A label of multilabel data must be known to be there and not to be there in train. Rare findings may well be missing
    among a few hundred validation or test images; the numbers that need them are then undefined, which a note says
    beforehand. Some label of some image must be known in every split.

    Returns:
        Notes for the data set.

    Raises:
        DataError: a class has no image in one of the splits; or a label has no image, or every image, in train; or
            no label is known in a split.
    """
    if targets.ndim == 2:
        return _check_labels(labels, targets, rows, name)
    for split, chosen in rows.items():
        missing = [label for label, n in zip(labels, count_labels(targets[chosen], len(labels)), strict=True) if not n]
        if missing:
            alike = [said for said in describe_spelled_alike(labels) if any(repr(one) in said for one in missing)]
            what = "it" if len(missing) == 1 else "them"
            way = alike[0] if alike else f"add images of {what}, or take {what} out of every split"
            raise DataError(
                f"{name}: {name_each('class', missing, 'has', 'have')} no image in {split}; {way}",
                code="split-missing-class",
                split=split,
                labels=list(missing),
            )
    return ()


def _check_labels(
    labels: Sequence[str], targets: NDArray[np.int64], rows: Mapping[SplitName, NDArray[np.int64]], name: str
) -> tuple[str, ...]:
    notes = []
    for split, chosen in rows.items():
        known = (targets[chosen] != UNKNOWN).sum(axis=0)
        if not known.any():
            raise DataError(
                f"{name}: no label of the {len(chosen)} images in {split} is known; fill some in, "
                "or choose --uncertain positive or negative",
                code="labels-unknown",
                split=split,
                images=len(chosen),
            )
        counts = count_labels(targets[chosen], len(labels))
        never = [label for label, count in zip(labels, counts, strict=True) if count == 0]
        always = [label for label, count, n in zip(labels, counts, known, strict=True) if count == n > 0]
        for some, has in ((never, "no"), (always, "every" if known.min() == len(chosen) else "every known")):
            if some and split == "train":
                raise DataError(
                    f"{name}: {has} image in train has the label {brief(some)}, expected images with it and without; "
                    "add images, or take the label out",
                    code="split-one-class",
                    split="train",
                    has=has,
                    labels=list(some),
                )
            if some:
                notes.append(f"{has} image in {split} has the label {brief(some)}; what needs both is undefined there")
    return tuple(notes)


def align(splits: Splits, labels: tuple[str, ...], task: Task = "multiclass") -> Splits:
    """Put targets into the class order of a model, matched by name, in whatever spelling (`class_key`).

    A class of a multiclass model that the data does not have stays, without images. A label of a multilabel model
    that the data does not have is refused: no image was said to be without it either.

    Args:
        splits: data whose targets count by `splits.labels`.
        labels: class names of the model, in the order of its outputs.
        task: task of the model.

    Raises:
        DataError: the data is of another task, has a class that the model does not know, or says nothing of a label.
    """
    name = splits.fingerprint.name
    if (splits.task == "multilabel") != (task == "multilabel"):  # whether classes are grades, the model says
        one, many = "exactly one label an image", "any number of labels an image"
        gives, wanted = (one, many) if task == "multilabel" else (many, one)
        raise DataError(
            f"{name}: gives {gives}, the model gives {wanted}; take a {splits.task} model, or {task} data",
            code="task-differs",
            data=splits.task,
            model=task,
        )
    if splits.ordered != (task == "ordinal"):
        splits = dataclasses.replace(splits, ordered=task == "ordinal")
    if splits.labels == labels:
        return splits
    splits = _spell_as(splits, labels)
    unknown = [label for label in splits.labels if label not in labels]
    if unknown:
        raise DataError(
            f"{name}: {name_each('class', unknown, 'is', 'are')} unknown to the model, which knows {brief(labels)}; "
            "rename them in the data, or take a model trained on these classes",
            code="label-unknown",
            labels=list(unknown),
            known=list(labels),
        )
    unsaid = [label for label in labels if label not in splits.labels]
    if task == "multilabel" and unsaid:
        raise DataError(
            f"{name}: {name_each('label', unsaid, 'of the model is', 'of the model are')} not in the data; "
            "add a column for each, or take a model trained on the labels of the data",
            code="label-unsaid",
            labels=list(unsaid),
        )
    order = np.array([labels.index(label) for label in splits.labels], np.int64)
    return splits.relabel(labels, order)


def _spell_as(splits: Splits, labels: tuple[str, ...]) -> Splits:
    """Give classes of the data the names that a model has for them, where only the spelling differs."""
    found = match_labels(splits.labels, labels)
    names = {
        label: label if place is None else labels[place] for label, place in zip(splits.labels, found, strict=True)
    }
    notes = tuple(
        f"class {label!r} was taken for the model's {name!r}"
        for label, name in names.items()
        if unicodedata.normalize("NFC", label) != unicodedata.normalize("NFC", name)
    )
    return dataclasses.replace(splits, labels=tuple(names.values()), notes=(*splits.notes, *notes))
