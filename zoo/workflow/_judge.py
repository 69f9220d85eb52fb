"""Run a shipped file on raw images and judge its answers: one file alone, or several side by side."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.files import atomic_write
from zoo.errors import DataError
from zoo.evaluation.comparison import Comparison, Contender, compare
from zoo.spec import encode
from zoo.workflow._images import check_in_range

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from zoo.data import ImageSet, Splits
    from zoo.edge import Runtime
    from zoo.plugin import ModelPlugin
    from zoo.spec import EvalReport

__all__ = ["Judged", "compare_judged", "judge", "write_answers"]

_LATENCY_RUNS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A report, and the answers behind it."""

    report: EvalReport
    logits: NDArray[np.float32]
    images: ImageSet
    seen: tuple[str, ...] = ()
    """Notes on images that the model was trained on. The report holds them, too."""


def judge(
    plugin: ModelPlugin | None, runtime: Runtime, data: Splits, split: str, *, seen: tuple[str, ...] = ()
) -> Judged:
    """Run the shipped file on the raw images of one split.

    Args:
        plugin: whose `evaluate` is asked; None: `zoo.evaluate`.
        runtime: the opened file.
        data: its labels are matched to the file's by name.
        split: train, val or test.
        seen: what to say of images that the model was trained on; for the report, beside the notes of the data.

    Raises:
        DataError: a class the file does not know, another pixel type, no image, or an unreadable image.
    """
    from zoo.data import align
    from zoo.evaluation import predict_set, report

    manifest = runtime.manifest
    data = align(data, manifest.labels, manifest.task).read_for(manifest.preprocess)
    if data.kind != manifest.input.dtype and manifest.input.stage == "raw":
        raise DataError(
            f"the images are {data.kind}, {manifest.name} was made for {manifest.input.dtype} images",
            code="data-kind",
            found=data.kind,
            expected=manifest.input.dtype,
        )
    images = check_in_range(data.split(split), manifest.views)
    details: dict[str, Any] = {
        "model": manifest.name,
        "split": split,
        "temperature": manifest.temperature,
        "fingerprint": data.fingerprint,
        "notes": tuple(dict.fromkeys((*seen, *data.notes))),
        "groups": images.groups,
    }
    if plugin is not None:
        found, logits = plugin.evaluate(runtime.logits, images, manifest.labels, **details)
    else:
        logits = predict_set(runtime.logits, images)
        found = report(logits, images.targets, manifest.labels, **details)
    return Judged(found, logits, images, seen)


def write_answers(folder: Path, judged: Judged, temperature: float) -> None:
    """report.json, predictions.csv, reliability.png, and confusion.png or (multilabel) labels.png of one evaluation."""
    from zoo.evaluation import plot_confusion, plot_labels, plot_reliability, write_predictions

    images, labels = judged.images, judged.report.labels
    atomic_write(folder / "report.json", encode(judged.report))
    write_predictions(folder / "predictions.csv", images.ids, images.targets, judged.logits, labels, temperature)
    if judged.report.confusion is None:
        plot_labels(judged.report, folder / "labels.png")
    else:
        plot_confusion(judged.report, folder / "confusion.png")
    title = f"{judged.report.model} on {judged.report.split}"
    plot_reliability(
        judged.logits,
        images.targets,
        folder / "reliability.png",
        temperature=temperature,
        title=title,
        groups=images.groups,
    )


def compare_judged(opened: Sequence[tuple[Runtime, Judged]], paths: Sequence[Path]) -> Comparison:
    """Compare opened models by the answers they gave; latency is measured here.

    Args:
        opened: each model and its answers.
        paths: where each was found; tells apart models of one name.

    Raises:
        DataError: they were judged on different images, or do not know the same labels.
    """
    labels = opened[0][0].labels
    images = opened[0][1].images
    names = _different_names(paths, opened)
    contenders = []
    for (runtime, answers), name in zip(opened, names, strict=True):
        if set(runtime.labels) != set(labels):
            raise DataError(
                f"{name} knows other labels than {runtime.manifest.name}; models of one task can be compared",
                code="compare-labels",
                model=name,
            )
        same = answers.report.data.sha256 == opened[0][1].report.data.sha256
        if not same or list(answers.images.ids) != list(images.ids):
            raise DataError(
                f"{name} was evaluated on other images or labels; name one set for all with --data, "
                "and one --uncertain where labels of -1 were taken for different things",
                code="compare-images",
                model=name,
            )
        order = [runtime.labels.index(label) for label in labels]
        contenders.append(
            Contender(
                name=name,
                logits=answers.logits[:, order],
                temperature=runtime.manifest.temperature,
                latency_ms=_latency_ms(runtime, images.read(0).pixels),
                size_bytes=runtime.size_bytes,
            )
        )
    found = compare(contenders, images.targets, labels, groups=images.groups)
    return msgspec.structs.replace(found, notes=_describe_seen([answers for _, answers in opened], names))


def _different_names(paths: Sequence[Path], opened: Sequence[tuple[Runtime, Judged]]) -> list[str]:
    """The models' names; where two are equal, with the name of the run or file."""
    names = [runtime.manifest.name for runtime, _ in opened]
    return [
        name if names.count(name) == 1 else f"{name} ({path.resolve().name.removesuffix('.onnx')})"
        for name, path in zip(names, paths, strict=True)
    ]


def _describe_seen(answers: Sequence[Judged], names: Sequence[str]) -> tuple[str, ...]:
    """What each model has seen of the images, with its name, and then the notes of the images themselves."""
    own = [f"{name}: {note}" for name, one in zip(names, answers, strict=True) for note in one.seen]
    of_data = dict.fromkeys(note for one in answers for note in one.report.notes if note not in one.seen)
    return (*own, *of_data)


def _latency_ms(runtime: Runtime, image: Any) -> float:
    """Median milliseconds from one raw image to its answer."""
    batch = image[None]
    times = []
    for _ in range(_LATENCY_RUNS + 3):
        start = time.perf_counter()
        runtime.logits(batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:]) * 1e3
