"""Plots of a report as PNG files. matplotlib is used through Figure objects, so nothing global changes."""

from __future__ import annotations

import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.files import atomic_path
from zoo._support.fonts import font_families
from zoo._support.text import format_count
from zoo.errors import DataError
from zoo.evaluation._cases import Cases
from zoo.evaluation.calibration import reliability
from zoo.spec import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from zoo.spec import EvalReport

__all__ = ["BLUE", "GREY", "draw_confusion", "draw_labels", "plot_confusion", "plot_labels", "plot_reliability"]

DPI = 150
LONGEST = 24
"""Characters of a label that are shown."""
MOST_CELLS = 30
"""With more classes than this, cells hold no text: it could not be read."""
BLUE = "#2166ac"
GREY = "#8c8c8c"


def plot_confusion(report: EvalReport, path: Path) -> None:
    """Draw the confusion matrix: counts, and in colour and per cent the fraction of each true class.

    Raises:
        DataError: the report is of a multilabel model.
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    side = max(2.4, _cell_of(report) * len(report.labels))
    figure = Figure(figsize=(side + 2.0, side + 1.4))
    axes = figure.add_subplot()
    draw_confusion(report, axes)
    _title(axes, f"{report.model} on {report.split}", _describe_size(report.n, report.clusters), side + 1.0)
    _save(figure, path)


def draw_confusion(report: EvalReport, axes: Axes) -> None:
    """The confusion matrix on axes of matplotlib, with its colour bar; see `plot_confusion`."""
    if report.confusion is None:
        raise DataError(
            f"{report.model} gives several labels an image, which have no confusion matrix",
            code="task-unsupported",
            model=report.model,
        )
    counts = np.array(report.confusion.counts, dtype=np.int64)
    classes, cell = len(counts), _cell_of(report)
    rows = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    whole = axes.get_figure()
    if whole is not None:
        bar = whole.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="fraction of the true class")
        bar.outline.set_visible(False)
    names = [_short(label) for label in report.confusion.labels]
    if classes <= MOST_CELLS:
        _ticks(axes, names, rows[:, 0])
        _cells(axes, counts, share, cell)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.set_xlabel("called")
    axes.set_ylabel("true class (images)" if classes <= MOST_CELLS else "true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _cell_of(report: EvalReport) -> float:
    """Side of a cell of the confusion matrix, in inches."""
    classes = len(report.labels)
    return 0.85 if classes <= 6 else 0.62 if classes <= 12 else 0.5 if classes <= MOST_CELLS else 15 / classes


def plot_labels(report: EvalReport, path: Path) -> None:
    """Draw the AUROC of each label with its interval, and how many images have the label.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    height = min(40.0, max(1.4, 0.3 * len(report.per_class)))
    figure = Figure(figsize=(6.5, height + 1.1), layout="constrained")
    axes = figure.add_subplot()
    draw_labels(report, axes)
    _title(axes, f"{report.model} on {report.split}", _describe_size(report.n, report.clusters), 6.5)
    _save(figure, path)


