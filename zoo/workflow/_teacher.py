"""`zoo train --teacher`: an exported model whose answers another one learns from.

The teacher is asked once, before training, as any device asks it: raw training images in, logits out, its own
preprocessing inside. What it answers is kept in the run. What it has seen counts as seen by the student too, because a
student that learns from it learns of those images.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.labels import match_labels
from zoo.data import TRAINED_ON, Seen, parse_seen, read_seen
from zoo.errors import ImageError, UsageError
from zoo.runs import TAUGHT, open_run
from zoo.spec import Teacher
from zoo.workflow._find import is_run, model_file
from zoo.workflow._inputs import select_columns
from zoo.workflow._seen import UNKNOWN_TEACHER, find_overlap
from zoo.workflow._settings import settings_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data import ImageSet, Splits
    from zoo.edge import Runtime
    from zoo.registry import LoadedPlugin
    from zoo.runs import RunFolder
    from zoo.spec import Budget, ModelCard

__all__ = ["Teaching", "begin_with", "find_teacher", "is_same"]

_BATCH = 16
"""Images of one size that the teacher is asked at a time."""

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True, eq=False)
class Teaching:
    """A teacher that nothing speaks against, and what it is to be asked.

    Attributes:
        about: what run.json and the manifest say of it.
        runtime: its file, opened.
        images: training images, read as it wants them.
        order: for each label of the student the teacher's column.
        seen: what it has seen, as far as it matters to this student; None: not known.
        notes: what must be said of it.
    """

    about: Teacher
    runtime: Runtime
    images: ImageSet
    order: tuple[int, ...]
    seen: Seen | None
    notes: tuple[str, ...]


def find_teacher(budget: Budget, card: ModelCard, loaded: LoadedPlugin, splits: Splits) -> Teaching | None:
    """The teacher that was asked for, opened and compared with the data; None: none was.

    Raises:
        UsageError: this model cannot learn from one, or it has other labels.
        DataError: it was made for images of another kind, or another task; or it takes columns that the student is not
            given.
        ModelError: it cannot be opened.
    """
    from zoo.data import SEEN
    from zoo.edge import Runtime
    from zoo.edge.bundle import open_model
    from zoo.workflow._judge import check_takes, configs_of

    named = budget.get("teacher")
    if named is None:
        _refuse_idle(budget)
        return None
    if not loaded.plugin.takes_teacher():
        raise UsageError(
            f"--teacher: {card.name} learns from labels alone; leave the option out, or train a network such as "
            "simple_cnn",
            code="teacher-unsupported",
            model=card.name,
        )
    path = model_file(Path(named))
    contents = open_model(path, keep=(SEEN,))
    runtime = Runtime.from_contents(path, contents, provider="cpu", threads=None)
    manifest = runtime.manifest
    order = _match(manifest.labels, splits.labels, manifest.name)
    images, unusual = select_columns(check_takes(manifest, splits).train, manifest.table)
    known = None
    if is_run(path.parent) and (path.parent / TRAINED_ON).is_file():
        known = read_seen(path.parent / TRAINED_ON, open_run(path.parent).record.seen)
    elif SEEN in contents.files:
        known = parse_seen(contents.files[SEEN], str(path))
    about = Teacher(
        name=manifest.name,
        run=manifest.provenance.run,
        sha256=runtime.sha256,
        licence=manifest.licence,
        data=manifest.provenance.data.sha256,
        seen="not known" if known is None else "known",
        balanced=all(config.balanced for config in configs_of(manifest)),
    )
    share, warmth = card.train.teacher_weight, card.train.teacher_temperature
    said = (
        f"teacher {about.name} (run {about.run}, sha256 {about.sha256[:12]}…, licence {about.licence}): its answers "
        f"on the plain training images are {share:.0%} of the loss, at temperature {warmth:g}"
    )
    notes = [said, *(f"teacher: {note}" for note in unusual)]
    if about.balanced != card.train.balanced:
        how = "as they are in training" if about.balanced else "equally frequent"
        notes.append(f"teacher: its answers are shifted to those of classes that are {how}, as the labels teach them")
    if known is None:
        notes.append(UNKNOWN_TEACHER)
    elif known.salt and about.data != splits.fingerprint.sha256:
        notes.append(
            "the teacher's list of seen images is salted, as bundles carry it: what it has seen beside the images of "
            "this run is not known to later evaluations; name its run to keep the whole list"
        )
    seen = None if known is None else _of_start(known, splits)
    return Teaching(about, runtime, images, order, seen, tuple(notes))


def is_same(named: str | Path, teacher: Teacher | None) -> bool:
    """Whether what the user names now is the teacher that a run began with."""
    from zoo.edge import Runtime

    return teacher is not None and Runtime.open(model_file(Path(named))).sha256 == teacher.sha256


def begin_with(teaching: Teaching, run: RunFolder) -> None:
    """Ask the teacher for its answers on all training images, and keep them in the run with their checksum."""
    manifest = teaching.runtime.manifest
    log.info("asking the teacher %s about %d training images", manifest.name, len(teaching.images))
    logits = _answer(teaching) / np.float32(manifest.temperature)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, logits=logits[:, list(teaching.order)])
    run.update(taught=run.write(TAUGHT, buffer.getvalue()))


def _answer(teaching: Teaching) -> NDArray[np.float32]:
    """(n, K) float32 logits; NaN where it has no answer to an image, which training then leaves out or refuses."""
    from zoo.workflow._images import check_in_range

    runtime = teaching.runtime
    images = check_in_range(teaching.images, runtime.manifest.views)
    answers = np.full((len(images), len(runtime.labels)), np.nan, np.float32)
    rows: list[int] = []
    batch: list[NDArray[np.generic]] = []

    def ask() -> None:
        if rows:
            beside = {name: [cells[row] for row in rows] for name, cells in images.columns.items()}
            answers[rows] = runtime.logits(np.stack(batch), beside or None)
            rows.clear()
            batch.clear()

    for row in range(len(images)):
        try:
            pixels = images.read(row).pixels
        except ImageError:  # training meets it too, and says so
            continue
        if len(rows) == _BATCH or (batch and (pixels.shape, pixels.dtype) != (batch[0].shape, batch[0].dtype)):
            ask()
        rows.append(row)
        batch.append(pixels)
    ask()
    return answers


def _match(theirs: tuple[str, ...], ours: tuple[str, ...], name: str) -> tuple[int, ...]:
    """For each of our labels the teacher's column, matched by name as data is to a model.

    Raises:
        UsageError: they are not the same labels.
    """
    found = match_labels(ours, theirs)
    missing = [label for label, place in zip(ours, found, strict=True) if place is None]
    more = [label for place, label in enumerate(theirs) if place not in found]
    if missing or more:
        said = "; ".join(
            f"{what} {', '.join(labels[:5])}" for what, labels in (("it lacks", missing), ("it has", more)) if labels
        )
        raise UsageError(
            f"--teacher: {name} gives other labels than the data ({said}); name a model of the same labels, in any "
            "order",
            code="teacher-labels",
            missing=missing,
            more=more,
        )
    return tuple(place for place in found if place is not None)


def _of_start(seen: Seen, splits: Splits) -> Seen:
    """What a teacher has seen, as what the start of its student has seen.

    The images that the teacher's own epoch was chosen by, and the student's will be, are not among them: neither learns
    from them. A salted list tells nothing of other images, so of it the test images that it holds are kept.
    """
    if seen.salt:
        overlap = find_overlap(splits, "test", seen)
        return Seen({"start": splits.test.digests[overlap.seen]}, {})
    own = {row.tobytes() for row in splits.val.digests}
    files = [seen.files[part] for part in ("train", "start") if part in seen.files]
    if "val" in seen.files:
        val = seen.files["val"]
        files.append(val[[row.tobytes() not in own for row in val]])
    pixels = [rows for part, rows in seen.pixels.items() if part != "val" or not own]
    return Seen(
        {"start": np.unique(np.concatenate(files), axis=0)},
        {"start": np.unique(np.concatenate(pixels), axis=0)} if pixels else {},
    )


def _refuse_idle(budget: Budget) -> None:
    """Refuse settings of a teacher where there is none."""
    asked = sorted(name for name in settings_of(budget) if name.startswith("teacher_"))
    if asked:
        raise UsageError(
            f"--set {asked[0]} is about a teacher; name one with --teacher, or leave it out",
            code="option-missing",
            options=["--teacher"],
        )
