"""The methods paragraph of a paper, from what was recorded. Nothing is said that no document says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo._support.text import format_count
from zoo.evaluation.intervals import RESAMPLES
from zoo.evaluation.metrics import title_of
from zoo.evaluation.page._html import Html, paragraph
from zoo.evaluation.page._words import describe_input, describe_start
from zoo.spec import RECALIBRATED, RECALIBRATION, Interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.evaluation.page._subject import Subject

__all__ = [
    "say_evaluation",
    "say_intervals",
    "say_model",
    "say_software",
    "say_split",
    "say_start",
    "say_training",
    "say_updated",
    "say_updating",
    "show_methods",
]


def show_methods(subject: Subject) -> Html:
    """Paragraphs to copy."""
    kinds = (say_data, say_split, say_model, say_start, say_training, say_updating, say_evaluation, say_decisions)
    text = " ".join(line for say in (*kinds, say_software) for line in say(subject))
    return Html(
        paragraph(text)
        + paragraph(
            "Where images came from, who labelled them and how, who was included, and ethics: NOT PROVIDED.",
            kind="missing",
        )
    )


def say_data(subject: Subject) -> Iterator[str]:
    """Which data."""
    data = subject.report.data
    yield f"We used the data set {data.name} ({format_count(data.n, 'image')}; sha256 {data.sha256[:16]}…)."


def say_split(subject: Subject) -> Iterator[str]:
    """How images were divided, and what parts share."""
    report, manifest = subject.report, subject.manifest
    record = subject.record
    if subject.expected:
        count = f"{len(record.folds)}-fold " if record is not None and record.folds else ""
        yield (
            f"In {count}cross-validation every image was judged by a model that had not been trained or validated on "
            "it."
        )
        if manifest is not None:
            yield "The model of the file was made from all images, and was not judged itself."
    elif not subject.external:
        yield f"Images were divided into {subject.parts}."
    elif manifest is not None:
        origin, seen = manifest.provenance.data, report.seen
        new = seen is not None and seen.how in {"none", "left out"}
        yield (
            f"The model had been trained on other data ({origin.name}, {format_count(origin.n, 'image')})"
            f"{'; the images here took no part in it' if new else ''}."
        )
    if report.clusters is None:
        yield "No groups such as patients were known, so images count as independent and parts may share patients."
    else:
        kept_leaks = manifest is not None and manifest.provenance.config.leaks == "keep"
        apart = "" if subject.external or kept_leaks else ", each in one part only"
        yield f"The {report.n} images judged come from {format_count(report.clusters, 'group')}{apart}."


def say_model(subject: Subject) -> Iterator[str]:
    """What the model is, and what it sees."""
    record, manifest = subject.record, subject.manifest
    if record is not None:
        yield f"The model is {record.card.name}: {record.card.summary.rstrip('.')}."
    if manifest is None:
        return
    if record is None:
        yield f"The model is {manifest.name}."
    if manifest.members:
        yield f"It is the weighted mean of the calibrated probabilities of {len(manifest.members)} models."
    else:
        yield f"Its input is {describe_input(manifest.preprocess)}"
    if manifest.table is not None:
        yield f"Beside the image it is given {', '.join(manifest.table.inputs)}."


def say_start(subject: Subject) -> Iterator[str]:
    """What training began with."""
    manifest = subject.manifest
    if manifest is None or manifest.members:
        return
    origin = manifest.provenance
    licence = f", licence {origin.weights_licence}" if origin.weights_licence else ""
    yield f"Training began with {origin.weights or describe_start(origin.trained)}{licence}."


def say_training(subject: Subject) -> Iterator[str]:
    """The recipe, and how the model was chosen."""
    manifest, record = subject.manifest, subject.record
    if manifest is None or (manifest.members and not manifest.recalibrated):
        return
    config = manifest.provenance.config
    if manifest.members:
        yield "Probabilities of its members were calibrated before, each with a temperature of its own."
    elif record is not None and record.epochs_done > 1:
        yield (
            f"It was trained for {record.epochs_done} epochs in batches of {config.batch_size} with AdamW, at a peak "
            f"learning rate of {config.lr:g} (loss {config.loss}, augmentation {config.augment}, class weight "
            f"{config.class_weight}, seed {config.seed})."
        )
    if record is not None and record.best is not None and record.epochs_done > 1:
        metric = title_of(record.best.metric.removeprefix("val_"))
        where = "images of one fold, which it was trained on too," if subject.holds_none else "validation images"
        yield f"The epoch with the best {metric} on {where} was kept."
    how = (
        "the median of those that the models of the folds were given on validation images"
        if subject.holds_none and not subject.recalibrated
        else subject.origin_of_temperature
    )
    yield f"Probabilities were calibrated with one temperature ({manifest.temperature:.2f}), {how} (Guo et al. 2017)."


def say_updating(subject: Subject) -> Iterator[str]:
    """What was settled anew on images of another site."""
    if subject.recalibrated:
        yield "The network is as it was trained. What follows it was settled anew on images of another site."
        yield from _notes(subject, RECALIBRATED)


def say_updated(subject: Subject) -> Iterator[str]:
    """What that has changed."""
    if subject.recalibrated:
        yield from _notes(subject, RECALIBRATION)
        yield "The figures above are those of the updated file."


def _notes(subject: Subject, start: str) -> Iterator[str]:
    """Notes of the file that begin so, as sentences."""
    notes = () if subject.manifest is None else subject.manifest.provenance.notes
    yield from (f"{note[0].upper()}{note[1:]}." for note in notes if note.startswith(start))


def say_evaluation(subject: Subject) -> Iterator[str]:
    """How figures and intervals were made."""
    report = subject.report
    which, where = "The exported ONNX file", f"{report.n} raw images ({report.split})"
    if subject.expected:
        which, where = "Of each fold the exported ONNX file", f"the raw images of its test part ({report.n} in all)"
    yield f"{which}, which holds preprocessing and calibration, was run on {where}."
    yield from say_intervals(subject)
    named = ", ".join(title_of(name) for name in report.metrics)
    yield f"Reported are {named}, and each class against the rest."


def say_intervals(subject: Subject) -> Iterator[str]:
    """By which methods the intervals of this report were made."""
    report = subject.report
    values = [*report.metrics.values(), *(one for row in report.per_class.values() for one in row.values())]
    if report.calibration is not None:
        rows = report.calibration.per_class.values()
        values += [report.calibration.brier, report.calibration.nll]
        values += [one for row in rows for one in (row.brier, row.slope, row.intercept) if one is not None]
    kinds = sorted({value.method for value in values if isinstance(value, Interval)})
    unit = "images" if report.clusters is None else "whole groups"
    said = {
        "delong": "DeLong's variance on the logit scale",
        "delta": f"the influence of {'each image' if report.clusters is None else 'images, times the design effect'}",
        "jeffreys": "draws of two proportions",
        "bootstrap": f"percentiles of {RESAMPLES} bootstrap resamples of {unit}",
        "wilson": "Wilson's score interval",
    }
    if kinds:
        yield f"Intervals are 95 % intervals ({'; '.join(said.get(kind, kind) for kind in kinds)})."


def say_decisions(subject: Subject) -> Iterator[str]:
    """What was fixed on validation images, or on those of another site."""
    manifest = subject.manifest
    if manifest is None:
        return
    judged = subject.report.operating
    points = manifest.operating if judged is None else judged.points  # `--operating` judges others than the file's
    if points:
        rules = ", ".join(f"{one.rule} for {one.label}" for one in points)
        yield f"Operating points ({rules}) were chosen on {subject.settling}."
    sets = None if manifest.abstention is None else manifest.abstention.sets
    if sets is not None:
        yield (
            f"Sets of labels are split-conformal ({sets.method.upper()}), made on {subject.settling} for a coverage "
            f"of {sets.coverage:g}{' in each class' if sets.per_class else ''}."
        )
    error = None if manifest.abstention is None else manifest.abstention.error
    if error is not None:
        yield (
            f"The largest probability from which an image is answered was chosen on {subject.settling}, so that at "
            f"most {100 * error.error:g} % of the answers are wrong with probability {1 - error.delta:g} (Learn then "
            "Test, Angelopoulos et al. 2021)."
        )
    novelty = manifest.novelty
    if novelty is not None:
        yield (
            f"Images are called unlike training by a score of the features of the last layer, from a threshold that at "
            f"most {100 * novelty.passing:.3g} % of images like those of validation exceed on average."
            f"{' This threshold is that of training.' if subject.recalibrated else ''}"
        )


def say_software(subject: Subject) -> Iterator[str]:
    """Versions of what computed."""
    versions = (
        subject.record.versions
        if subject.record is not None
        else ({} if subject.manifest is None else subject.manifest.provenance.versions)
    )
    if versions:
        yield f"Software: {', '.join(f'{name} {version}' for name, version in versions.items())}."
