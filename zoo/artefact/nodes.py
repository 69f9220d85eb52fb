"""Nodes and constants of a graph under construction, and which nodes lead to a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["Builder", "ancestors"]


class Builder:
    """Collects nodes and constants; each method returns the name of the tensor it makes.

    Attributes:
        part: before every name, so that two builders of one graph do not meet.
    """

    def __init__(self, part: str = "pre") -> None:
        self.part = part
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: Any) -> str:
        """An initializer holding `value`."""
        import onnx

        name = f"{self.part}/c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The first output of a new node."""
        from onnx import helper

        name = f"{self.part}/{len(self.nodes)}_{kind}"
        outputs = [name, f"{name}_indices"] if kind == "TopK" else [name]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=name, **attributes))
        return name

    def name_tensor(self, name: str, x: str) -> str:
        """Let the tensor `x` be found under `name`."""
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [x], [name], name=f"{self.part}/{name}"))
        return name

    def floats(self, value: Any) -> str:
        """A float32 constant of any shape."""
        return self.constant(value, np.float32)

    def ints(self, *values: int) -> str:
        """A (len(values),) int64 constant."""
        return self.constant(values, np.int64)

    def slice(self, x: str, starts: str, ends: str, axes: tuple[int, ...]) -> str:
        """A part of `x`, from `starts` to before `ends` along `axes`."""
        return self.op("Slice", x, starts, ends, self.ints(*axes))


def ancestors(graph: onnx.GraphProto, *names: str) -> set[int]:
    """Positions of the nodes that the tensors `names` are made by."""
    producer = {output: index for index, node in enumerate(graph.node) for output in node.output}
    waiting, found = list(names), set[int]()
    while waiting:
        index = producer.get(waiting.pop())
        if index is not None and index not in found:
            found.add(index)
            waiting.extend(graph.node[index].input)
    return found
