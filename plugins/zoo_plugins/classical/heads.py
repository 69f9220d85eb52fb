"""Decisions as ONNX nodes: from rows of features to logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.artefact.nodes import Builder

__all__ = ["add_squared_distances", "finish", "linear"]


def finish(b: Builder, logits: str, *, length: int, classes: int, trees: bool = False) -> onnx.ModelProto:
    """The nodes of `b` as a model from "rows" (N, length) to "logits" (N, classes).

    Args:
        b: with nodes that read "rows".
        logits: the tensor that becomes the output.
        length: D.
        classes: K.
        trees: whether it holds operators of ai.onnx.ml.
    """
    from onnx import TensorProto, helper

    from zoo.spec import IR_VERSION, OPSET

    b.name_tensor("logits", logits)
    graph = helper.make_graph(
        b.nodes,
        "estimator",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", length])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
        initializer=b.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), *([helper.make_opsetid("ai.onnx.ml", 3)] if trees else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def linear(b: Builder, x: str, weights: NDArray[Any], offset: NDArray[Any]) -> str:
    """X (N, d) times weights (d, K) plus offset (K,)."""
    return b.op("Add", b.op("MatMul", x, b.floats(weights)), b.floats(np.reshape(offset, (1, -1))))


def add_squared_distances(b: Builder, x: str, points: NDArray[Any]) -> str:
    """Of x (N, d) to points (M, d): (N, M) by |x|² + |p|² - 2 x·p, never below 0."""
    lengths = b.op("ReduceSum", b.op("Mul", x, x), b.ints(1), keepdims=1)
    ends = b.op("Add", lengths, b.floats(np.sum(np.asarray(points, np.float64) ** 2, axis=1)[None]))
    return b.op("Relu", b.op("Sub", ends, b.op("MatMul", x, b.floats(2 * np.asarray(points, np.float64).T))))
