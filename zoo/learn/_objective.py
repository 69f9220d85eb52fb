"""What training minimises and what decides an epoch, for each task and each loss.

Every loss here is a sum of yes-or-no questions, or of one question with K answers:

    one class         which of K: log softmax
    several labels    for each label that is known: is it there? log sigmoid
    grades in order   for each of the K - 1 thresholds k: is the grade above k? log P(y > k), which the softmax gives

The sum of the last is the ranked probability score's form in logarithms (Tödter and Ahrens 2012, Mon. Weather Rev.
140:2005, the ranked ignorance score; Epstein 1969, J. Appl. Meteorol. 8:985, has squares in its place). It is
cross-entropy itself for two grades, and asks no more of the file than K probabilities.

A loss changes these questions in one place each: logit_adjusted adds the logarithm of the prior to the logits, focal
weighs a question by how unsure its answer is, balanced weights multiply what an image adds. The loop around them knows
none of this.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from zoo.data import balance, log_prior
from zoo.evaluation import judge_by, macro_auroc
from zoo.learn._images import gather, hold
from zoo.learn._lesson import Lesson
from zoo.spec import UNKNOWN, TrainConfig

__all__ = ["Objective", "Scores", "count_known", "loss", "objective_of", "score"]


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """What training minimises, for the images of one training.

    Attributes:
        targets: (n,) or (n, K) int64 as in `loss`, of all training images.
        label_smoothing: as in `loss`, and so are those that follow.
        lesson: a teacher's answers on the same images; None: labels alone.
    """

    targets: Tensor
    label_smoothing: float = 0.0
    weights: Tensor | None = None
    prior: Tensor | None = None
    gamma: float = 0.0
    ordered: bool = False
    lesson: Lesson | None = None

    def __call__(self, logits: Tensor, index: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: (B, K) float32.
            index: (B,) int64 on the CPU, which training images they are of.
        """
        targets = gather(self.targets, index, logits.device)
        error = loss(
            logits, targets, self.label_smoothing, self.weights,
            prior=self.prior, gamma=self.gamma, ordered=self.ordered,
        )  # fmt: skip
        return error if self.lesson is None else self.lesson.mix(error, logits, targets, index)


def objective_of(
    targets: NDArray[np.int64],
    classes: int,
    config: TrainConfig,
    device: torch.device,
    *,
    ordered: bool,
    lesson: Lesson | None = None,
) -> Objective:
    """What `config` asks for, of the training images with these targets, as in `loss`, and what a teacher says.

    Where the labels teach logits of equally frequent classes, log p(y | x) minus the logarithm of the shares, so must
    the teacher: else one of the two pulls the network away from where the other wants it.
    """
    weights = balance(targets, classes) if config.class_weight == "balanced" else None
    shares = torch.from_numpy(log_prior(targets, classes)).float()  # (K,)
    prior = shares.to(device) if config.loss == "logit_adjusted" else None
    if lesson is not None and lesson.balanced != config.balanced:
        lesson = lesson.shifted(shares if lesson.balanced else -shares)
    return Objective(
        hold(targets, device),
        config.label_smoothing,
        None if weights is None else torch.from_numpy(weights).float().to(device),
        prior,
        config.focal_gamma if config.loss == "focal" else 0.0,
        ordered,
        lesson,
    )


@dataclass(frozen=True, slots=True)
class Scores:
    """What the validation images say of an epoch.

    Attributes:
        loss: result of `loss` in its plain form, of the task.
        accuracy: fraction of images that are right; multilabel: mean over labels, each decided at p >= 0.5
            and over the images that it is known of.
        macro_auroc: result of `zoo.evaluation.macro_auroc`; None where it is not defined.
        chosen: the metric that the epoch is chosen by, result of `zoo.evaluation.judge_by`.
    """

    loss: float
    accuracy: float
    macro_auroc: float | None
    chosen: float | None = None

    def columns(self) -> dict[str, Any]:
        """The same as fields of an `Epoch`."""
        return {f"val_{field.name}": getattr(self, field.name) for field in dataclasses.fields(self)}


