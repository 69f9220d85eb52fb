"""Answers of a run to its test images: kept in the run for its page, pooled over folds, judged and compared as one."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.files import atomic_write, sha256_bytes
from zoo._support.text import quote_path
from zoo.errors import DataError, TrainingError, UsageError
from zoo.spec import Fingerprint
from zoo.workflow._settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.evaluation.comparison import Comparison
    from zoo.runs import RunFolder
    from zoo.spec import Budget, EvalReport
    from zoo.workflow._judge import Judged

__all__ = [
    "ANSWERS",
    "Answers",
    "answers_of",
    "compare_answers",
    "expect",
    "keep_answers",
    "pool",
    "pool_again",
    "read_answers",
    "refuse_none",
    "report_answers",
]

ANSWERS = "answers.npz"
"""In a run: the fields of `Answers`."""

NOTES = (
    "each image is judged by the one of {count} models that has not seen it; ranks across folds mix {count} models",
    "intervals hold for these {count} models: how much other trainings would differ is not in them",
)
"""Pooled ranks: Airola et al. 2011, Comput. Stat. Data Anal. 55:1828. Variance over trainings, which folds that share
images do not show: Bengio and Grandvalet 2004, JMLR 5:1089."""
_NOTE_ALL = (
    "no test set of its own: it was trained on all images; the figures are what the models of {count} folds reached on "
    "images that they had not seen"
)
_NOTE_TOGETHER = (
    "no test set of its own: no image is held out from all of its {count} members; the figures are what each of them "
    "alone reached on images that it had not seen; their mean is usually no worse, and less sure, which is not measured"
)
"""Deep ensembles: Lakshminarayanan et al. 2017, arXiv 1612.01474; a mean of calibrated probabilities is less sure than
they are: Ranjan and Gneiting 2010, J. R. Stat. Soc. B 72:71."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What files answered to n images that they have not seen.

    Attributes:
        ids: (n,) names.
        digests: (n, 32) uint8, sha256 of each image.
        targets: (n,) or (n, K) int64 as in `ImageSet`.
        groups: (n,) int64; empty: no groups are known.
        logits: (n, K) float32, already divided by the temperature of their file.
        labels: K names.
        fold: (n,) int64, which fold each image is of.
        columns: names of the C columns kept beside the images.
        cells: (n, C) their texts.
        measured: names of the P properties of raw images.
        properties: (n, P) float64; see `zoo.evaluation.Watch`.
    """

    ids: NDArray[np.str_]
    digests: NDArray[np.uint8]
    targets: NDArray[np.int64]
    groups: NDArray[np.int64]
    logits: NDArray[np.float32]
    labels: NDArray[np.str_]
    fold: NDArray[np.int64]
    columns: NDArray[np.str_]
    cells: NDArray[np.str_]
    measured: NDArray[np.str_]
    properties: NDArray[np.float64]


_NAMES = ("labels", "columns", "measured")
"""Fields that are the same for all images."""
_NONE = ("groups", 0)
"""The field that has no entry where nothing is known, and its length then."""


def answers_of(judged: Judged, temperature: float, fold: int = 0) -> Answers:
    """What one file answered; `fold`: which fold its images are."""
    images = judged.images
    return Answers(
        ids=np.array(list(images.ids), np.str_),
        digests=images.digests,
        targets=images.targets,
        groups=np.empty(0, np.int64) if images.groups is None else images.groups,
        logits=np.asarray(judged.logits / temperature, np.float32),
        labels=np.array(judged.report.labels, np.str_),
        fold=np.full(len(images), fold, np.int64),
        columns=np.array(list(images.kept), np.str_),
        cells=_beside([list(cells) for cells in images.kept.values()], len(images), np.str_),
        measured=np.array(list(judged.properties), np.str_),
        properties=_beside(list(judged.properties.values()), len(images), np.float64),
    )


def keep_answers(run: RunFolder, judged: Judged) -> None:
    """Write what one run answered to its test images."""
    fold = run.record.card.train.fold
    _write(run.file(ANSWERS), answers_of(judged, run.record.temperature, fold if isinstance(fold, int) else 0))


def read_answers(folder: Path) -> Answers:
    """What `keep_answers` or `report_answers` left in a run.

    Raises:
        TrainingError: the file is missing or damaged.
    """
    path = folder / ANSWERS
    try:
        with zipfile.ZipFile(path) as archive:
            held = {
                field.name: np.load(io.BytesIO(archive.read(f"{field.name}.npy")), allow_pickle=False)
                for field in dataclasses.fields(Answers)
            }
        n = len(held["ids"])
        if any(len(value) != n for name, value in held.items() if name not in _NAMES and (name, len(value)) != _NONE):
            raise ValueError("arrays of different lengths")
        return Answers(**held)
    except Exception:  # on damaged bytes numpy, tokenize, zipfile and zlib raise what they like
        raise TrainingError(
            f"{quote_path(path)} is missing or damaged, though the run is done; make it anew with "
            f"'zoo report {quote_path(folder)}'",
            code="run-incomplete",
            path=str(path),
        ) from None


def pool_again(run: RunFolder) -> None:
    """Write the pooled answers of a finished run over folds, which its folds hold.

    Raises:
        TrainingError: those of a fold are missing or damaged.
    """
    _write(run.file(ANSWERS), pool([read_answers(run.path / name) for name in run.record.folds]))


def pool(parts: Sequence[Answers]) -> Answers:
    """The answers of all folds, one after the other; they know the same labels in one order."""
    rest = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Answers)
        if field.name not in _NAMES
    }
    return Answers(**rest, **{name: getattr(parts[0], name) for name in _NAMES})


def report_answers(
    folder: Path,
    answers: Answers,
    *,
    model: str,
    data: str,
    notes: Sequence[str],
    ordered: bool,
    temperatures: Sequence[float],
) -> EvalReport:
    """Judge pooled answers; write report.json, predictions.csv, pictures and the answers into the run.

    Args:
        folder: the run over folds.
        answers: pooled answers of all folds.
        model: how the report calls the model.
        data: name of the data.
        notes: what the reader of the numbers must know of the data.
        ordered: labels are grades in order.
        temperatures: what divided the logits of each fold; the report holds their median.
    """
    from zoo.evaluation import Cases, report, write_predictions
    from zoo.workflow._groups import add_groups
    from zoo.workflow._judge import write_report

    labels, count = tuple(answers.labels.tolist()), len(np.unique(answers.fold))
    groups = answers.groups if len(answers.groups) else None
    found = report(
        answers.logits,
        answers.targets,
        labels,
        model=model,
        split="test",
        temperature=1.0,
        fingerprint=_fingerprint(answers, data),
        notes=(*(note.format(count=count) for note in NOTES), *notes),
        groups=groups,
        ordered=ordered,
    )
    if found.calibration is not None:
        median = float(np.median(temperatures))
        found = msgspec.structs.replace(
            found, calibration=msgspec.structs.replace(found.calibration, temperature=median)
        )
    _write(folder / ANSWERS, answers)
    ids, folds = answers.ids.tolist(), answers.fold.tolist()
    kept = dict(zip(answers.columns.tolist(), answers.cells.T.tolist(), strict=True))
    properties = dict(zip(answers.measured.tolist(), answers.properties.T, strict=True))
    cases = Cases.of(answers.logits, answers.targets, groups=groups, ordered=ordered)
    found = add_groups(found, cases, ids, kept, properties)
    write_predictions(folder / "predictions.csv", ids, answers.targets, answers.logits, labels, folds=folds)
    title = f"{model}, {count} folds"
    write_report(folder, found, answers.logits, answers.targets, title, temperature=1.0, groups=groups)
    return found


def compare_answers(
    names: Sequence[str],
    answers: Sequence[Answers],
    *,
    ordered: Sequence[bool],
    resamples: int | None,
    per_class: bool,
    margin: float | None,
) -> Comparison:
    """Paired tests of runs over the same folds of the same images.

    Args:
        names: how the runs are called, all different.
        answers: pooled, of each run.
        ordered: whether labels are grades in order, for each run; one such run makes them so for all.
        resamples: number of shared resamples, as in `zoo.compare`.
        per_class: test every pair class by class as well.
        margin: difference that would not matter; None: none was stated.

    Raises:
        DataError: they know other labels, or are of other images, labels or folds.
    """
    from zoo.evaluation.comparison import Contender, compare
    from zoo.workflow._judge import Subject, check_comparable

    check_comparable(
        [
            Subject(name, one.labels.tolist(), ordered=grades)
            for name, one, grades in zip(names, answers, ordered, strict=True)
        ]
    )
    first = _sort(answers[0])
    lead = answers[ordered.index(True) if any(ordered) else 0]  # places of grades are their order
    labels: tuple[str, ...] = tuple(lead.labels.tolist())
    contenders = []
    truths = []
    for name, one, grades in zip(names, map(_sort, answers), ordered, strict=True):
        order = [one.labels.tolist().index(label) for label in labels]
        truths.append(one.targets[:, order] if one.targets.ndim == 2 else np.argsort(order)[one.targets])
        same = np.array_equal(one.digests, first.digests) and np.array_equal(one.fold, first.fold)
        if not same or not np.array_equal(truths[-1], truths[0]):
            raise DataError(
                f"{name} is of other images or other folds than {names[0]}; train both on one table of folds "
                "('zoo data split PATH --folds K'), or with one --folds and one --set split_seed",
                code="compare-folds",
                model=name,
            )
        contenders.append(Contender(name=name, logits=one.logits[:, order], ordered=grades))
    groups = first.groups if len(first.groups) else None
    return compare(
        contenders, truths[0], labels, groups=groups, resamples=resamples, per_class=per_class, margin=margin
    )


def refuse_none(budget: Budget, place: Path | None, members: Sequence[str] = ()) -> None:
    """Refuse to hold no image out, unless the run lies in one over folds, which says how good its model is.

    Args:
        budget: what was said of the training.
        place: its run folder.
        members: folders of an ensemble's members, which must be those of the folds.

    Raises:
        UsageError: it does not.
    """
    from zoo.runs import open_run
    from zoo.workflow._find import is_run

    said = settings_of(budget).get("fold", budget.get("fold"))
    if said != "none":
        return
    folds = open_run(place.parent).record.folds if place is not None and is_run(place.parent) else ()
    inside = {(place.parent / name).resolve() for name in folds} if place is not None else set()
    if not inside or (members and inside != {Path(member).resolve() for member in members}):
        raise UsageError(
            "fold none holds no image out, and nothing would say how good that model is; give --folds K --then all, or "
            "--folds K --then ensemble, which judge K models first",
            code="folds-none",
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of a model that was trained on all images, or of an ensemble whose members were between them.

    Attributes:
        report: that of the folds, with a note that says so.
        temperature: the median of the folds'; its own images would make it too sure of itself. Of an ensemble 1: each
            member divides by its own already.
        adjusted: number of folds that adjusted their logits for rare classes, where loss is auto.
        folds: number of folds.
    """

    report: EvalReport
    temperature: float
    adjusted: int
    folds: int


