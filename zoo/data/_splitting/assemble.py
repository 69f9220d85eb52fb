"""From a pool of images to splits: make what is missing, act on what leaks, fingerprint."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import brief, count_with_verb
from zoo.data._advice import Advice, advise_by_headers, advise_by_labels
from zoo.data._groups import describe_alike, names_alike
from zoo.data._index import SPLITS, ImageSet, Pool, SplitName, Splits
from zoo.data._labels import check_classes
from zoo.data._names import Names
from zoo.data._splitting.fingerprint import contents, fingerprint
from zoo.data._splitting.leaks import Leaks, conflicts, copies_across, groups_across, without_leaks
from zoo.data._splitting.split import HELD_OUT, stratify, uneven
from zoo.data._splitting.split import folds as deal_folds
from zoo.data._unusable import note_skipped
from zoo.errors import DataError, GateError
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from zoo.spec import FoldChoice, Provenance

__all__ = ["NO_GROUPS", "assemble", "assemble_again", "retell"]

NO_GROUPS = "no patient, lesion or study groups are known: splits may share patients, and intervals may be too narrow"
"""A note in the report of every set without groups."""

log = logging.getLogger("zoo")

Rows = dict[SplitName, "NDArray[np.int64]"]


def assemble(
    pool: Pool,
    *,
    split_seed: int,
    for_training: bool,
    leaks: Leaks = "drop",
    fold: FoldChoice = None,
    folds: int | None = None,
) -> Splits:
    """Finish a data set, and log its notes.

    Args:
        pool: all its images.
        split_seed: seed of splits that have to be made.
        for_training: all three splits are needed, with every class in each. Else the data stays as it is, and
            images without a split all count as test.
        leaks: what training does about copies and groups in two splits; see `TrainConfig.leaks`.
        fold: which fold of data with folds is test; None: the first. The next one is val, the rest train.
        folds: how many folds all images are dealt out into; None: the data's own.

    Returns:
        The splits; their fingerprint is of the data as brought, before copies were left out of train.

    Raises:
        DataError: a split, a fold or a class that is needed is not there and cannot be made.
        GateError: images or groups are in two splits, and `leaks` does not allow it.
    """
    splits, defects = _finish(
        pool, split_seed=split_seed, for_training=for_training, leaks=leaks, fold=fold, folds=folds
    )
    _say(splits, defects)
    return splits


def assemble_again(pool: Pool, origin: Provenance) -> Splits | None:
    """The splits a model was trained on, where `pool` is that set; None where it is another."""
    config = origin.config
    try:
        splits, defects = _finish(
            pool, split_seed=config.split_seed, for_training=True, leaks=config.leaks, fold=config.fold,
            folds=config.folds,
        )  # fmt: skip
    except (DataError, GateError):  # not fit for training, so it is not that set
        return None
    if splits.fingerprint.sha256 != origin.data.sha256:
        return None
    _say(splits, defects)
    return splits


def retell(splits: Splits, before: Pool, after: Pool) -> Splits:
    """The same images in the same splits, told what `after` says of them instead of `before`.

    Args:
        splits: made of `before`.
        before: the pool then.
        after: pool of the same images in the same order, with other targets and notes.
    """
    sets = {split: dataclasses.replace(images, targets=after.targets[images.rows])
            for split, images in (("train", splits.train), ("val", splits.val), ("test", splits.test))}  # fmt: skip
    rows: Rows = {split: sets[split].rows for split in SPLITS if len(sets[split])}
    same = contents(after.digests)
    mark = fingerprint(after.name, after.labels, after.targets, after.digests, rows, same=same)
    own = (note for note in splits.notes if note not in before.notes)
    for note in after.notes:
        if note not in before.notes:
            log.info("%s: %s", after.name, note)
    return dataclasses.replace(
        splits,
        train=sets["train"],
        val=sets["val"],
        test=sets["test"],
        fingerprint=mark,
        notes=(*after.notes, *own),
    )


def _finish(
    pool: Pool, *, split_seed: int, for_training: bool, leaks: Leaks, fold: FoldChoice, folds: int | None
) -> tuple[Splits, dict[str, str]]:
    """The splits, and those of their notes that are defects, as they are said on the screen."""
    if for_training and len(pool.labels) < 2:
        raise DataError(
            f"{pool.name}: one class only ({brief(pool.labels)}), expected at least two",
            code="split-one-class",
            labels=list(pool.labels),
        )
    same = contents(pool.digests)
    rows, decisions = _rows(pool, same, split_seed=split_seed, for_training=for_training, fold=fold, folds=folds)
    # where no image is held out, val repeats images of train
    counted: Rows = {"train": rows["train"]} if fold == "none" and for_training else rows
    mark = fingerprint(pool.name, pool.labels, pool.targets, pool.digests, counted, same=same)
    rare: tuple[str, ...] = ()
    if for_training:
        rare = check_classes(pool.labels, pool.targets, rows, name=pool.name)
        if fold != "none":  # there validation images are training images, as said
            rows, done = without_leaks(pool, rows, same, leaks)
            decisions += done
        rows, done = _without_unknown(pool, rows)
        decisions += done
    apart = counted if fold == "none" else rows  # leaks were acted on in `rows`
    defects = {
        note: note for note in (*rare, *copies_across(apart, same), *groups_across(pool, apart), *conflicts(pool, same))
    }
    if alike := names_alike(pool):
        defects[describe_alike(alike, named=False)] = describe_alike(alike, named=True)
    unknown = (NO_GROUPS,) if pool.groups is None else ()
    advice: tuple[Advice, ...] = ()
    if for_training:
        # Of all images: the folds of one cross-validation get the same advice.
        advice = advise_by_headers(pool.shows)
    sets = {split: _image_set(pool, rows.get(split)) for split in SPLITS}
    splits = Splits(
        labels=pool.labels,
        train=sets["train"],
        val=sets["val"],
        test=sets["test"],
        fingerprint=mark,
        notes=(*note_skipped(len(pool.skipped)), *pool.notes, *decisions, *defects, *unknown),
        kind=pool.kind,
        gray=pool.gray,
        channels=pool.channels,
        largest_side=pool.largest_side,
        voi=pool.voi,
        paddings=pool.paddings,
        skipped=tuple(map(str, (*pool.skipped, *pool.unlabelled))),
        passed_over=pool.passed_over,
        unread=None if pool.skipped else {},
        advice=(*pool.advice, *advise_by_labels(pool.labels), *advice),
    )
    return splits, defects


def _say(splits: Splits, defects: Mapping[str, str]) -> None:
    for note in splits.notes:
        level = logging.WARNING if note in defects else logging.INFO
        log.log(level, "%s: %s", splits.fingerprint.name, defects.get(note, note))


def _rows(
    pool: Pool,
    same: NDArray[np.int64],
    *,
    split_seed: int,
    for_training: bool,
    fold: FoldChoice,
    folds: int | None,
) -> tuple[Rows, tuple[str, ...]]:
    everything = np.arange(len(pool.ids), dtype=np.int64)
    if not for_training:
        if pool.rows:
            return dict(pool.rows), ()
        brings = "no splits" if pool.folds is None else "folds and no splits"
        return {"test": everything}, (f"the data brings {brings}; all images count as test",)
    if pool.folds is not None:
        return _assign_folds(pool, pool.folds, fold, expected=folds)
    if folds is not None:
        return _deal_folds(pool, folds, fold, split_seed)
    if fold is not None:
        raise DataError(
            f"{pool.name}: has no folds, fold {fold} was asked for; make some with 'zoo data split PATH --folds 5'",
            code="fold-unknown",
            fold=fold,
            folds=0,
        )
    if pool.rows and "train" not in pool.rows:
        raise DataError(
            f"{pool.name}: holds {' and '.join(pool.rows)} but no train; add a folder or arrays to train on",
            code="split-empty",
            split="train",
            data=pool.name,
        )
    missing: list[SplitName] = [split for split in ("val", "test") if split not in pool.rows]
    if not missing:
        return dict(pool.rows), ()
    return _make_missing(pool, same, missing, pool.rows.get("train", everything), split_seed)


def _deal_folds(pool: Pool, count: int, fold: FoldChoice, seed: int) -> tuple[Rows, tuple[str, ...]]:
    """All images in `count` folds, as `zoo data split --folds` deals them; splits of the data's own do not count."""
    dealt = deal_folds(
        pool.targets, pool.digests, count,
        groups=pool.groups, grouped_by=pool.grouped_by, labels=pool.labels, name=pool.name, seed=seed,
    )  # fmt: skip
    rows, notes = _assign_folds(pool, dealt, fold, expected=count)
    whole = "" if pool.groups is None else ", groups kept whole"
    made = f"{count} folds were dealt of all images: stratified{whole}, seed {seed}"
    own = f"; {' and '.join(pool.rows)} of the data's own do not count" if pool.rows else ""
    return rows, (made + own, *notes)


