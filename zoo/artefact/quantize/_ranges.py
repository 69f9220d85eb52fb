"""What activations do on the calibration images, and the ranges that integers are stretched over.

Two passes over the images, one image in memory: the first takes every tensor's exact smallest and largest value,
the second a histogram. All methods then read the same histograms:

    minmax          the exact ends
    percentile P    the ends of the middle P per cent, each side by itself, so that one outlier does not cost
                    all others their steps
    entropy         the clipping that loses least information, by Kullback-Leibler divergence between the histogram
                    and its quantised form (Migacz 2017, "8-bit inference with TensorRT", GTC S7310)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.edge._session import open_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx
    from numpy.typing import NDArray

    from zoo.artefact.quantize._core import Core

__all__ = ["METHODS", "Activations", "show_tensors", "watch"]

METHODS = ("minmax", "percentile 99.9", "percentile 99.99", "percentile 99.999", "entropy")

_BINS = 4096
"""Over [-a, a], a the largest magnitude: 2048 for an activation that is never negative."""
_VALUES = 16_384
"""Values of one tensor of one image that enter its histogram, evenly spread; the ends are exact all the same."""
_LEVELS = 128
"""Quantised levels that entropy compares with; TensorRT's choice."""
_STRIDE = 16
"""Bins between two clippings that entropy tries."""

Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, eq=False)
class Activations:
    """What every float tensor of a network held on the calibration images.

    Attributes:
        images: how many there were.
        ends: tensor to its smallest and largest value.
        histograms: tensor to counts in _BINS equal bins over [-a, a], a its largest magnitude.
    """

    images: int
    ends: Ranges
    histograms: dict[str, NDArray[np.int64]]

    def ranges(self, method: str) -> Ranges:
        """Tensor to (low, high), low <= 0 <= high, by one of METHODS."""
        if method == "minmax":
            return {name: _with_zero(*ends) for name, ends in self.ends.items()}
        clipped = {}
        for name, (low, high) in self.ends.items():
            bins, most = self.histograms[name], max(abs(low), abs(high))
            if method == "entropy":
                limit = _least_divergence(bins) * most
                found = (-limit, limit)
            else:
                found = _middle(bins, most, float(method.removeprefix("percentile ")))
            clipped[name] = _with_zero(max(low, found[0]), min(high, found[1]))
        return clipped

    @property
    def largest(self) -> float:
        """The largest magnitude of any tensor; infinite where one was not finite."""
        most = max(max(abs(low), abs(high)) for low, high in self.ends.values())
        return most if np.isfinite(most) else float("inf")


def watch(core: Core, images: Iterable[NDArray[np.float32]], *, histograms: bool = True) -> Activations:
    """Run the float network over the images, twice, and note what every tensor holds.

    Args:
        core: the network.
        images: (1, C, h, w) each; walked through once for the ends and once for the histograms.
        histograms: take the second pass; minmax does without.
    """
    names = _float_tensors(core.model)
    session = open_session(_with_ends(core.model, names), "calibration", provider="cpu", threads=None)
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    count = 0
    for image in images:
        found = np.asarray(session.run(None, {core.input: image}), np.float64)
        low, high = np.minimum(low, found[: len(names)]), np.maximum(high, found[len(names) :])
        count += 1
    ends = dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    bins: dict[str, NDArray[np.int64]] = {}
    if histograms:
        del session
        session = open_session(show_tensors(core.model, names), "calibration", provider="cpu", threads=None)
        bins = {name: np.zeros(_BINS, np.int64) for name in names}
        inner = [name for name in names if name != core.input]
        for image in images:
            for name, values in zip(inner, session.run(inner, {core.input: image}), strict=True):
                bins[name] += _histogram(values, max(map(abs, ends[name])))
            bins[core.input] += _histogram(image, max(map(abs, ends[core.input])))
    return Activations(count, ends, bins)


def _histogram(values: NDArray[np.float32], most: float) -> NDArray[np.int64]:
    flat = values.ravel()
    if flat.size > _VALUES:  # an odd step, so that it does not stay in one column of a picture of even width
        flat = flat[:: (flat.size // _VALUES) | 1]
    return np.histogram(flat, _BINS, range=(-most, most) if most > 0 else (-1.0, 1.0))[0]


def _middle(bins: NDArray[np.int64], most: float, percent: float) -> tuple[float, float]:
    """The ends of the middle `percent` of a histogram."""
    outside = (1 - percent / 100) / 2 * bins.sum()
    below = np.cumsum(bins)
    edges = np.linspace(-most, most, _BINS + 1)
    first = int(np.searchsorted(below, outside, side="right"))
    last = int(np.searchsorted(below, bins.sum() - outside, side="left"))
    return float(edges[min(first, _BINS - 1)]), float(edges[min(last, _BINS - 1) + 1])


def _least_divergence(bins: NDArray[np.int64]) -> float:
    """The share of the largest magnitude to clip at, in (0, 1]."""
    half = _BINS // 2
    counts = (bins[half:] + bins[:half][::-1]).astype(np.float64)  # of |x|
    counts[0] = counts[1]  # what is 0 is exact at any scale; after a ReLU it would outweigh all else
    if counts.sum() == 0:
        return 1.0
    best, share = np.inf, 1.0
    for kept in range(_LEVELS, half + 1, _STRIDE):
        inside = counts[:kept]
        reference = inside.copy()
        reference[-1] += counts[kept:].sum()
        starts = np.linspace(0, kept, _LEVELS, endpoint=False).astype(int)
        there = inside > 0
        filled = np.add.reduceat(there, starts)
        level = np.divide(np.add.reduceat(inside, starts), filled, out=np.zeros(_LEVELS), where=filled > 0)
        quantised = np.where(there, np.repeat(level, np.diff([*starts, kept])), 0.0)
        divergence = _divergence(reference, quantised)
        if divergence < best:
            best, share = divergence, kept / half
    return share


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Kullback-Leibler divergence of two histograms, empty bins of one holding a millionth of it."""
    p, q = (np.maximum(h / h.sum(), 1e-6) if h.sum() else np.full(h.shape, 1e-6) for h in (p, q))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def _with_zero(low: float, high: float) -> tuple[float, float]:
    """Zero must be exact: padding and ReLU make it often."""
    return min(low, 0.0), max(high, 0.0)


def _float_tensors(model: onnx.ModelProto) -> list[str]:
    """Names of the float32 tensors between nodes, the input and output among them."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    known = (*graph.input, *graph.value_info, *graph.output)
    return list(dict.fromkeys(one.name for one in known if one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT))


def _with_ends(model: onnx.ModelProto, names: list[str]) -> bytes:
    """The network giving the smallest values of all tensors, then the largest, as scalars."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    for kind in ("ReduceMin", "ReduceMax"):
        for index, name in enumerate(names):
            made = f"{kind}_{index}"
            result.graph.node.append(onnx.helper.make_node(kind, [name], [made], keepdims=0))
            result.graph.output.append(onnx.helper.make_tensor_value_info(made, onnx.TensorProto.FLOAT, []))
    return bytes(result.SerializeToString())


def show_tensors(model: onnx.ModelProto, names: list[str]) -> bytes:
    """The network giving these tensors whole, but for its own input."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    given = {one.name for one in result.graph.input}  # which cannot be an output
    del result.graph.output[:]
    for name in names:
        if name not in given:
            result.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return bytes(result.SerializeToString())
