"""What was given up for a smaller and faster file, and how that was proven to be little."""

from __future__ import annotations

from typing import Literal

from zoo.spec._value import Interval, Value

__all__ = ["Guard", "Quantization", "QuantizedKind", "Rung", "Speed", "Target"]

QuantizedKind = Literal["int8", "fp16"]

Target = Literal["avx512", "avx2", "arm64", "gpu"]
"""What a quantised file is made for. avx512: x86 with the dot products of VNNI. avx2: x86 without them."""


Verdict = Literal["as good", "cannot tell", "worse"]
"""What the images show of a quantised file beside float32: that it loses no more than the bars allow, neither, or that
it loses more."""


class Bars(Value, frozen=True):
    """How far a quantised file may be from the float32 file."""

    auroc: float = 0.01
    """Macro AUROC that it may lose."""
    sensitivity: float = 0.02
    """Sensitivity that a class may lose."""
    agreement: float = 0.99
    """Share of the images on which float32 is sure that keep their label."""
    shift: float = 0.05
    """Mean shift of probabilities, see `Alike.mean_shift`."""
    probability: float = 5e-3
    """Largest change of a probability in fp16."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number from 0 to below 1")


class Alike(Value, frozen=True):
    """The quantised file beside the float32 file, on the same raw images, whatever their labels are."""

    n: int
    copies: int
    """How many of them are mirrored copies of others."""
    agreement: Interval
    """Share of images with the same label, of a multilabel model: of labels of images decided alike."""
    sure: int
    """Images on which float32 is sure: its two largest probabilities are .1 apart or more. Multilabel: labels whose
    probability is .05 or more from one half."""
    kept: Interval | None
    """Share of these with the same label; null: float32 is sure of none."""
    mean_shift: float
    """Mean over images of half the sum of the differences of probabilities; multilabel: mean difference; in [0, 1]."""
    max_abs_probability: float


class Guard(Alike, frozen=True):
    """The same on images whose labels are known; differences are quantised - float32."""

    split: str
    clusters: int | None
    """Groups that were resampled; null: single images were."""
    macro_auroc: Interval | None
    """The paired difference; null: not defined on these images, see `undefined`."""
    undefined: str | None
    sensitivity: Interval | None
    """The difference of the label that most surely loses, at the largest logit (multilabel: at 0.5)."""
    sensitivity_label: str | None
    sensitivity_n: int
    """Images of that label."""


class Speed(Value, frozen=True):
    """Both files in turn, on raw images, in one process."""

    ratio: Interval
    """Time of the float32 file over that of the quantised one: median of pairs; above 1 it is faster."""
    float32_ms: float
    ms: float
    pairs: int
    threads: int
    machine: str


class Rung(Value, frozen=True):
    """One rung, and why it was not taken."""

    name: str
    kind: QuantizedKind
    excluded: tuple[str, ...]
    """Layers left in float32 beside the head, the most sensitive first."""
    size_bytes: int
    val: Guard | None
    speed: Speed | None
    """Null: made for another machine than this one, or not run."""
    alike: Alike | None
    """On all images that may choose, and mirrored copies; null: the labelled ones have shown that it is worse."""
    verdict: Verdict | None
    """Null: it was not run."""
    refused: tuple[str, ...]
    """Each bar that is broken or not shown to hold; empty: it passed."""


class Quantization(Value, frozen=True):
    """How the file was made smaller, and the proof that its answers are still those of the float32 file."""

    kind: QuantizedKind
    target: Target
    scheme: str
    """Number types in words."""
    measured: Literal["kernels", "reference"]
    """kernels: answers are those of this machine's own int8 kernels, as they will run. reference: made for another
    machine, so every quantised tensor was rounded as the file says and the sums were taken in float."""
    calibration: str | None
    """How ranges of activations were chosen: minmax, percentile P, or entropy; null: fp16 needs none."""
    calibration_images: int
    """Training images that the ranges come from."""
    compared_images: int
    """Other training images that the calibrations were compared on."""
    calibration_errors: dict[str, float]
    """Calibration to its error: root mean square of the logits' difference over that of the float32 logits."""
    layers: int
    """Convolutions and matrix products with weights, the head not counted."""
    excluded: tuple[str, ...]
    rungs: tuple[Rung, ...]
    """In the order they were tried; the last one is this file, or, where all were refused, just the last."""
    bars: Bars
    verdict: Verdict | None
    """Of this file. cannot tell: whoever exported it accepted that. Null: nothing was taken."""
    alike: Alike | None
    """These images chose the rung, whatever their labels are; null: nothing was taken."""
    val: Guard | None
    """These chose the rung by their labels; null: nothing was taken."""
    test: Guard | None
    """These chose nothing; they could only refuse, where they show that a bar is broken."""
    speed: Speed | None
    size_ratio: float | None
    """Bytes of the float32 file over the bytes of this one."""
    tolerance: float | None
    """Of a golden logit, relative to max(1, |logit|): how far other CPUs may round away from these answers."""
    notes: tuple[str, ...] = ()

    @property
    def doubt(self) -> str | None:
        """In words, that it was taken without proof; None: it passed the guard, or none was asked."""
        if self.verdict != "cannot tell":
            return None
        return (
            f"this {self.kind} file was not shown to be as good as float32: the images were too few to tell, and "
            "whoever exported it accepted that"
        )
