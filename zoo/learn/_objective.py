"""What training minimises and what decides an epoch, for either task; the shape of the targets says which.

(N,) class numbers: one label an image, cross-entropy of a softmax. (N, K) zeros, ones and UNKNOWN: any number of
labels, binary cross-entropy of a sigmoid for each that is known. The loop around it knows neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zoo.evaluation import macro_auroc
from zoo.learn._images import gather
from zoo.spec import UNKNOWN

__all__ = ["Objective", "Scores", "count_known", "loss", "score"]


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """What training minimises, for the images of one training.

    Attributes:
        targets: (n,) or (n, K) int64 as in `loss`, of all training images.
        label_smoothing: as in `loss`.
        weights: as in `loss`.
    """

    targets: Tensor
    label_smoothing: float = 0.0
    weights: Tensor | None = None

    def __call__(self, logits: Tensor, index: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: (B, K) float32.
            index: (B,) int64 on the CPU, which training images they are of.
        """
        targets = gather(self.targets, index, logits.device)
        return loss(logits, targets, self.label_smoothing, self.weights)


@dataclass(frozen=True, slots=True)
class Scores:
    """What the validation images say of an epoch.

    Attributes:
        loss: result of `loss` without smoothing.
        accuracy: fraction of images that are right; multilabel: mean over labels, each decided at p >= 0.5
            and over the images that it is known of.
        macro_auroc: result of `zoo.evaluation.macro_auroc`; None where it is not defined.
    """

    loss: float
    accuracy: float
    macro_auroc: float | None


def loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy in nats, over images; multilabel: over all known labels of images.

    A weight multiplies what an image (multilabel: a label of an image) adds to the sum, smoothing included. The sum is
    divided by their number, not by their weights: over a batch without a rare class nothing is scaled up again, and
    shares of a batch add up to the batch.

    Args:
        logits: (N, K) float32.
        targets: (N,) int64 in [0, K), or (N, K) int64 of zeros, ones and UNKNOWN.
        label_smoothing: s in [0, 1): the truth is given the weight 1 - s and s is spread over all classes (Szegedy et
            al. 2016, section 7); multilabel: y becomes y (1 - s) + s / 2.
        weights: result of `zoo.data.balance`, (K,) or multilabel (K, 2) float32; None: 1.
    """
    if targets.ndim == 1:
        if weights is None:
            return functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        each = functional.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
        return (weights[targets] * each).mean()
    known = (targets != UNKNOWN).to(logits.dtype)
    soft = targets.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    counted = known if weights is None else known * torch.where(targets == 1, weights[:, 1], weights[:, 0])
    total = functional.binary_cross_entropy_with_logits(logits, soft, weight=counted, reduction="sum")
    return total / known.sum().clamp(min=1)


def count_known(targets: Tensor) -> Tensor:
    """(N,) int64, known labels of each image, which is what an image counts in `loss`; of class numbers 1."""
    return torch.ones_like(targets) if targets.ndim == 1 else (targets != UNKNOWN).sum(dim=1)


def score(logits: Tensor, targets: Tensor) -> Scores:
    """Judge the validation logits, (N, K) float32 on the CPU; targets as in `loss`."""
    value = float(loss(logits, targets))
    if not math.isfinite(value):
        return Scores(value, 0.0, None)
    return Scores(value, _accuracy(logits, targets), macro_auroc(logits.numpy(), targets.numpy()))


def _accuracy(logits: Tensor, targets: Tensor) -> float:
    if targets.ndim == 1:
        return float((logits.argmax(1) == targets).double().mean())
    known = targets != UNKNOWN
    right = (((logits >= 0) == (targets == 1)) & known).double().sum(dim=0) / known.sum(dim=0)  # (K,)
    return float(right.nanmean())
