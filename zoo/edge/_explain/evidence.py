"""Where a model says itself that it sees what: the evidence map of its file, laid back onto the raw image.

What this module does not know: files, pages, how a network makes its map.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zoo._support.labels import find_label
from zoo.edge._decide import answer_labels
from zoo.edge._explain.occlusion import HeatMap, map_occlusion
from zoo.errors import ModelError
from zoo.preprocess import place_image
from zoo.readers._padding import adopt_padding

if TYPE_CHECKING:
    from zoo.edge._beside import Cells
    from zoo.edge._runtime import Runtime
    from zoo.readers import RawImage
    from zoo.spec import PreprocessSpec

__all__ = ["average_in_cells", "explain_image", "map_evidence"]

_CELLS = 2304
"""Cells of a grid at most about so many (48 x 48 of a square image): a network's own map is finer than its eyes, whose
view of each place is as wide as its receptive field."""


def explain_image(
    runtime: Runtime, image: RawImage, label: str | None = None, columns: Cells | None = None, *, odds: bool = False
) -> HeatMap:
    """By the file's evidence map where it has one, else by `map_occlusion`; takes and raises as that."""
    image = adopt_padding(image, runtime.manifest.preprocess.intensity)
    if runtime.has_evidence:
        return map_evidence(runtime, image, label, columns)
    return map_occlusion(runtime, image, label, columns, odds=odds)


def map_evidence(runtime: Runtime, image: RawImage, label: str | None = None, columns: Cells | None = None) -> HeatMap:
    """What the network itself makes a label's logit of, by one answer of the model.

    Of several labels a cell's value is the evidence for the label, in units of its logit. Of one label an image it is
    that less the mean evidence for the other labels: a softmax sees only differences, and what all labels share at a
    place decides nothing. Cells outside of what the network saw of the image (a crop) are 0.

    Args:
        runtime: an opened model that has evidence.
        image: the raw image, from `zoo.readers.read`.
        label: one of the model's; None: the one answered.
        columns: what the model is given beside the image, a cell for each name; see `Runtime.logits`.

    Raises:
        UsageError: the model does not know the label, or has no evidence.
        ImageError: the image is not what the model takes.
        ModelError: ONNX Runtime failed, or a number of the map is none.
    """
    asked = None if label is None else find_label(label, runtime.labels)
    runtime.check(image)
    probabilities, evidence = (rows[0] for rows in runtime.answer_with_evidence(image.pixels[None], columns))
    if not np.isfinite(evidence).all():  # else it would read as "no place speaks for it"
        raise ModelError(
            f"{runtime.path}: evidence holds NaN or an infinity for this image; do not use its maps",
            code="evidence-not-finite",
        )
    known = runtime.manifest
    answered = answer_labels(probabilities[None], known.labels, known.operating, known.task)
    at = int(answered[0]) if asked is None else asked
    shown = evidence[at].astype(np.float64)
    if runtime.manifest.task != "multilabel" and len(evidence) > 1:
        shown -= (evidence.sum(axis=0, dtype=np.float64) - shown) / (len(evidence) - 1)
    height, width = image.pixels.shape[:2]
    grid = average_in_cells(shown, height, width, runtime.manifest.preprocess)
    return HeatMap(
        label=runtime.labels[at],
        base=float(probabilities[at]),
        height=height,
        width=width,
        values=tuple(tuple(map(float, row)) for row in grid),
        method="evidence",
    )


def average_in_cells(
    evidence: NDArray[np.float64], height: int, width: int, spec: PreprocessSpec
) -> NDArray[np.float64]:
    """Take the mean of a map over each cell of an even grid on the raw image.

    Args:
        evidence: (h, w), as large as the network's input.
        height: height of the raw image, in pixels.
        width: width of the raw image, in pixels.
        spec: how the image became the input.

    Returns:
        (rows, columns), about `_CELLS` nearly square cells, never smaller than a pixel. Where a cell reaches out of the
        input, the part outside counts as 0.
    """
    rows = min(height, _CELLS // 2, max(1, round(math.sqrt(_CELLS * height / width))))
    columns = min(width, max(1, round(_CELLS / rows)))
    down, across = place_image(height, width, spec)
    return _shares(rows, height, down, len(evidence)) @ evidence @ _shares(columns, width, across, evidence.shape[1]).T


def _shares(cells: int, length: int, place: tuple[float, float], size: int) -> NDArray[np.float64]:
    """(cells, size): by how much each pixel of the input counts in the mean over each cell, along one side."""
    scale, offset = place
    edges = np.arange(cells + 1) * (length / cells) * scale + offset  # of the cells, in pixels of the input
    pixels = np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(covered, 0, None) / (edges[1:] - edges[:-1])[:, None], np.float64)