def _assign_folds(
    pool: Pool, folds: NDArray[np.int64], fold: FoldChoice, *, expected: int | None = None
) -> tuple[Rows, tuple[str, ...]]:
    numbers = np.unique(folds).tolist()
    if expected not in {None, len(numbers)}:
        raise DataError(
            f"{pool.name}: brings {len(numbers)} folds of its own, {expected} were asked for; give --folds "
            f"{len(numbers)}, or deal others with 'zoo data split PATH --folds {expected} --again'",
            code="fold-count",
            folds=len(numbers),
            expected=expected,
        )
    if len(numbers) < 3:
        raise DataError(
            f"{pool.name}: has {len(numbers)} folds, expected at least 3: one each for test, val and train",
            code="fold-count",
            folds=len(numbers),
        )
    if fold == "none":
        note = f"all {len(numbers)} folds are trained on: no image is held out"
        return {"train": np.arange(len(folds)), "val": np.flatnonzero(folds == numbers[0])}, (note,)
    test = numbers[0] if fold is None else fold
    if test not in numbers:
        raise DataError(
            f"{pool.name}: has folds {numbers[0]} to {numbers[-1]}, fold {fold} was asked for",
            code="fold-unknown",
            fold=fold,
            folds=len(numbers),
        )
    val = numbers[(numbers.index(test) + 1) % len(numbers)]
    rows: Rows = {
        "train": np.flatnonzero((folds != test) & (folds != val)),
        "val": np.flatnonzero(folds == val),
        "test": np.flatnonzero(folds == test),
    }
    chosen = "" if fold is not None else "; choose another with --fold"
    return rows, (f"of {len(numbers)} folds, fold {test} is test and fold {val} is val{chosen}",)


