"""The parity gate: the exported file against the training side, on real raw images, stage by stage.

The training side is `zoo.preprocess` and the framework's own forward pass; the other side is ONNX Runtime on
the bytes that will be shipped. Each stage is compared on its own, so that a saturated probability cannot hide a
fault. The stages are the resized picture, the arithmetic on it, the logits, the probabilities and the names of
the labels. A file with an evidence map has one stage more: the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.artefact._graph import CORE_INPUT, RESIZED, SCALED
from zoo.edge._session import one_line, open_session
from zoo.errors import GateError, ModelError
from zoo.preprocess import normalize_batch, resize_image
from zoo.spec import EVIDENCE, Manifest, Parity, PreprocessSpec, Scale, Task, Voi, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from zoo.evaluation import Predict

__all__ = ["MINIMUM_IMAGES", "RELATIVE", "Worst", "parity_images", "probabilities_of", "prove", "relative"]

Array = NDArray[Any]

MINIMUM_IMAGES = 64

_LARGEST = 4_000_000
"""Pixels; larger pictures are not enlarged for the proof, memory would be the limit."""

RELATIVE = 1e-4
"""float32 sums in another order: |difference| <= 1e-4 · max(1, |value|)."""
_LOGIT = 1e-3
"""As `RELATIVE`, for any single image; half of them must keep the tighter bar. A fault moves them all; sums of float32
in another order move few (EfficientNet-Lite0 trained from scratch: 2.0e-4 at most). Golden logits have the same bar."""
_PROBABILITY = 5e-3
_MARGIN = 0.01
"""A label may change where the two best probabilities (multilabel: p and 1 - p) are closer than this: rounding
decides there."""


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
        reference: preprocessed (N, C, h, w) float32 → (N, K) logits, by the framework.
        images: raw images, (H, W, C) each; see `parity_images`.
        task: what the training was for.
        evidence: preprocessed (N, C, h, w) float32 → (N, K, h, w) evidence maps, by the framework; of a file that
            has that output.

    Returns:
        How far apart they are.

    Raises:
        GateError: further than allowed; the line says in which stage.
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
    if manifest.task != task:
        raise GateError(
            f"parity refused: the file states {manifest.task}, the training was {task}; nothing was written",
            code="parity-statement",
            differs="task",
            found=manifest.task,
            expected=task,
        )
    if (EVIDENCE in manifest.outputs) != (evidence is not None):
        raise GateError(
            f"parity refused: the file's outputs are {', '.join(manifest.outputs)}, and of the evidence the training "
            f"side has {'no map' if evidence is None else 'one'}; nothing was written",
            code="parity-statement",
            differs="outputs",
            found=list(manifest.outputs),
        )
    shipped = _Shipped(model, manifest)
    worst = Worst(spec, task)
    answers: list[dict[str, Array]] = []
    ours: list[Array] = []  # (1, c, h, w) each: the training side's preprocessing
    fed: list[Array] = []  # the file's own, or ours where the file leaves it to the caller
    for image in images:
        got = shipped.run(image[None])
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
    same_input, whole_way = (reference(np.concatenate(batch)) for batch in (fed, ours))
    for index, got in enumerate(answers):
        worst.see_logits(got["logits"], same_input[index : index + 1])
        worst.see_last_step(got, manifest.temperature)
        worst.see_end(got["probabilities"], probabilities_of(whole_way[index : index + 1], manifest.temperature, task))
    worst.refuse(len(images))
    for index in {0, max(0, len(images) - 3)}:  # an image as it is, and one that was cut and scaled
        _check_batch(shipped, images[index])
    return Parity(
        images=len(images),
        sizes=len({image.shape[:2] for image in images}),
        max_abs_pixel=worst.pixel,
        max_abs_logit=max(worst.logits),
        max_abs_probability=worst.probability,
        flips=worst.flips,
        max_abs_evidence=max(worst.evidence) if evidence is not None else None,
    )


class _Shipped:
    """The file in ONNX Runtime: as it is, and with the tensors between its stages made visible."""

    def __init__(self, model: onnx.ModelProto, manifest: Manifest) -> None:
        import onnx

        self.manifest = manifest
        # A picture that was prepared outside has no stage of ours inside.
        stages = [] if manifest.input.stage == "tensor" else [RESIZED, CORE_INPUT]
        self.inner = [*stages, SCALED]
        made = {name for node in model.graph.node for name in node.output}
        if lost := [name for name in self.inner if name not in made]:
            raise GateError(
                f"parity refused: the file has no tensor '{lost[0]}', so that stage cannot be proven; "
                "nothing was written",
                code="parity-stage",
                tensor=lost[0],
            )
        probed = onnx.ModelProto()
        probed.CopyFrom(model)
        for name in self.inner:
            probed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        try:
            self.session = open_session(model.SerializeToString(), manifest.name, provider="cpu", threads=None)
            self.probe = open_session(probed.SerializeToString(), manifest.name, provider="cpu", threads=None)
        except ModelError as problem:
            raise GateError(
                f"parity refused: {problem}; nothing was written", code="parity-vetting", cause=problem.code
            ) from None

    def run(self, batch: Array) -> dict[str, Array]:
        """Raw (n, H, W, C) images to every tensor by its name."""
        given, spec = self.manifest.input, self.manifest.preprocess
        if given.stage != "raw":
            batch = np.stack([resize_image(image, spec) for image in batch])
        if given.stage == "tensor":
            batch = normalize_batch(batch, spec)
        outputs = ["logits", "probabilities", *([EVIDENCE] if EVIDENCE in self.manifest.outputs else [])]
        try:
            ends = self.session.run(outputs, {given.name: batch})
            inner = self.probe.run(self.inner, {given.name: batch})
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
        return dict(zip([*outputs, *self.inner], [*ends, *inner], strict=True))


class Worst:
    """The largest differences seen so far."""

    def __init__(self, spec: PreprocessSpec, task: Task) -> None:
        self.spec, self.task = spec, task
        self.pixel = self.resized = 0.0
        self.input = self.scaled = self.last_step = self.probability = 0.0
        self.logits: list[float] = []
        self.evidence: list[float] = []
        self.flips = 0

    def see_resized(self, got: Array, expected: Array) -> None:
        """Both (1, h, w, c), raw values."""
        if got.shape != expected.shape:
            self.resized = float("inf")
            return
        largest = float(np.nan_to_num(np.abs(got - expected), nan=np.inf).max())
        # Sums of float32: small beside the largest value of the picture, not beside each value.
        self.resized = max(self.resized, largest / max(float(np.abs(expected).max()), 1.0))
        self.pixel = max(self.pixel, largest * 255 / self._span(expected))

    def see_input(self, got: Array, expected: Array) -> None:
        """Both (1, c, h, w), preprocessed."""
        self.input = max(self.input, relative(got, expected))

    def see_logits(self, got: Array, expected: Array) -> None:
        """Both (1, K), of the same input."""
        self.logits.append(relative(got, expected))

    def see_evidence(self, got: Array, expected: Array) -> None:
        """Both (1, K, h, w)."""
        self.evidence.append(relative(got, expected) if got.shape == expected.shape else float("inf"))

    def see_last_step(self, got: dict[str, Array], temperature: float) -> None:
        """The file's own logits to its probabilities."""
        # Before the softmax or sigmoid: a saturated one is 0 and 1 at any temperature.
        self.scaled = max(self.scaled, relative(got[SCALED], got["logits"] / np.float32(temperature)))
        expected = probabilities_of(got["logits"], temperature, self.task)
        self.last_step = max(self.last_step, relative(got["probabilities"], expected))

    def see_end(self, got: Array, expected: Array) -> None:
        """Both (1, K), probabilities from raw pixels."""
        difference = float(np.nan_to_num(np.abs(got - expected), nan=1.0).max())
        self.probability = max(self.probability, difference)
        if self.task == "multilabel":
            clear = np.abs(2 * expected - 1) > _MARGIN  # (n, K): p and 1 - p are apart
            self.flips += int(np.sum(clear & ((got >= 0.5) != (expected >= 0.5))))
            return
        best = np.sort(expected, axis=1)
        clear = best[:, -1] - best[:, -2] > _MARGIN if best.shape[1] > 1 else np.zeros(len(best), bool)
        self.flips += int(np.sum(clear & (got.argmax(axis=1) != expected.argmax(axis=1))))

    def refuse(self, images: int) -> None:
        """Raise if a bar is passed; every one that is passed is named."""
        found = [
            f"{what} differ by {value:.3g} (allowed {bar:g})"
            for what, value, bar in (
                ("resized pixels, beside the brightest,", self.resized, RELATIVE),
                ("preprocessed values", self.input, RELATIVE),
                ("logits of half the images", float(np.median(self.logits)), RELATIVE),
                ("logits", max(self.logits), _LOGIT),
                ("evidence maps of half the images", float(np.median(self.evidence or [0.0])), RELATIVE),
                ("evidence maps", max(self.evidence, default=0.0), _LOGIT),
                ("logits over the temperature", self.scaled, RELATIVE),
                ("probabilities of the same logits", self.last_step, RELATIVE),
                ("probabilities", self.probability, _PROBABILITY),
            )
            if not value <= bar
        ]
        if self.flips:
            found.append(f"{self.flips} labels change")
        if found:
            raise GateError(
                f"parity refused on {images} images: {'; '.join(found)}; nothing was written, "
                "the file would not give the answers that were trained",
                code="parity-answers",
                images=images,
                found=list(found),
            )

    def _span(self, expected: Array) -> float:
        """Raw values from dark to bright on the intensity scale."""
        intensity = self.spec.intensity
        if isinstance(intensity, Scale):
            return intensity.maximum
        if isinstance(intensity, Voi):
            return 1.0
        if isinstance(intensity, Window):
            return intensity.width - 1
        return max(float(expected.max()) - float(expected.min()), 1.0)


