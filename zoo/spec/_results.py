"""What a model did, where it came from, and what its file says of itself."""

from __future__ import annotations

from typing import Literal

import msgspec

from zoo._support.text import format_count, title_of_metric
from zoo.spec._columns import TableSpec
from zoo.spec._decisions import Abstention, Novelty, OperatingPoint
from zoo.spec._display import Display, Table
from zoo.spec._judged import AbstentionReport, ConformalReport, OperatingReport
from zoo.spec._origin import Fingerprint, OldestRuntime, PluginOrigin, Provenance
from zoo.spec._preprocessing import PreprocessSpec, Scale, Voi
from zoo.spec._quantization import Quantization
from zoo.spec._reference import RECALIBRATED, TEMPERATURE_STAYS, Reference
from zoo.spec._subgroups import Shortcut, Subgroup, table_of_groups
from zoo.spec._training import TrainConfig
from zoo.spec._unlike import NoveltyReport
from zoo.spec._value import GoldenKind, Interval, Licence, PixelKind, Task, Value

__all__ = [
    "Calibration",
    "ClassCalibration",
    "Confusion",
    "EvalReport",
    "InputSpec",
    "Manifest",
    "Member",
    "Parity",
    "ReliabilityBin",
    "SeenImages",
]

HEADLINE = ("macro_auroc", "accuracy")
"""Metrics that one line has room for."""


