"""The images behind a run or a name: opened again, proven to be the same, the unusable ones left out."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.text import count_with_verb, quote_path
from zoo._urls import is_url, show_url
from zoo.data._index import SPLITS
from zoo.data._pixels import recall_pixels
from zoo.data._unusable import Unusable, refusal
from zoo.errors import DataError, ImageError
from zoo.preprocess import check_range
from zoo.workflow._seen import list_seen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from zoo.data import ImageSet, Splits
    from zoo.data._splitting.seen import Part
    from zoo.readers import Probe, RawImage
    from zoo.runs import RunFolder, RunRecord
    from zoo.spec import PixelKind, PreprocessSpec, TrainConfig, Uncertain

__all__ = [
    "check_in_range",
    "images_of",
    "lasting_source",
    "leave_out_for_all",
    "note_left_out",
    "note_unread",
    "open_as",
    "read_some",
    "readable",
    "refuse_kind",
    "refuse_unreadable",
    "share_unread",
    "without_bad",
]

log = logging.getLogger("zoo")


def open_as(source: str | Path, config: TrainConfig, *, skip_bad: bool) -> Splits:
    """The images at `source`, read and divided as a training asks for."""
    from zoo.data import open_data, order_grades

    splits = open_data(
        source,
        split_seed=config.split_seed,
        skip_bad=skip_bad,
        leaks=config.leaks,
        fold=config.fold,
        folds=config.folds,
        **config.reading,
    )
    return order_grades(splits, config.order) if config.task == "ordinal" else splits


def _order_as(splits: Splits, record: RunRecord) -> Splits:
    """The classes in the order of the run's grades; an ensemble has it from its members, not from its recipe."""
    from zoo.data import order_grades

    again = record.task == "ordinal" and splits.task != "ordinal"
    return order_grades(splits, record.labels) if again else splits


def images_of(run: RunFolder, data: str | Path | None, *, uncertain: Uncertain | None = None) -> Splits:
    """The images a run was trained with, proven to be the same ones; `uncertain`: as in `reopen_data`."""
    from zoo.data import judge_uncertain

    record = run.record
    source = data or record.source
    try:
        splits = _order_as(open_as(source, record.card.train, skip_bad=bool(record.skipped)), record)
    except DataError as problem:
        if data is not None:
            raise
        gone = problem.code == "data-missing"
        what = f"the images of run {run.path.name} are not at {quote_path(source)}" if gone else str(problem)
        raise DataError(
            f"{what}; {'' if gone else 'if they have moved, '}name their place with --data",
            code="data-moved",
            run=run.path.name,
            cause=problem.code,
        ) from None
    if splits.fingerprint.sha256 != record.data.sha256:
        raise DataError(
            f"{source} is not what {run.path.name} was trained with: its fingerprint is "
            f"{splits.fingerprint.sha256[:12]}…, the run says {record.data.sha256[:12]}…; "
            "name the original images with --data",
            code="data-changed",
            run=run.path.name,
            found=splits.fingerprint.sha256,
            expected=record.data.sha256,
        )
    if record.continues is not None:
        splits = _without_spared(splits, run)
    if uncertain is not None:
        splits = judge_uncertain(splits, source, record.card.train, uncertain, skip_bad=bool(record.skipped))
    return splits.read_for(record.card.preprocess)


def _without_spared(splits: Splits, run: RunFolder) -> Splits:
    """Leave out of train and val the test images of the run that this one continues, which it was not given."""
    seen = list_seen(run)
    if seen is None:
        return splits
    bad = set(run.record.skipped)  # `without_bad` leaves those out, and counts them

    def given(images: ImageSet, part: Part) -> ImageSet:
        known = seen.holds(images.digests, part) | np.array([name in bad for name in images.ids], np.bool_)
        return images.subset(np.flatnonzero(known))

    return dataclasses.replace(splits, train=given(splits.train, "train"), val=given(splits.val, "val"))


def without_bad(splits: Splits, skipped: Sequence[str]) -> Splits:
    """Leave out what training found unreadable (--skip-bad): export and evaluation do not meet it again."""
    # Only ids match. A file without a readable header is listed as 'id: reason'; no split holds it.
    bad = set(skipped)
    sets = (splits.train, splits.val, splits.test)
    train, val, test = (images.subset([i for i, image in enumerate(images.ids) if image not in bad]) for images in sets)
    missing = sum(map(len, sets)) - len(train) - len(val) - len(test)
    if not missing:
        return splits
    counts = {"train": len(train), "val": len(val), "test": len(test)}
    kept = msgspec.structs.replace(
        splits.fingerprint, n=sum(counts.values()), splits=counts
    )  # the hash is of the whole
    notes = (*splits.notes, note_left_out(missing))
    for name in SPLITS:
        splits = note_unread(splits, name, bad)
    return dataclasses.replace(splits, train=train, val=val, test=test, fingerprint=kept, notes=notes)


def note_unread(splits: Splits, name: str, bad: Collection[str]) -> Splits:
    """The same images, with the share of this split that is `bad` in `Splits.unread`; to be asked before they go."""
    images = splits.split(name)
    lost = np.array([one in bad for one in images.ids], np.float64)
    if splits.unread is None or not lost.any():
        return splits
    unit = np.arange(len(lost)) if images.groups is None else np.unique(images.groups, return_inverse=True)[1]
    share = float((np.bincount(unit, weights=lost) / np.bincount(unit)).mean())  # of one drawn image of each group
    before = splits.unread.get(name, 0.0)
    return dataclasses.replace(splits, unread={**splits.unread, name: 1 - (1 - before) * (1 - share)})


