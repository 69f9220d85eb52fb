"""Judged files side by side: names that differ, one order of labels, and what each costs on this machine."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import msgspec

from zoo.compare import Comparison, Contender, compare
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from zoo.edge import Runtime
    from zoo.ship import Judged

__all__ = ["compare_judged"]

_LATENCY_RUNS = 30


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
                f"{name} knows other labels than {runtime.manifest.name}; models of one task can be compared"
            )
        same = answers.report.data.sha256 == opened[0][1].report.data.sha256
        if not same or list(answers.images.ids) != list(images.ids):
            raise DataError(f"{name} was evaluated on other images; name one set for all with --data")
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
    return msgspec.structs.replace(found, notes=_said_of([answers for _, answers in opened], names))


def _different_names(paths: Sequence[Path], opened: Sequence[tuple[Runtime, Judged]]) -> list[str]:
    """The models' names; where two are equal, with the name of the run or file."""
    names = [runtime.manifest.name for runtime, _ in opened]
    return [
        name if names.count(name) == 1 else f"{name} ({path.resolve().name.removesuffix('.onnx')})"
        for name, path in zip(names, paths, strict=True)
    ]


def _said_of(answers: Sequence[Judged], names: Sequence[str]) -> tuple[str, ...]:
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
