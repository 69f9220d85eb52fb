"""Weights rounded by what their layer gives, not each to its nearest step; and biases that take what is left.

Of all ways to round a layer's weights W to a grid, one is wanted whose outputs stay nearest: the mean over inputs x of
|(W - W') x|^2 = tr((W - W') H (W - W')^T), H the mean of x x^T, shall be small. Columns are rounded one after the
other, and each makes good what those before it did (Frantar et al. 2022, "GPTQ", arXiv 2210.17323; Nagel et al. 2020,
"AdaRound", arXiv 2004.10568, have the same objective). What remains on average, (W - W') times the mean of x, goes into
the bias (Nagel et al. 2019, arXiv 1906.04721, section 4.2), so H is the covariance where there is a bias.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from zoo.artefact.quantize._layers import Layer, read_layers
from zoo.artefact.quantize._ranges import show_tensors
from zoo.edge._session import open_session

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from zoo.artefact.quantize._core import Core

__all__ = ["Rounded", "round_layers", "with_rounded"]

Rounded = dict[str, dict[str, "NDArray[np.float32]"]]
"""Layer to the names and values of its constants."""

_LARGEST = 4608
"""Inputs of a layer's output from which on its covariance costs too much: 3 x 3 patches of 512 channels still do."""
_MEMORY = 512 << 20
"""Bytes of covariances at a time; each part costs a pass over the images."""
_PLACES = 32
"""Patches of an image that enter a covariance."""
_DAMPING = 0.01
"""Share of the mean variance that is added to every variance: images seen are a sample."""
_TOGETHER = 1024
"""Patches that enter a covariance in one product."""
_BLOCK = 128
_TRIES = 8
"""Each doubles the variances; then every column is rounded by itself."""


def round_layers(core: Core, images: Iterable[NDArray[np.float32]], steps: int) -> Rounded:
    """The constants of each layer with weights on a grid of its own for each output channel.

    Args:
        core: the network in float32.
        images: (1, C, h, w) each.
        steps: the grid goes from -steps to steps.
    """
    constants = {one.name: one for one in core.model.graph.initializer}
    found: Rounded = {}
    for part in _parts(list(read_layers(core.model, core.layers)), constants):
        moments = _measure(core, part, constants, images)
        for layer in part:
            given = numpy_helper.to_array(constants[layer.weight])
            means, covariances = moments[layer.node.name]
            matrices = layer.matrices(given)
            made = np.stack(
                [
                    _round(one, spread if layer.bias else spread + np.outer(mean, mean), steps)
                    for one, mean, spread in zip(matrices, means, covariances, strict=True)
                ]
            )
            found[layer.node.name] = {layer.weight: layer.weights(made, given)}
            if layer.bias:
                bias = numpy_helper.to_array(constants[layer.bias])
                left = np.einsum("god,gd->go", matrices - made, means).reshape(bias.shape)
                found[layer.node.name][layer.bias] = (bias + left).astype(np.float32)
    return found


def with_rounded(core: Core, rounded: Rounded, *, excluded: Collection[str] = ()) -> Core:
    """A copy of the network with these constants, but for the excluded layers."""
    model = onnx.ModelProto()
    model.CopyFrom(core.model)
    new = {name: value for layer, own in rounded.items() if layer not in excluded for name, value in own.items()}
    for one in model.graph.initializer:
        if one.name in new:
            one.CopyFrom(numpy_helper.from_array(new[one.name], one.name))
    return replace(core, model=model)


def _parts(layers: Sequence[Layer], weights: dict[str, onnx.TensorProto]) -> Iterable[list[Layer]]:
    part: list[Layer] = []
    taken = 0
    for layer in layers:
        groups, _, width = layer.matrices(numpy_helper.to_array(weights[layer.weight])).shape
        size = 4 * groups * width**2
        if width > _LARGEST:
            continue
        if part and taken + size > _MEMORY:
            yield part
            part, taken = [], 0
        part.append(layer)
        taken += size
    if part:
        yield part


