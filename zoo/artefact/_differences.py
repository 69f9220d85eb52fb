"""How far the exported file may be from the training side: the bars of the parity gate, and the largest seen so far."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.artefact._graph import SCALED
from zoo.edge._last_step import probabilities_of
from zoo.errors import GateError
from zoo.spec import PreprocessSpec, Scale, Task, Voi, Window

__all__ = ["RELATIVE", "Worst", "beside_largest", "relative", "relative_distance"]

Array = NDArray[Any]

RELATIVE = 1e-4
"""float32 sums in another order: |difference| <= 1e-4 · max(1, |value|)."""
_LOGIT = 1e-3
"""As `RELATIVE`, for any single image; half of them must keep the tighter bar. A fault moves them all; sums of float32
in another order move few (EfficientNet-Lite0 trained from scratch: 2.0e-4 at most). Golden logits have the same bar."""
_DISTANCE = 10
"""Novelty scores divide features by spreads that may be a fiftieth of them, and their differences with them."""
_PROBABILITY = 5e-3
_MARGIN = 0.01
"""A label may change where the two best probabilities (multilabel: p and 1 - p) are closer than this: rounding
decides there."""


class Worst:
    """The largest differences seen so far."""

    def __init__(self, spec: PreprocessSpec, task: Task) -> None:
        self.spec, self.task = spec, task
        self.pixel = self.resized = self.columns = 0.0
        self.input = self.scaled = self.last_step = self.probability = 0.0
        self.logits: list[float] = []
        self.evidence: list[float] = []
        self.features: list[float] = []
        self.novelty: list[float] = []
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

    def see_columns(self, got: Array, expected: Array) -> None:
        """Both (1, D), encoded."""
        self.columns = max(self.columns, relative(got, expected) if got.shape == expected.shape else float("inf"))

    def see_logits(self, got: Array, expected: Array) -> None:
        """Both (1, K), of the same input."""
        self.logits.append(relative(got, expected))

    def see_evidence(self, got: Array, expected: Array) -> None:
        """Both (1, K, h, w)."""
        self.evidence.append(relative(got, expected) if got.shape == expected.shape else float("inf"))

    def see_features(self, got: Array, expected: Array) -> None:
        """Both (1, D), of the same input."""
        self.features.append(beside_largest(got, expected) if got.shape == expected.shape else float("inf"))

    def see_novelty(self, got: Array, expected: Array) -> None:
        """Both (1,), of the same input."""
        self.novelty.append(relative(got, expected) if got.shape == expected.shape else float("inf"))

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
                ("encoded columns", self.columns, RELATIVE),
                ("logits of half the images", float(np.median(self.logits)), RELATIVE),
                ("logits", max(self.logits), _LOGIT),
                ("evidence maps of half the images", float(np.median(self.evidence or [0.0])), RELATIVE),
                ("evidence maps", max(self.evidence, default=0.0), _LOGIT),
                ("features of half the images", float(np.median(self.features or [0.0])), RELATIVE),
                ("features", max(self.features, default=0.0), _LOGIT),
                ("novelty scores of half the images", float(np.median(self.novelty or [0.0])), _DISTANCE * RELATIVE),
                ("novelty scores", max(self.novelty, default=0.0), _DISTANCE * _LOGIT),
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
            return min(intensity.widths) - 1
        return max(float(expected.max()) - float(expected.min()), 1.0)


def relative(got: Array, expected: Array) -> float:
    """The largest |difference| / max(1, |expected|); infinite where a number is not finite."""
    if not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    return float((np.abs(got - expected) / np.maximum(1, np.abs(expected))).max())


def relative_distance(got: Array, expected: Array) -> float:
    """`relative` of novelty scores, in the measure of logits."""
    return relative(got, expected) / _DISTANCE


def beside_largest(got: Array, expected: Array) -> float:
    """The largest |difference| / max(1, largest |expected| of the row), (n, D) both; infinite where a number is not.

    A feature is a sum of float32 like its neighbours, and may be near 0 where they are in the hundreds.
    """
    if not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    return float((np.abs(got - expected) / np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))).max())
