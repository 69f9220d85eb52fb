"""The output "features" of a core: what its last layer makes the logits of, found in the graph itself.

No framework is asked, and none has to say where its features are. The framework's own answer is the other side of the
parity gate: for torch `zoo.learn.torch_features`, which looks for the last layer in the running network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.artefact._graph import with_outputs
from zoo.spec import FEATURES

if TYPE_CHECKING:
    import onnx

__all__ = ["name_features", "only_features", "with_features"]

_PASSED = frozenset({"Flatten", "Identity", "Reshape", "Squeeze"})
"""Operators between the last layer and the logits that change no number."""


def with_features(core: onnx.ModelProto) -> onnx.ModelProto:
    """The core with the output "features" (N, D): the input of the layer whose output the logits are.

    That layer is a matrix product with constant weights, or a convolution of one pixel on one pixel, which is the same.
    A core whose logits are made otherwise, such as the mean of two heads or the pooling of a map, is returned as it is;
    so is one that has the output already.

    Args:
        core: "input" (N, C, h, w) to "logits" (N, K); changed in place.
    """
    from onnx import helper

    if any(one.name == FEATURES for one in core.graph.output):
        return core
    found = _last_layer(core)
    if found is None:
        return core
    layer, weights, reshaped = found
    if layer.op_type == "Conv":
        if len(weights) != 4 or any(side != 1 for side in weights[2:]):
            return core
        width = weights[1]
    elif reshaped or len(weights) != 2:  # of tokens, not of an image
        return core
    else:
        width = weights[1 if _is_set(layer, "transB") else 0]
    if _is_set(layer, "transA"):
        return core
    flat = {"op_type": "Flatten", "axis": 1} if layer.op_type == "Conv" else {"op_type": "Identity"}
    core.graph.node.append(helper.make_node(inputs=[layer.input[0]], outputs=[FEATURES], name=FEATURES, **flat))
    _declare(core, width)
    return core


def name_features(core: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """The core with the tensor called `tensor`, (N, D), as the output "features"; as it is where there is none.

    Args:
        core: "input" (N, C, h, w) to "logits" (N, K); changed in place.
        tensor: name of a tensor inside.
    """
    import onnx

    if any(one.name == FEATURES for one in core.graph.output):
        return core
    if not any(tensor in node.output for node in core.graph.node):
        return core
    core.graph.node.append(onnx.helper.make_node("Identity", [tensor], [FEATURES], name=FEATURES))
    known = {one.name: one for one in onnx.shape_inference.infer_shapes(core).graph.value_info}
    sides = known[tensor].type.tensor_type.shape.dim if tensor in known else []
    if len(sides) != 2 or not sides[1].dim_value:
        del core.graph.node[-1]
        return core
    _declare(core, sides[1].dim_value)
    return core


def only_features(core: onnx.ModelProto, name: str) -> onnx.ModelProto | None:
    """The core without its last layer: its one output is `name`, (N, D); None: it has no such layer.

    Args:
        core: "input" (N, C, h, w) to "logits" (N, K); changed in place.
        name: name of the output.
    """
    core = with_features(core)
    if all(one.name != FEATURES for one in core.graph.output):
        return None
    core = with_outputs(core, (FEATURES,))
    for node in core.graph.node:
        node.output[:] = [name if output == FEATURES else output for output in node.output]
    core.graph.output[0].name = name
    return core


def _last_layer(core: onnx.ModelProto) -> tuple[onnx.NodeProto, list[int], bool] | None:
    """The layer whose output the logits are, the shape of its weights, and whether a reshape comes after it."""
    producer = {name: node for node in core.graph.node for name in node.output}
    constants = {one.name: list(one.dims) for one in core.graph.initializer}
    name, reshaped = "logits", False
    while (node := producer.get(name)) is not None:
        if node.op_type in {"Conv", "Gemm", "MatMul"}:
            return (node, constants[node.input[1]], reshaped) if node.input[1] in constants else None
        if node.op_type in _PASSED:
            reshaped |= node.op_type != "Identity"
            name = node.input[0]
        elif node.op_type == "Add" and len(constants.keys() & set(node.input)) == 1:  # its bias
            name = next(one for one in node.input if one not in constants)
        else:
            return None
    return None


def _is_set(node: onnx.NodeProto, name: str) -> bool:
    return any(one.name == name and one.i for one in node.attribute)


def _declare(core: onnx.ModelProto, width: int) -> None:
    from onnx import TensorProto, helper

    core.graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", width]))