class Confusion(Value, frozen=True):
    """`counts[i][j]`: images of class `labels[i]` that were called `labels[j]`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class ReliabilityBin(Value, frozen=True):
    """Images whose probabilities of one class lie near each other, and how many of them are of it."""

    n: int
    """Images of which it is known."""
    probability: float
    """Their mean probability."""
    observed: Interval
    """The share of them that is of the class."""


class ClassCalibration(Value, frozen=True):
    """How far the probabilities of one class or label can be taken at their word."""

    brier: Interval
    """Mean of (p - y)^2, in [0, 1]."""
    ece: float
    """Expected calibration error in [0, 1], over the bins: biased upwards when they hold few images."""
    bins: tuple[ReliabilityBin, ...]
    """Of equal width, from 0 to 1, `Calibration.bins` in number; empty ones are left out."""
    slope: Interval | None = None
    """Calibration slope (Cox 1958): 1 is best; below it probabilities are too near 0 and 1, above it too cautious.
    Null: the reason is in `EvalReport.undefined`, or the report is of an older release."""
    intercept: Interval | None = None
    """Calibration in the large, in log-odds: 0 is best; below it probabilities are too large on the whole, above it too
    small. Null: as `slope`."""


class Calibration(Value, frozen=True):
    """How far probabilities can be taken at their word, on the evaluated images."""

    temperature: float
    """Logits are divided by it before the softmax, or the sigmoids; fitted on validation images only.
    Of a run over folds: the median of its folds, each of which divides by its own."""
    brier: Interval
    """Mean of sum over classes of (p - y)^2, in [0, 2] (Brier 1950); multilabel: mean over known labels, in [0, 1]."""
    nll: Interval
    """Mean negative log-likelihood in nats; multilabel: mean over known labels."""
    ece: float
    """Expected calibration error of the top label (Guo et al. 2017), multilabel: of all labels' probabilities,
    pooled; biased upwards when n is small."""
    bins: int
    n: int
    per_class: dict[str, ClassCalibration] = msgspec.field(default_factory=dict)
    """Of each class or label that any image is known to be of or not, one against the rest."""


class SeenImages(Value, frozen=True):
    """How many of the images that were to be judged on the model was made with, and what was done about them."""

    count: int | None
    """Images that the model, or what its weights began with, was trained or validated on; null: not known."""
    of: int
    """Images that were to be judged."""
    how: Literal["none", "left out", "judged", "not known"]
    """none: there are none. left out: the report is of the others. judged: the report is of all, as was asked."""
    note: str
    """The same in words; also the first of the notes."""
    grouped: int = 0
    """Further images, of patients, lesions or studies of which the model has seen others."""


class EvalReport(Display, Value, frozen=True):
    """What a model file did on one set of images.

    A metric that could not be computed is in `undefined` with its reason and nowhere else.
    """

    schema: int
    model: str
    split: str
    n: int
    labels: tuple[str, ...]
    metrics: dict[str, Interval]
    """accuracy, balanced_accuracy, macro_auroc, macro_auprc, macro_f1, mcc: the table `zoo.evaluation.METRICS`. Of
    grades in order also quadratic_kappa and mean_absolute_error, in grades: `zoo.evaluation.GRADE_METRICS`.

    Of a multilabel model a label counts as given where its probability is at least 0.5; accuracy is the mean over
    labels of each label's own (as MedMNIST reports ChestMNIST), balanced accuracy that of (sensitivity +
    specificity) / 2. Each label is judged on the images that it is known of, and a label that is known of none is left
    out of means, as a note says."""
    per_class: dict[str, dict[str, Interval | int]]
    """For each label: n (an int, the images that have it), sensitivity, specificity, ppv, npv, f1, auroc, auprc,
    sensitivity_at_specificity_90, partial_auroc_90 (where the specificity is at least 0.9; 0.5 by chance).
    Where labels are unknown also known (an int, the images of which it is known)."""
    confusion: Confusion | None
    """Null for multilabel models: a label is there or not, it is never called another."""
    calibration: Calibration | None
    data: Fingerprint
    undefined: dict[str, str]
    """'macro_auroc', 'LABEL.sensitivity', 'LABEL.calibration_slope' or 'LABEL.calibration_intercept' to the reason."""
    notes: tuple[str, ...] = ()
    """Defects of the data that the reader of the numbers must know."""
    clusters: int | None = None
    """Groups (patients, lesions, studies) that the n images come from, where the data names them; every interval
    is then over groups. Null: images were taken to be independent."""
    seen: SeenImages | None = None
    """Images that the model was made with. Null: they are the test images of its own data, of which it has seen none,
    or the report is of an older release."""
    operating: OperatingReport | None = None
    """Operating points of the file, and decision curves; null: it has no point and no two classes."""
    conformal: ConformalReport | None = None
    """Coverage of the sets of labels; null: the file makes none."""
    abstention: AbstentionReport | None = None
    """How many images are answered, and how well; null: several labels, or a report of an older release."""
    novelty: NoveltyReport | None = None
    """How often images are called unlike training; null: the file makes no such score."""
    subgroups: tuple[Subgroup, ...] = ()
    """One for each value of the columns that the data's table brings; empty: it brings none, or none was asked for."""
    segments: tuple[Subgroup, ...] = ()
    """At most five groups, by a column or a property of the images, in which accuracy is shown to be lower than in the
    others; the lowest first. Intervals and tests are corrected for all groups that were looked at."""
    shortcuts: tuple[Shortcut, ...] = ()
    """What the properties of the images and the columns say of the label without the model. Empty: not measured."""
    baselines: dict[str, dict[str, Interval]] = msgspec.field(default_factory=dict)
    """accuracy, balanced_accuracy and macro_auroc of models that a useful one must beat: 'majority class' always
    answers the most frequent class of these images; 'brightness' knows the mean of the pixels alone."""

    def headline(self) -> str:
        """Macro AUROC and accuracy with their intervals, and of how many images."""
        names = [*HEADLINE, *(["quadratic_kappa"] if "quadratic_kappa" in self.metrics else [])]
        shown = [f"{title_of_metric(name)} {self.metrics.get(name, 'undefined')}" for name in names]
        groups = "" if self.clusters is None else f", {format_count(self.clusters, 'group')}"
        notes = f"; {format_count(len(self.notes), 'note')}" if self.notes else ""
        return f"{self.model} on {self.split}: {', '.join(shown)}; {format_count(self.n, 'image')}{groups}{notes}"

    def tables(self) -> dict[str, Table]:
        """metrics: one row each, an undefined one with its reason. classes: one row for each class or label.

        Where the report has them: operating, subgroups, segments, shortcuts and baselines.
        """
        metrics = [{"metric": name, "value": value, "undefined": None} for name, value in self.metrics.items()]
        metrics += [
            {"metric": name, "value": None, "undefined": why}
            for name, why in self.undefined.items()
            if name.rpartition(".")[0] not in self.labels
        ]
        said = {
            "metrics": Table(metrics),
            "classes": Table({"class": label, **values} for label, values in self.per_class.items()),
        }
        further = {
            "operating": Table() if self.operating is None else self.operating.table(),
            "subgroups": table_of_groups(self.subgroups),
            "segments": table_of_groups(self.segments),
            "shortcuts": Table(
                {"feature": one.feature, "AUROC": one.auroc, "behind": one.behind, "error AUROC": one.error}
                for one in self.shortcuts
            ),
            "baselines": Table({"baseline": name, **values} for name, values in self.baselines.items()),
        }
        return said | {name: table for name, table in further.items() if table}


