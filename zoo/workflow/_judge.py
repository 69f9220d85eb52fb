"""Run a shipped file on raw images and judge its answers: one file alone, or several side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.files import atomic_write
from zoo._support.labels import match_labels
from zoo._support.text import name_owners, name_places
from zoo.errors import DataError
from zoo.evaluation.comparison import Comparison, Contender, compare
from zoo.spec import encode
from zoo.workflow._decide import judge_decisions, shares_of
from zoo.workflow._find import REPORT_FILE
from zoo.workflow._images import check_in_range, refuse_kind
from zoo.workflow._inputs import select_columns
from zoo.workflow._unlike import ScoredAnswers, judge_unlike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data import ImageSet, Splits
    from zoo.edge import Runtime
    from zoo.evaluation import Predict
    from zoo.plugin import ModelPlugin
    from zoo.spec import EvalReport, Manifest, SeenImages, TrainConfig

__all__ = [
    "Judged",
    "Subject",
    "check_comparable",
    "check_takes",
    "compare_judged",
    "configs_of",
    "different_names",
    "judge",
    "losses_of",
    "measure_latencies",
    "weights_of_classes",
    "write_answers",
    "write_report",
]

_LATENCY_RUNS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A report, and the answers behind it."""

    report: EvalReport
    logits: NDArray[np.float32]
    images: ImageSet
    about: tuple[str, ...] = ()
    """Notes on how the model was trained, such as classes that it weighed. The report holds them, too."""
    scores: NDArray[np.float32] | None = None
    """(n,) novelty scores; None: the file makes none."""
    others: int = 0
    """Of a model judged among some of its labels: images that it calls one of the others, asked for all."""
    properties: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """Numbers of each raw image, see `zoo.evaluation.Watch`; empty: not measured."""
    decided: Manifest | None = None
    """Whose decisions were judged, where they were settled for this report; None: those of the file."""


def judge(
    plugin: ModelPlugin | None,
    runtime: Runtime,
    data: Splits,
    split: str,
    *,
    seen: SeenImages | None = None,
    labels: tuple[str, ...] | None = None,
    prevalence: Sequence[str] = (),
    by: Sequence[str] | None = None,
    look: bool = True,
    unlike: Sequence[str | Path] = (),
    skip_bad: bool = False,
    manifest: Manifest | None = None,
) -> Judged:
    """Run the shipped file on the raw images of one split.

    Args:
        plugin: whose `evaluate` is asked; None: `zoo.evaluate`.
        runtime: the opened file.
        data: its labels are matched to the file's by name.
        split: train, val or test.
        seen: what to say of images that the model was trained on; for the report, before the notes of the data.
        labels: judge among these alone of the labels that the file knows, without the plugin; None: among all.
            Decisions of the file are judged among all only.
        prevalence: what `--prevalence` said.
        by: columns that the report is divided by, see `zoo.workflow._groups.pick_columns`.
        look: say who the file fails for: groups, shortcuts and baselines.
        unlike: files or folders of images that are not of the model's kind.
        skip_bad: leave out those of `unlike` that cannot be read.
        manifest: what the file is going to say, where its decisions are settled anew; None: what it says.

    Raises:
        DataError: a class the file does not know, another pixel type, no image, or an unreadable image.
        UsageError: a prevalence is not a share, or it is of a label without an operating point; or images of another
            kind are named, and the file makes no score of that.
    """
    from zoo.evaluation import Cases, Watch, predict_set, report
    from zoo.workflow._groups import add_groups, pick_columns

    manifest = manifest or runtime.manifest
    data = check_takes(manifest, data, labels)
    chosen, unusual = select_columns(data.split(split), manifest.table)
    images = check_in_range(chosen, manifest.views)
    doubt = () if manifest.doubt is None else (manifest.doubt,)
    about = (*doubt, *_note_weights(manifest), *unusual)
    if look:
        pick_columns(images.kept, by)  # refused now, not after all images
    scored = ScoredAnswers(runtime, manifest)
    watch = Watch(scored.logits)
    logits, others = None, 0
    if labels is not None:
        logits, others = _answer_among(runtime, watch, images, labels)
        if len(labels) < len(manifest.labels):
            about = (
                *about,
                f"judged among {len(labels)} of its {len(manifest.labels)} labels, as if it knew no others",
            )
    details: dict[str, Any] = {
        "model": manifest.name,
        "split": split,
        "temperature": manifest.temperature,
        "fingerprint": data.fingerprint,
        "notes": tuple(dict.fromkeys((*([] if seen is None else [seen.note]), *about, *data.notes))),
        "groups": images.groups,
    }
    if manifest.task == "ordinal":
        details["ordered"] = True
    if plugin is not None and logits is None:
        found, logits = plugin.evaluate(watch, images, manifest.labels, **details)
    else:
        logits = predict_set(watch, images) if logits is None else logits
        found = report(logits, images.targets, labels or manifest.labels, **details)
    found = msgspec.structs.replace(found, seen=seen, novelty=judge_unlike(scored, images, unlike, skip_bad=skip_bad))
    scores = np.concatenate(scored.scores) if scored.scores else None
    among_all = labels is None or labels == manifest.labels
    if among_all:
        found = judge_decisions(found, logits, images, manifest, prevalence=prevalence, scores=scores)
    properties = watch.properties(len(images))
    if look:
        ordered = manifest.task == "ordinal"
        cases = Cases.of(logits, images.targets, manifest.temperature, images.groups, ordered=ordered)
        shares = shares_of(cases, manifest) if among_all else None
        found = add_groups(found, cases, images.ids, images.kept, properties, by, shares)
    return Judged(found, logits, images, about, scores, others, properties)


