"""`open_data` and `index`: from what a user typed to a data set."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.labels import match_labels
from zoo._support.text import brief
from zoo.data._groups import regroup
from zoo.data._index import Arrays, Files
from zoo.data._labels import check_names, merge_spellings
from zoo.data._layouts import find_named, index_source
from zoo.data._patterns import suggest_group
from zoo.data._splitting.assemble import assemble, assemble_again, retell
from zoo.data._splitting.fingerprint import contents
from zoo.data._uncertain import decide
from zoo.errors import DataError
from zoo.spec import pick_reading
from zoo.store import sets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from numpy.typing import NDArray

    from zoo.data._index import Pool, Splits
    from zoo.data._splitting.leaks import Leaks
    from zoo.spec import FoldChoice, Provenance, Reading, TrainConfig, Uncertain

__all__ = [
    "OTHER_COLUMNS",
    "find_images",
    "find_named",
    "index",
    "index_undecided",
    "judge_uncertain",
    "open_data",
    "reopen_data",
]

OTHER_COLUMNS = frozenset({"table-column-missing", "columns-without-table", "folder-tables", "folder-parts"})
"""Codes of data that do not have the columns which a run was trained with."""


def open_data(
    source: str | Path,
    *,
    split_seed: int = 0,
    skip_bad: bool = False,
    for_training: bool = True,
    leaks: Leaks = "drop",
    fold: FoldChoice = None,
    folds: int | None = None,
    **reading: Unpack[Reading],
) -> Splits:
    """Index a data set. No pixel of a file is decoded; every header is read and every file hashed.

    Args:
        source: a name from `zoo.store.sets` ('digits', 'breastmnist@64'), a folder (CLASS/image or SPLIT/CLASS/image),
            a table (see `zoo.data._sources.columns`), an .npz file with MedMNIST's keys, or WebDataset shards (a .tar,
            or a folder of them); or the address of any of them (s3://bucket/images), see `zoo.store.remote`.
        split_seed: seed of splits that the data does not bring.
        skip_bad: leave out files whose header cannot be read, and list them in `Splits.skipped`.
        for_training: three splits with every class in each, made where missing (val and test, 15 % each).
            False, to evaluate on other data: nothing is made, classes may be missing, and images without a
            split all count as test. Named sets are divided either way, so that a model is tested on what it
            was not trained on. Data that a run was trained on must be opened with True and that run's seed.
        leaks: treatment of copies and groups in two splits, see `TrainConfig.leaks`.
        fold: number of the test fold, see `TrainConfig.fold`.
        folds: how many folds the images are dealt out into, see `TrainConfig.folds`.
        **reading: columns, group, keep_na, uncertain, frames, inputs; see `zoo.spec.Reading`.

    Raises:
        DataError: the source is not there, or cannot be used as it is; one line that says what to do.
        GateError: images or groups are in two splits, and `leaks` does not allow it.
    """
    pool = index(source, skip_bad=skip_bad, **reading)
    if group := reading.get("group"):
        pool = regroup(pool, group)
    known = find_named(source)
    if known and for_training:
        sets.warn_of_licence(known)
    made = for_training or _to_be_divided(source, pool)
    return assemble(pool, split_seed=split_seed, for_training=made, leaks=leaks, fold=fold, folds=folds)


def reopen_data(
    source: str | Path,
    origin: Provenance,
    *,
    skip_bad: bool = False,
    undivided: bool = False,
    **reading: Unpack[Reading],
) -> Splits:
    """Data for evaluation: divided as in training where it is the model's own set, so that test stays unseen.

    Args:
        source: name or place of the data set, as in `open_data`.
        origin: provenance of the model.
        skip_bad: leave out files whose header cannot be read.
        undivided: take the model's own set as any other, so that several models get the same images.
        **reading: way to read it, see `zoo.spec.Reading`. What is missing is as in training, where the data has such
            columns and groups.

    Returns:
        With the fingerprint of `origin` where it is that set and `uncertain` is that of training; else the data as it
        is.
    """
    own = origin.config.uncertain
    pool = _index_again(source, origin.config, skip_bad=skip_bad, reading=reading)
    trained_on, asked = decide(pool, own), decide(pool, reading.get("uncertain") or own)
    again = None if undivided else assemble_again(trained_on, origin)
    if again is None:
        return assemble(asked, split_seed=0, for_training=_to_be_divided(source, pool))
    return again if reading.get("uncertain") in {None, own} else retell(again, trained_on, asked)


def find_images(
    source: str | Path, digests: NDArray[np.uint8], config: TrainConfig, labels: Sequence[str]
) -> Splits | None:
    """Images by their hashes, as the test set of a data set, wherever that has them.

    Args:
        source: name or place of the data set, as in `open_data`.
        digests: (n, 32) uint8 sha256 of each image, each once.
        config: how the images were read when they were hashed.
        labels: classes that count; another one stays only where an image among them is of it.

    Returns:
        Each image once, or None: none of them is there.
    """
    settled: Reading = {"keep_na": bool(config.keep_na)}
    pool = decide(_index_again(source, config, skip_bad=True, reading=settled), config.uncertain)
    same = contents(np.concatenate((digests, pool.digests)))
    found, first = np.unique(same[len(digests) :], return_index=True)
    rows = np.sort(first[np.isin(found, same[: len(digests)])])
    if not len(rows):
        return None
    if pool.targets.ndim == 1:
        kept = np.unique(pool.targets[rows])
        targets = np.searchsorted(kept, pool.targets)  # only that of `rows` counts
    else:
        kept = np.array([place for place in match_labels(labels, pool.labels) if place is not None], np.int64)
        targets = pool.targets[:, kept]
    known = tuple(pool.labels[place] for place in kept.tolist())
    pool = dataclasses.replace(pool, labels=known, targets=targets, rows={"test": rows}, folds=None)
    return assemble(pool, split_seed=0, for_training=False)


def judge_uncertain(
    splits: Splits, source: str | Path, config: TrainConfig, after: Uncertain, *, skip_bad: bool
) -> Splits:
    """The same splits, with labels of -1 taken for something else than when they were made.

    Args:
        splits: from `open_data`.
        source: where they came from.
        config: how the source was read then.
        after: treatment of labels of -1 from now on.
        skip_bad: whether unreadable files were left out of `splits`.
    """
    if config.uncertain == after:
        return splits
    pool = index_undecided(source, skip_bad=skip_bad, reading=config.reading)
    return retell(splits, decide(pool, config.uncertain), decide(pool, after))


def _index_again(source: str | Path, config: TrainConfig, *, skip_bad: bool, reading: Reading) -> Pool:
    """Index data as in training, where nothing else is said; uncertain labels stay."""
    asked = pick_reading(reading)
    try:
        pool = index_undecided(source, skip_bad=skip_bad, reading={**config.reading, **asked})
    except DataError as problem:  # other data, whose columns have other names, or whose channels lie in arrays
        if problem.code == "frames-without-files" and "frames" not in asked:
            return _index_again(source, config, skip_bad=skip_bad, reading={**asked, "frames": "one"})
        if "columns" in asked or problem.code not in OTHER_COLUMNS:
            raise
        pool = index_undecided(source, skip_bad=skip_bad, reading={**config.reading, "columns": None, **asked})
    if group := asked.get("group"):
        return regroup(pool, group)
    if config.group is not None:
        with contextlib.suppress(DataError):
            return regroup(pool, config.group)
    return pool


def _to_be_divided(source: str | Path, pool: Pool) -> bool:
    """Whether a set is divided even where nothing is to be trained: a named one that brings no splits."""
    return not pool.rows and find_named(source) is not None


def index(
    source: str | Path, *, skip_bad: bool = False, as_is: bool = False, verify: bool = False, **reading: Unpack[Reading]
) -> Pool:
    """Every image of a data set, before splits are made; arguments and errors as `open_data`.

    Args:
        source: name or place of the data set, as in `open_data`.
        skip_bad: leave out files whose header cannot be read.
        as_is: to look at a set, not to learn from it: class folders without an image and mixed pixel types pass.
        verify: hash the copy that is here of data in a store, instead of comparing sizes and times.
        **reading: way to read it, see `zoo.spec.Reading`. A group is not applied; a column of that name is kept in
            `Pool.columns`.
    """
    pool = index_undecided(source, skip_bad=skip_bad, as_is=as_is, verify=verify, reading=reading)
    return decide(pool, reading.get("uncertain") or "ignore")


def index_undecided(
    source: str | Path, *, skip_bad: bool, as_is: bool = False, verify: bool = False, reading: Reading
) -> Pool:
    """As `index`; uncertain labels stay, and nothing is said of them."""
    reading = pick_reading(reading)
    pool = index_source(source, skip_bad=skip_bad, as_is=as_is, verify=verify, reading=reading)
    if reading.get("columns") and not pool.roles:
        raise DataError(
            f"{pool.name}: is not a table, and --columns says what columns of a table mean; leave it out",
            code="columns-without-table",
            data=pool.name,
        )
    if (asked := reading.get("inputs")) and not pool.inputs:
        raise DataError(
            f"{pool.name}: brings no columns, and the model is to be given {brief(asked, 8)} beside each image; name a "
            "table with these columns, or shards that were made of one",
            code="inputs-missing",
            columns=list(asked),
            data=pool.name,
        )
    if reading.get("frames") == "channels" and not isinstance(pool.source, Files):
        raise DataError(
            f"{pool.name}: is not a folder or table of files, and --frames says what pictures of a file are; leave it "
            "out",
            code="frames-without-files",
            data=pool.name,
        )
    if pool.channels is not None:
        note = f"images are stacks of {pool.channels} channels, which are not colours"
        pool = dataclasses.replace(pool, notes=tuple(dict.fromkeys((note, *pool.notes))))
    check_names(pool.labels, pool.name)
    pool = merge_spellings(pool)
    if pool.groups is None and not reading.get("group") and not isinstance(pool.source, Arrays):
        pool = dataclasses.replace(pool, notes=tuple(dict.fromkeys((*pool.notes, *suggest_group(pool)))))
    return pool