class Parity(Value, frozen=True):
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
    max_abs_evidence: float | None = None
    """Largest |difference| / max(1, |value|) of the evidence map, from the same preprocessed input; null: the file has
    none."""
    max_abs_features: float | None = None
    """Largest |difference| / max(1, largest |feature| of the image), from the same preprocessed input; null: the file
    does not give them."""
    max_abs_column: float | None = None
    """Largest |difference| / max(1, |value|) of what the network is given of columns beside the image; null: it takes
    none."""
    max_abs_novelty: float | None = None
    """Largest |difference| / max(1, |score|) of how unlike training an image is, from the same preprocessed input;
    null: the file has no such score."""


class InputSpec(Value, frozen=True):
    """What the file's input of images takes: (N, H, W, C) unless stage is 'tensor', then (N, C, H, W)."""

    name: str
    dtype: PixelKind
    channels: int
    stage: Literal["raw", "resized", "tensor"] = "raw"
    """raw: any size, as read. resized: channels, denoise and resize done. tensor: all preprocessing done."""
    kind: PixelKind | None = None
    """Pixel type of the raw images that the model was trained on; null: that of `dtype` where stage is 'raw', else an
    older release wrote it."""


class Member(Value, frozen=True):
    """One network of an ensemble: what goes into it, what its answer counts, and where it came from."""

    name: str
    """Of the model, as the catalogue calls it."""
    run: str
    weight: float
    """Share of its probabilities in the ensemble's; those of all members sum to one."""
    temperature: float
    """Its logits are divided by it before they become probabilities; its own run's."""
    preprocess: PreprocessSpec
    plugin: PluginOrigin
    data: Fingerprint
    """What it was trained on."""
    config: TrainConfig
    weights: str | None
    """Source and sha256 of the pretrained weights; null: trained from scratch."""
    weights_licence: Licence | None
    licence: Licence
    code_licence: Licence
    trained: dict[str, str]
    """Name to sha256 of its run's files that hold what was learnt."""

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"weight of {self.name!r} is {self.weight}, expected 0 or more")
        if not self.temperature > 0:
            raise ValueError(f"temperature of {self.name!r} is {self.temperature}, expected a number above 0")