def draw_labels(report: EvalReport, axes: Axes) -> None:
    """The AUROC of each label on axes of matplotlib; see `plot_labels`."""
    rows = list(report.per_class.items())
    found = [(place, values["auroc"]) for place, (_, values) in enumerate(rows) if "auroc" in values]
    scores = [(place, value) for place, value in found if isinstance(value, Interval)]
    axes.axvline(0.5, color=GREY, linestyle="--", linewidth=1, zorder=0)
    values = [value.value for _, value in scores]
    error = [[v.value - v.low for _, v in scores], [v.high - v.value for _, v in scores]]
    places = [place for place, _ in scores]
    axes.errorbar(values, places, xerr=error, fmt="o", color=BLUE, markersize=4.5, elinewidth=1, capsize=2)
    for place, value in scores:
        text = f"{value.value:.3f}"
        axes.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    for place in sorted(set(range(len(rows))) - set(places)):
        axes.annotate(
            "undefined", (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color=GREY
        )
    names = [f"{_short(label)} ({row['n']})" for label, row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first label on top
    axes.set_xlim(min([0.4, *(value.low - 0.02 for _, value in scores)]), 1.005)
    axes.set_xlabel("AUROC, 95 % interval (dashed: chance)")
    axes.set_ylabel("label (images with it)")
    axes.tick_params(length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)


def plot_reliability(
    logits: NDArray[Any],
    targets: NDArray[Any],
    path: Path,
    *,
    temperature: float = 1.0,
    title: str = "",
    groups: NDArray[np.int64] | None = None,
) -> None:
    """Draw accuracy against confidence of the top label, and how many images each bin holds.

    Of a multilabel model: the fraction of labels that hold against their probability, all labels pooled. Bars are
    Wilson's intervals with one trial for each image, or group, in the bin: labels of one image depend on each other.

    Args:
        logits: (n, K), before the temperature.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN.
        path: the file.
        temperature: logits are divided by it.
        title: goes before the number of images, such as "resnet18 on test".
        groups: (n,) int, equal for images of one patient, where known.

    Raises:
        DataError: logits and targets do not belong together.
        ModelError: a logit is not finite.
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    cases = Cases.of(logits, targets, temperature, groups)
    several = cases.task == "multilabel"
    curve = reliability(cases)
    confidence, accuracy, low, high = curve.points
    error = np.abs(np.stack([accuracy - low, high - accuracy]))
    figure = Figure(figsize=(5.0, 5.6))
    # The file is cut to what is drawn, so margins need not fit; a layout that fits them takes as long as all the rest.
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1), gridspec_kw={"hspace": 0.06})
    axes.plot([0, 1], [0, 1], linestyle="--", color=GREY, linewidth=1, label="perfectly calibrated")
    axes.errorbar(
        confidence,
        accuracy,
        yerr=error,
        fmt="o",
        color=BLUE,
        markersize=4.5,
        elinewidth=1,
        capsize=2,
        label="model, 95 % interval",
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("fraction of labels that hold" if several else "fraction right")
    # Above the axes: a curve may pass through any corner of them.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, borderpad=0.2)
    below.bar(curve.edges[:-1], curve.count, width=np.diff(curve.edges), align="edge", color=BLUE, edgecolor="white")
    below.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    below.set_ylabel("labels" if several else "images")
    below.set_xlabel("probability of a label, all labels pooled" if several else "probability of the top label")
    figure.align_ylabels()
    for panel in (axes, below):
        panel.spines[["top", "right"]].set_visible(False)
    size = _describe_size(cases.n, cases.clusters)
    numbers = f"{size}, ECE {curve.ece:.3f} ({len(curve.count)} bins), temperature {temperature:.2f}"
    _title(axes, title, numbers, 5.0, pad=24)
    _save(figure, path)


def _ticks(axes: Axes, names: Sequence[str], images: NDArray[np.int64]) -> None:
    size = 9 if len(names) <= 12 else 8
    slanted = max(map(len, names)) > (8 if len(names) <= 6 else 4)
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=45 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
        fontsize=size,
        parse_math=False,
    )
    rows = [f"{name} ({count})" for name, count in zip(names, images, strict=True)]
    axes.set_yticks(range(len(names)), rows, fontsize=size, parse_math=False)


def _cells(axes: Axes, counts: NDArray[np.int64], share: NDArray[np.float64], cell: float) -> None:
    from matplotlib import colormaps

    # About 0.6 of a font's size is a digit's width; the widest number must fit the cell (72 points an inch).
    widest = max(4, len(str(counts.max())))
    size = min(10.0, cell * 72 * 0.9 / (0.6 * widest))
    # Relative luminance by the weights of ITU-R BT.709; under 0.25 white is the easier to read.
    dark = (colormaps["Blues"](share)[..., :3] ** 2.2) @ (0.2126, 0.7152, 0.0722) < 0.25
    for (i, j), count in np.ndenumerate(counts):
        colour = "white" if dark[i, j] else GREY if count == 0 else "black"
        text = f"{count}\n{_percent(float(share[i, j]))}" if count else "0"
        axes.text(j, i, text, ha="center", va="center", fontsize=size, color=colour, linespacing=1.1)


def _percent(share: float) -> str:
    """Whole per cent that never rounds something to nothing, or most to all."""
    if 0 < share < 0.01:
        return "<1 %"
    return ">99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _title(axes: Axes, name: str, numbers: str, inches: float, *, pad: float = 6) -> None:
    wrapped = textwrap.wrap(name, width=max(30, int(inches * 10)))
    # With a place of its own: to find one, matplotlib would measure every label each time that it draws.
    axes.set_title("\n".join([*wrapped, numbers]), fontsize=10.5, y=1, pad=pad, parse_math=False)


def _describe_size(n: int, clusters: int | None) -> str:
    return f"n = {n}" if clusters is None else f"n = {n} in {format_count(clusters, 'group')}"


def _short(label: str) -> str:
    """Both ends of a long label: what tells classes apart is often the end."""
    return label if len(label) <= LONGEST else f"{label[:13]}…{label[-10:]}"


def _save(figure: Figure, path: Path) -> None:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_fontfamily(font_families())
    with warnings.catch_warnings(), atomic_path(path) as temporary:
        # Where no font of the system has a script its labels show boxes; we neither warn nor stop.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(temporary, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.1)