def _answer_among(
    runtime: Runtime, predict: Predict, images: ImageSet, labels: tuple[str, ...]
) -> tuple[NDArray[np.float32], int]:
    """(n, len(labels)) logits of these labels alone, and how many images get another label as the first of all."""
    from zoo.evaluation import predict_set

    columns = [place for place in match_labels(labels, runtime.labels) if place is not None]
    logits = predict_set(predict, images)
    several = runtime.manifest.task == "multilabel"
    return logits[:, columns], 0 if several else int((~np.isin(logits.argmax(axis=1), columns)).sum())


def check_takes(manifest: Manifest, data: Splits, labels: tuple[str, ...] | None = None) -> Splits:
    """The images as the file takes them, their labels in its order, or in that of `labels`.

    Raises:
        DataError: a class the file does not know, or another pixel type.
    """
    from zoo.data import align

    data = align(data, labels or manifest.labels, manifest.task).read_for(manifest.preprocess)
    refuse_kind(data, manifest.kinds, manifest.name)
    return data


def configs_of(manifest: Manifest) -> list[TrainConfig]:
    """The recipe, or of an ensemble that of each member."""
    return [member.config for member in manifest.members] or [manifest.provenance.config]


def weights_of_classes(manifest: Manifest) -> str:
    """How classes were weighed in training: "none" or "balanced"; of an ensemble's members each word once."""
    return " and ".join(dict.fromkeys(config.class_weight for config in configs_of(manifest)))


def losses_of(manifest: Manifest) -> str:
    """What training minimised; of an ensemble's members each word once."""
    return " and ".join(dict.fromkeys(config.loss for config in configs_of(manifest)))


def _note_weights(manifest: Manifest) -> tuple[str, ...]:
    """What a reader of probabilities must know where classes were weighed."""
    how, configs = weights_of_classes(manifest), configs_of(manifest)
    remedies = [] if how == "none" else [f"class_weight {how}"]
    remedies += ["sampling balanced"] if any(config.sampling == "balanced" for config in configs) else []
    notes = [f"{remedy} in training: probabilities lean towards rare classes" for remedy in remedies]
    if any(config.loss == "logit_adjusted" for config in configs):
        notes.append("logits are adjusted for the shares of classes: probabilities lean towards rare classes")
    return tuple(notes)


def write_answers(folder: Path, judged: Judged, temperature: float) -> None:
    """report.json, predictions.csv, reliability.png, and confusion.png or (multilabel) labels.png of one evaluation."""
    from zoo.evaluation import write_predictions

    images, report = judged.images, judged.report
    write_predictions(folder / "predictions.csv", images.ids, images.targets, judged.logits, report.labels, temperature)
    title = f"{report.model} on {report.split}"
    write_report(folder, report, judged.logits, images.targets, title, temperature=temperature, groups=images.groups)


def write_report(
    folder: Path,
    report: EvalReport,
    logits: NDArray[np.float32],
    targets: NDArray[np.int64],
    title: str,
    *,
    temperature: float,
    groups: NDArray[np.int64] | None,
) -> None:
    """report.json, reliability.png with a title, and confusion.png or labels.png; arguments as of `zoo.evaluation`."""
    from zoo.evaluation import plot_confusion, plot_labels, plot_reliability

    if report.confusion is None:
        plot_labels(report, folder / "labels.png")
    else:
        plot_confusion(report, folder / "confusion.png")
    place = folder / "reliability.png"
    plot_reliability(logits, targets, place, temperature=temperature, title=title, groups=groups)
    atomic_write(folder / REPORT_FILE, encode(report))


