"""Nodes and constants of a graph under construction, which nodes lead to a tensor, and those nodes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx

__all__ = ["Builder", "ancestors", "extract"]


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


def ancestors(graph: onnx.GraphProto, *names: str, given: Collection[str] = ()) -> set[int]:
    """Positions of the nodes that make the tensors `names`, of the inputs or of the tensors `given`."""
    producer = {output: index for index, node in enumerate(graph.node) for output in node.output}
    waiting, found = list(names), set[int]()
    while waiting:
        name = waiting.pop()
        index = None if name in given else producer.get(name)
        if index is not None and index not in found:
            found.add(index)
            waiting.extend(graph.node[index].input)
    return found


def extract(model: onnx.ModelProto, *names: str, given: Collection[str] = ()) -> onnx.ModelProto:
    """The nodes alone that make the tensors `names` of the model's inputs, and of the tensors `given`; all are float32.

    Of the model's inputs it has those that these nodes read.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    kept = ancestors(graph, *names, given=given)
    read = {name for index in kept for name in graph.node[index].input}
    own = [one for one in graph.input if one.name in read]
    made = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in part] for part in (given, names)]
    part = helper.make_graph(
        [node for index, node in enumerate(graph.node) if index in kept],
        "part",
        [*own, *made[0]],
        made[1],
        [one for one in graph.initializer if one.name in read],
    )
    versions = [helper.make_opsetid(entry.domain, entry.version) for entry in model.opset_import]
    return helper.make_model(part, opset_imports=versions, ir_version=model.ir_version, functions=list(model.functions))