def _measure(
    core: Core, layers: Sequence[Layer], weights: dict[str, onnx.TensorProto], images: Iterable[NDArray[np.float32]]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float32]]]:
    """Node to the means (g, d) and covariances (g, d, d) of what comes in."""
    names = sorted({layer.input for layer in layers} - {core.input})
    content = show_tensors(core.model, names)
    session = open_session(content, "calibration", provider="cpu", threads=None) if names else None
    rng = np.random.default_rng(0)
    sums = {layer.node.name: _Moments() for layer in layers}
    for image in images:
        values = dict(zip(names, session.run(names, {core.input: image}) if session else [], strict=True))
        values[core.input] = image
        for layer in layers:
            kernel = tuple(weights[layer.weight].dims[2:])
            sums[layer.node.name].add(layer.patches(values[layer.input], kernel, _PLACES, rng))
    return {name: found.give() for name, found in sums.items()}


class _Moments:
    """Means (g, d) and covariances (g, d, d) of rows (g, n, d); rows wait until there are enough for one product.

    What is summed is the distance from the mean of the first rows: of values that hardly vary around a large number,
    squares alone would leave rounding errors of that number.
    """

    def __init__(self) -> None:
        self.waiting: list[NDArray[np.float32]] = []
        self.first: Any = None
        self.total: Any = 0.0
        self.square: Any = 0.0
        self.count = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        self.waiting.append(rows)
        if sum(one.shape[1] for one in self.waiting) >= _TOGETHER:
            self._sum()

    def give(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        self._sum()
        beyond = self.total / self.count
        covariance = self.square / np.float32(self.count) - beyond[:, :, None] * beyond[:, None]
        return self.first[:, 0] + beyond, covariance.astype(np.float32)

    def _sum(self) -> None:
        if not self.waiting:
            return
        rows = np.concatenate(self.waiting, axis=1)
        self.waiting.clear()
        if self.first is None:
            self.first = rows.mean(axis=1, keepdims=True)
        rows = rows - self.first
        self.total = self.total + rows.sum(axis=1, dtype=np.float64)
        self.square = self.square + np.stack([one.T @ one for one in rows])
        self.count += rows.shape[1]


def _round(weights: NDArray[np.float32], covariance: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """(out, d) on the grid; the largest of each row stays where it is, since the grid is drawn from it.

    With H = A A^T, A upper triangular, the objective is the sum of squares of E A, E = W - W'. Column j of it is
    E_j A_jj and what the columns before give, so W'_j is the step nearest to W_j + sum over i < j of E_i A_ij / A_jj.
    """
    largest, places = np.abs(weights).max(axis=1, keepdims=True), np.abs(weights).argmax(axis=1)
    scale = np.where(largest > 0, largest / steps, 1).astype(np.float32)
    width = weights.shape[1]
    damped = covariance.astype(np.float64)
    spread = float(np.trace(damped)) / width
    damped[np.diag_indices(width)] += _DAMPING * spread if spread > 0 else 1.0
    factor = _factorise(damped).astype(np.float32)
    made, error, carried = np.empty_like(weights), np.empty_like(weights), np.zeros_like(weights)
    for start in range(0, width, _BLOCK):
        end = min(start + _BLOCK, width)
        for j in range(start, end):
            wanted = weights[:, j] + carried[:, j] / factor[j, j]
            step = np.clip(np.rint(wanted / scale[:, 0]), -steps, steps) * scale[:, 0]
            made[:, j] = np.where(places == j, weights[:, j], step)
            error[:, j] = weights[:, j] - made[:, j]
            carried[:, j + 1 : end] += np.outer(error[:, j], factor[j, j + 1 : end])
        carried[:, end:] += error[:, start:end] @ factor[start:end, end:]
    return made


def _factorise(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A, upper triangular, of A A^T; what the rounding of sums made negative is lifted by more damping."""
    for _ in range(_TRIES):
        try:
            return np.asarray(np.linalg.cholesky(covariance[::-1, ::-1])[::-1, ::-1], np.float64)
        except np.linalg.LinAlgError:
            covariance = covariance + np.diag(np.diag(covariance))
    return np.diag(np.sqrt(np.maximum(np.diag(covariance), 1e-30)))  # to the nearest step
