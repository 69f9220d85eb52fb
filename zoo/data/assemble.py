"""From a pool of images to splits: make what is missing, look for copies across splits, fingerprint."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.index import SPLITS, ImageSet, Pool, SplitName, Splits
from zoo.data.labels import check_classes, label_text
from zoo.data.names import Names
from zoo.data.split import HELD_OUT, stratified
from zoo.data.wording import brief
from zoo.errors import DataError
from zoo.spec import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["assemble"]

log = logging.getLogger("zoo")

Rows = dict[SplitName, NDArray[np.int64]]


def assemble(pool: Pool, *, split_seed: int, for_training: bool) -> Splits:
    """Finish a data set.

    Args:
        pool: all its images.
        split_seed: seed of splits that have to be made.
        for_training: all three splits are needed, with every class in each. Else the data stays as it is, and
            images without a split all count as test.

    Raises:
        DataError: a split or a class that is needed is not there and can not be made.
    """
    if for_training and len(pool.labels) < 2:
        raise DataError(f"{pool.name}: one class only ({brief(pool.labels)}), expected at least two")
    rows, decisions = _rows(pool, split_seed=split_seed, for_training=for_training)
    rare = check_classes(pool.labels, pool.targets, rows, name=pool.name) if for_training else ()
    defects = [*_copies_across(pool, rows), *_conflicts(pool)]
    for note in (*pool.notes, *decisions):
        log.info("%s: %s", pool.name, note)
    for note in (*rare, *defects):
        log.warning("%s: %s", pool.name, note)
    sets = {split: _image_set(pool, rows.get(split)) for split in SPLITS}
    return Splits(
        labels=pool.labels,
        train=sets["train"],
        val=sets["val"],
        test=sets["test"],
        fingerprint=_fingerprint(pool, rows),
        notes=(*pool.notes, *decisions, *rare, *defects),
        kind=pool.kind,
        gray=pool.gray,
        largest_side=pool.largest_side,
        voi=pool.voi,
        skipped=pool.skipped,
    )


def _rows(pool: Pool, *, split_seed: int, for_training: bool) -> tuple[Rows, list[str]]:
    everything = np.arange(len(pool.ids), dtype=np.int64)
    if not for_training:
        if pool.rows:
            return dict(pool.rows), []
        return {"test": everything}, ["the data brings no splits; all images count as test"]
    if pool.rows and "train" not in pool.rows:
        raise DataError(
            f"{pool.name}: holds {' and '.join(pool.rows)} but no train; add a folder or arrays to train on"
        )
    missing: list[SplitName] = [split for split in ("val", "test") if split not in pool.rows]
    if not missing:
        return dict(pool.rows), []
    # a held-out split is 15 % of everything; beside one that is there already, that is 15/85 of train
    share = HELD_OUT if len(missing) == 2 else HELD_OUT / (1 - HELD_OUT)
    # an image that a split of the data's own holds too stays in train: a made split holds no copy of another
    elsewhere = {_hex(pool, row) for split, chosen in pool.rows.items() if split != "train" for row in chosen.tolist()}
    made = stratified(
        pool.rows.get("train", everything),
        pool.targets,
        [_hex(pool, row) for row in range(len(pool.ids))],
        dict.fromkeys(missing, share),
        keep=elsewhere,
        labels=pool.labels,
        name=pool.name,
        seed=split_seed,
    )
    origin = "of all images" if not pool.rows else "out of train"
    if len(missing) == 2:
        note = f"val and test were made {origin}: stratified 70/15/15, seed {split_seed}"
    else:
        note = f"{missing[0]} was made {origin}: stratified, 15/85 of it, seed {split_seed}"
    merged: Rows = {**pool.rows, **made}
    return {split: merged[split] for split in SPLITS}, [note]


def _image_set(pool: Pool, rows: NDArray[np.int64] | None) -> ImageSet:
    chosen = np.empty(0, np.int64) if rows is None else rows
    groups = None if pool.groups is None else pool.groups[chosen]
    ids = Names.of(pool.ids).subset(chosen)
    return ImageSet(ids, pool.targets[chosen], pool.source, chosen, pool.digests[chosen], groups)


def _fingerprint(pool: Pool, rows: Mapping[SplitName, NDArray[np.int64]]) -> Fingerprint:
    lines = sorted(
        f"{split}\t{label_text(pool.labels, pool.targets[row])}\t{_hex(pool, row)}\n"
        for split, chosen in rows.items()
        for row in chosen.tolist()
    )
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8"))
    counts: dict[str, int] = {split: len(rows[split]) if split in rows else 0 for split in SPLITS}
    return Fingerprint(name=pool.name, sha256=digest.hexdigest(), n=len(lines), splits=counts)


def _copies_across(pool: Pool, rows: Mapping[SplitName, NDArray[np.int64]]) -> list[str]:
    """One note for each pair of splits that share images byte for byte."""
    consequences: dict[tuple[SplitName, SplitName], str] = {
        ("train", "val"): "the choice of the best epoch is optimistic",
        ("train", "test"): "numbers on test are optimistic",
        ("val", "test"): "numbers on test are optimistic",
    }
    notes = []
    for (first, second), consequence in consequences.items():
        if first not in rows or second not in rows:
            continue
        seen = {_hex(pool, row) for row in rows[first].tolist()}
        shared = sum(_hex(pool, row) in seen for row in rows[second].tolist())
        if shared:
            images = "1 image stands" if shared == 1 else f"{shared} images stand"
            notes.append(f"{images} in both {first} and {second}, byte for byte; {consequence}")
    return notes


def _conflicts(pool: Pool) -> list[str]:
    """A note when the same image stands under two classes."""
    first: dict[str, Any] = {}
    pairs: list[tuple[Any, Any]] = []
    for row, target in enumerate(pool.targets.tolist()):
        earlier = first.setdefault(_hex(pool, row), target)
        if earlier != target:
            pairs.append((earlier, target))
    if not pairs:
        return []
    a, b = (label_text(pool.labels, target) for target in pairs[0])
    images = "1 image stands" if len(pairs) == 1 else f"{len(pairs)} images stand"
    return [f"{images} under more than one class, byte for byte ({a!r} and {b!r}); one of the labels is wrong"]


def _hex(pool: Pool, row: int) -> str:
    return bytes(pool.digests[row]).hex()
