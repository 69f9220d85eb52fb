"""From a trained model to its proven ONNX file: calibrate, build, let it through the parity gate, write it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from zoo._support.files import atomic_write
from zoo.preprocess import channels_of, raw_channels
from zoo.runs import hash_learnt, versions, weights_licence
from zoo.spec import EVIDENCE, FEATURES, NOVELTY, SCHEMA, EvalReport, InputSpec, Manifest, PreprocessSpec, Provenance
from zoo.tabular import draw_cells, parse_cells
from zoo.workflow._answered import Answered
from zoo.workflow._images import read_some, share_unread
from zoo.workflow._refer import count_failed, draw_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from zoo.artefact import Shippable
    from zoo.data import ImageSet, Splits
    from zoo.edge import Runtime
    from zoo.plugin import Trained
    from zoo.runs import RunFolder, RunRecord
    from zoo.spec import Member, PixelKind, Reference, TableSpec

__all__ = ["Stage", "build", "compare_features", "save_model", "shippable", "write_report"]

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

log = logging.getLogger("zoo")


def shippable(trained: Trained | Shippable, record: RunRecord) -> Shippable:
    """What a plugin trained or loaded, behind the one protocol that export and evaluation use."""
    from zoo.artefact import Shippable, TrainedNetwork

    if isinstance(trained, Shippable):
        return trained
    network = TrainedNetwork(trained, record.card, record.task)
    return network.shifted(record.shift) if record.shift else network


def build(
    run: RunFolder,
    trained: Shippable,
    data: Splits,
    *,
    stage: Stage = "full",
    portable: bool = False,
    report: EvalReport | None = None,
    evidence: bool = False,
    features: bool = False,
    refer: Answered | Reference | None = None,
) -> tuple[onnx.ModelProto, Manifest]:
    """The run's ONNX file, proven against the training side.

    Args:
        run: its record says labels, preprocessing, temperature and decisions.
        trained: the model of that run.
        data: raw images for the gate come from its validation and training splits.
        stage: how much preprocessing goes into the file.
        portable: resize by matrix products, see `zoo.artefact._resizing`.
        report: report on the test split, when it is known.
        evidence: with the output "evidence", compared by the gate, too.
        features: with the output "features", compared by the gate, too.
        refer: what the reference of `zoo monitor` is drawn from, or the one that there is; None: without it.

    Raises:
        UsageError: evidence or features are asked of a model that makes none, or an ensemble is to leave preprocessing
            to callers.
        GateError: the file does not give the training side's answers.
    """
    from zoo.artefact import parity_images, set_manifest

    record = run.record
    spec, temperature = record.card.preprocess, record.temperature
    given = _input_spec(record.kind, spec, stage)
    made = trained.assemble(given, temperature=temperature, portable=portable, evidence=evidence, features=features)
    model = made.model
    further = {EVIDENCE: evidence, FEATURES: features, NOVELTY: trained.space is not None}
    manifest = Manifest(
        schema=SCHEMA,
        name=record.card.name,
        labels=record.labels,
        preprocess=spec,
        input=given,
        outputs=("probabilities", "logits", *(name for name, given in further.items() if given)),
        temperature=temperature,
        parity=None,
        report=report,
        provenance=_provenance(run, trained.members),
        licence=_licence(run, trained.members),
        intended_use=_INTENDED_USE_SEVERAL if record.task == "multilabel" else _INTENDED_USE,
        task=record.task,
        portable=portable,
        table=record.card.table,
        operating=record.operating,
        abstention=record.abstention,
        members=trained.members,
    )
    some = [image.pixels for image in read_some((data.val, data.train), 64)]
    images = parity_images(some, seed=record.card.train.seed)
    columns = None if manifest.table is None else _parity_columns(manifest.table, data.val, len(images))
    parity = trained.prove(made, manifest, labels=data.labels, images=images, columns=columns)
    manifest = msgspec.structs.replace(manifest, parity=parity)
    unread = share_unread(data, "val")
    reference = draw_reference(refer, manifest, unread=unread) if isinstance(refer, Answered) else refer
    if reference is not None and reference.failed is None:  # of a file that an older release wrote
        reference = msgspec.structs.replace(reference, failed=count_failed(reference.n, unread))
    manifest = msgspec.structs.replace(manifest, reference=reference)
    manifest = set_manifest(model, manifest)
    log.info(
        "parity: %d raw images of %d sizes, logits within %.1e, probabilities within %.1e, %d labels changed",
        parity.images, parity.sizes, parity.max_abs_logit, parity.max_abs_probability, parity.flips,
    )  # fmt: skip
    return model, manifest


def compare_features(float32: Runtime, own: Runtime, val: ImageSet) -> str:
    """How far the features of a quantised file are from those of float32, in words: the guard judges answers alone."""
    from zoo.artefact import parity_images

    images = parity_images([image.pixels for image in read_some((val,), 64)])[:64]
    a, b = (np.concatenate([runtime.features(image[None]) for image in images]) for runtime in (float32, own))
    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)  # (n,)
    return (
        f"features of {len(images)} validation images beside those of float32: cosine {np.median(cosine):.4f} "
        f"(median), {cosine.min():.4f} (least); compare features of one file only"
    )


def write_report(model: onnx.ModelProto, manifest: Manifest, report: EvalReport) -> Manifest:
    """Write the report into the file's metadata; the graph that was evaluated is not touched."""
    from zoo.artefact import set_manifest

    return set_manifest(model, msgspec.structs.replace(manifest, report=report))


def save_model(target: Path, model: onnx.ModelProto) -> None:
    """Write the file, whole or not at all."""
    atomic_write(target, model.SerializeToString())


def _parity_columns(table: TableSpec, images: ImageSet, count: int) -> NDArray[np.float32]:
    """(count, C) for the gate: half are of the data, half are made, so that all that the encoding knows is there."""
    own = images.subset(np.linspace(0, len(images) - 1, min(count // 2, len(images))).astype(int))
    rows = parse_cells(table, own.columns, len(own))
    return np.concatenate([rows, draw_cells(table, count - len(rows))])


def _input_spec(kind: PixelKind, spec: PreprocessSpec, stage: Stage) -> InputSpec:
    placed = _STAGES[stage]
    if placed == "raw":
        return InputSpec(name="image", dtype=kind, channels=raw_channels(spec, kind), stage=placed)
    return InputSpec(name="image", dtype="float32", channels=channels_of(spec), stage=placed, kind=kind)


def _provenance(run: RunFolder, members: Sequence[Member]) -> Provenance:
    record = run.record
    return Provenance(
        run=record.id,
        model=record.card.name,
        created=record.started,
        plugin=record.plugin,
        versions=record.versions,
        data=record.data,
        config=record.recipe,
        weights=record.weights or _join(member.weights for member in members),
        teacher=record.teacher,
        notes=record.notes,
        weights_licence=_join(member.weights_licence for member in members) or weights_licence(record),
        code_licence=_join(member.code_licence for member in members) or record.card.licence,
        trained=hash_learnt(run),
        exported=versions(),
    )


def _licence(run: RunFolder, members: Sequence[Member]) -> str:
    """Weights that came from somewhere keep their licence; our own training adds none. An ensemble is under all."""
    return _join(member.licence for member in members) or weights_licence(run.record) or run.record.card.licence


def _join(words: Iterable[str | None]) -> str | None:
    """Each word once, joined by " AND ", as SPDX writes what holds together; None: there is none."""
    return " AND ".join(dict.fromkeys(word for word in words if word)) or None
