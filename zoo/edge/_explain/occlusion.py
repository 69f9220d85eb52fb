"""Where a model looks: occlusion sensitivity, which needs nothing of a model but its answers; and heat maps as such.

A file that has an evidence map says itself where it sees what; see `zoo.edge._explain.evidence`.

One window after the other is covered with the image's own mean, and the label's probability is asked again (Zeiler
and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2). What is shown is the drop
of the probability itself, not of a logit: it is the number that people act on, it is bounded, and the same for several
labels. Its price is that a very sure model shows small drops, which is the truth: no single place decides.

Windows are two cells high and wide and overlap by one, so that a cue on an edge is still covered whole by some
window. A cell's value is the mean over the windows that cover it. The mean of the image, and not a blur, fills them:
a blur leaves large bright areas as they were. An area that does not differ from the mean cannot be shown to matter.

`zoo/edge/page/explain.js` does the same in a browser, number for number.

What this module does not know: files, pages, where the image came from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from zoo._support.labels import find_label
from zoo.edge._beside import numbers_of
from zoo.edge._decide import answer_labels
from zoo.preprocess import find_padding
from zoo.readers import make_visible
from zoo.spec import Display

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

    from zoo.edge._beside import Cells
    from zoo.edge._runtime import Runtime
    from zoo.readers import RawImage
    from zoo.spec import PreprocessSpec

__all__ = ["CAPTIONS", "VISIBLE", "VISIBLE_EVIDENCE", "HeatMap", "Method", "map_occlusion", "overlay"]

Array = NDArray[Any]

Method = Literal["occlusion", "evidence", "gradcam"]
"""How a map was made: by hiding parts of the image, by the network's own map of evidence, or by the gradients of its
last map."""

CAPTIONS: dict[Method, str] = {
    "occlusion": "bright: hiding this part lowers the label's probability; that does not prove that what the label "
    "means is there, and says nothing of several parts together",
    "evidence": "bright: the map that the network makes its answer of speaks for the label here; it sees a place with "
    "all that is around it, and that does not prove that what the label means is there",
    "gradcam": "bright: the network's last map raises the label's logit here; it is coarse, it sees a place with all "
    "that is around it, and that does not prove that what the label means is there",
}
"""What a map means, by its method."""

VISIBLE = 0.05
"""The weakest map that is drawn at full strength: where no window matters more, the picture stays nearly bare."""

VISIBLE_EVIDENCE = 1.0
"""The same of an evidence map: one logit, which moves a probability of 0.5 to 0.73."""

_CELLS = 144
"""Cells of a grid at most about so many (12 x 12 of a square image), so that one map costs about 121 answers."""
_SPAN = 2
"""Cells on a side of a window."""
_ENOUGH = 2
"""Raw pixels kept for one pixel of the network's input, along each side; more are averaged away beforehand."""
_BATCH = 16
_BATCH_BYTES = 64 * 2**20
_OPACITY = 0.6
_MOST_SIDE = 2048

# matplotlib's viridis (Smith and van der Walt 2015, CC0), every 15th of its 256 colours: perceptually uniform, and
# readable without red or green.
_VIRIDIS = bytes.fromhex(
    "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e "
    "1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 b0dd2f d8e219 fde725"
)


class HeatMap(Display, msgspec.Struct, frozen=True, kw_only=True):
    """How much each part of an image matters for one label."""

    label: str
    base: float
    """The label's probability for the whole image, in [0, 1]."""
    height: int
    """Height of the image, in pixels."""
    width: int
    values: tuple[tuple[float, ...], ...]
    """Rows of cells, from the top left; together they cover the image evenly. occlusion: by how much the probability
    drops when the cell is hidden, in [-1, 1]; negative where hiding it raises the probability. evidence: see
    `zoo.edge._explain.evidence.map_evidence`. gradcam: see `zoo.learn.GradCam`."""
    method: Method = "occlusion"

    @property
    def peak(self) -> tuple[float, int, int]:
        """The largest value, and the row and column of the pixel in the middle of its cell."""
        grid = np.asarray(self.values)
        row, column = np.unravel_index(int(grid.argmax()), grid.shape)
        y = int((row + 0.5) * self.height / grid.shape[0])
        x = int((column + 0.5) * self.width / grid.shape[1])
        return float(grid[row, column]), y, x

    def headline(self) -> str:
        """The label, its probability, and where the map peaks."""
        peak, y, x = self.peak
        return f"{self.label} {self.base:.3f}; {self.method} peaks with {peak:.3f} at row {y}, column {x}"


