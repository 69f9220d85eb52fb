"""One row an epoch: which epoch is the best, when to stop, history.csv and its picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import msgspec

from zoo._support.files import atomic_path, atomic_write
from zoo.runs import Best

__all__ = [
    "Epoch",
    "best_epoch",
    "best_of",
    "draw_history",
    "epochs_without_gain",
    "throughput",
    "write_history",
]


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one epoch cost and gave. Validation figures are those of the averaged weights."""

    epoch: int
    """Counted from 1."""
    lr: float
    """Of the epoch's last step."""
    train_loss: float
    """Mean over the augmented training images, label smoothing included."""
    val_loss: float
    """Mean cross-entropy in nats (multilabel: over labels too), no smoothing; so the two losses are not to be
    subtracted."""
    val_accuracy: float
    """Multilabel: mean over labels."""
    val_macro_auroc: float | None
    """None: not defined on the validation images, such as when they are all of one class."""
    images_per_second: float
    """Training images over the time of the training steps: no decoding, no validation."""
    seconds: float
    """Whole epoch, validation included."""


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation macro AUROC; among equals the lowest validation loss.

    Where the AUROC is not defined, the lowest validation loss.
    """
    return min(history, key=lambda row: (-(row.val_macro_auroc or 0.0), row.val_loss))


def best_of(history: Sequence[Epoch]) -> Best:
    """`best_epoch` as run.json records it; the metric is named as its column of history.csv."""
    row = best_epoch(history)
    if row.val_macro_auroc is None:
        return Best(epoch=row.epoch, metric="val_loss", value=row.val_loss)
    return Best(epoch=row.epoch, metric="val_macro_auroc", value=row.val_macro_auroc)


def epochs_without_gain(history: Sequence[Epoch]) -> int:
    """Epochs since the metric last rose; a better loss at an equal AUROC does not count."""
    if not history:
        return 0
    by_loss = history[-1].val_macro_auroc is None
    scores = [-row.val_loss if by_loss else row.val_macro_auroc or 0.0 for row in history]
    return len(scores) - 1 - scores.index(max(scores))


def throughput(history: Sequence[Epoch]) -> float:
    """Training images over the time of all training steps; every epoch sees the same number of images."""
    return len(history) / sum(1 / row.images_per_second for row in history)


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """Write every row so far, atomically; an undefined value is an empty cell."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(Epoch.__struct_fields__)
    for row in history:
        cells = msgspec.structs.astuple(row)
        table.writerow(["" if cell is None else f"{cell:.6g}" for cell in cells])
    atomic_write(path, text.getvalue())


def draw_history(path: Path, history: Sequence[Epoch]) -> None:
    """Draw losses and validation figures against the epoch, as a PNG; the kept epoch is marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row.epoch for row in history]
    best = best_epoch(history)
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    dots = "o" if len(history) < 30 else None
    left.plot(
        epochs,
        [row.train_loss for row in history],
        marker=dots,
        markersize=3,
        label="training (smoothed labels)",
    )
    left.plot(epochs, [row.val_loss for row in history], marker=dots, markersize=3, label="validation")
    left.set(title="Loss", xlabel="epoch", ylabel="cross-entropy, nats")
    left.set_ylim(0, 1.08 * max(max(row.train_loss, row.val_loss) for row in history))
    if best.val_macro_auroc is not None:
        right.plot(
            epochs,
            [row.val_macro_auroc or 0.0 for row in history],
            marker=dots,
            markersize=3,
            label="macro AUROC",
        )
    right.plot(epochs, [row.val_accuracy for row in history], marker=dots, markersize=3, label="accuracy")
    right.set(title="Validation", xlabel="epoch")
    right.set_ylim(top=1.005)
    for axes in (left, right):
        axes.axvline(best.epoch, color="0.6", linestyle="--", linewidth=1, label=f"kept: epoch {best.epoch}", zorder=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
