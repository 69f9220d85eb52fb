"""How a model is trained: the recipe of a card, what a user says of it, and how data is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, cast, get_args

import msgspec

from zoo.errors import UsageError
from zoo.spec._metric import METRIC_CHOICES, read_metric
from zoo.spec._rules import read_rule
from zoo.spec._schedule import parse_duration
from zoo.spec._value import Cache, FoldChoice, Frames, Uncertain, Value

__all__ = ["GRADIENT_SETTINGS", "Budget", "Reading", "TrainConfig", "check_budget", "pick_reading"]


class TrainConfig(Value, frozen=True):
    """One training budget and recipe. Every field can be set by `--set NAME=VALUE`."""

    epochs: Annotated[int | Literal["auto"], msgspec.Meta(examples=["auto", "N"])] = "auto"
    """Passes over the training images. auto: as many as make a number of steps; a run records the number."""
    batch_size: int = 32
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    layer_decay: float = 1.0
    """Factor on the learning rate from each layer to the one before it, so that early layers move least; for pretrained
    weights only, and for networks that say which layer a parameter is of. 1: one rate for all."""
    weight_decay: float = 0.05
    warmup: float = 0.1
    """Fraction of all steps in which the learning rate rises linearly."""
    label_smoothing: float = 0.1
    class_weight: Literal["none", "balanced"] = "none"
    """What an image of a class counts in training: none, one like another; balanced, n / (K n_c), so that each class
    counts alike (King and Zeng 2001, and scikit-learn's "balanced"). Several labels: each label is balanced on its own,
    present against absent, over the images that it is known of."""
    ema: float = 0.998
    """Decay per step of the exponential moving average of the weights; 0 switches it off."""
    patience: int = 0
    """Epochs without a gain on validation before training stops; 0: it runs its course, and the best epoch is kept."""
    clip: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""
    augment: Literal["none", "flip", "standard", "strong"] = "standard"
    """Random changes to training images. flip: mirrored; standard: mirrored, turned, moved, lighter or darker; strong:
    mirrored, then one operation of TrivialAugment (Müller and Hutter 2021)."""
    seed: int = 0
    split_seed: int = 0
    """Seed of splits that the data set does not bring itself; apart from `seed`, so that runs share
    splits."""
    device: Annotated[str, msgspec.Meta(examples=["auto", "cpu", "cuda", "cuda:N", "xpu", "mps"])] = "auto"
    """auto: a GPU by CUDA, else the CPU. xpu (Intel) and mps (Apple) were not run by us."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of training. auto: bf16 where the processor computes it and the network gains by it, else fp32."""
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Order of the values of pictures in memory while training. auto: channels_last where convolutions do more than a
    twentieth of the work, and on a GPU."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What each of several processes (torchrun) holds of a network. ddp: all of it. fsdp: its share of the weights,
    gradients and moments, for networks that do not fit into one GPU; docs/nodes.md. One process holds all of it."""
    pretrained: bool = False
    leaks: Literal["drop", "keep", "refuse"] = "drop"
    """Training images that are copies of validation or test images: drop leaves them out, keep trains on them,
    refuse stops; groups that are in two splits are refused unless keep."""
    fold: FoldChoice = None
    """Of data with folds: this one is test, the next one validation, the rest training. none: all are training, and
    the first one is validation too; only for the last model of a run over folds."""
    columns: Mapping[str, str] = {}
    """What the columns of a table mean: role (image, label, labels, group, split, fold, frame, site, age, sex, device)
    to column. Where it is silent, names and cells say it."""
    group: str | None = None
    """Which images belong together, such as those of a patient: a column of the data, "patient" for DICOM, or a regular
    expression with one group in parentheses, searched in the name of each image. Null: what the data says itself."""
    keep_na: bool | None = None
    """In a table, "NA", "nan", "None" and the like are names of classes and groups (true) or missing (false). Null:
    missing, but such a word for a label that is as frequent as a class is refused."""
    uncertain: Uncertain = "ignore"
    """Labels that a table calls uncertain (-1): ignore leaves them out of loss and metrics, positive takes them for 1,
    negative for 0."""
    inputs: tuple[str, ...] = ()
    """Columns of the data that the model is given beside the image, such as age and sex; NAME:category takes numbers
    for names. Empty: the image alone."""
    frames: Frames = "one"
    """What a file of several pictures is: one of them is chosen, or they are the channels of one image."""
    cache: Cache = "auto"
    """Where decoded images wait: on disk (kept for the next training, else in a temporary file), in memory, or nowhere
    (stream: each is decoded anew for each epoch). auto: the first of disk, as far as `ZOO_CACHE_GB` allows, memory and
    stream that has room. The values are the same."""
    # How long, and what learns first
    steps: int | None = None
    """Steps that epochs: auto comes nearest to; null: what the rule says (docs/recipe.md)."""
    budget: Annotated[str | None, msgspec.Meta(examples=["90s", "10m", "2h"])] = None
    """Time that a whole training may take, report included. A probe at the start then says how many epochs fit."""
    probe: float = 0.0
    """Share of the epochs in which the head alone learns, before all layers do (Kumar et al. 2022); for pretrained
    weights only."""
    # How weights move, and which are kept
    sam: float = 0.0
    """Radius in which sharpness-aware minimisation looks for the highest loss (Foret et al. 2021, .05); 0: off. A step
    takes twice the time."""
    drop_path: float = 0.0
    """Rate of stochastic depth (Huang et al. 2016) of the last block, for networks that have it."""
    average: Literal["ema", "soup", "none"] = "ema"
    """Weights that are judged and kept. ema: their moving average; soup: as they are, in the end the mean of the best
    three epochs as far as it helps (Wortsman et al. 2022); none: as they are."""
    # What training images may become, beside `augment`
    augment_flip: Literal["auto", "none", "horizontal", "both"] = "auto"
    """Mirrored images: auto and horizontal, left to right; both, upside down too, as for microscopy; none where sides
    matter."""
    colour: Literal["free", "diagnostic"] = "free"
    """diagnostic: colour and brightness are what the diagnosis is made by, and augmentation leaves them as they are."""
    erase: float = 0.0
    """Probability that a rectangle of an image is blanked (Zhong et al. 2020)."""
    mixup: float = 0.0
    """alpha of Beta(alpha, alpha), by which two images of a batch are blended (Zhang et al. 2018); 0: off."""
    cutmix: float = 0.0
    """alpha as above, for a rectangle of one image in another (Yun et al. 2019); 0: off. With both, each takes half of
    the batches."""
    flips: bool = False
    """The exported model answers with the mean of the logits of an image and its mirror image, in twice the time."""
    teacher_weight: float = 0.9
    """Share of the loss that is the distance from a teacher's answers (`--teacher`); the labels have the rest."""
    teacher_temperature: float = 4.0
    """The logits of both are divided by it before they are compared (Hinton et al. 2015, section 2). This default and
    that of `teacher_weight` are those that the benchmark of Tian et al. (ICLR 2020) publishes for this loss."""
    features: str | None = None
    """What a classical model sees: pixels, hog, lbp, colour, several joined by +, or frozen:CARD. Null: networks, which
    learn their own."""

    # --- what is minimised, what chooses the epoch, and whether classes are grades
    loss: Literal["auto", "cross_entropy", "focal", "logit_adjusted"] = "cross_entropy"
    """What training minimises. focal: an image counts less the surer the network is of it (Lin et al. 2017).
    logit_adjusted: cross-entropy of logits to which the logarithm of each class's share of the training images is
    added, so that the logits themselves take classes for equally frequent (Menon et al. 2021, equation 10). auto:
    cross-entropy; where the rarest class has under a tenth of the training images, the logits are adjusted once
    training is over (equation 9) if validation favours it, which says the same of classes and costs no training."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss: how much less an image counts of which the network is sure; 0 is cross-entropy."""
    sampling: Literal["natural", "balanced"] = "natural"
    """Which images an epoch holds. natural: each once. balanced: as many, each class equally often; images of a rare
    class return, those of a frequent one take turns over the epochs."""
    metric: Annotated[str, msgspec.Meta(examples=list(METRIC_CHOICES))] = "macro_auroc"
    """Validation metric that chooses the epoch and stops early. kappa is quadratic where task is ordinal, else Cohen's;
    nll is the negative log-likelihood, the smaller the better; sensitivity@0.9:CLASS is the largest sensitivity for one
    class at a specificity of at least 0.9."""
    task: Literal["auto", "ordinal"] = "auto"
    """auto: what the labels say, one class an image or any number of labels. ordinal: classes are grades in order."""
    order: tuple[str, ...] = ()
    """Of grades that are not numbers, all of them from the lowest to the highest."""
    folds: int | None = None
    """All images are dealt out into so many folds, stratified and with groups whole, by `split_seed`; data that brings
    folds must bring so many. Null: what the data brings."""
    # --- how answers become decisions, settled on validation images after training
    operating: tuple[str, ...] = ()
    """Labels that are called from a probability of their own on, each with the rule that chooses it:
    sensitivity=0.9:LABEL, specificity=0.95:LABEL, youden:LABEL or cost=5:LABEL (a miss costs five false alarms)."""
    coverage: float = 0.9
    """Share of images whose set of labels is to hold the truth; 0: no sets are made. Several labels have none."""
    sets: Literal["lac", "aps"] = "lac"
    """Which labels are in a set. lac: those that are likely enough, the smallest sets; aps: the likeliest until enough
    is together, sets that grow where an image is hard."""
    sets_per_class: bool = False
    """The coverage holds for each class and not only on average: sets grow, and each class needs validation images."""
    error: float | None = None
    """Largest share of wrong answers among the images that are answered; the others are uncertain. Null: all are."""
    novelty: bool = True
    """The file says how unlike the images of training an image is, where its network has one layer of features."""
    freeze: bool = False
    """Of a pretrained network only the head is trained, on features that are computed once: of each image, and of its
    mirror images as far as augmentation flips. Nothing else of the recipe is used but what the loss is made of."""

    def __post_init__(self) -> None:
        read_metric(self.metric)
        said = ",".join(self.order)
        if self.order and self.task != "ordinal":
            raise ValueError(f"order is {said!r}, expected task ordinal beside it; give --task ordinal too")
        if len(set(self.order)) < len(self.order) or len(self.order) == 1:
            raise ValueError(
                f"order is {said!r}, expected each grade once, with commas between, such as none,mild,severe"
            )
        _check_rules(self.operating)
        checks = (
            ("coverage", 0 <= self.coverage < 1, "a share from 0 to below 1; 0: no sets of labels"),
            ("error", self.error is None or 0 < self.error < 1, "a share above 0 and below 1, such as 0.05"),
            ("epochs", self.epochs == "auto" or self.epochs >= 1, "at least 1, or auto"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", 0 < self.lr < 100, "a number above 0 and below 100"),
            ("layer_decay", 0 < self.layer_decay <= 1, "a number in (0, 1]"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("warmup", 0 <= self.warmup < 1, "a fraction in [0, 1)"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "a fraction in [0, 1)"),
            ("ema", 0 <= self.ema < 1, "a fraction in [0, 1)"),
            ("patience", self.patience >= 0, "0 or more"),
            ("clip", self.clip >= 0, "0 or more"),
            ("seed", 0 <= self.seed < 2**32, "0 to 4294967295"),
            ("split_seed", 0 <= self.split_seed < 2**32, "0 to 4294967295"),
            ("teacher_weight", 0 < self.teacher_weight <= 1, "a number above 0, at most 1"),
            ("teacher_temperature", 0 < self.teacher_temperature <= 100, "a number above 0, at most 100"),
            ("fold", self.fold in {None, "none"} or int(self.fold) >= 0, "0 or more"),
            ("folds", self.folds is None or 3 <= self.folds <= 1000, "3 to 1000: one for test, one for validation"),
            ("steps", self.steps is None or self.steps >= 1, "at least 1"),
            ("budget", self.budget is None or parse_duration(self.budget), "a time such as 90s, 10m or 2h"),
            ("probe", 0 <= self.probe < 1, "a fraction in [0, 1)"),
            ("sam", 0 <= self.sam < 100, "0 or more, such as 0.05"),
            ("drop_path", 0 <= self.drop_path < 1, "a fraction in [0, 1)"),
            ("erase", 0 <= self.erase <= 1, "a probability"),
            ("mixup", 0 <= self.mixup < 100, "0 or more, such as 0.2"),
            ("cutmix", 0 <= self.cutmix < 100, "0 or more, such as 1"),
            ("focal_gamma", 0 <= self.focal_gamma < 100, "a number from 0 to below 100"),
            *self._balancing(),
        )
        for name, good, expected in checks:
            if not good:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {expected}")

    def _balancing(self) -> tuple[tuple[str, bool, str], ...]:
        """Two remedies for rare classes would count the rarity twice."""
        weighed, drawn = self.class_weight == "balanced", self.sampling == "balanced"
        twice = self.loss == "logit_adjusted" and (weighed or drawn)
        return (
            ("loss", not twice, "class_weight none and sampling natural beside it: one remedy for rare classes"),
            ("sampling", not (weighed and drawn), "class_weight none beside it: one remedy for rare classes"),
        )

    @property
    def balanced(self) -> bool:
        """Whether logits are learnt that take classes for equally frequent; all three ways have one optimum."""
        return "balanced" in {self.class_weight, self.sampling} or self.loss == "logit_adjusted"

    @property
    def mirrored(self) -> tuple[int, ...]:
        """Axes of (N, C, H, W) along which training images are mirrored: 3 is left to right, 2 upside down."""
        if self.augment == "none" or self.augment_flip == "none":
            return ()
        return (3, 2) if self.augment_flip == "both" else (3,)

    @property
    def reading(self) -> Reading:
        """How the data was read."""
        return Reading(
            columns=self.columns,
            group=self.group,
            keep_na=self.keep_na,
            uncertain=self.uncertain,
            frames=self.frames,
            inputs=self.inputs or None,
        )


def _check_rules(operating: tuple[str, ...]) -> None:
    """Refuse what is not a rule, and two for one label."""
    labels = [read_rule(text).label for text in operating]
    if len(set(labels)) < len(labels):
        raise ValueError(f"operating is {', '.join(operating)}, expected one rule for each class")


class Reading(TypedDict, total=False):
    """How data is read. A field that is missing or None is left to the data, or to the run that the data belongs to.

    `zoo.evaluate(run, data, **reading)` takes these names.
    """

    columns: Mapping[str, str] | None
    """What the columns of a table mean, role to column; see `TrainConfig.columns`."""
    group: str | None
    """Which images belong together; see `TrainConfig.group`."""
    keep_na: bool | None
    """In a table, "NA" and the like are names of classes and groups, or missing; see `TrainConfig.keep_na`."""
    uncertain: Uncertain | None
    """Labels that a table calls uncertain (-1): "ignore", "positive" or "negative"; see `TrainConfig.uncertain`."""
    frames: Frames | None
    """What a file of several pictures is: "one" or "channels"; see `TrainConfig.frames`."""
    inputs: Sequence[str] | None
    """Columns that the model is given beside the image; see `TrainConfig.inputs`."""


def pick_reading(given: Reading) -> Reading:
    """What is said of how data is read: the fields that are not None.

    Raises:
        TypeError: one of `given` is not a field, as a signature would say.
        UsageError: `uncertain` or `frames` is none of its words.
    """
    _check_names(given, Reading)
    for option, words in (("uncertain", get_args(Uncertain)), ("frames", get_args(Frames))):
        value = given.get(option)
        if value is not None and value not in words:
            raise UsageError(
                f"{option} is {value!r}, expected {', '.join(words)}", code="option-value", option=option, value=value
            )
    return cast("Reading", {name: value for name, value in given.items() if value is not None})


class Budget(Reading, total=False):
    """What the user says of one training. A field that is missing or None is left to the card or the data.

    The command line, `zoo.train(model, data, **budget)` and `zoo.compare(budget=...)` all take these names.
    """

    epochs: int | Literal["auto"] | None
    """Passes over the training images; "auto": as many as make a number of steps."""
    budget: str | None
    """Time that a whole training may take, such as "10m"; the number of epochs follows from it."""
    batch_size: int | None
    lr: float | None
    size: int | None
    """Side of the network's input in pixels; None: the images' own up to 64, else the card's."""
    seed: int | None
    """Seed of the first weights, the order of images and augmentation."""
    device: str | None
    precision: Literal["auto", "fp32", "bf16"] | None
    pretrained: bool
    """Start from the card's pretrained weights."""
    weights: str | Path | None
    """Start from this safetensors file, this run, hf-hub:ORG/NAME or local-dir:PATH."""
    start_from: str | Path | None
    """Continue from this run: its weights, preprocessing and the head of the classes that it knows (`--from`)."""
    teacher: str | Path | None
    """Learn from the answers of this run, .onnx file or bundle, beside the labels."""
    leaks: Literal["drop", "keep", "refuse"] | None
    """Training images that are copies of held-out ones: "drop" leaves them out, "keep" trains on them, "refuse" stops.
    Groups in two splits are refused unless "keep"."""
    fold: FoldChoice
    """Of data with folds, the one that is test; None: the first."""
    loss: Literal["auto", "cross_entropy", "focal", "logit_adjusted"] | None
    """What training minimises; see `TrainConfig.loss`."""
    metric: str | None
    """Validation metric that chooses the epoch; see `TrainConfig.metric`."""
    operating: Sequence[str] | None
    """Rules that choose operating points on validation; see `TrainConfig.operating`."""
    task: Literal["auto", "ordinal"] | None
    """"ordinal": classes are grades in order, which numbers say themselves."""
    order: Sequence[str] | None
    """Of grades that are not numbers, all of them from the lowest to the highest."""
    folds: int | None
    """Deal all images out into so many folds; `zoo.train_folds` trains on each, `zoo.train` on `fold`."""
    freeze: bool | None
    """Train the head only, on features that are computed once; needs `pretrained` or `weights`."""
    settings: Mapping[str, Any] | None
    """Other fields of TrainConfig by name, and of PreprocessSpec as "preprocess.NAME"."""


def check_budget(given: Budget) -> None:
    """Refuse names that a budget does not have, which would else be passed over in silence.

    Raises:
        TypeError: there is one, as a signature would say.
    """
    _check_names(given, Budget)


def _check_names(given: Mapping[str, object], kind: type) -> None:
    if unknown := given.keys() - kind.__annotations__:
        raise TypeError(f"{min(unknown)} is not an argument; expected {', '.join(kind.__annotations__)}")


GRADIENT_SETTINGS = frozenset({
    "augment", "augment_flip", "average", "batch_size", "budget", "clip", "colour", "cutmix", "drop_path", "ema",
    "epochs", "erase", "flips", "focal_gamma", "label_smoothing", "layer_decay", "layout", "lr", "mixup", "parallel",
    "patience", "precision", "probe", "sam", "sampling", "steps", "teacher_temperature", "teacher_weight", "warmup",
    "weight_decay",
})  # fmt: skip
"""Fields of TrainConfig that are of training in many small steps; what is fitted in one step has no use for them."""
