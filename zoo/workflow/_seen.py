"""Images that a model has seen, among those it is to be judged on: found, left out and said, by one rule.

Numbers are made on images that the model has not seen. What it has seen is left out, and counted before anything else
is said. Asked for (--include-seen, --keep-leaks) it is judged all the same, and the report says so. Where nothing is
left, a gate refuses.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.text import name_owners
from zoo.errors import GateError
from zoo.spec import SeenImages

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from zoo.data import Seen, Splits
    from zoo.data._splitting.leaks import Leaks
    from zoo.data._splitting.seen import Part
    from zoo.runs import RunFolder, RunRecord

__all__ = [
    "NOT_KNOWN",
    "START",
    "UNKNOWN_SITE",
    "UNKNOWN_START",
    "UNKNOWN_TEACHER",
    "Overlap",
    "find_overlap",
    "find_unknown",
    "list_seen",
    "name_start",
    "sift",
    "sift_for_all",
    "sift_start",
    "start_of",
]

NOT_KNOWN = "whether the model was trained on some of these images is not known: no list of its images came with it"
UNKNOWN_SITE = "whether some of these images recalibrated the model is not known: no list of its images came with it"
UNKNOWN_START = (
    "whether the weights that training began with were trained on some of these images is not known: no list of their "
    "images came with them"
)
UNKNOWN_TEACHER = (
    "whether the teacher was trained on some of these images is not known: no list of its images came with it"
)
_MODEL = "the model"
START = "the weights that training began with"
"""Whose the images of the part "start" are, unless a teacher was there."""
_ASK = "--include-seen"


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Which of the n images of one split a model has seen.

    Attributes:
        seen: (n,) bool, it was trained or validated on the image, or what its weights began with was.
        mates: (n,) bool, it was not, but on others of the same group.
        means: what was compared.
        start: who has seen them, where only what came before the model was looked up, because the images are its own.
        recalibrated: the list holds images that recalibrated the model, too.
    """

    seen: NDArray[np.bool_]
    mates: NDArray[np.bool_]
    means: str
    start: str | None = None
    recalibrated: bool = False

    @property
    def where(self) -> str:
        """In which sets images were that have been seen."""
        site = ", or recalibrated it" if self.recalibrated else ""
        return f"in the training or validation set of {self.start or _MODEL}{site}"


def list_seen(run: RunFolder) -> Seen | None:
    """What a run says that it has seen; None: it says nothing."""
    from zoo.data import TRAINED_ON, read_seen

    return read_seen(run.file(TRAINED_ON), run.record.seen) if run.file(TRAINED_ON).is_file() else None


def name_start(*, weights: bool, teacher: bool) -> str:
    """Who has seen the images of the part "start"."""
    if not teacher:
        return START
    return f"{START}, or of its teacher" if weights else "the teacher"


def start_of(record: RunRecord) -> str:
    """`name_start` of a run."""
    return name_start(weights=record.weights is not None, teacher=record.teacher is not None)


def find_unknown(notes: Iterable[str]) -> str:
    """What the notes of a run say of whom nothing is known; empty: of nobody."""
    return "; ".join(note for note in notes if note in {UNKNOWN_START, UNKNOWN_TEACHER})


def find_overlap(splits: Splits, split: str, seen: Seen, *parts: Part, start: str = START) -> Overlap:
    """Look the images of a split up in what a model has seen.

    Files are compared first. What is not found so is decoded and compared by its pixels, where the list has those. A
    group counts as seen where one of its images is, in any split of the same data.

    Args:
        splits: the data.
        split: train, val or test.
        seen: the list.
        *parts: parts of it; none: all.
        start: who has seen the images of the part "start".
    """
    from zoo.data import digest_all

    images = splits.split(split)
    found = seen.holds(images.digests, *parts)
    pixels = seen.knows_pixels(*parts)
    if pixels and not found.all():
        rest = np.flatnonzero(~found)
        found[rest] = seen.holds_pixels(digest_all(images.subset(rest)), *parts)
    mates = np.zeros(len(images), np.bool_)
    if images.groups is not None:
        sets = (splits.train, splits.val, splits.test)
        groups = [one.groups[seen.holds(one.digests, *parts)] for one in sets if one.groups is not None]
        mates = np.isin(images.groups, np.concatenate((images.groups[found], *groups))) & ~found
    return Overlap(
        found, mates, "files or decoded pixels" if pixels else "files", start if parts == ("start",) else None
    )