def _make_missing(
    pool: Pool, same: NDArray[np.int64], missing: list[SplitName], rows: NDArray[np.int64], seed: int
) -> tuple[Rows, tuple[str, ...]]:
    """Take what is missing out of `rows`; what is left of them is train."""
    # a held-out split is 15 % of everything; beside one that is there already, that is 15/85 of train
    share = HELD_OUT if len(missing) == 2 else HELD_OUT / (1 - HELD_OUT)
    shares = dict.fromkeys(missing, share)
    # an image that a split of the data's own holds too stays in train, and so does its group: a made split holds
    # no copy of another
    brought = [chosen for split, chosen in pool.rows.items() if split != "train"]
    elsewhere = np.concatenate(brought) if brought else np.empty(0, np.int64)
    keep = np.isin(same, same[elsewhere])
    if pool.groups is not None:
        keep |= np.isin(pool.groups, pool.groups[elsewhere])
    made = stratify(
        rows, pool.targets, pool.digests, shares,
        groups=pool.groups, grouped_by=pool.grouped_by, keep=keep, same=same, labels=pool.labels, name=pool.name,
        seed=seed,
    )  # fmt: skip
    origin = "of all images" if not pool.rows else "out of train"
    whole = "" if pool.groups is None else ", groups kept whole"
    if len(missing) == 2:
        note = f"val and test were made {origin}: stratified 70/15/15{whole}, seed {seed}"
    else:
        note = f"{missing[0]} was made {origin}: stratified, 15/85 of it{whole}, seed {seed}"
    merged: Rows = {**pool.rows, **made}
    off: tuple[str, ...] = ()
    if pool.groups is not None:
        wanted: dict[SplitName, float] = {"train": 1 - sum(shares.values()), **shares}
        off = uneven(pool.targets, [(split, wanted[split], made[split]) for split in made], pool.labels)
    return {split: merged[split] for split in SPLITS}, (note, *off)


def _without_unknown(pool: Pool, rows: Rows) -> tuple[Rows, tuple[str, ...]]:
    """Leave out training images of which no label is known: there is nothing to learn from them."""
    if pool.targets.ndim == 1:
        return rows, ()
    silent = (pool.targets[rows["train"]] == UNKNOWN).all(axis=1)
    if not silent.any():
        return rows, ()
    note = f"{count_with_verb(int(silent.sum()), 'training image')} left out: none of their labels is known"
    return {**rows, "train": rows["train"][~silent]}, (note,)


def _image_set(pool: Pool, rows: NDArray[np.int64] | None) -> ImageSet:
    chosen = np.empty(0, np.int64) if rows is None else rows
    groups = None if pool.groups is None else pool.groups[chosen]
    ids = Names.of(pool.ids).subset(chosen)
    columns = {name: Names.of(cells).subset(chosen) for name, cells in pool.inputs.items()}
    kept = {name: Names.of(cells).subset(chosen) for name, cells in pool.kept.items()}
    return ImageSet(
        ids, pool.targets[chosen], pool.source, chosen, pool.digests[chosen], groups, columns=columns, kept=kept
    )
