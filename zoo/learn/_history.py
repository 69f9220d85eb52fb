"""One row an epoch: which epoch is the best, when to stop, history.csv and its picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from zoo._support.files import atomic_path, atomic_write
from zoo.evaluation import lower_is_better, title_of
from zoo.runs import Best, Callback

__all__ = [
    "Epoch",
    "HistoryFile",
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
    """Mean over the augmented training images, label smoothing included. Of several processes, over the share of the
    first: a sum over all would make every state wait for all of them."""
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
    metric: str = "macro_auroc"
    """What epochs are chosen by, as `TrainConfig.metric`."""
    val_chosen: float | None = None
    """That metric, where it is another than macro AUROC; None: not defined on the validation images."""

    @property
    def value(self) -> float | None:
        """The validation metric that epochs are chosen by."""
        return self.val_macro_auroc if self.metric == "macro_auroc" else self.val_chosen

    @property
    def columns(self) -> dict[str, float | None]:
        """Its row of history.csv; a metric without a column of its own gets one, the last, such as val_kappa."""
        shown = msgspec.structs.asdict(self)
        del shown["metric"], shown["val_chosen"]
        shown.setdefault(f"val_{self.metric}", self.value)
        return shown

    @property
    def rank(self) -> float:
        """`value`, the larger the better; that of an epoch where it is not defined lies below all others."""
        if self.value is None:
            return -math.inf
        return -self.value if lower_is_better(self.metric) else self.value


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the best validation metric; among equals the lowest validation loss.

    Where the metric is defined in no epoch, the lowest validation loss.
    """
    return min(history, key=lambda row: (-row.rank, row.val_loss))


def best_of(history: Sequence[Epoch]) -> Best:
    """`best_epoch` as run.json records it; the metric is named as its column of history.csv."""
    row = best_epoch(history)
    if row.value is None:
        return Best(epoch=row.epoch, metric="val_loss", value=row.val_loss)
    return Best(epoch=row.epoch, metric=f"val_{row.metric}", value=row.value)


def epochs_without_gain(history: Sequence[Epoch]) -> int:
    """Epochs since the metric last gained; a better loss at an equal metric does not count.

    Where the metric is defined in no epoch, since the loss last fell.
    """
    if not history:
        return 0
    by_loss = all(row.value is None for row in history)
    scores = [-row.val_loss if by_loss else row.rank for row in history]
    return len(scores) - 1 - scores.index(max(scores))


def throughput(history: Sequence[Epoch]) -> float:
    """Training images over the time of all training steps; every epoch sees the same number of images."""
    return len(history) / sum(1 / row.images_per_second for row in history)


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """Write every row so far, atomically; an undefined value is an empty cell."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    rows = [row.columns for row in history]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table.writerow(names)
    for row in rows:
        table.writerow(["" if (cell := row.get(name)) is None else f"{cell:.6g}" for name in names])
    atomic_write(path, text.getvalue())


class HistoryFile(Callback):
    """Writes history.csv anew after each epoch, from the loop's own list of rows."""

    def __init__(self, path: Path, history: list[Epoch]) -> None:
        self.path, self.history = path, history

    def epoch(self, row: Mapping[str, float | None]) -> None:  # noqa: ARG002 - the list ends with it
        """Write every row so far."""
        write_history(self.path, self.history)


def draw_history(path: Path, history: Sequence[Epoch]) -> None:
    """Draw losses, validation figures and learning rate against the epoch, as a PNG; the kept epoch is marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row.epoch for row in history]
    best = best_epoch(history)
    figure = Figure(figsize=(12, 3.6), dpi=120)
    # Margins of our own: matplotlib's layouts draw everything several times to find them, which takes a quarter second.
    margins = {"left": 0.055, "right": 0.99, "bottom": 0.15, "top": 0.9, "wspace": 0.2}
    left, right, rate = figure.subplots(1, 3, width_ratios=(4, 4, 3), gridspec_kw=margins)
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
    drawn = {"macro_auroc": [row.val_macro_auroc for row in history]}
    if best.metric not in {"accuracy", "nll"}:  # which are the line below, and the loss on the left
        drawn |= {best.metric: [row.value for row in history]}
    for name, values in drawn.items():
        if any(value is not None for value in values):
            heights = [math.nan if value is None else value for value in values]
            # Without the name of a class, which the font may lack or take for mathematics.
            right.plot(epochs, heights, marker=dots, markersize=3, label=title_of(name.partition(":")[0]))
    right.plot(epochs, [row.val_accuracy for row in history], marker=dots, markersize=3, label="accuracy")
    right.set(title="Validation", xlabel="epoch")
    right.set_ylim(top=1.005)
    rate.plot(epochs, [row.lr for row in history], marker=dots, markersize=3, color="0.3", label="at the epoch's end")
    rate.set(title="Learning rate", xlabel="epoch")
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2), useMathText=True)
    for axes in (left, right, rate):
        axes.axvline(best.epoch, color="0.6", linestyle="--", linewidth=1, label=f"kept: epoch {best.epoch}", zorder=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
        axes.set_title(axes.get_title(), y=1)  # without a place, matplotlib measures every label to find one
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