def sift(splits: Splits, split: str, overlap: Overlap, *, include: bool, ask: str = _ASK) -> tuple[Splits, SeenImages]:
    """Leave out what a model has seen, and say so.

    Args:
        splits: the data.
        split: which of its splits is judged.
        overlap: images of that split that the model has seen.
        include: leave nothing out, only say it.
        ask: the option that includes.

    Returns:
        The data without them, and what to say.

    Raises:
        GateError: nothing is left.
    """
    n, count, grouped = len(overlap.seen), int(overlap.seen.sum()), int(overlap.mates.sum())
    by = f"compared by {overlap.means}"
    who, what = (overlap.start, "test image") if overlap.start else (_MODEL, "image")
    if count + grouped == 0:
        note = f"0 of {n} {what}s were {overlap.where}, {by}"
        return splits, SeenImages(count=0, of=n, how="none", note=note)
    said = [f"{_of(count, n, what, 'was', 'were')} {overlap.where}, {by}"] if count else []
    if grouped:
        groups = f"of groups (patients, lesions) that {who} has seen other images of"
        said.append(f"{_of(grouped, n, what, 'is', 'are')} {groups}")
    told = "; ".join(said)
    if include:
        note = f"{told}; they are judged, as asked: numbers are optimistic"
        return splits, SeenImages(count=count, of=n, grouped=grouped, how="judged", note=note)
    _refuse_empty(n, count, grouped, told, ask)
    note = f"{told}; they are left out, {n - count - grouped} are judged"
    left = _subset(splits, split, ~(overlap.seen | overlap.mates))
    return left, SeenImages(count=count, of=n, grouped=grouped, how="left out", note=note)


def sift_start(
    splits: Splits, seen: Seen | None, leaks: Leaks, notes: Sequence[str] = (), *, start: str = START
) -> tuple[Splits, SeenImages | None]:
    """The test images of a run's own data without those that its weights or its teacher had seen before it began.

    Args:
        splits: its data.
        seen: what the run has seen; None: not known.
        leaks: treatment of leaks, as in its recipe.
        notes: what was noted of the run.
        start: who has seen the images of the part "start" of `seen`.

    Raises:
        GateError: nothing is left; or something goes, and `leaks` refuses that.
    """
    unknown = find_unknown(notes)
    if seen is None or not len(seen.files.get("start", ())) or not len(splits.test):
        if unknown:
            return splits, SeenImages(count=None, of=len(splits.test), how="not known", note=unknown)
        return splits, None
    overlap = find_overlap(splits, "test", seen, "start", start=start)
    left, said = sift(splits, "test", overlap, include=leaks == "keep", ask="--keep-leaks")
    if leaks == "refuse" and said.how == "left out":
        raise GateError(
            f"{said.note.partition('; they are')[0]}; take other weights or another teacher, or train without "
            "--strict, which leaves them out of test",
            code="start-seen",
            count=said.count,
            grouped=said.grouped,
            of=said.of,
        )
    return left, msgspec.structs.replace(said, note=f"{said.note}; {unknown}") if unknown else said


def sift_for_all(
    data: Sequence[Splits], split: str, overlaps: Sequence[Overlap | SeenImages | None], names: Sequence[str],
    *, include: bool,
) -> tuple[list[Splits], SeenImages | None]:  # fmt: skip
    """Leave out for all models what any has seen, so that they are judged on the same images.

    Args:
        data: images of each model: the same, in the same order.
        split: which of its splits is judged.
        overlaps: what each model has seen, or what there is to say of that, or nothing.
        names: how the models are called.
        include: leave nothing out, only say it.

    Raises:
        GateError: nothing is left.
    """
    n = len(data[0].split(split))
    found = [(name, one) for name, one in zip(names, overlaps, strict=True) if isinstance(one, Overlap)]
    known = [(name, one) for name, one in zip(names, overlaps, strict=True) if isinstance(one, SeenImages)]
    seen, mates = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    for _, one in found:
        seen |= one.seen
        mates |= one.mates
    mates &= ~seen
    count, grouped = int(seen.sum()), int(mates.sum())
    said = name_owners(((name, one.note) for name, one in known), len(names))
    how: Any = "judged" if any(one.how == "judged" for _, one in known) else "not known" if known else "none"
    if found:
        each = ", ".join(f"{name} {int(one.seen.sum())}" for name, one in found)
        means = "files or decoded pixels" if all("pixels" in one.means for _, one in found) else "files"
        site = ", or recalibrated a model" if any(one.recalibrated for _, one in found) else ""
        told = f"of {n} images these were in training or validation sets{site}, compared by {means}: {each}"
        if grouped:
            told += f"; {grouped} more of groups (patients, lesions) that a model has seen other images of"
        if (count or grouped) and not include:
            _refuse_empty(n, count, grouped, told, _ASK)
            data = [_subset(one, split, ~(seen | mates)) for one in data]
            told += f"; what any has seen is left out for all, {n - count - grouped} are judged"
            how = "left out"
        elif count or grouped:
            told += "; they are judged, as asked: numbers are optimistic"
            how = "judged"
        said.insert(0, told)
    if not said:
        return list(data), None
    total = count if found else None
    return list(data), SeenImages(count=total, of=n, grouped=grouped, how=how, note="; ".join(said))


def _subset(splits: Splits, split: str, kept: NDArray[np.bool_]) -> Splits:
    """The same data, of one split only the images that are `kept`; the fingerprint is of the whole."""
    changed: dict[str, Any] = {split: splits.split(split).subset(np.flatnonzero(kept))}
    return dataclasses.replace(splits, **changed)


def _of(count: int, n: int, what: str, one: str, several: str) -> str:
    return f"{count} of {n} {what}s {one if count == 1 else several}"


def _refuse_empty(n: int, count: int, grouped: int, told: str, ask: str) -> None:
    if count + grouped < n:
        return
    raise GateError(
        f"{told}: none is left to judge; name images that were not seen with --data, or judge these all the same with "
        f"{ask}",
        code="seen-all",
        count=count,
        grouped=grouped,
        of=n,
    )
