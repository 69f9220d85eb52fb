"""The test images of a run that another one continues: found by their hashes, and kept out of the new training."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.text import format_count, quote_path
from zoo.data import Seen, find_images
from zoo.data._labels import count_labels
from zoo.errors import DataError, GateError, ZooError
from zoo.workflow._images import images_of, without_bad
from zoo.workflow._seen import find_overlap, list_seen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.data._splitting.leaks import Leaks
    from zoo.runs import RunFolder

__all__ = ["find_old_test", "spare_old_test"]


def find_old_test(old: RunFolder, *sources: str) -> tuple[Splits, int]:
    """The test images of a run, as the test set of its data, and how many of them are nowhere any more.

    Where its data is as it was, it is opened as it was divided then. Else the images are looked for by their hashes.

    Args:
        old: the run.
        *sources: data in which they may be too, beside its own.

    Raises:
        ZooError: no image of them is there; the error is that of the run's own data.
    """
    try:
        return without_bad(images_of(old, None), old.record.skipped), 0
    except ZooError:
        wanted = _hashes_of(old)
        if wanted is None:
            raise
        sets = []
        for source in dict.fromkeys((old.record.source, *sources)):
            with contextlib.suppress(ZooError):  # the one that is raised in the end says more
                sets.append(find_images(source, wanted, old.record.card.train, old.record.labels))
        most = max((one for one in sets if one is not None), key=lambda one: len(one.test), default=None)
        if most is None:
            raise
    return most, len(wanted) - len(most.test)


def _hashes_of(run: RunFolder) -> NDArray[np.uint8] | None:
    """(n, 32) sha256 of a run's test images, each once; None: not known."""
    try:
        seen = list_seen(run)
        found = None if seen is None else seen.test
        return np.unique(images_of(run, None).test.digests if found is None else found, axis=0)
    except ZooError:
        return None


def spare_old_test(splits: Splits, old: RunFolder, leaks: Leaks) -> tuple[Splits, tuple[str, ...]]:
    """The data of a run that continues `old`, without its test images in train and val, and what to say of them.

    A tool-made split deals images out anew when others were added, so an old test image may come to train. A copy in
    two splits and an old test image in train are treated alike, as `leaks` says.

    Args:
        splits: images of the new run.
        old: the run that is continued.
        leaks: drop: they and their groups are left out. keep: they stay, and judge nothing. refuse: they are refused.

    Raises:
        GateError: there are some, and `leaks` refuses that.
        DataError: without them a class has no image to train on, or to choose the best epoch by.
    """
    digests = _hashes_of(old)
    if digests is None or not len(digests):
        return splits, ()
    tested = Seen({"train": digests}, {})
    overlaps = {split: find_overlap(splits, split, tested) for split in ("train", "val")}
    gone = {split: one.seen | one.mates for split, one in overlaps.items()}
    counts = {split: int(mask.sum()) for split, mask in gone.items()}
    if not any(counts.values()):
        return splits, ()
    what = f"{format_count(counts['train'], 'training image')} and {format_count(counts['val'], 'validation image')}"
    whose = f"test images of {old.record.id}" + (
        ", or of the same groups" if any(one.mates.any() for one in overlaps.values()) else ""
    )
    if leaks == "refuse":
        raise GateError(
            f"{what} are {whose}, which it is judged by before and after; take them out, or train without --strict, "
            "which leaves them out",
            code="from-tested",
            run=old.record.id,
            **counts,
        )
    if leaks == "keep":
        return splits, (f"{what} are {whose}: they are learnt from, as asked, and do not judge before and after",)
    changed: dict[str, Any] = {
        split: splits.split(split).subset(np.flatnonzero(~mask)) for split, mask in gone.items() if len(mask)
    }
    _refuse_emptied(splits, changed, old)
    return dataclasses.replace(splits, **changed), (f"{what} left out: they are {whose}, which judge before and after",)


def _refuse_emptied(splits: Splits, left: dict[str, Any], old: RunFolder) -> None:
    for split, images in left.items():
        both = (splits.split(split), images)
        before, after = (count_labels(one.targets, len(splits.labels)) for one in both)
        lost = np.flatnonzero((before > 0) & (after == 0))
        if len(lost):
            label = splits.labels[int(lost[0])]
            raise DataError(
                f"every image of class {label!r} in {split} is a test image of {quote_path(old.path)}; add others, or "
                "train on them all the same with --keep-leaks",
                code="class-copies",
                label=label,
                split=split,
            )