def expect(run: RunFolder) -> Expected | None:
    """What the run over folds that `run` lies in says of it; None: `run` holds images out and is judged on them.

    Raises:
        TrainingError: it lies in no finished run over folds.
    """
    from zoo.runs import open_run
    from zoo.workflow._find import is_run, read_report

    if run.record.card.train.fold != "none":
        return None
    above = open_run(run.path.parent) if is_run(run.path.parent) else None
    found = None if above is None or not above.record.folds else read_report(above)
    if above is None or found is None:
        raise TrainingError(
            f"{quote_path(run.path)} was trained on all images, and the run over folds around it, which says how good "
            "its model is, has gone; bring it back",
            code="run-incomplete",
            path=str(run.path),
        )
    folds = [open_run(above.path / name).record for name in above.record.folds]
    together = bool(run.record.card.members)
    note = (_NOTE_TOGETHER if together else _NOTE_ALL).format(count=len(folds))
    report = msgspec.structs.replace(found, notes=(note, *found.notes))
    temperature = 1.0 if together else float(np.median([one.temperature for one in folds]))
    return Expected(report, temperature, sum(bool(one.shift) for one in folds), len(folds))


def _sort(answers: Answers) -> Answers:
    """In the order of the images' hashes and folds, which no name or place changes."""
    keys = (*np.ascontiguousarray(answers.digests).view(">u8").T, answers.fold)
    order = np.lexsort(keys)
    changed = {
        field.name: value[order] if len(value := getattr(answers, field.name)) == len(order) else value
        for field in dataclasses.fields(Answers)
        if field.name not in _NAMES
    }
    return Answers(**changed, **{name: getattr(answers, name) for name in _NAMES})


def _beside(columns: Sequence[Sequence[str] | NDArray[np.float64]], n: int, kind: type[np.generic]) -> NDArray[Any]:
    """(n, C) of C columns."""
    return np.array(columns, kind).T if columns else np.empty((n, 0), kind)


def _fingerprint(answers: Answers, name: str) -> Fingerprint:
    """Of images, labels and folds; sorted, so that the order of the data does not count."""
    lines = sorted(
        f"{fold}\t{truth}\t{digest.tobytes().hex()}"
        for fold, truth, digest in zip(answers.fold.tolist(), answers.targets.tolist(), answers.digests, strict=True)
    )
    text = "\n".join((*answers.labels.tolist(), *lines))
    n = len(answers.fold)
    return Fingerprint(
        name=name, sha256=sha256_bytes(text.encode("utf-8", "surrogateescape")), n=n,
        splits={"train": 0, "val": 0, "test": n},
    )  # fmt: skip


def _write(path: Path, answers: Answers) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{f.name: getattr(answers, f.name) for f in dataclasses.fields(Answers)})
    atomic_write(path, buffer.getvalue())
