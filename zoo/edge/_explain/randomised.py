"""Whether a map hangs on what was learnt: the same map of the same network with its weights at random.

Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv 1810.03292, section 3: all layers at once. There
the weights are drawn anew. Here those of each layer change places, of a convolution within each output channel. So a
file of float32, float16 or int8 can be asked, and signals do not die out where BatchNorm is folded into the weights:
drawn over a whole layer, EfficientNet-Lite0 gave the same answer whatever was hidden. Biases stay.

What this module does not know: how a map is made, and what a plugin is.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from zoo.edge._explain.evidence import explain_image
from zoo.edge._runtime import Runtime
from zoo.edge.bundle import open_model
from zoo.edge.vet import check
from zoo.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.edge._beside import Cells
    from zoo.edge._explain.occlusion import HeatMap
    from zoo.readers import RawImage

__all__ = ["FileMapper", "Mapper", "correlate_ranks", "score_map", "shuffle_weights"]

_CORE = "core/"
"""In the name of every tensor of the network; preprocessing and decisions are outside."""
_WIDTHS = {1: 4, 2: 1, 3: 1, 10: 2, 11: 8, 16: 2}
"""Bytes of one number, by TensorProto.DataType: float32, uint8, int8, float16, float64, bfloat16."""
_RAW = 9
"""Field of a TensorProto: raw_data."""
_NOT_A_NUMBER = frozenset({"model-answer-range", "evidence-not-finite"})
"""Codes of a network that the shuffle has driven out of what numbers can hold, as in float16."""


class Mapper(Protocol):
    """How the map of one image is made."""

    def __call__(self, image: RawImage, label: str | None, columns: Cells | None) -> HeatMap:
        """The map; takes and raises as `zoo.edge._explain.explain_image`."""

    def shuffle(self, seed: int) -> Mapper | None:
        """The same for the network with its weights at random; None: it has none."""


class FileMapper:
    """By the evidence map of a file, or by occlusion."""

    def __init__(self, runtime: Runtime, *, odds: bool = False) -> None:
        self.runtime, self.odds = runtime, odds

    def __call__(self, image: RawImage, label: str | None, columns: Cells | None) -> HeatMap:
        """As `explain_image`; `odds` as in `map_occlusion`, for a network that was shuffled."""
        return explain_image(self.runtime, image, label, columns, odds=self.odds)

    def shuffle(self, seed: int) -> FileMapper | None:
        """Reads the file again, which costs its size in memory for a moment.

        Raises:
            ModelError: it is not the file that was opened, whose signature may have been asked for.
        """
        contents = open_model(self.runtime.path)
        if contents.sha256 != self.runtime.sha256:
            raise ModelError(
                f"{self.runtime.path}: it changed since it was opened, expected the file whose map is compared; run "
                "the command again",
                code="model-changed",
                path=str(self.runtime.path),
            )
        model = shuffle_weights(contents.model, seed)
        if model is None:
            return None
        other = dataclasses.replace(contents, model=model)
        return FileMapper(
            Runtime.from_contents(
                self.runtime.path,
                other,
                provider=self.runtime.provider,
                threads=self.runtime.threads,
                allow_fallback=True,
            ),
            odds=True,
        )


def shuffle_weights(model: bytes, seed: int) -> bytes | None:
    """A model whose weights have changed places: in matrices, and within each output channel of convolutions.

    Args:
        model: an exported file that `zoo.edge.vet.check` has passed.
        seed: seed of the order.

    Returns:
        The model; None: it has no such tensor, as one of trees.
    """
    changed = bytearray(model)
    tensors = [one for one in check(model, "the model").initializers if _CORE in one.name and len(one.dims) > 1]
    found = False
    for position, tensor in enumerate(tensors):
        width, count = _WIDTHS.get(tensor.kind, 0), math.prod(tensor.dims)
        for span in tensor.spans:
            if span.number == _RAW and width and count > 1 and span.end - span.start == width * count:
                numbers = np.frombuffer(changed, f"u{width}", count, span.start)
                rows = numbers.reshape(tensor.dims[0] if len(tensor.dims) > 2 else 1, -1)
                numbers[:] = np.random.default_rng((seed, position)).permuted(rows, axis=1).ravel()
                found = True
    return bytes(changed) if found else None


def score_map(mapper: Mapper, heat: HeatMap, image: RawImage, columns: Cells | None, draws: int) -> float | None:
    """How alike a map and those of networks with random weights are; each of these costs as much as a map.

    What is compared is how much each place counts, whether for the label or against it: the sign of a random network is
    random.

    Args:
        mapper: made `heat`.
        heat: the map.
        image: the raw image that it is of.
        columns: what the model is given beside the image, a cell for each name.
        draws: how many networks; 1 or more. Their seeds are 1, 2, ….

    Returns:
        The mean of Spearman's correlations, in [-1, 1]: near 0 where the map hangs on what was learnt, near 1 where any
        weights give it. None: the map is flat, or all the others are, or the model has no weights to shuffle. A flat
        map of a random network does not count: it would call every map good.
    """
    own = np.abs(np.asarray(heat.values, np.float64))
    if np.ptp(own) == 0:
        return None
    found = []
    for seed in range(1, draws + 1):
        other = mapper.shuffle(seed)
        if other is None:
            return None
        try:
            values = other(image, heat.label, columns).values
        except ModelError as problem:
            if problem.code not in _NOT_A_NUMBER:
                raise
            continue
        shown = np.abs(np.asarray(values, np.float64))
        if np.isfinite(shown).all() and np.ptp(shown) > 0:
            found.append(correlate_ranks(own, shown))
    return float(np.mean(found)) if found else None


def correlate_ranks(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of two arrays, equal values with their mean rank; 0 where either is flat."""
    a, b = (_center_ranks(values) for values in (one.ravel(), other.ravel()))
    lengths = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / lengths if lengths else 0.0


def _center_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    place, count = np.unique(values, return_inverse=True, return_counts=True)[1:]
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return np.asarray(ranks - ranks.mean(), np.float64)