def share_unread(splits: Splits, name: str) -> float | None:
    """Share of a split's images that were left out because they cannot be read; None: it is not known."""
    return None if splits.unread is None else splits.unread.get(name, 0.0)


def note_left_out(n: int) -> str:
    """The note on images that were left out."""
    return f"{count_with_verb(n, 'image')} left out: cannot be decoded, or out of range"


def leave_out_for_all(
    data: Sequence[Splits], split: str, left_out: Sequence[frozenset[str]], names: Sequence[str]
) -> list[Splits]:
    """Leave out for all models what one of them cannot take, such as an image outside its range; a note says so.

    Args:
        data: images of each model: of one set, without those that it cannot take.
        split: which of its splits is judged.
        left_out: ids of the latter, of each model.
        names: how the models are called.

    Raises:
        DataError: nothing is left.
    """
    bad = frozenset[str]().union(*left_out)
    if all(one == bad for one in left_out):  # the notes of the data say it
        return list(data)
    each = ", ".join(f"{name} {len(one)}" for name, one in zip(names, left_out, strict=True))
    note = f"{count_with_verb(len(bad), 'image')} left out for all: not decoded, or out of a model's range ({each})"
    kept = []
    for one, own in zip(data, left_out, strict=True):
        images = one.split(split)
        left = images.subset([at for at, image in enumerate(images.ids) if image not in bad])
        if not len(left):
            raise DataError(
                f"{note}: none is left to judge; name images that all models take with --data",
                code="images-none-left",
                left_out=len(bad),
            )
        others = (said for said in one.notes if said != note_left_out(len(own)))
        changed: dict[str, Any] = {split: left, "notes": (*others, note)}
        kept.append(dataclasses.replace(one, **changed))
    return kept


def lasting_source(data: str | Path) -> str:
    """How run.json names the images: a path is right from any working directory, an address holds no secret."""
    from zoo.data import find_named

    if is_url(data):
        return show_url(str(data))
    known = find_named(data)
    return known.name if known else str(Path(data).resolve())


def readable(images: ImageSet, specs: Sequence[PreprocessSpec]) -> tuple[ImageSet, tuple[str, ...]]:
    """The images that can be decoded and lie in the declared range, and the ids of the others."""
    bad = _unusable(images, specs)
    for index, problem in bad.items():
        log.warning("left out %s: %s", images.ids[index], problem)
    if not bad:
        return images, ()
    kept = images.subset([index for index in range(len(images)) if index not in bad])
    return kept, tuple(images.ids[index] for index in bad)


def refuse_unreadable(images: ImageSet, specs: Sequence[PreprocessSpec]) -> None:
    """Decode every image once, unless that was done when their shards were written.

    Raises:
        DataError: some cannot be decoded or leave the declared range; the line counts them and says why of the first.
    """
    if len(images) and recall_pixels(images) is not None and images.read(0).kind == "uint8":
        return  # such images cannot leave a range
    bad = _unusable(images, specs)
    if bad:
        raise refusal((Unusable(images.ids[index], why) for index, why in bad.items()), len(images), of="test")


def refuse_kind(splits: Splits, expected: Sequence[PixelKind], whose: str) -> None:
    """Refuse images of another pixel type than those that `whose` says were trained on.

    Raises:
        DataError: names both types.
    """
    if splits.kind not in expected:
        said = " or ".join(expected)
        raise DataError(
            f"the images are {splits.kind}, {whose} was made for {said} images; name such with --data",
            code="data-kind",
            found=splits.kind,
            expected=said,
        )


def read_some(sets: Sequence[ImageSet], count: int, *, skip_bad: bool = False) -> Iterator[RawImage]:
    """Up to `count` images, spread evenly over the first set, then the next, one at a time.

    Args:
        sets: where they are taken from.
        count: how many at most.
        skip_bad: pass over those that cannot be read; they count all the same.

    Raises:
        ImageError: one cannot be read.
    """
    for images in sets:
        wanted = min(count, len(images))
        count -= wanted
        for index in np.linspace(0, len(images) - 1, wanted).astype(int).tolist():
            try:
                yield images.read(index)
            except ImageError:
                if not skip_bad:
                    raise


def check_in_range(images: ImageSet, specs: Sequence[PreprocessSpec]) -> ImageSet:
    """The same images; one that leaves the declared range is refused when it is read, as in training."""
    return dataclasses.replace(images, source=_InRange(images, specs), rows=np.arange(len(images), dtype=np.int64))


def _unusable(images: ImageSet, specs: Sequence[PreprocessSpec]) -> dict[int, str]:
    """Positions of the images that cannot be decoded or leave the declared range, and why."""
    checked = check_in_range(images, specs)
    bad = {}
    for index in range(len(images)):
        try:
            checked.read(index)
        except ImageError as problem:
            bad[index] = problem.reason
    return bad


@dataclass(frozen=True, slots=True, eq=False)
class _InRange:
    images: ImageSet
    specs: Sequence[PreprocessSpec]

    def read(self, row: int, *, voi: bool = False) -> RawImage:
        del voi  # the set inside knows
        raw = self.images.read(row)
        try:
            for spec in self.specs:
                check_range(raw.pixels, spec)
        except ImageError as problem:
            raise problem.rename(self.images.ids[row]) from None
        return raw

    def probe(self, row: int) -> Probe | None:
        return self.images.source.probe(int(self.images.rows[row]))