def loss(
    logits: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    *,
    prior: Tensor | None = None,
    gamma: float = 0.0,
    ordered: bool = False,
) -> Tensor:
    """Mean loss in nats, over images; multilabel: over all known labels of images; of grades a sum over thresholds.

    A weight multiplies what an image (multilabel: a label of an image) adds to the sum, smoothing included. The sum is
    divided by their number, not by their weights: over a batch without a rare class nothing is scaled up again, and
    shares of a batch add up to the batch.

    Args:
        logits: (N, K) float32.
        targets: (N,) int64 in [0, K), or (N, K) int64 of zeros, ones and UNKNOWN.
        label_smoothing: s in [0, 1): the truth is given the weight 1 - s and s is spread over all classes (Szegedy et
            al. 2016, section 7); multilabel: y becomes y (1 - s) + s / 2.
        weights: result of `zoo.data.balance`, (K,) or multilabel (K, 2) float32; None: 1.
        prior: result of `zoo.data.log_prior`, (K,) float32, which is added to the logits; None: 0.
        gamma: exponent of the focal loss (Lin et al. 2017, arXiv 1708.02002, equation 4); 0: cross-entropy.
        ordered: classes are grades in order.
    """
    if prior is not None:
        logits = logits + prior
    if targets.ndim == 2:
        return _of_labels(logits, targets, label_smoothing, weights, gamma)
    if ordered:
        each = _of_grades(logits, targets, label_smoothing, gamma)
    elif gamma:
        each = _focal(logits, targets, label_smoothing, gamma)
    elif weights is None:
        return functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    else:
        each = functional.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
    return (each if weights is None else weights[targets] * each).mean()


def _focal(logits: Tensor, targets: Tensor, label_smoothing: float, gamma: float) -> Tensor:
    """(N,) losses of one question with K answers."""
    found = functional.log_softmax(logits, dim=1)
    return -(_soften(targets, label_smoothing, logits) * _unsure(found, gamma) * found).sum(dim=1)


def _of_grades(logits: Tensor, targets: Tensor, label_smoothing: float, gamma: float) -> Tensor:
    """(N,) losses, each the sum of those of K - 1 questions: is the grade above k?"""
    whole = torch.logsumexp(logits, dim=1, keepdim=True)
    below = torch.logcumsumexp(logits, dim=1)[:, :-1] - whole  # (N, K - 1): log P(y <= k)
    above = torch.logcumsumexp(logits.flip(1), dim=1).flip(1)[:, 1:] - whole  # log P(y > k)
    yes = 1 - _soften(targets, label_smoothing, logits).cumsum(dim=1)[:, :-1]  # whether y > k, smoothed
    asked = yes * _unsure(above, gamma) * above + (1 - yes) * _unsure(below, gamma) * below
    return -asked.sum(dim=1)


def _of_labels(logits: Tensor, targets: Tensor, label_smoothing: float, weights: Tensor | None, gamma: float) -> Tensor:
    """The mean over known labels of images."""
    known = (targets != UNKNOWN).to(logits.dtype)
    soft = targets.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    counted = known if weights is None else known * torch.where(targets == 1, weights[:, 1], weights[:, 0])
    if gamma:
        held, absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        each = soft * _unsure(held, gamma) * held + (1 - soft) * _unsure(absent, gamma) * absent
        total = -(counted * each).sum()
    else:
        total = functional.binary_cross_entropy_with_logits(logits, soft, weight=counted, reduction="sum")
    return total / known.sum().clamp(min=1)


def _soften(targets: Tensor, label_smoothing: float, logits: Tensor) -> Tensor:
    """(N, K) how much of an image is of each class, as `functional.cross_entropy` smooths it."""
    classes = logits.shape[1]
    held = functional.one_hot(targets, classes).to(logits.dtype)
    return held * (1 - label_smoothing) + label_smoothing / classes


def _unsure(log_probability: Tensor, gamma: float) -> Tensor | float:
    """(1 - p) ** gamma, with a gradient that is finite where p is 1."""
    if not gamma:
        return 1.0
    rest = (-torch.expm1(log_probability)).clamp(min=torch.finfo(log_probability.dtype).eps)
    return torch.pow(rest, gamma)


def count_known(targets: Tensor) -> Tensor:
    """(N,) int64, known labels of each image, which is what an image counts in `loss`; of class numbers 1."""
    return torch.ones_like(targets) if targets.ndim == 1 else (targets != UNKNOWN).sum(dim=1)


def score(
    logits: Tensor,
    targets: Tensor,
    metric: str = "macro_auroc",
    labels: Sequence[str] = (),
    *,
    ordered: bool = False,
) -> Scores:
    """Judge the validation logits.

    Args:
        logits: (N, K) float32 on the CPU.
        targets: classes or labels of the same images, see `loss`.
        metric: what chooses the epoch, as `TrainConfig.metric`.
        labels: K names, which a metric of one class needs.
        ordered: classes are grades in order.
    """
    value = float(loss(logits, targets, ordered=ordered))
    if not math.isfinite(value):
        return Scores(value, 0.0, None)
    answers, truth = logits.numpy(), targets.numpy()
    return Scores(
        value,
        _accuracy(logits, targets),
        macro_auroc(answers, truth),
        judge_by(metric, answers, truth, labels, ordered=ordered),
    )


def _accuracy(logits: Tensor, targets: Tensor) -> float:
    if targets.ndim == 1:
        return float((logits.argmax(1) == targets).double().mean())
    known = targets != UNKNOWN
    right = (((logits >= 0) == (targets == 1)) & known).double().sum(dim=0) / known.sum(dim=0)  # (K,)
    return float(right.nanmean())
