"""The parity gate: the exported file against the training side, on real raw images, stage by stage.

The training side is `zoo.preprocess` and the framework's own forward pass; the other side is ONNX Runtime on
the bytes that will be shipped, which answer every image. Each stage is compared on its own, so that a saturated
probability cannot hide a fault. The stages are the resized picture, the arithmetic on it, the logits, the probabilities
and the names of the labels. A file with an evidence map, with features or with a novelty score has one stage more for
each. What lies between its stages a file does not show: the nodes before the network, and those behind its logits, run
once more on their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.artefact._columns import ENCODED
from zoo.artefact._differences import RELATIVE, Worst, beside_largest, relative, relative_distance
from zoo.artefact._graph import CORE_INPUT, RESIZED, SCALED
from zoo.artefact.nodes import extract
from zoo.edge._last_step import probabilities_of
from zoo.edge._session import one_line, open_session
from zoo.errors import GateError, ModelError
from zoo.preprocess import normalize_batch, resize_image
from zoo.spec import EVIDENCE, FEATURES, NOVELTY, Manifest, Parity, PreprocessSpec, TableSpec, Task
from zoo.tabular import encode_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from zoo.evaluation import Predict

__all__ = ["MINIMUM_IMAGES", "parity_images", "prove"]

Array = NDArray[Any]

MINIMUM_IMAGES = 64

MORE = (EVIDENCE, FEATURES, NOVELTY)
"""Outputs that a file may have beside logits and probabilities."""

_SCORED = 4
"""Of so many images one has its novelty score compared."""

_LARGEST = 4_000_000
"""Pixels; larger pictures are not enlarged for the proof, memory would be the limit."""


def parity_images(images: Sequence[Array], seed: int = 0) -> list[Array]:
    """At least 64 raw images of different sizes, made of the given real ones.

    The first are the images as they are; then follow cuts and enlargements of them, because a set whose
    images all have one size would prove nothing about resizing, and images that are all black and all white.

    Args:
        images: real raw images, (H, W, C) each, at least one.
        seed: seed of the cuts.
    """
    rng = np.random.default_rng(seed)
    result = list(images[:MINIMUM_IMAGES])
    while len(result) < MINIMUM_IMAGES + MINIMUM_IMAGES // 2:
        source = images[int(rng.integers(len(images)))]
        height, width = source.shape[:2]
        cut_h, cut_w = (max(1, int(side * rng.uniform(0.5, 1.0))) for side in (height, width))
        top, left = int(rng.integers(height - cut_h + 1)), int(rng.integers(width - cut_w + 1))
        cut = source[top : top + cut_h, left : left + cut_w]
        most = max(0.6, (_LARGEST / (cut_h * cut_w)) ** 0.5)
        result.append(np.ascontiguousarray(_scale(cut, min(float(rng.uniform(0.6, 2.0)), most))))
    shape, dtype = result[0].shape, result[0].dtype
    brightest = max(image.max() for image in images)
    return [*result, np.zeros(shape, dtype), np.full(shape, brightest, dtype)]


def prove(
    model: onnx.ModelProto,
    manifest: Manifest,
    *,
    spec: PreprocessSpec,
    labels: tuple[str, ...],
    reference: Predict,
    images: Sequence[Array],
    task: Task = "multiclass",
    evidence: Predict | None = None,
    features: Predict | None = None,
    novelty: Predict | None = None,
    table: TableSpec | None = None,
    columns: Array | None = None,
) -> Parity:
    """Compare the file with the training side on every image.

    Each stage is compared from the file's own result of the stage before: raw to resized, resized to input,
    input to logits, logits to probabilities; together they are the whole way. Then the whole way at once,
    from raw pixels to the probabilities and the label.

    Args:
        model: the file as it will be shipped.
        manifest: what the file will say of itself.
        spec: preprocessing as the training used it.
        labels: class names in the order the training used.
        reference: preprocessed (N, C, h, w) float32 (and, with `table`, encoded columns (N, D)) → (N, K) logits, by
            the framework.
        images: raw images, (H, W, C) each; see `parity_images`.
        task: what the training was for.
        evidence: preprocessed (N, C, h, w) float32 → (N, K, h, w) evidence maps, by the framework; of a file that
            has that output.
        features: preprocessed (N, C, h, w) float32 → (N, D), by the framework; of a file that has that output.
        novelty: preprocessed (N, C, h, w) float32 → (N,) scores of the framework's features, by numpy; of a file that
            has that output. Every fourth image is compared: what is new in it are a few sums, and the framework would
            run once more for each.
        table: columns as the training used them; None: it used none.
        columns: (n, C) what the file takes of them for each image, as `zoo.tabular.parse_cells` gives it.

    Returns:
        How far apart they are.

    Raises:
        GateError: further than allowed; the line says in which stage.
    """
    more = {EVIDENCE: evidence, FEATURES: features, NOVELTY: novelty}
    _check_statement(manifest, spec=spec, labels=labels, task=task, table=table, more=more)
    shipped = _Shipped(model, manifest)
    worst = Worst(spec, task)
    answers: list[dict[str, Array]] = []
    ours: list[Array] = []  # (1, c, h, w) each: the training side's preprocessing
    fed: list[Array] = []  # the file's own, or ours where the file leaves it to the caller
    encoded = None if table is None or columns is None else encode_columns(columns, table)  # (n, D)
    for at, image in enumerate(images):
        got = shipped.run(image[None], None if columns is None else columns[at : at + 1])
        if encoded is not None:
            worst.see_columns(got[ENCODED], encoded[at : at + 1])
        own = resize_image(image, spec)[None]
        ours.append(normalize_batch(own, spec))
        fed.append(got.get(CORE_INPUT, ours[-1]))
        if RESIZED in got:
            picture = np.ascontiguousarray(got[RESIZED].transpose(0, 2, 3, 1))
            worst.see_resized(picture, own)
            worst.see_input(got[CORE_INPUT], normalize_batch(picture, spec))
        answers.append({name: got[name] for name in ("logits", "probabilities", SCALED)})
        if evidence is not None:  # compared at once: maps of every image would take gigabytes
            worst.see_evidence(got[EVIDENCE], evidence(fed[-1]))
        if features is not None:
            worst.see_features(got[FEATURES], features(fed[-1]))
        if novelty is not None and at % _SCORED == 0:
            worst.see_novelty(got[NOVELTY], novelty(fed[-1]))
    beside = () if encoded is None else (encoded,)
    same_input, whole_way = (reference(np.concatenate(batch), *beside) for batch in (fed, ours))
    for index, got in enumerate(answers):
        worst.see_logits(got["logits"], same_input[index : index + 1])
        worst.see_last_step(got, manifest.temperature)
        worst.see_end(got["probabilities"], probabilities_of(whole_way[index : index + 1], manifest.temperature, task))
    worst.refuse(len(images))
    for index in {0, max(0, len(images) - 3)}:  # an image as it is, and one that was cut and scaled
        _check_batch(shipped, images[index], None if columns is None else columns[[index, 0, -1]])
    return Parity(
        images=len(images),
        sizes=len({image.shape[:2] for image in images}),
        max_abs_pixel=worst.pixel,
        max_abs_logit=max(worst.logits),
        max_abs_probability=worst.probability,
        flips=worst.flips,
        max_abs_evidence=max(worst.evidence) if evidence is not None else None,
        max_abs_features=max(worst.features) if features is not None else None,
        max_abs_novelty=max(worst.novelty) if novelty is not None else None,
        max_abs_column=None if encoded is None else worst.columns,
    )


def _check_statement(  # noqa: D417 - as those of `prove`
    manifest: Manifest,
    *,
    spec: PreprocessSpec,
    labels: tuple[str, ...],
    task: Task,
    table: TableSpec | None,
    more: Mapping[str, Predict | None],
) -> None:
    """What the file says of itself must be what the training did.

    Args:
        more: name of each output that a file may have beside logits to how the framework makes it; None: it does not.

    Raises:
        GateError: it is not.
    """
    if manifest.labels != labels:
        pairs = zip(manifest.labels, labels, strict=False)
        wrong = next((f"{a!r}, trained as {b!r}" for a, b in pairs if a != b), "another count")
        raise GateError(
            f"parity refused: the labels of the file differ from the training's ({wrong}); nothing was written",
            code="parity-statement",
            differs="labels",
        )
    if manifest.preprocess != spec:
        raise GateError(
            "parity refused: the file states another preprocessing than the training's; nothing was written",
            code="parity-statement",
            differs="preprocess",
        )
    if manifest.table != table:
        raise GateError(
            "parity refused: the file states other columns beside the image than the training's; nothing was written",
            code="parity-statement",
            differs="columns",
        )
    if manifest.task != task:
        raise GateError(
            f"parity refused: the file states {manifest.task}, the training was {task}; nothing was written",
            code="parity-statement",
            differs="task",
            found=manifest.task,
            expected=task,
        )
    for output, known in more.items():
        if (output in manifest.outputs) != (known is not None):
            raise GateError(
                f"parity refused: the file's outputs are {', '.join(manifest.outputs)}, and the training side gives "
                f"{'no' if known is None else 'its'} {output}; nothing was written",
                code="parity-statement",
                differs="outputs",
                found=list(manifest.outputs),
            )


class _Shipped:
    """The file in ONNX Runtime as it is, and the nodes before its network and behind its logits on their own."""

    def __init__(self, model: onnx.ModelProto, manifest: Manifest) -> None:
        self.manifest = manifest
        # A picture that was prepared outside has no stage of ours inside.
        stages = [] if manifest.input.stage == "tensor" else [RESIZED, CORE_INPUT]
        self.before = [*stages, *([] if manifest.table is None else [ENCODED])]
        made = {name for node in model.graph.node for name in node.output}
        lost = [name for name in (*self.before, SCALED) if name not in made]
        front, end = extract(model, *self.before), extract(model, SCALED, given=["logits"])
        if len(end.graph.input) > 1:  # something passes the logits by
            lost.append(SCALED)
        if lost:
            raise GateError(
                f"parity refused: the file has no tensor '{lost[0]}', or does not make it of the stage before, so that "
                "stage cannot be proven; nothing was written",
                code="parity-stage",
                tensor=lost[0],
            )

        def open_part(part: onnx.ModelProto) -> Any:
            return open_session(part.SerializeToString(), manifest.name, provider="cpu", threads=None)

        try:
            self.session, self.end = open_part(model), open_part(end)
            self.front = open_part(front) if self.before else None
        except ModelError as problem:
            raise GateError(
                f"parity refused: {problem}; nothing was written", code="parity-vetting", cause=problem.code
            ) from None

    def run(self, batch: Array, columns: Array | None = None) -> dict[str, Array]:
        """Raw (n, H, W, C) images, and (n, C) columns, to every tensor by its name."""
        given, spec = self.manifest.input, self.manifest.preprocess
        if given.stage != "raw":
            batch = np.stack([resize_image(image, spec) for image in batch])
        if given.stage == "tensor":
            batch = normalize_batch(batch, spec)
        outputs = ["logits", "probabilities", *(one for one in MORE if one in self.manifest.outputs)]
        feed = {given.name: batch}
        if self.manifest.table is not None and columns is not None:
            feed |= dict(zip(self.manifest.table.inputs, columns.T, strict=True))
        try:
            ends = self.session.run(outputs, feed)
            read = {} if self.front is None else {one.name: feed[one.name] for one in self.front.get_inputs()}
            inner = [] if self.front is None else self.front.run(self.before, read)
            scaled = self.end.run([SCALED], {"logits": ends[0]})
        except Exception as problem:  # onnxruntime's errors have no common base below Exception
            raise GateError(
                f"parity refused: the file cannot take images of shape {'x'.join(map(str, batch.shape))} "
                f"({one_line(problem)}); nothing was written",
                code="parity-input",
                shape=list(batch.shape),
            ) from None
        expected = (len(batch), len(self.manifest.labels))
        if any(end.shape != expected for end in ends[:2]):
            found = "x".join(map(str, ends[0].shape))
            raise GateError(
                f"parity refused: the file answers {found}, expected {expected[0]}x{expected[1]}; nothing was written",
                code="parity-shape",
                found=str(found),
                expected=list(expected),
            )
        return dict(zip([*outputs, *self.before, SCALED], [*ends, *inner, *scaled], strict=True))


def _check_batch(shipped: _Shipped, image: Array, columns: Array | None) -> None:
    """Three different images at once, with (3, C) columns, must be answered as each of them alone."""
    three = np.stack([image, image[::-1, ::-1], np.zeros_like(image)])
    together = shipped.run(three, columns)
    rows = [None] * 3 if columns is None else [columns[at : at + 1] for at in range(3)]
    alone = [shipped.run(one[None], row) for one, row in zip(three, rows, strict=True)]
    apart = {"logits": relative, EVIDENCE: relative, FEATURES: beside_largest, NOVELTY: relative_distance}
    if any(
        not measure(together[name], np.concatenate([one[name] for one in alone])) <= RELATIVE
        for name, measure in apart.items()
        if name in together
    ):
        raise GateError(
            "parity refused: a batch of three images is answered differently from each alone; nothing was written",
            code="parity-batch",
        )


def _scale(image: Array, factor: float) -> Array:
    """`image` at another size; any filter will do, since both sides then start from the result."""
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize((width, height)))
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    ]
    return np.stack(planes, axis=2).astype(image.dtype)
