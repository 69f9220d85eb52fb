"""Frozen value types shared by every layer, the device included.

They are what is written to run.json, manifest.json, report.json and registry.yaml; unknown fields are
refused, so a file of a later version is never half understood. This module knows no file, no array
library beyond names, and no framework; `decode` and `encode` are the only doors to bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

if TYPE_CHECKING:
    from zoo.errors import ZooError

__all__ = [
    "LABEL_SEPARATOR",
    "OPSET",
    "SCHEMA",
    "Calibration",
    "Confusion",
    "EvalReport",
    "Fingerprint",
    "Gaussian",
    "InputSpec",
    "Intensity",
    "Interval",
    "Licence",
    "Manifest",
    "Median",
    "ModelCard",
    "PackagedWeights",
    "Parity",
    "Percentile",
    "PluginOrigin",
    "PreprocessSpec",
    "Provenance",
    "Scale",
    "Task",
    "TrainConfig",
    "Voi",
    "Weights",
    "Window",
    "decode",
    "encode",
    "from_builtins",
    "to_builtins",
]

SCHEMA = 1
"""Version of every document written by this release."""

OPSET = 18
"""ONNX operator set of every exported file: the first whose Resize has antialias."""

Task = Literal["multiclass", "multilabel"]
"""multiclass: one label an image, a softmax over logits. multilabel: any number of labels, a sigmoid on each."""

LABEL_SEPARATOR = "|"
"""Stands between the labels of one image in every text that lists them; no label of multilabel data may hold it."""

Licence = str
"""An SPDX identifier in lower case, or "unknown"."""

T = TypeVar("T")


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A frozen value whose documents may hold no unknown field."""


# --- preprocessing ----------------------------------------------------------------------------------


class Scale(_Value, frozen=True, tag_field="type", tag="scale"):
    """y = x / maximum. `maximum` is the largest raw value the images can hold (255 for 8-bit)."""

    maximum: float

    def __post_init__(self) -> None:
        if not self.maximum > 0:
            raise ValueError(f"scale: maximum is {self.maximum}, expected a number above 0")


class Window(_Value, frozen=True, tag_field="type", tag="window"):
    """y = clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1), LINEAR of DICOM PS3.3 C.11.2.1.2."""

    center: float
    width: float

    def __post_init__(self) -> None:
        if not self.width > 1:
            raise ValueError(f"window: width is {self.width}, expected a number above 1")


class Percentile(_Value, frozen=True, tag_field="type", tag="percentile"):
    """y = clip((x - a) / (b - a), 0, 1), where a and b are percentiles of the resized image itself.

    low=0, high=100 is min-max scaling. A constant image becomes 0.
    """

    low: float = 0.0
    high: float = 100.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(f"percentile: {self.low} to {self.high}, expected 0 <= low < high <= 100")


class Voi(_Value, frozen=True, tag_field="type", tag="voi"):
    """The file's own VOI LUT or window and photometric inversion, done by the reader; its values are in [0, 1].

    DICOM PS3.3 C.11.2; see `zoo.readers.dicom_values`. Nothing is left to do for the graph, which takes float32.
    """


Intensity = Scale | Window | Percentile | Voi
"""How raw pixel values become [0, 1]."""


class Median(_Value, frozen=True, tag_field="type", tag="median"):
    """Median over a k × k neighbourhood, borders replicated. k is 3 or 5."""

    k: Literal[3, 5] = 3


class Gaussian(_Value, frozen=True, tag_field="type", tag="gaussian"):
    """Gaussian blur with standard deviation `sigma` in pixels, cut at 3 sigma, borders replicated."""

    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 5:
            raise ValueError(f"gaussian: sigma is {self.sigma}, expected a number in (0, 5]")


