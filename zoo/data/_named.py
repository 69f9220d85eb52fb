"""`open_data` and `index`: from what a user typed to a data set."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.labels import match_labels
from zoo._support.text import brief, is_utf8
from zoo.data._groups import regroup
from zoo.data._index import Arrays, Files
from zoo.data._labels import check_names, merge_spellings
from zoo.data._patterns import suggest_group
from zoo.data._sources.beside import FOLDERS, find_table, note_left_out, suggest_table
from zoo.data._sources.digits import index_digits
from zoo.data._sources.folder import index_folder
from zoo.data._sources.hdf5 import index_hdf5, is_hdf5
from zoo.data._sources.npz import index_npz
from zoo.data._sources.remote import bring, bring_listed
from zoo.data._sources.shards import index_shards, is_sharded
from zoo.data._sources.table import index_table, is_table
from zoo.data._splitting.assemble import assemble, assemble_again, retell
from zoo.data._splitting.fingerprint import contents
from zoo.data._uncertain import decide
from zoo.errors import DataError
from zoo.spec import pick_reading
from zoo.store import sets
from zoo.store.remote import is_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from numpy.typing import NDArray

    from zoo.data._index import Pool, Splits
    from zoo.data._splitting.leaks import Leaks
    from zoo.spec import FoldChoice, Provenance, Reading, TrainConfig, Uncertain

__all__ = ["apply_advice", "find_images", "find_named", "index", "judge_uncertain", "open_data", "reopen_data"]

_SPREADSHEETS = frozenset({".xlsx", ".xlsm", ".xls", ".ods"})
_OTHER_COLUMNS = frozenset({"table-column-missing", "columns-without-table", "folder-tables", "folder-parts"})
"""Codes of data that do not have the columns which a run was trained with."""
_NO_CLASSES = frozenset({"folder-without-classes", "folder-parts", "folder-splits", "class-empty"})
"""Codes of folders whose images a table near them may list."""


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
    pool = decide(_index_again(source, config, skip_bad=True, reading={}), config.uncertain)
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
    pool = _index_undecided(source, skip_bad=skip_bad, reading=config.reading)
    return retell(splits, decide(pool, config.uncertain), decide(pool, after))


def _index_again(source: str | Path, config: TrainConfig, *, skip_bad: bool, reading: Reading) -> Pool:
    """Index data as in training, where nothing else is said; uncertain labels stay."""
    asked = pick_reading(reading)
    try:
        pool = _index_undecided(source, skip_bad=skip_bad, reading={**config.reading, **asked})
    except DataError as problem:  # other data, whose columns have other names, or whose channels lie in arrays
        if problem.code == "frames-without-files" and "frames" not in asked:
            return _index_again(source, config, skip_bad=skip_bad, reading={**asked, "frames": "one"})
        if "columns" in asked or problem.code not in _OTHER_COLUMNS:
            raise
        pool = _index_undecided(source, skip_bad=skip_bad, reading={**config.reading, "columns": None, **asked})
    if group := asked.get("group"):
        return regroup(pool, group)
    if config.group is not None:
        with contextlib.suppress(DataError):
            return regroup(pool, config.group)
    return pool


def _to_be_divided(source: str | Path, pool: Pool) -> bool:
    """Whether a set is divided even where nothing is to be trained: a named one that brings no splits."""
    return not pool.rows and find_named(source) is not None


def index(source: str | Path, *, skip_bad: bool = False, as_is: bool = False, **reading: Unpack[Reading]) -> Pool:
    """Every image of a data set, before splits are made; arguments and errors as `open_data`.

    Args:
        source: name or place of the data set, as in `open_data`.
        skip_bad: leave out files whose header cannot be read.
        as_is: to look at a set, not to learn from it: class folders without an image and mixed pixel types pass.
        **reading: way to read it, see `zoo.spec.Reading`. A group is not applied; a column of that name is kept in
            `Pool.columns`.
    """
    pool = _index_undecided(source, skip_bad=skip_bad, as_is=as_is, reading=reading)
    return decide(pool, reading.get("uncertain") or "ignore")


def _index_undecided(source: str | Path, *, skip_bad: bool, as_is: bool = False, reading: Reading) -> Pool:
    """As `index`; uncertain labels stay, and nothing is said of them."""
    reading = pick_reading(reading)
    path = Path(source)
    pool = _index_source(source, path, skip_bad=skip_bad, as_is=as_is, reading=reading)
    if reading.get("columns") and not pool.roles:
        raise DataError(
            f"{pool.name}: is not a table, and --columns says what columns of a table mean; leave it out",
            code="columns-without-table",
            data=pool.name,
        )
    if (asked := reading.get("inputs")) and not pool.inputs:
        raise DataError(
            f"{pool.name}: is not a table, and the model is to be given {brief(asked, 8)} beside each image; name a "
            "table with these columns",
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
        pool = dataclasses.replace(pool, notes=(note, *pool.notes))
    check_names(pool.labels, pool.name)
    pool = merge_spellings(pool)
    if pool.groups is None and not reading.get("group") and not isinstance(pool.source, Arrays):
        pool = dataclasses.replace(pool, notes=(*pool.notes, *suggest_group(pool)))
    return pool


def _index_source(source: str | Path, path: Path, *, skip_bad: bool, as_is: bool, reading: Reading) -> Pool:
    """By the reader of its layout."""
    if source == "":  # a variable of the shell that is not set; a path of no parts would be the working directory
        raise DataError("'' names no data; name a set, a folder or a table", code="data-missing", source="")
    if is_url(source):
        path = bring(str(source))
    try:
        if known := find_named(source):
            return _index_named(known, path, skip_bad=skip_bad, as_is=as_is)
        if not is_utf8(str(path.absolute())):
            raise DataError(
                f"{path.name!a}: a name in the path of the data is not UTF-8; rename it", code="file-name", files=1
            )
        if is_sharded(path):
            return index_shards(path, skip_bad=skip_bad, as_is=as_is)
        if is_hdf5(path):
            return index_hdf5(path)
        if path.is_dir():
            return _index_directory(path, skip_bad=skip_bad, as_is=as_is, reading=reading)
        if path.is_file():
            if path.suffix.lower() == ".npz":
                return index_npz(path)
            if is_table(path):
                path = bring_listed(path) or path
                return index_table(path, skip_bad=skip_bad, as_is=as_is, reading=reading)
            if path.suffix.lower() in _SPREADSHEETS:
                raise DataError(
                    f"{path.name}: a spreadsheet, expected a table; save its sheet as CSV (UTF-8)",
                    code="data-format",
                    path=str(path),
                )
            names = brief(sets.catalogue(), most=3)
            raise DataError(
                f"{path.name}: not a data set; expected a folder, an .npz file or {names}, "
                "or a table (.csv, .tsv, .parquet)",
                code="data-format",
                path=str(path),
            )
        raise DataError(_not_found(str(source)), code="data-missing", source=str(source))
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise DataError(
            f"{path.name}: cannot be read ({reason.lower()}); check the path and its rights",
            code="file-unreadable",
            path=str(path),
            cause=reason.lower(),
        ) from None


def _index_directory(path: Path, *, skip_bad: bool, as_is: bool, reading: Reading) -> Pool:
    """The table that a folder holds, where its rows name its images; else its class folders."""
    columns, frames = reading.get("columns"), reading.get("frames") or "one"
    if columns == FOLDERS:
        pool = index_folder(path, skip_bad=skip_bad, as_is=as_is, sure=True, frames=frames)
        return dataclasses.replace(pool, roles=FOLDERS)
    beside = find_table(path, columns)
    if beside.table is not None:
        pool = index_table(beside.table, skip_bad=skip_bad, as_is=as_is, reading=reading, places=beside.places)
        left = note_left_out(beside, itertools.chain(pool.ids, (one.name for one in (*pool.skipped, *pool.unlabelled))))
        return dataclasses.replace(pool, notes=(*beside.notes, *left, *pool.notes))
    try:
        pool = index_folder(path, skip_bad=skip_bad, as_is=as_is, frames=frames)
    except DataError as problem:
        if problem.code not in _NO_CLASSES or not (way := suggest_table(path)):
            raise
        raise DataError(f"{problem}{way}", code=problem.code, **problem.fields) from None
    if len(pool.labels) == 1 and (way := suggest_table(path)):
        raise DataError(
            f"{pool.name}: one class folder only ({pool.labels[0]!r}){way}",
            code="folder-without-classes",
            folder=pool.labels[0],
        )
    return dataclasses.replace(pool, notes=(*beside.notes, *pool.notes))


def find_named(source: str | Path) -> sets.Variant | None:
    """The set that `source` is the name of, here or not; a folder of the same name is meant by './NAME'.

    Raises:
        DataError: a size that the set is not published at.
    """
    if not isinstance(source, str) or is_url(source):
        return None
    try:
        return sets.lookup(source)
    except DataError:
        if Path(source).exists():
            return None
        raise


def apply_advice(source: str | Path, settings: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """`settings` with what a named set asks for where they are silent, and a note of what that was.

    Raises:
        DataError: as `find_named`.
    """
    known = find_named(source)
    asked = {} if known is None else {k: v for k, v in known.about.train.items() if k not in settings}
    said = ", ".join(f"{name} {value}" for name, value in asked.items())
    notes = (f"{said}: {known.about.because}",) if known is not None and asked else ()
    return asked | dict(settings), notes


def _index_named(known: sets.Variant, path: Path, *, skip_bad: bool, as_is: bool) -> Pool:
    """The pool of a named set under its own name, with the catalogue's class names and the licence as a note."""
    about = known.about
    if about.format == "embedded":
        pool = index_digits()
    else:
        try:
            stored = sets.resolve(known)
        except DataError as problem:
            if path.exists():
                raise DataError(
                    f"{problem}; what lies here under that name is given as {shlex.quote(f'./{path}')}",
                    code=problem.code,
                    **problem.fields,
                ) from None
            raise
        if about.format == "zip":
            pool = index_folder(stored, skip_bad=skip_bad, as_is=as_is)
        else:
            pool = dataclasses.replace(index_npz(stored), labels=about.labels)
    licence = f"data licence: {about.licence}{', non-commercial' if about.non_commercial else ''}"
    return dataclasses.replace(pool, name=known.name, notes=(licence, *pool.notes))


def _not_found(source: str) -> str:
    """The line for a name that is nothing: where was looked, and the nearest names that are something."""
    path = Path(source)
    there = next(folder for folder in (*path.parents, Path()) if folder.is_dir())
    beside = [entry.name for entry in there.iterdir() if not entry.name.startswith(".")]
    wanted = path.parts[len(there.parts)] if there != path and path.parts else path.name
    nearest = [str(there / name) for name in difflib.get_close_matches(wanted, beside, n=2)]
    if path.name == source:
        nearest += difflib.get_close_matches(source, sets.catalogue(), n=1, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(name) for name in nearest)}?" if nearest else ""
    hint = hint or f"expected a path or {brief(sets.catalogue(), most=3)}"
    return f"no data set, folder or file {source!r}, looked in {shlex.quote(str(there.resolve()))}; {hint}"