def map_occlusion(
    runtime: Runtime, image: RawImage, label: str | None = None, columns: Cells | None = None, *, odds: bool = False
) -> HeatMap:
    """Map what an image's probability of a label depends on.

    Deterministic; takes about 120 answers of the model. An image far larger than the network's input is first
    averaged over whole blocks of pixels, so `base` may differ from `Runtime.predict` in the third decimal.

    Args:
        runtime: an opened model of either task.
        image: the raw image, from `zoo.readers.read`.
        label: one of the model's; None: the one answered.
        columns: what the model is given beside the image, a cell for each name; they stay as they are.
        odds: the drop is that of the log-odds, for a model whose probabilities are 0 or 1 whatever is hidden.

    Raises:
        UsageError: the model does not know the label.
        ImageError: the image is not what the model takes.
        ModelError: ONNX Runtime failed.
    """
    asked = None if label is None else find_label(label, runtime.labels)
    runtime.check(image)
    pixels = _reduce(image.pixels, runtime.manifest.views)
    padded = find_padding(pixels, runtime.manifest.preprocess)
    given = numbers_of(runtime.manifest, columns, 1)  # (1, C)
    whole = runtime.probabilities(pixels[None], given)[0]
    known = runtime.manifest
    answered = answer_labels(whole[None], known.labels, known.operating, known.task)
    at = int(answered[0]) if asked is None else asked
    down, across = _edges(*pixels.shape[:2])
    windows = [
        (slice(down[i], down[i + _span(down)]), slice(across[j], across[j + _span(across)]))
        for i in range(len(down) - _span(down))
        for j in range(len(across) - _span(across))
    ]
    base = float(whole[at])

    def ask(batch: Array) -> NDArray[Any]:
        beside = None if given is None else np.repeat(given, len(batch), axis=0)
        if odds:
            return _log_odds(runtime.logits(batch, beside), at, several=known.task == "multilabel")
        return runtime.probabilities(batch, beside)[:, at]

    start = float(ask(pixels[None])[0]) if odds else base
    drops = [start - float(p) for batch in _hide(pixels, padded, windows) for p in ask(batch)]
    grid = _spread(drops, len(down) - 1, len(across) - 1)
    height, width = image.pixels.shape[:2]
    values = tuple(tuple(map(float, row)) for row in grid)
    return HeatMap(label=runtime.labels[at], base=base, height=height, width=width, values=values)


def overlay(image: RawImage, heat: HeatMap) -> Image.Image:
    """The image with its map laid over it: RGB, at most 2048 pixels a side.

    The image is shown as `zoo.readers.make_visible` makes it. Strength follows the value, so that what does not matter
    stays as it is; values below zero show nothing.
    """
    from PIL import Image

    shown = Image.fromarray(make_visible(image))
    shown.thumbnail((_MOST_SIDE, _MOST_SIDE))
    grid = np.clip(np.asarray(heat.values, np.float32), 0, None)
    least = VISIBLE if heat.method == "occlusion" else VISIBLE_EVIDENCE
    strength = np.clip(grid / max(float(grid.max()), least), 0, 1)
    share = np.clip(np.asarray(Image.fromarray(strength).resize(shown.size, Image.Resampling.BILINEAR)), 0, 1)
    anchors = np.frombuffer(_VIRIDIS, np.uint8).reshape(-1, 3)
    places = np.linspace(0, 1, len(anchors))
    colours = np.stack([np.interp(share, places, anchors[:, channel]) for channel in range(3)], axis=2)
    weight = (_OPACITY * share)[:, :, None]
    return Image.fromarray((np.asarray(shown) * (1 - weight) + colours * weight + 0.5).astype(np.uint8))