class Manifest(Display, Value, frozen=True):
    """All that a device must know of a model; in the ONNX metadata under the key 'zoo', and in a bundle."""

    schema: int
    name: str
    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    input: InputSpec
    outputs: tuple[str, ...]
    """probabilities and logits; evidence too where the file shows where it sees what, features where it gives them,
    novelty where it says how unlike training an image is."""
    temperature: float
    parity: Parity | None
    report: EvalReport | None
    provenance: Provenance
    licence: Licence
    intended_use: str
    task: Task = "multiclass"
    files: dict[str, str] = msgspec.field(default_factory=dict)
    """Name to sha256 of every other file of the bundle; empty inside an ONNX file."""
    sizes: dict[str, int] = msgspec.field(default_factory=dict)
    """Name to size in bytes, for the same files."""
    golden: GoldenKind | None = None
    """Whose the images of the bundle's golden set are; null inside an ONNX file, or written by an older release."""
    portable: bool = False
    """The graph resizes pictures by matrix products and not by an antialiased Resize, which runtimes other than ONNX
    Runtime read differently. The plain doubling inside a U-Net, which all read alike, stays."""
    quantization: Quantization | None = None
    """How the file was made smaller, proven against the float32 file, whose parity is above; null: float32."""
    table: TableSpec | None = None
    """Columns that must be given beside each image, as further inputs of the graph; null: the image alone."""
    operating: tuple[OperatingPoint, ...] = ()
    """Labels that are called from a probability of their own on; empty: the most probable label is the answer."""
    abstention: Abstention | None = None
    """When the answer is that it is not known; null: never."""
    runtime: OldestRuntime | None = None
    """From which ONNX Runtime on the file was shown to answer alike; null: an older release wrote it."""
    reference: Reference | None = None
    """What `zoo monitor` compares a site's answers with; null: the model has learnt from all images, or the file is of
    an older release."""
    members: tuple[Member, ...] = ()
    """Of an ensemble its networks, each with a preprocessing of its own inside the graph; `preprocess` is then that of
    the largest input, or of the largest by percentiles: images are read by it. Empty: one network."""

    @property
    def novelty(self) -> Novelty | None:
        """From which score on an image is unlike training; None: the file does not decide by it."""
        return None if self.abstention is None else self.abstention.novelty

    @property
    def recalibrated(self) -> bool:
        """Whether images of another site have settled operating points and sets of labels anew."""
        return self.reference is not None and self.reference.source == "recalibration"

    @property
    def keeps_temperature(self) -> bool:
        """Whether these images, those of the last site, left the temperature as it was."""
        notes = self.provenance.notes
        begun = [k for k, note in enumerate(notes) if note.startswith(f"{RECALIBRATED} on ")]
        last = notes[begun[-1] :] if begun else ()
        return any(note.startswith(f"{RECALIBRATED}: {TEMPERATURE_STAYS}") for note in last)

    @property
    def doubt(self) -> str | None:
        """What whoever reads a number of this file must know: that it was made smaller without proof; None: nothing."""
        return None if self.quantization is None else self.quantization.doubt

    @property
    def views(self) -> tuple[PreprocessSpec, ...]:
        """How the image is looked at: the preprocessing of the network, or of every member."""
        return tuple(dict.fromkeys(member.preprocess for member in self.members)) or (self.preprocess,)

    @property
    def kinds(self) -> tuple[PixelKind, ...]:
        """Pixel types of the raw images that the model takes, sorted.

        A file of an older release that leaves preprocessing to its caller does not say it, and its intensity tells at
        most two or three: `Scale` to 255 or less is 8 bit, and `Voi` is what a DICOM file becomes.
        """
        declared, intensity = self.input, self.preprocess.intensity
        if declared.kind is not None or declared.stage == "raw":
            return (declared.kind or declared.dtype,)
        if isinstance(intensity, Scale):
            return ("uint8",) if intensity.maximum <= 255 else ("float32", "uint16")
        return ("float32",) if isinstance(intensity, Voi) else ("float32", "uint16", "uint8")

    def headline(self) -> str:
        """What the model is, what it takes, and how good it was."""
        height, width = self.preprocess.size
        takes = f"{len(self.labels)} labels, {' or '.join(self.kinds)} images, {height} x {width} px"
        return f"{self.name}: {takes}" + ("" if self.report is None else f"; {self.report.headline()}")

    def tables(self) -> dict[str, Table]:
        """Those of its report."""
        return {} if self.report is None else self.report.tables()

    def remarks(self) -> tuple[str, ...]:
        """Its use, and the notes of its report."""
        return (self.intended_use, *(() if self.report is None else self.report.notes))