def _check_batch(shipped: _Shipped, image: Array) -> None:
    """Three different images at once must be answered as each of them alone."""
    three = np.stack([image, image[::-1, ::-1], np.zeros_like(image)])
    together = shipped.run(three)
    alone = [shipped.run(one[None]) for one in three]
    outputs = {"logits", EVIDENCE} & together.keys()
    if any(not relative(together[name], np.concatenate([one[name] for one in alone])) <= RELATIVE for name in outputs):
        raise GateError(
            "parity refused: a batch of three images is answered differently from each alone; nothing was written",
            code="parity-batch",
        )


def relative(got: Array, expected: Array) -> float:
    """The largest |difference| / max(1, |expected|); infinite where a number is not finite."""
    if not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    return float((np.abs(got - expected) / np.maximum(1, np.abs(expected))).max())


def probabilities_of(logits: Array, temperature: float, task: Task) -> Array:
    """The last step, by numpy: softmax(logits / temperature), or multilabel the sigmoid of each."""
    scaled = logits / np.float32(temperature)
    if task == "multilabel":
        return np.asarray(np.exp(-np.logaddexp(np.float32(0), -scaled)))
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _scale(image: Array, factor: float) -> Array:
    """`image` at another size; any filter will do, since both sides then start from the result."""
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((width, height)))
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0], np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return np.asarray(picture)[:, :, None].astype(image.dtype)
