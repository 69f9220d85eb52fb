"""From a finished run to a proven file, and from the file to the numbers that are reported.

`build` makes the ONNX file and lets it through the parity gate; `judge` runs that file on raw images. Both
are used by training (which exports and evaluates what it trained) and by the verbs export, evaluate and
compare.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from zoo.errors import DataError, ImageError, UsageError
from zoo.preprocess import channels_of, check_range, normalized, resized
from zoo.runs import learnt, versions, weights_licence
from zoo.spec import EVIDENCE, SCHEMA, EvalReport, InputSpec, Manifest, PreprocessSpec, Provenance
from zoo.text import unusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from zoo.data import ImageSet, Splits
    from zoo.edge import Runtime
    from zoo.evaluate import Predict
    from zoo.export import Pool
    from zoo.plugin import ModelPlugin, Trained
    from zoo.readers import Probe, RawImage
    from zoo.runs import Run
    from zoo.spec import Member, ModelCard

__all__ = [
    "Judged",
    "Stage",
    "build",
    "fitted_temperature",
    "golden_images",
    "judge",
    "read_some",
    "readable",
    "refuse_unreadable",
    "save_model",
    "with_report",
    "write_answers",
]

Stage = Literal["full", "normalize", "none"]
"""How much of the preprocessing the file does: all of it, the arithmetic only, or nothing."""

_STAGES: dict[Stage, Literal["raw", "resized", "tensor"]] = {"full": "raw", "normalize": "resized", "none": "tensor"}

_INTENDED_USE = (
    "Sorting images like those it was trained on into the labels below, as research or as a second opinion that a "
    "qualified person checks. Not a medical device."
)

_INTENDED_USE_SEVERAL = (
    "Saying which of the labels below images like those it was trained on have, as research or as a second opinion "
    "that a qualified person checks. Not a medical device."
)

GOLDEN_SIDE = 1024
"""Pixels; larger images go into the golden set as their middle."""

log = logging.getLogger("zoo")


def fitted_temperature(trained: Trained | Pool, spec: PreprocessSpec, val: ImageSet) -> float:
    """The temperature that calibrates the framework's logits on validation images (never on test images)."""
    from zoo.evaluate import fit_temperature, predict_set
    from zoo.export import Pool

    if isinstance(trained, Pool):
        return fit_temperature(predict_set(trained.logits, val), val.targets)
    predict = trained.predict

    def from_raw(batch: NDArray[Any]) -> NDArray[Any]:
        return predict(normalized(np.stack([resized(image, spec) for image in batch]), spec))

    return fit_temperature(predict_set(from_raw, val), val.targets)