def compare_judged(
    opened: Sequence[tuple[Runtime, Judged]],
    names: Sequence[str],
    seen: SeenImages | None = None,
    *,
    resamples: int | None = None,
    per_class: bool = False,
    margin: float | None = None,
) -> Comparison:
    """Compare opened models by the answers they gave; latency is measured here.

    Args:
        opened: each model and its answers.
        names: how each is called; see `different_names`.
        seen: what to say of images that any of them was trained on.
        resamples: number of resamples; None: enough for the tests.
        per_class: test every pair class by class as well.
        margin: difference that would not matter; None: none was stated.

    Raises:
        DataError: they were judged on different images, do not know the same labels, or order grades otherwise.
    """
    ordered = [runtime.manifest.task == "ordinal" for runtime, _ in opened]
    check_comparable(
        [
            Subject(name, answers.report.labels, answers.report.data.sha256, answers.images.ids, grades)
            for (_, answers), name, grades in zip(opened, names, ordered, strict=True)
        ]
    )
    lead = opened[ordered.index(True) if any(ordered) else 0][1]  # places of grades are their order
    labels, images = lead.report.labels, lead.images
    latencies = measure_latencies([runtime for runtime, _ in opened], images.read(0).pixels)
    contenders = [
        Contender(
            name=name,
            logits=answers.logits[:, [answers.report.labels.index(label) for label in labels]],
            temperature=runtime.manifest.temperature,
            latency_ms=float(np.median(times)),
            latency_range_ms=(float(np.quantile(times, 0.1)), float(np.quantile(times, 0.9))),
            size_bytes=runtime.size_bytes,
            class_weight=weights_of_classes(runtime.manifest),
            ordered=grades,
        )
        for (runtime, answers), name, times, grades in zip(opened, names, latencies, ordered, strict=True)
    ]
    found = compare(
        contenders, images.targets, labels,
        groups=images.groups, resamples=resamples, per_class=per_class, margin=margin,
    )  # fmt: skip
    said = [] if seen is None else [seen.note]
    notes = (*said, *_join_notes([answers for _, answers in opened], names))
    return msgspec.structs.replace(found, seen=seen, notes=tuple(dict.fromkeys(notes)))


@dataclass(frozen=True, slots=True)
class Subject:
    """What must agree for two models to be compared.

    Attributes:
        name: how errors name the model.
        labels: what it tells apart.
        data: sha256 of the data that it is judged on; None: not known yet.
        ids: images that it is judged on, in order; None: not known yet.
        ordered: its labels are grades in order.
    """

    name: str
    labels: Sequence[str]
    data: str | None = None
    ids: Sequence[str] | None = None
    ordered: bool = False


def check_comparable(subjects: Sequence[Subject]) -> None:
    """Refuse models that know other labels than the first, order grades otherwise, or were judged on other images.

    Raises:
        DataError: names the first such model.
    """
    first = subjects[0]
    for one in subjects[1:]:
        if set(one.labels) != set(first.labels):
            raise DataError(
                f"{one.name} knows other labels than {first.name}; models of one task can be compared",
                code="compare-labels",
                model=one.name,
            )
        order = next(list(graded.labels) for graded in subjects if graded.ordered) if one.ordered else list(one.labels)
        if list(one.labels) not in (order, order[::-1]):  # from the highest grade down, distances are the same
            raise DataError(
                f"the grades of {one.name} are ordered {', '.join(one.labels)}, expected {', '.join(order)} as of the "
                "models before it; train both with one --order",
                code="compare-labels",
                model=one.name,
            )
        same = None in {one.data, first.data} or one.data == first.data
        if same and (first.ids is None or one.ids is None or list(first.ids) == list(one.ids)):
            continue
        raise DataError(
            f"{one.name} was evaluated on other images or labels; name one set for all with --data, and one "
            "--uncertain where labels of -1 were taken for different things",
            code="compare-images",
            model=one.name,
        )


def different_names(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """The models' names; where some are equal, with as many last parts of their paths as tell them apart."""
    found = list(names)
    for name in dict.fromkeys(names):
        same = [k for k, other in enumerate(names) if other == name]
        if len(same) > 1:
            for k, place in zip(same, name_places([paths[k].resolve() for k in same]), strict=True):
                found[k] = f"{name} ({place})"
    return found


def _join_notes(answers: Sequence[Judged], names: Sequence[str]) -> tuple[str, ...]:
    """Notes on the models, each once with their names, and then the notes of the images."""
    own = [(name, note) for name, one in zip(names, answers, strict=True) for note in one.about]
    about = {note for _, note in own}
    of_data = dict.fromkeys(note for one in answers for note in one.report.notes if note not in about)
    return (*name_owners(own, len(names)), *of_data)


def measure_latencies(runtimes: Sequence[Runtime], image: Any) -> NDArray[np.float64]:
    """(models, runs) milliseconds from one raw image to its answer, by turns: what slows the machine slows all."""
    batch = image[None]
    beside = [runtime.draw_columns(1) for runtime in runtimes]
    times = np.empty((len(runtimes), _LATENCY_RUNS + 3))
    for run in range(times.shape[1]):
        for k, runtime in enumerate(runtimes):
            start = time.perf_counter()
            runtime.logits(batch, beside[k])
            times[k, run] = time.perf_counter() - start
    return times[:, 3:] * 1e3
