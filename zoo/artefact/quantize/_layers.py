"""The layers of a network as matrices: what comes in, by which weights it is multiplied, where its bias is.

A convolution is a product, too: of its weights and the patches of its input (im2col).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["Layer", "read_layers"]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A Conv, Gemm or MatMul with constant weights.

    Attributes:
        node: the node.
        weight: name of its weights.
        bias: name of the constant that is added to what it gives, one number a channel; None: there is none.
        transposed: Gemm and MatMul: weights are (d, out), not (out, d).
    """

    node: onnx.NodeProto
    weight: str
    bias: str | None
    transposed: bool

    @property
    def input(self) -> str:
        """The tensor that it multiplies."""
        return str(self.node.input[0])

    @property
    def groups(self) -> int:
        """Parts that a convolution is made of, each with its own inputs and outputs."""
        return int(_attributes(self.node).get("group", 1))

    def matrices(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """(g, out / g, d) of the weights as the file has them."""
        if self.transposed:
            weights = weights.T
        return weights.reshape(self.groups, weights.shape[0] // self.groups, -1)

    def weights(self, matrices: NDArray[np.float32], like: NDArray[np.float32]) -> NDArray[np.float32]:
        """The other way round."""
        if self.transposed:
            return np.ascontiguousarray(matrices[0].T)
        return matrices.reshape(like.shape)

    def patches(
        self, values: NDArray[np.float32], kernel: tuple[int, ...], most: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """(g, n, d) inputs of n outputs drawn at random, n <= most.

        Args:
            values: what comes in, (1, C, h, w), or (…, d).
            kernel: (kh, kw) of a convolution.
            most: largest n.
            rng: draws the places.
        """
        if self.node.op_type != "Conv":
            rows = values.reshape(-1, values.shape[-1])
            return rows[rng.permutation(len(rows))[:most]][None]
        attributes = _attributes(self.node)
        strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        padded = np.pad(values[0], ((0, 0), (top, bottom), (left, right)))
        reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
        heights, widths = (
            (size - span) // stride + 1 for size, span, stride in zip(padded.shape[1:], reach, strides, strict=True)
        )
        places = rng.permutation(heights * widths)[:most]
        rows = (places // widths * strides[0])[:, None, None] + (np.arange(kernel[0]) * dilations[0])[:, None]
        columns = (places % widths * strides[1])[:, None, None] + np.arange(kernel[1]) * dilations[1]
        found = padded[:, rows, columns]  # (C, n, kh, kw)
        groups = self.groups
        return found.reshape(groups, -1, *found.shape[1:]).transpose(0, 2, 1, 3, 4).reshape(groups, len(places), -1)


def read_layers(model: onnx.ModelProto, names: Iterable[str]) -> Iterator[Layer]:
    """The layers of these names that are a product of constants and one input, by weights of their own."""
    wanted = set(names)
    constants = {one.name: tuple(one.dims) for one in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {one.name for one in model.graph.output}

    def own(name: str, width: int) -> str | None:
        """The bias, where it is a constant that only this layer adds, one number for each channel."""
        shape = constants.get(name)
        fits = shape is not None and shape[-1:] == (width,) and int(np.prod(shape)) == width
        return name if fits and len(readers[name]) == 1 else None

    for node in model.graph.node:
        shape = constants.get(node.input[1], ()) if node.name in wanted else ()
        if not shape or len(readers[node.input[1]]) > 1:
            continue
        attributes = _attributes(node)
        third = node.input[2] if len(node.input) > 2 else ""
        padded = attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
        if node.op_type == "Conv" and len(shape) == 4 and padded:
            yield Layer(node, node.input[1], own(third, shape[0]), transposed=False)
        elif node.op_type == "Gemm" and not attributes.get("transA", 0) and attributes.get("alpha", 1.0) == 1.0:
            transposed = not attributes.get("transB", 0)
            bias = own(third, shape[1] if transposed else shape[0]) if attributes.get("beta", 1.0) == 1.0 else None
            yield Layer(node, node.input[1], bias, transposed=transposed)
        elif node.op_type == "MatMul" and len(shape) == 2:
            after = readers.get(node.output[0], [])
            bias = None
            if len(after) == 1 and after[0].op_type == "Add" and node.output[0] not in outputs:
                bias = own(next(name for name in after[0].input if name != node.output[0]), shape[1])
            yield Layer(node, node.input[1], bias, transposed=True)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