def build(
    run: Run,
    trained: Trained | Pool,
    data: Splits,
    *,
    stage: Stage = "full",
    portable: bool = False,
    report: EvalReport | None = None,
    evidence: bool = False,
) -> tuple[onnx.ModelProto, Manifest]:
    """The run's ONNX file, proven against the training side.

    Args:
        run: its record says labels, preprocessing and temperature.
        trained: the model of that run.
        data: raw images for the gate come from its validation and training splits.
        stage: how much preprocessing goes into the file.
        portable: resize by matrix products, see `zoo.export.resizing`.
        report: of the test split, when it is known.
        evidence: with the output "evidence", compared by the gate, too.

    Raises:
        UsageError: evidence is asked of a model that makes none, or an ensemble is to leave preprocessing to callers.
        GateError: the file does not give the training side's answers.
    """
    from zoo.export import Pool, assemble, assemble_pool, parity_images, prove, prove_pool, set_manifest

    record = run.record
    spec, temperature = record.card.preprocess, record.temperature
    given = _input_spec(record.kind, spec, stage)
    mapped = _evidence_of(trained, record.card) if evidence else None
    files: tuple[onnx.ModelProto, ...] = ()
    members: tuple[Member, ...] = ()
    if isinstance(trained, Pool):
        if stage != "full":
            raise UsageError(
                f"--preprocess {stage}: every member of an ensemble prepares images in its own way; only the whole "
                "preprocessing can go into its file, leave it out"
            )
        members = trained.members
        model, files = assemble_pool(trained, given, temperature=temperature, portable=portable)
    else:
        core = trained.to_onnx()
        model = assemble(
            core, spec, given, temperature=temperature, task=record.task, portable=portable, evidence=evidence
        )
    manifest = Manifest(
        schema=SCHEMA,
        name=record.card.name,
        labels=record.labels,
        preprocess=spec,
        input=given,
        outputs=("probabilities", "logits", *([EVIDENCE] if evidence else [])),
        temperature=temperature,
        parity=None,
        report=report,
        provenance=_provenance(run, members),
        licence=_licence(run, members),
        intended_use=_INTENDED_USE_SEVERAL if record.task == "multilabel" else _INTENDED_USE,
        task=record.task,
        portable=portable,
        members=members,
    )
    images = parity_images(read_some((data.val, data.train), 64), seed=record.config.seed)
    if isinstance(trained, Pool):
        parity = prove_pool(model, manifest, files, pool=trained, labels=data.labels, images=images)
    else:
        parity = prove(
            model,
            manifest,
            spec=spec,
            labels=data.labels,
            reference=trained.predict,
            images=images,
            task=data.task,
            evidence=mapped,
        )
    manifest = msgspec.structs.replace(manifest, parity=parity)
    set_manifest(model, manifest)
    log.info(
        "parity: %d raw images of %d sizes, logits within %.1e, probabilities within %.1e, %d labels changed",
        parity.images, parity.sizes, parity.max_abs_logit, parity.max_abs_probability, parity.flips,
    )  # fmt: skip
    return model, manifest


def _evidence_of(trained: Trained | Pool, card: ModelCard) -> Predict:
    """How the framework makes the map.

    Raises:
        UsageError: it makes none.
    """
    mapped: Predict | None = getattr(trained, EVIDENCE, None)
    if mapped is None:
        raise UsageError(
            f"{card.name} makes no evidence map; train a model that does ('zoo list --family unet'), or leave out "
            "--evidence: 'zoo explain' then hides parts of the image instead"
        )
    return mapped


def with_report(model: onnx.ModelProto, manifest: Manifest, report: EvalReport) -> Manifest:
    """Write the report into the file's metadata; the graph that was evaluated is not touched."""
    from zoo.export import set_manifest

    manifest = msgspec.structs.replace(manifest, report=report)
    set_manifest(model, manifest)
    return manifest


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A report, and the answers behind it."""

    report: EvalReport
    logits: NDArray[np.float32]
    images: ImageSet
    seen: tuple[str, ...] = ()
    """What is to be said of images that the model was trained on; stands in the report, too."""


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
        DataError: a class the file does not know, another pixel type, no image, or images that can not be
            read.
    """
    from zoo.data import align
    from zoo.evaluate import predict_set, report

    manifest = runtime.manifest
    data = align(data, manifest.labels, manifest.task).read_for(manifest.preprocess)
    if data.kind != manifest.input.dtype and manifest.input.stage == "raw":
        raise DataError(f"the images are {data.kind}, {manifest.name} was made for {manifest.input.dtype} images")
    images = _in_range(data.split(split), manifest.views)
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
    """Decode every image once.

    Raises:
        DataError: some can not be decoded or leave the declared range; the line counts them and says why of the first.
    """
    bad = _unusable(images, specs)
    if bad:
        raise DataError(f"test: {unusable([f'{images.ids[index]}: {why}' for index, why in bad.items()], len(images))}")


def _unusable(images: ImageSet, specs: Sequence[PreprocessSpec]) -> dict[int, str]:
    """Positions of the images that can not be decoded or leave the declared range, and why."""
    checked = _in_range(images, specs)
    bad = {}
    for index, name in enumerate(images.ids):
        try:
            checked.read(index)
        except ImageError as problem:
            bad[index] = str(problem).removeprefix(f"{name}: ")
    return bad


