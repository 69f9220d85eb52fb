"""From logits to probabilities and to the scores that images are ranked by, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, ModelError
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from zoo.spec import Task

__all__ = ["Array", "check_logits", "log_odds", "log_sigmoid", "log_softmax", "rank", "task_of"]

Array = NDArray[np.float64]

SCORE_STEP = 2.0**-16
"""Scores nearer than this, in log-odds, tie. It is far below the parity tolerance (1e-4) and far above the
rounding of a float32 logarithm, which would else break the many true ties of a random forest at random."""


def task_of(targets: NDArray[Any]) -> Task:
    """What targets are of: (n,) class numbers are multiclass, (n, K) zeros, ones and UNKNOWN multilabel."""
    return "multilabel" if np.ndim(targets) == 2 else "multiclass"


def check_logits(logits: NDArray[Any], targets: NDArray[Any]) -> tuple[Array, NDArray[np.int64]]:
    """Logits (n, K) float64 and targets int64, (n,) or (n, K), that belong together, or the error that says why not."""
    values = np.asarray(logits, dtype=np.float64)
    classes = np.asarray(targets)
    several = task_of(classes) == "multilabel"
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] < (1 if several else 2):
        raise DataError(
            f"logits have shape {values.shape}, expected (images, classes) with at least 1 and 2",
            code="array-shape",
            array="logits",
            found=list(values.shape),
        )
    if several:
        _check_several(values, classes)
    else:
        _check_one(values, classes)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise ModelError(
            f"the model gave logits that are not finite for {int((~finite).sum())} of {len(values)} images "
            f"(first: number {int(np.argmin(finite))}); check its weights and the images' intensity range",
            code="model-answer-not-finite",
            images=int((~finite).sum()),
            first=int(np.argmin(finite)),
        )
    return values, classes.astype(np.int64)


def log_softmax(logits: NDArray[Any]) -> Array:
    """Natural logarithm of the softmax over the last axis, float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    log: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log


def log_sigmoid(logits: NDArray[Any]) -> Array:
    """Natural logarithm of 1 / (1 + exp(-x)), float64, without overflow; of 1 - p it is `log_sigmoid(-logits)`."""
    log: Array = -np.logaddexp(0.0, -np.asarray(logits, dtype=np.float64))
    return log


def log_odds(logits: NDArray[Any]) -> Array:
    """log(p / (1 - p)) of the softmax, (n, K) float64.

    It orders images as the probability does, but where confident probabilities all round to 1 and would tie,
    the log-odds still tell them apart; and for two classes both columns give the same AUROC. Of a sigmoid the
    log-odds are the logit itself.
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    top = shifted.argmax(axis=1)[:, None]
    powers = np.exp(shifted)
    others = np.log(np.maximum(powers.sum(axis=1, keepdims=True) - powers, np.finfo(np.float64).tiny))
    # For the top class the subtraction above cancels; sum its rivals on their own scale.
    rivals = shifted.copy()
    np.put_along_axis(rivals, top, -np.inf, axis=1)
    best = rivals.max(axis=1, keepdims=True)
    np.put_along_axis(others, top, best + np.log(np.exp(rivals - best).sum(axis=1, keepdims=True)), axis=1)
    odds: Array = shifted - others
    return odds


def rank(odds: NDArray[Any]) -> Array:
    """Log-odds in whole steps of SCORE_STEP: what images are ranked by."""
    return np.asarray(np.rint(odds / SCORE_STEP), np.float64)


def _check_one(values: Array, classes: NDArray[Any]) -> None:
    if classes.shape != values.shape[:1] or not np.issubdtype(classes.dtype, np.integer):
        raise DataError(
            f"targets are {classes.dtype} of shape {classes.shape}, expected {values.shape[0]} class numbers",
            code="array-shape",
            array="targets",
            found=list(classes.shape),
            expected=[values.shape[0]],
        )
    if classes.min() < 0 or classes.max() >= values.shape[1]:
        raise DataError(
            f"targets run from {classes.min()} to {classes.max()}, expected 0 to {values.shape[1] - 1}; "
            "align the classes of the data with those of the model",
            code="target-range",
            found=[int(classes.min()), int(classes.max())],
            expected=[0, values.shape[1] - 1],
        )


def _check_several(values: Array, labels: NDArray[Any]) -> None:
    whole = labels.dtype == np.bool_ or np.issubdtype(labels.dtype, np.integer)
    if labels.shape != values.shape or not whole:
        raise DataError(
            f"targets are {labels.dtype} of shape {labels.shape}, expected zeros and ones of shape {values.shape}; "
            "align the labels of the data with those of the model",
            code="array-shape",
            array="targets",
            found=list(labels.shape),
            expected=list(values.shape),
        )
    if labels.min() < UNKNOWN or labels.max() > 1:
        raise DataError(
            f"targets run from {labels.min()} to {labels.max()}, expected 0, 1 or -1 (unknown) for each label",
            code="target-range",
            found=[int(labels.min()), int(labels.max())],
            expected=[UNKNOWN, 1],
        )
