"""Columns beside the image as inputs and nodes of the graph: the same as `zoo.tabular.encode_columns`, in ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.artefact.nodes import Builder
from zoo.errors import ModelError
from zoo.spec import COLUMNS, Numeric

if TYPE_CHECKING:
    import onnx

    from zoo.spec import ColumnSpec, TableSpec

__all__ = ["ENCODED", "add_columns"]

ENCODED = "columns/encoded"
"""Name of the tensor between the columns and the network, (N, D) float32; the parity gate reads it."""

_FLOAT = 1
"""onnx.TensorProto.FLOAT, without importing onnx for it."""


def add_columns(graph: onnx.GraphProto, table: TableSpec, name: str) -> None:
    """Put one input (N,) float32 for each column in the place of the input `name` (N, D) of a network.

    Args:
        graph: changed in place.
        table: the columns.
        name: the input that takes them encoded.

    Raises:
        ModelError: the graph has no such input.
    """
    from onnx import TensorProto, helper

    old = next((one for one in graph.input if one.name == name), None)
    if old is None:
        raise ModelError(
            f"the network's graph has no input '{COLUMNS}' for {len(table.columns)} columns; mend the plugin's to_onnx",
            code="model-graph",
            expected=COLUMNS,
        )
    graph.input.remove(old)
    b = Builder("columns")
    parts: list[str] = []
    for given, column in zip(table.inputs, table.columns, strict=True):
        graph.input.append(helper.make_tensor_value_info(given, TensorProto.FLOAT, ["N"]))
        parts += _encode(b, b.op("Unsqueeze", given, b.ints(1)), column)
    b.name_tensor(ENCODED, b.op("Concat", *parts, axis=1))
    for node in graph.node:
        for at, read in enumerate(node.input):
            if read == name:
                node.input[at] = ENCODED
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend((*b.nodes, *rest))
    graph.initializer.extend(b.constants)


def _encode(b: Builder, x: str, column: ColumnSpec) -> list[str]:
    """Of one column (N, 1) the tensors (N, …), from left to right."""
    if isinstance(column, Numeric):
        mean, gone = b.floats(column.mean), b.op("IsNaN", x)
        scaled = b.op("Div", b.op("Sub", b.op("Where", gone, mean, x), mean), b.floats(column.std))
        return [scaled, b.op("Cast", gone, to=_FLOAT)] if column.missing == "learnt" else [scaled]
    places = b.floats(np.arange(len(column.values)).reshape(1, -1))
    hits = b.op("Cast", b.op("Equal", x, places), to=_FLOAT)
    if not column.other:
        return [hits]
    return [hits, b.op("Sub", b.floats(1), b.op("ReduceSum", hits, b.ints(1), keepdims=1))]