def _in_range(images: ImageSet, specs: Sequence[PreprocessSpec]) -> ImageSet:
    """The same images; one that leaves the declared range is refused when it is read, as in training."""
    return dataclasses.replace(images, source=_InRange(images, specs), rows=np.arange(len(images), dtype=np.int64))


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
            raise ImageError(f"{self.images.ids[row]}: {problem}") from None
        return raw

    def probe(self, row: int) -> Probe | None:
        return self.images.source.probe(int(self.images.rows[row]))


def golden_images(data: Splits, count: int) -> list[NDArray[Any]]:
    """`count` raw images for the golden set: test images first; cuts of them where there are too few."""
    from zoo.export import parity_images

    some = [_middle(image) for image in read_some((data.test, data.val, data.train), count)]
    return some if len(some) >= count else parity_images(some)[:count]


def _middle(image: NDArray[Any]) -> NDArray[Any]:
    """The image, or the middle of a large one: a golden set travels with every bundle."""
    height, width = image.shape[:2]
    top, left = max(0, height - GOLDEN_SIDE) // 2, max(0, width - GOLDEN_SIDE) // 2
    return np.ascontiguousarray(image[top : top + GOLDEN_SIDE, left : left + GOLDEN_SIDE])


def read_some(sets: Sequence[ImageSet], count: int) -> list[NDArray[Any]]:
    """Up to `count` raw images, spread evenly over the first set, then the next."""
    result: list[NDArray[Any]] = []
    for images in sets:
        wanted = min(count - len(result), len(images))
        chosen = np.linspace(0, len(images) - 1, max(wanted, 0)).astype(int)
        result.extend(images.read(int(index)).pixels for index in chosen)
    return result


def save_model(target: Path, model: onnx.ModelProto) -> None:
    """Write the file, whole or not at all."""
    from zoo.files import atomic_write

    atomic_write(target, model.SerializeToString())


def write_answers(folder: Path, judged: Judged, temperature: float) -> None:
    """report.json, predictions.csv, reliability.png, and confusion.png or (multilabel) labels.png of one evaluation."""
    from zoo.evaluate import plot_confusion, plot_labels, plot_reliability, write_predictions
    from zoo.files import atomic_write
    from zoo.spec import encode

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


def _input_spec(kind: Literal["uint8", "uint16", "float32"], spec: PreprocessSpec, stage: Stage) -> InputSpec:
    placed = _STAGES[stage]
    if placed == "raw":
        return InputSpec(name="image", dtype=kind, channels=3 if kind == "uint8" else 1, stage=placed)
    return InputSpec(name="image", dtype="float32", channels=channels_of(spec), stage=placed)


def _provenance(run: Run, members: Sequence[Member]) -> Provenance:
    record = run.record
    return Provenance(
        run=record.id,
        model=record.card.name,
        created=record.started,
        plugin=record.plugin,
        versions=record.versions,
        data=record.data,
        config=record.config,
        weights=record.weights or _joined(member.weights for member in members),
        notes=record.notes,
        weights_licence=_joined(member.weights_licence for member in members) or weights_licence(record),
        code_licence=_joined(member.code_licence for member in members) or record.card.licence,
        trained=learnt(run),
        exported=versions(),
    )


def _licence(run: Run, members: Sequence[Member]) -> str:
    """Weights that came from somewhere keep their licence; our own training adds none. An ensemble is under all."""
    return _joined(member.licence for member in members) or weights_licence(run.record) or run.record.card.licence


def _joined(words: Iterable[str | None]) -> str | None:
    """Each word once, joined by " AND ", as SPDX writes what holds together; None: there is none."""
    return " AND ".join(dict.fromkeys(word for word in words if word)) or None
