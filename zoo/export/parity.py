"""The parity gate: the exported file against the training side, on real raw images, stage by stage.

The training side is `zoo.preprocess` and the framework's own forward pass; the other side is ONNX Runtime on the
bytes that will be shipped. A fault is looked for where it would arise, so that a saturated softmax can not hide it:
the resized picture, the arithmetic on it, the logits, the probabilities, and the names of the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.edge.session import open_session
from zoo.errors import GateError
from zoo.evaluate import Predict
from zoo.export.graph import CORE_INPUT, RESIZED
from zoo.preprocess import normalized, resized
from zoo.spec import Manifest, Parity, PreprocessSpec, Scale

if TYPE_CHECKING:
    import onnx

__all__ = ["MINIMUM_IMAGES", "parity_images", "prove"]

Array = NDArray[Any]

MINIMUM_IMAGES = 64

_LEVEL = 1.0
"""Rounding after a resize may fall to the other side: one level of an 8-bit picture."""
_LEVEL_SHARE = 0.1
"""Largest share of an image's values that may differ by that level (measured: 0.02 for bilinear, 0.001 for bicubic)."""
_RELATIVE = 1e-4
"""float32 sums in another order: |difference| <= 1e-4 · max(1, |value|)."""
_PROBABILITY = 5e-3
_MARGIN = 0.01
"""A label may change where the two best probabilities are closer than this: rounding decides there."""


def parity_images(images: Sequence[Array], seed: int = 0) -> list[Array]:
    """At least 64 raw images of different sizes, made of the given real ones.

    The first are the images as they are; then follow cuts and enlargements of them, because a set whose images
    all have one size would prove nothing about resizing, and images that are all black and all white.

    Args:
        images: real raw images, (H, W, C) each, at least one.
        seed: of the cuts.
    """
    rng = np.random.default_rng(seed)
    result = list(images[:MINIMUM_IMAGES])
    while len(result) < MINIMUM_IMAGES + MINIMUM_IMAGES // 2:
        source = images[int(rng.integers(len(images)))]
        height, width = source.shape[:2]
        cut_h, cut_w = (max(1, int(side * rng.uniform(0.5, 1.0))) for side in (height, width))
        top, left = int(rng.integers(height - cut_h + 1)), int(rng.integers(width - cut_w + 1))
        cut = source[top : top + cut_h, left : left + cut_w]
        result.append(np.ascontiguousarray(_scaled(cut, float(rng.uniform(0.6, 2.0)))))
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
) -> Parity:
    """Compare the file with the training side on every image.

    Args:
        model: the file as it will be shipped.
        manifest: what the file will say of itself.
        spec: preprocessing as the training used it.
        labels: class names in the order the training used.
        reference: preprocessed (N, C, h, w) float32 → (N, K) logits, by the framework.
        images: raw images, (H, W, C) each; see `parity_images`.

    Returns:
        How far apart they are.

    Raises:
        GateError: further than allowed; the line says in which stage.
    """
    if manifest.labels != labels:
        wrong = next((f"{a!r}, trained as {b!r}" for a, b in zip(manifest.labels, labels, strict=False) if a != b), "count")
        raise GateError(f"parity refused: the labels of the file differ from the training's ({wrong}); nothing was written")
    if manifest.preprocess != spec:
        raise GateError("parity refused: the file states another preprocessing than the training's; nothing was written")
    shipped = _Shipped(model, manifest)
    worst = _Worst()
    for index, image in enumerate(images):
        batch = image[None]
        got = shipped.run(batch)
        ours = resized(image, spec)[None]
        worst.see_resized(got.get(RESIZED), ours)
        if CORE_INPUT in got:
            # From the file's own resized picture, so that a level of rounding is not taken for wrong arithmetic.
            exact = np.ascontiguousarray(got[RESIZED].transpose(0, 2, 3, 1))
            worst.see_input(got[CORE_INPUT], normalized(exact, spec))
            fed = got[CORE_INPUT]
        else:
            fed = normalized(ours, spec)
        worst.see_logits(got["logits"], reference(fed))
        worst.see_probabilities(got["probabilities"], _softmax(reference(normalized(ours, spec)), manifest.temperature))
        if index == 0:
            _check_batch(shipped, batch, got["probabilities"])
    worst.refuse(len(images))
    return Parity(
        images=len(images),
        sizes=len({image.shape[:2] for image in images}),
        max_abs_pixel=worst.pixel / (spec.intensity.maximum / 255 if isinstance(spec.intensity, Scale) else 1.0),
        max_abs_logit=worst.logit,
        max_abs_probability=worst.probability,
        flips=worst.flips,
    )