class PreprocessSpec(_Value, frozen=True):
    """From a raw image to the network's input; executed by `zoo.preprocess` and by `zoo.export.graph`.

    The order is fixed: channels, denoise, resize (and crop or pad), intensity, mean and std.
    """

    size: tuple[int, int]
    """(height, width) of the network's input in pixels."""
    channels: Literal["rgb", "gray"] = "rgb"
    intensity: Intensity = Scale(maximum=255)
    denoise: Median | Gaussian | None = None
    resize: Literal["stretch", "crop", "letterbox"] = "crop"
    """stretch: both sides to size. crop: shorter side to size, centre crop. letterbox: longer side, padded
    with the image's own darkest value."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, ...] = (0.5,)
    """One value for each channel, in units of the [0, 1] scale."""
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        channels = 3 if self.channels == "rgb" else 1
        if not all(1 <= side <= 4096 for side in self.size):
            raise ValueError(f"size is {self.size[0]}x{self.size[1]}, expected 1 to 4096 pixels a side")
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(
                f"mean has {len(self.mean)} and std has {len(self.std)} values, expected {channels} for {self.channels}"
            )
        if not all(value > 0 for value in self.std):
            raise ValueError("std holds a value that is not above 0")


# --- catalogue --------------------------------------------------------------------------------------


class PackagedWeights(_Value, frozen=True):
    """Weights that an installed package ships as a torch pickle; opened only when the hash is right."""

    distribution: str
    file: str
    """Path inside site-packages, with forward slashes."""
    sha256: str


class Weights(_Value, frozen=True):
    """Where pretrained weights come from. `sha256` null: pinned in the lock at the first download."""

    source: str
    licence: Licence
    sha256: str | None = None
    package: PackagedWeights | None = None


class TrainConfig(_Value, frozen=True):
    """One training budget and recipe. Every field can be set by `--set NAME=VALUE`."""

    epochs: int = 20
    batch_size: int = 32
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.05
    warmup: float = 0.1
    """Fraction of all steps in which the learning rate rises linearly."""
    label_smoothing: float = 0.1
    ema: float = 0.998
    """Decay per step of the exponential moving average of the weights; 0 switches it off."""
    patience: int = 10
    """Epochs without a better validation AUROC before training stops; 0 never stops early."""
    clip: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""
    augment: Literal["none", "flip", "standard"] = "standard"
    seed: int = 0
    split_seed: int = 0
    """Seed of splits that the data set does not bring itself; apart from `seed`, so that runs share
    splits."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    pretrained: bool = False
    leaks: Literal["drop", "keep", "refuse"] = "drop"
    """Training images that are copies of validation or test images: drop leaves them out, keep trains on them,
    refuse stops; groups that stand in two splits are refused unless keep."""
    fold: int | None = None
    """Of data with folds: this one is test, the next one validation, the rest training."""

    def __post_init__(self) -> None:
        checks = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", 0 < self.lr < 100, "a number above 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("warmup", 0 <= self.warmup < 1, "a fraction in [0, 1)"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "a fraction in [0, 1)"),
            ("ema", 0 <= self.ema < 1, "a fraction in [0, 1)"),
            ("patience", self.patience >= 0, "0 or more"),
            ("clip", self.clip >= 0, "0 or more"),
            ("seed", self.seed >= 0, "0 or more"),
            ("split_seed", self.split_seed >= 0, "0 or more"),
            ("fold", self.fold is None or self.fold >= 0, "0 or more"),
        )
        for name, good, expected in checks:
            if not good:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {expected}")


class ModelCard(_Value, frozen=True):
    """One entry of a catalogue, complete: the row of `zoo list` and all that a plugin is told."""

    name: str
    plugin: str
    """Name of an entry point in the group zoo.plugins."""
    arch: str
    family: str
    summary: str
    preprocess: PreprocessSpec
    train: TrainConfig = TrainConfig()
    parameters: float | None = None
    """Trained numbers of the network with a head of 1000 classes, as papers count them."""
    weights: Weights | None = None
    needs: tuple[str, ...] = ()
    """Importable packages without which the plugin can not run."""
    licence: Licence = "unknown"


# --- results ----------------------------------------------------------------------------------------


class Interval(_Value, frozen=True):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float
    method: Literal["bootstrap", "wilson"] = "bootstrap"
    """wilson: every resample gave the same value, so the bootstrap had nothing to say (see
    zoo.evaluate.intervals)."""


class Fingerprint(_Value, frozen=True):
    """Which data this was: never a path, never a file name."""

    name: str
    sha256: str
    """Over (split, label, sha256 of the file's bytes or of the array's pixels), sorted."""
    n: int
    splits: dict[str, int]


