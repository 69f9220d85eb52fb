"""Sections of what there is: data, model, training, proof of the file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo._support.text import format_count
from zoo.data import ABOUT, count_labels
from zoo.evaluation.metrics import title_of
from zoo.evaluation.page._html import NONE, Html, bullets, name, paragraph, percent, table
from zoo.evaluation.page._words import describe_input, describe_start
from zoo.evaluation.subgroups import is_enough
from zoo.spec import Manifest, TrainConfig
from zoo.tabular import is_missing, read_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.data import ImageSet
    from zoo.evaluation.page._subject import Subject
    from zoo.runs import RunRecord

__all__ = ["demographics", "sets_of", "show_data", "show_file", "show_model", "show_training", "training_notes"]

_FEW_NUMBERS = 10
"""Different numbers up to which each is counted, such as the number of a site."""
_MOST_VALUES = 12
"""Values of a column that are counted, the most frequent ones."""
MOST_LABELS = 30
"""Labels that are listed; all are in the table of classes."""
_FEW = "too few"
"""In the place of a number of few images or patients, which may tell who somebody is."""
_ALWAYS = ("epochs", "batch_size", "lr", "loss", "metric", "augment", "class_weight", "seed", "split_seed")
"""Settings of a recipe that are said even where they are the default."""


def training_notes(subject: Subject) -> tuple[str, ...]:
    """What training says of itself beside the notes of the report."""
    said = subject.record.notes if subject.record is not None else ()
    if subject.manifest is not None:
        said = (*said, *subject.manifest.provenance.notes)
    return tuple(note for note in dict.fromkeys(said) if note not in subject.report.notes)


def sets_of(subject: Subject) -> dict[str, ImageSet]:
    """Name to images of the splits that hold some."""
    if subject.splits is None:
        return {}
    sets = {split: getattr(subject.splits, split) for split in ("train", "val", "test")}
    return {split: images for split, images in sets.items() if len(images)}


def show_data(subject: Subject) -> Html:
    """Which data this was, and what its splits hold."""
    report = subject.report
    rows: list[tuple[object, object]] = [
        ("data", name(report.data.name)),
        ("fingerprint", Html(f"<code>{report.data.sha256}</code>")),
        ("images", f"{report.data.n} ({subject.parts})"),
        ("groups", "none are known: images count as independent" if report.clusters is None else
         f"{format_count(report.clusters, 'group')} (patients, lesions or studies) among the images judged"),
    ]  # fmt: skip
    if subject.record is not None and subject.record.skipped:
        rows.append(("left out", f"{format_count(len(subject.record.skipped), 'image')} that could not be read"))
    if subject.external and subject.manifest is not None:
        origin = subject.manifest.provenance.data
        rows.append(
            (
                "trained on",
                Html(f"other data: {name(origin.name)}, {origin.n} images, <code>{origin.sha256[:16]}…</code>"),
            )
        )
    return Html(table("The data", (), rows) + _counts(subject) + _demographics(subject))


def _counts(subject: Subject) -> Html:
    sets = sets_of(subject)
    if subject.expected:
        return Html()  # every image is in every split of some fold
    if not sets or subject.splits is None:
        return paragraph("Counts by class and split are not shown: the images were not at hand.", kind="missing")
    labels = subject.splits.labels
    counts = {split: count_labels(images.targets, len(labels)) for split, images in sets.items()}
    rows: list[tuple[object, ...]] = [
        (name(label), *(int(found[k]) for found in counts.values())) for k, label in enumerate(labels)
    ]
    rows.append(("images", *(len(images) for images in sets.values())))
    if any(images.groups is not None for images in sets.values()):
        groups = (None if one.groups is None else len(np.unique(one.groups)) for one in sets.values())
        rows.append(("groups", *groups))
    return table("Images of each class in each split", ("class", *sets), rows)


def demographics(subject: Subject) -> list[tuple[object, ...]]:
    """What the table says of persons and places in each split: a row for each column, or each frequent value of one.

    A number of few is told here no more than among the groups of a report.
    """
    sets = sets_of(subject)
    rows: list[tuple[object, ...]] = []
    for column in ABOUT:
        cells = {split: list(images.kept[column]) for split, images in sets.items() if column in images.kept}
        if len(cells) < len(sets) or not cells:
            continue
        numbers = {
            split: [None if is_missing(one) else read_number(one) for one in own] for split, own in cells.items()
        }
        known = [number for split, own in cells.items() for one, number in zip(own, numbers[split], strict=True)
                 if not is_missing(one)]  # fmt: skip
        if known and None not in known and len(set(known)) > _FEW_NUMBERS:
            told = (_quartiles(sets[split], own) for split, own in numbers.items())
            rows.append((f"{column}, median (quartiles)", *told))
        else:
            shown = [value for value, _ in Counter(
                one for own in cells.values() for one in own if not is_missing(one)
            ).most_common(_MOST_VALUES)]  # fmt: skip
            rows += [
                (
                    Html(f"{column}: {name(value)}"),
                    *(_share(sets[split], [one == value for one in own]) for split, own in cells.items()),
                )
                for value in shown
            ]
        missing = {split: [*map(is_missing, own)] for split, own in cells.items()}
        if any(map(any, missing.values())):
            rows.append((f"{column}: missing", *(_share(sets[split], gone) for split, gone in missing.items())))
    return rows


def _quartiles(images: ImageSet, numbers: Sequence[float | None]) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return NONE
    if _are_few(images, [number is not None for number in numbers]):
        return _FEW
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    return f"{middle:g} ({low:g} to {high:g})"


def _share(images: ImageSet, chosen: Sequence[bool]) -> str:
    n = sum(chosen)
    return _FEW if n and _are_few(images, chosen) else f"{n} ({percent(n / len(chosen))})"


def _are_few(images: ImageSet, chosen: Sequence[bool]) -> bool:
    patients = None if images.groups is None else len(np.unique(images.groups[np.array(chosen)]))
    return not is_enough(sum(chosen), patients)


def _demographics(subject: Subject) -> Html:
    said = "Persons and places in each split, of images"
    return table(said, ("", *sets_of(subject)), demographics(subject))


def show_model(subject: Subject) -> Html:
    """What was trained, what it sees, what it started from, under which licence."""
    manifest, record = subject.manifest, subject.record
    rows: list[tuple[object, object]] = [("model", name(subject.report.model))]
    if record is not None:
        card = record.card
        rows.append(("what it is", card.summary))
        if card.parameters:
            rows.append(("parameters", f"{card.parameters / 1e6:.3g} million, with a head of 1000 classes"))
    if manifest is None:
        return table("The model", (), rows)
    origin = manifest.provenance
    rows += [
        ("task", {"multiclass": "one label an image", "multilabel": "any number of labels an image",
                  "ordinal": "one grade an image, grades in order"}[manifest.task]),
        ("labels", _list_labels(manifest.labels)),
        ("input", f"{' or '.join(manifest.kinds)} images. " + (
            "Each member sees it in its own way." if manifest.members else describe_input(manifest.preprocess))),
        ("start", name(origin.weights) if origin.weights else describe_start(origin.trained)),
        ("licence of the weights", origin.weights_licence),
        ("licence of the code", origin.code_licence),
        ("licence of the file", manifest.licence),
        ("plugin", f"{origin.plugin.name} of {origin.plugin.distribution} {origin.plugin.version}"),
        ("intended use", manifest.intended_use),
    ]  # fmt: skip
    if origin.teacher is not None:
        rows.append(("teacher", f"{origin.teacher.name}, licence {origin.teacher.licence}"))
    members = [
        (name(one.name), one.weight, one.run, one.licence, describe_input(one.preprocess)) for one in manifest.members
    ]
    return Html(
        table("The model", (), [row for row in rows if row[1] is not None])
        + table("Members of the ensemble", ("member", "weight", "run", "licence", "sees"), members)
    )


def _list_labels(labels: Sequence[str]) -> Html:
    shown = ", ".join(map(name, labels[:MOST_LABELS]))
    return Html(shown if len(labels) <= MOST_LABELS else f"{len(labels)}: {shown} and {len(labels) - MOST_LABELS} more")


def show_training(subject: Subject) -> Html:
    """The recipe as used, and what it took."""
    config = _config(subject.manifest, subject.record)
    if config is None:
        return Html()
    plain = msgspec.structs.asdict(TrainConfig())
    used = {
        key: value
        for key, value in msgspec.structs.asdict(config).items()
        if key in _ALWAYS or (value != plain[key] and value not in ((), None, {}))
    }
    rows = [(key, _spell(value)) for key, value in used.items()]
    record, took = subject.record, list[tuple[str, object]]()
    if record is not None:
        if record.best is not None:
            value = "undefined" if record.best.value is None else f"{record.best.value:.4f}"
            metric = title_of(record.best.metric.removeprefix("val_"))
            kept = f"epoch {record.best.epoch} of {record.epochs_done}, by {metric} on validation, {value}"
            took.append(("kept", kept))
        if record.folds:
            took.append(("folds", f"{len(record.folds)}; each image was judged by a model that had not seen it"))
        if record.seconds is not None:
            took.append(("time", f"{record.seconds:.1f} s"))
        took += [("computed with", record.precision), ("threads", record.threads), ("begun", record.started)]
    versions = record.versions if record is not None else subject.manifest.provenance.versions  # type: ignore[union-attr]
    took.append(("software", ", ".join(f"{key} {value}" for key, value in versions.items())))
    return Html(
        table("Settings: those that differ from the default, and the main ones", ("setting", "value"), rows)
        + table("What it took", (), [row for row in took if row[1] is not None])
        + (Html(f"<h3>Notes</h3>{bullets(said)}") if (said := training_notes(subject)) else "")
    )


def _config(manifest: Manifest | None, record: RunRecord | None) -> TrainConfig | None:
    if manifest is not None:
        return None if manifest.members else manifest.provenance.config
    return None if record is None else record.recipe


def _spell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def show_file(subject: Subject) -> Html:
    """What was judged: the exported file, and how far it is from the training side."""
    manifest, record = subject.manifest, subject.record
    if manifest is None:
        return Html()
    lines = [
        "No image was held out to judge this file. The figures are those of the models of the folds, each "
        "an exported ONNX file, from raw pixels."
        if subject.expected
        else "The figures are those of the exported ONNX file, from raw pixels; it is the file that ships."
    ]
    if manifest.parity is not None:
        parity = manifest.parity
        lines.append(
            f"Beside the training side, on {parity.images} raw images of {parity.sizes} sizes: logits within "
            f"{parity.max_abs_logit:.1e} (relative), probabilities within {parity.max_abs_probability:.1e}, "
            f"{format_count(parity.flips, 'label')} changed."
        )
    if manifest.quantization is not None:
        made = manifest.quantization
        lines.append(f"It is {made.kind}: {made.scheme}.")
        lines += [f"{said[0].upper()}{said[1:]}." for said in (made.doubt, *made.notes) if said]
    if record is not None and record.proven is not None:
        lines.append(f"sha256 of model.onnx after the gate: {record.proven}")
    return bullets(lines)