class _Shipped:
    """The file in ONNX Runtime, with the tensors between its stages made visible."""

    def __init__(self, model: onnx.ModelProto, manifest: Manifest) -> None:
        import onnx

        self.manifest = manifest
        probed = onnx.ModelProto()
        probed.CopyFrom(model)
        made = {name for node in probed.graph.node for name in node.output}
        self.outputs = ["logits", "probabilities", *(name for name in (RESIZED, CORE_INPUT) if name in made)]
        for name in self.outputs[2:]:
            probed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self.session = open_session(probed.SerializeToString(), manifest.name, provider="cpu", threads=None)

    def run(self, batch: Array) -> dict[str, Array]:
        given, spec = self.manifest.input, self.manifest.preprocess
        if given.stage != "raw":
            batch = np.stack([resized(image, spec) for image in batch])
        if given.stage == "tensor":
            batch = normalized(batch, spec)
        return dict(zip(self.outputs, self.session.run(self.outputs, {given.name: batch}), strict=True))


class _Worst:
    """The largest differences seen so far."""

    def __init__(self) -> None:
        self.pixel = self.share = self.input = self.logit = self.probability = 0.0
        self.flips = 0

    def see_resized(self, got: Array | None, expected: Array) -> None:
        if got is None:  # the caller resizes, not the file
            return
        difference = np.abs(got.transpose(0, 2, 3, 1) - expected.astype(np.float32))
        if expected.dtype == np.uint8:
            self.pixel = max(self.pixel, float(difference.max()))
            self.share = max(self.share, float((difference > 0.5).mean()))
        else:
            self.pixel = max(self.pixel, float((difference / np.maximum(1, np.abs(expected))).max()) / _RELATIVE)

    def see_input(self, got: Array, expected: Array) -> None:
        self.input = max(self.input, _relative(got, expected))

    def see_logits(self, got: Array, expected: Array) -> None:
        self.logit = max(self.logit, _relative(got, expected))

    def see_probabilities(self, got: Array, expected: Array) -> None:
        difference = np.abs(got - expected)
        self.probability = max(self.probability, float(np.nan_to_num(difference, nan=1.0).max()))
        best = np.sort(expected, axis=1)
        clear = best[:, -1] - best[:, -2] > _MARGIN
        self.flips += int(np.sum(clear & (got.argmax(axis=1) != expected.argmax(axis=1))))

    def refuse(self, images: int) -> None:
        """Raise if a bar is passed; every one that is passed is named."""
        found = [
            f"{what} differ by {value:.3g} (allowed {bar:g})"
            for what, value, bar in (
                ("resized pixels", self.pixel, _LEVEL),
                ("resized pixels: a share of values", self.share, _LEVEL_SHARE),
                ("preprocessed values", self.input, _RELATIVE),
                ("logits", self.logit, _RELATIVE),
                ("probabilities", self.probability, _PROBABILITY),
            )
            if not value <= bar
        ]
        if self.flips:
            found.append(f"{self.flips} labels change")
        if found:
            raise GateError(
                f"parity refused on {images} images: {'; '.join(found)}; nothing was written, "
                "the file would not give the answers that were trained"
            )


def _check_batch(shipped: _Shipped, batch: Array, alone: Array) -> None:
    """A batch of three must be taken, and answer as one image does."""
    together = shipped.run(np.repeat(batch, 3, axis=0))["probabilities"]
    if together.shape[0] != 3 or not np.allclose(together, alone, atol=_PROBABILITY):
        raise GateError("parity refused: a batch of three images is answered differently from one; nothing was written")


def _relative(got: Array, expected: Array) -> float:
    if not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    return float((np.abs(got - expected) / np.maximum(1, np.abs(expected))).max())


def _softmax(logits: Array, temperature: float) -> Array:
    scaled = logits / np.float32(temperature)
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _scaled(image: Array, factor: float) -> Array:
    """`image` at another size; any filter will do, since both sides then start from the result."""
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((width, height)))
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0], np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)[:, :, None].astype(image.dtype)