def _reduce(pixels: Array, specs: Sequence[PreprocessSpec]) -> Array:
    """Whole blocks of pixels averaged, where the image has more than enough of them for every network's input."""
    height, width = pixels.shape[:2]
    factor = min(min(height // (_ENOUGH * spec.size[0]), width // (_ENOUGH * spec.size[1])) for spec in specs)
    if factor < 2 or any(spec.denoise is not None for spec in specs):  # a filter in pixels would see another image
        return pixels
    if any(find_padding(pixels, spec).any() for spec in specs):  # an average with padding is neither
        return pixels
    down, across = _cuts(height, height // factor), _cuts(width, width // factor)
    sums = np.add.reduceat(pixels, down[:-1], axis=0, dtype=np.float64)
    sums = np.add.reduceat(sums, across[:-1], axis=1)
    return _round_as(sums / np.outer(np.diff(down), np.diff(across))[:, :, None], pixels.dtype)


def _edges(height: int, width: int) -> tuple[list[int], list[int]]:
    """Where cells begin and end along each side: nearly square cells, about `_CELLS` of them."""
    rows = min(height, _CELLS // 2, max(2, math.floor(math.sqrt(_CELLS * height / width) + 0.5)))
    columns = min(width, max(2, math.floor(_CELLS / rows + 0.5)))
    return _cuts(height, rows), _cuts(width, columns)


def _cuts(length: int, pieces: int) -> list[int]:
    """Beginnings of so many nearly equal pieces, and the end."""
    return [i * length // pieces for i in range(pieces + 1)]


def _span(edges: list[int]) -> int:
    return min(_SPAN, len(edges) - 1)


def _hide(pixels: Array, padded: NDArray[np.bool_], windows: list[tuple[slice, slice]]) -> Iterator[Array]:
    """Batches of the image with one window covered in each, by the mean of what is not padding."""
    counted = ~padded | padded.all()
    fill = _round_as(pixels.mean(axis=(0, 1), dtype=np.float64, where=counted), pixels.dtype)
    size = max(1, min(_BATCH, _BATCH_BYTES // pixels.nbytes))
    for start in range(0, len(windows), size):
        group = windows[start : start + size]
        batch = np.repeat(pixels[None], len(group), axis=0)
        for one, (down, across) in zip(batch, group, strict=True):
            one[down, across] = fill
        yield batch


def _log_odds(logits: NDArray[np.float32], at: int, *, several: bool) -> NDArray[np.float64]:
    """(N,) of one label, of (N, K)."""
    values = logits.astype(np.float64)
    return values[:, at] if several else values[:, at] - np.logaddexp.reduce(np.delete(values, at, axis=1), axis=1)


def _spread(drops: list[float], rows: int, columns: int) -> NDArray[np.float64]:
    """(rows, columns): of each cell the mean over the windows that cover it."""
    high, wide = min(_SPAN, rows), min(_SPAN, columns)
    by_window = np.asarray(drops).reshape(rows - high + 1, columns - wide + 1)
    total, count = np.zeros((rows, columns)), np.zeros((rows, columns))
    for down in range(high):
        for across in range(wide):
            place = np.s_[down : down + by_window.shape[0], across : across + by_window.shape[1]]
            total[place] += by_window
            count[place] += 1
    return total / count


def _round_as(means: Array, dtype: np.dtype[Any]) -> Array:
    """Means as pixels; whole numbers are rounded half up."""
    return means.astype(dtype) if dtype == np.float32 else np.floor(means + 0.5).astype(dtype)