class Confusion(_Value, frozen=True):
    """counts[i][j]: images of class labels[i] that were called labels[j]."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Calibration(_Value, frozen=True):
    """How far probabilities can be taken at their word, on the evaluated images."""

    temperature: float
    """Logits are divided by it before the softmax, or the sigmoids; fitted on validation images only."""
    brier: Interval
    """Mean of sum over classes of (p - y)^2, in [0, 2] (Brier 1950); multilabel: mean over labels, in [0, 1]."""
    nll: Interval
    """Mean negative log-likelihood in nats; multilabel: mean over labels."""
    ece: float
    """Expected calibration error of the top label (Guo et al. 2017), multilabel: of all labels' probabilities,
    pooled; biased upwards when n is small."""
    bins: int
    n: int


class EvalReport(_Value, frozen=True):
    """What a model file did on one set of images.

    A metric that could not be computed stands in `undefined` with its reason and nowhere else.
    """

    schema: int
    model: str
    split: str
    n: int
    labels: tuple[str, ...]
    metrics: dict[str, Interval]
    """accuracy, balanced_accuracy, macro_auroc, macro_auprc, macro_f1.

    Of a multilabel model a label counts as given where its probability is at least 0.5; accuracy is the mean over
    labels of each label's own (as MedMNIST reports ChestMNIST), balanced accuracy that of (sensitivity +
    specificity) / 2."""
    per_class: dict[str, dict[str, Interval | int]]
    """For each label: n (an int, the images that have it), sensitivity, specificity, ppv, npv, f1, auroc, auprc."""
    confusion: Confusion | None
    """Null for multilabel models: a label is there or not, it is never called another."""
    calibration: Calibration | None
    data: Fingerprint
    undefined: dict[str, str]
    """'macro_auroc' or 'LABEL.sensitivity' to the reason."""
    notes: tuple[str, ...] = ()
    """Defects of the data that the reader of the numbers must know."""
    clusters: int | None = None
    """Groups (patients, lesions, studies) that the n images come from, where the data names them; every interval
    is then from resamples of whole groups. Null: images were resampled as if each stood alone."""


class Parity(_Value, frozen=True):
    """How far the exported file is from the training side, on real raw images."""

    images: int
    sizes: int
    """How many different image sizes were among them."""
    max_abs_pixel: float
    """Largest difference of the network's input, in levels of 1/255 of the intensity scale."""
    max_abs_logit: float
    """Largest |difference| / max(1, |logit|) when both get the same preprocessed input."""
    max_abs_probability: float
    """Largest difference of a probability, from raw images."""
    flips: int
    """Images whose top label differs by name, outside a margin of 0.01 in probability; multilabel: labels of images
    that are given by one side and not by the other, where p and 1 - p are further apart than 0.01."""


class InputSpec(_Value, frozen=True):
    """What the file's one input takes: (N, H, W, C) unless stage is 'tensor', then (N, C, H, W)."""

    name: str
    dtype: Literal["uint8", "uint16", "float32"]
    channels: int
    stage: Literal["raw", "resized", "tensor"] = "raw"
    """raw: any size, as read. resized: channels, denoise and resize done. tensor: all preprocessing done."""


class PluginOrigin(_Value, frozen=True):
    """Which installed code made the network."""

    name: str
    distribution: str
    version: str


class Provenance(_Value, frozen=True):
    """How the file came to be; no path, user or host name."""

    run: str
    model: str
    created: str
    """UTC, ISO 8601, to the second."""
    plugin: PluginOrigin
    versions: dict[str, str]
    data: Fingerprint
    config: TrainConfig
    weights: str | None
    """Source and sha256 of the pretrained weights; null: trained from scratch."""
    notes: tuple[str, ...] = ()


class Manifest(_Value, frozen=True):
    """All that a device must know of a model; in the ONNX metadata under the key 'zoo', and in a bundle."""

    schema: int
    name: str
    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    input: InputSpec
    outputs: tuple[str, ...]
    temperature: float
    parity: Parity | None
    report: EvalReport | None
    provenance: Provenance
    licence: Licence
    intended_use: str
    task: Task = "multiclass"
    files: dict[str, str] = {}
    """Name to sha256 of every other file of the bundle; empty inside an ONNX file."""
    sizes: dict[str, int] = {}
    """Name to size in bytes, for the same files."""


# --- bytes ------------------------------------------------------------------------------------------


def encode(value: Any) -> bytes:
    """`value` as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def decode(data: bytes | str, kind: type[T], what: str, error: type[ZooError]) -> T:
    """Read JSON into `kind`.

    Args:
        data: the document.
        kind: the type it must have.
        what: how to name the document to the user, such as "run.json".
        error: raised, with one line, when the document does not fit.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise error(f"{what}: {problem}; expected a document of schema {SCHEMA} written by this tool") from None


def to_builtins(value: Any) -> Any:
    """`value` as dicts, lists, strings and numbers, for `--json` and for merging."""
    return msgspec.to_builtins(value)


def from_builtins(value: Any, kind: type[T], what: str, error: type[ZooError]) -> T:
    """The reverse of `to_builtins`, with the same one-line refusal as `decode`."""
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as problem:
        raise error(f"{what}: {problem}") from None
