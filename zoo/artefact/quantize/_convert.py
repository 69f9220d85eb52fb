"""The network in fewer bits: int8 as QuantizeLinear and DequantizeLinear pairs (QDQ), or fp16.

Each function gives a network with the same input and the same outputs in float32; nothing is judged here.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.artefact.quantize._core import WEIGHTED

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx

    from zoo.artefact.quantize._core import Core
    from zoo.artefact.quantize._targets import Scheme

__all__ = ["LARGEST_HALF", "to_half", "to_integers"]

_OPERATORS = (
    *WEIGHTED,
    *("Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Split", "Pad", "Slice"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
)
"""What is computed in, or handed on as, integers. Softmax, normalisation and means over many values lose most and cost
least, so they stay in float32."""

LARGEST_HALF = float(np.finfo(np.float16).max)
"""65 504; what is larger becomes infinite."""


def to_integers(
    core: Core,
    ranges: dict[str, tuple[float, float]],
    scheme: Scheme,
    *,
    excluded: Collection[str] = (),
    only: str | None = None,
) -> onnx.ModelProto:
    """The network in int8, weights with a scale for each output channel.

    Args:
        core: the network in float32.
        ranges: tensor to (low, high), from `Activations.ranges`.
        scheme: number types.
        excluded: layers that stay in float32, beside the head.
        only: quantise the input and the weights of this one layer and nothing else.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    types = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    copy = onnx.ModelProto()
    copy.CopyFrom(core.model)
    limits = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    log = logging.getLogger()
    before = log.level
    log.setLevel(logging.ERROR)  # it logs every bias it copies, to the root logger
    try:
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=scheme.seven_bits,
            weight_qType=types[scheme.weights],
            activation_qType=types[scheme.activations],
            tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
            nodes_to_quantize=[only] if only else [],
            nodes_to_exclude=[*core.head, *excluded],
            op_types_to_quantize=list(_OPERATORS),
            extra_options={
                "ActivationSymmetric": scheme.symmetric,
                "WeightSymmetric": scheme.weights == "int8",
                "MatMulConstBOnly": True,
                "QuantizeBias": scheme.integer_bias,
                # What a layer gives is quantised as what the next one takes, after its activation.
                "OpTypesToExcludeOutputQuantization": list(WEIGHTED) if only else [],
            },
        )
        quantizer.quantize_model()
    finally:
        log.setLevel(before)
    made: onnx.ModelProto = quantizer.model.model
    _spare_inputs(made.graph, core.model.graph, frozenset(excluded))
    return _tidy(made, core)


def _spare_inputs(graph: onnx.GraphProto, before: onnx.GraphProto, excluded: frozenset[str]) -> None:
    """Give layers that stay in float32 their input in float32, too: what one channel spoils is lost before them.

    The quantiser rounds every output. If only excluded layers read an output, its pair of nodes is removed here. If the
    quantiser had replaced a Relu or Clip by that pair, the Relu or Clip is put back.

    Args:
        graph: quantised; changed in place.
        before: float32 form of the network.
        excluded: names of the layers.
    """
    makers = {name: node for node in graph.node for name in node.output}
    makers_before = {name: node for node in before.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    gone = []
    for rounds in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        restores = readers.get(rounds.output[0], [])
        users = [user for node in restores for user in readers.get(node.output[0], [])]
        if not users or any(user.name not in excluded for user in users):
            continue
        made = {node.output[0] for node in restores}
        for user in users:
            for index, name in enumerate(user.input):
                if name in made:
                    user.input[index] = rounds.input[0]
        gone += [rounds, *restores]
        maker, activation = makers.get(rounds.input[0]), makers_before.get(rounds.input[0])
        if maker is not None and activation is not None and maker.name != activation.name:
            maker.output[0] = activation.input[0]
            graph.node.append(activation)
    for node in gone:
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    there = {one.name for one in graph.initializer} | {name for node in graph.node for name in node.output}
    graph.initializer.extend(one for one in before.initializer if one.name in used - there)  # bounds of a Clip
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def to_half(core: Core) -> onnx.ModelProto:
    """The network in fp16 with float32 input and head."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(core.model)
    made = _converter().convert_float_to_float16(copy, keep_io_types=True, node_block_list=list(core.head))
    _join_casts(made.graph, {node.name for node in core.model.graph.node})
    return _tidy(made, core)


def _join_casts(graph: onnx.GraphProto, own: Collection[str]) -> None:
    """Hand on in float32 what is made and taken in float32: the converter puts fp16 between any two nodes of the head.

    A score of novelty would lose its digits there, and be infinite from a sum of squares of 65 504 on.

    Args:
        graph: what the converter made; changed in place.
        own: names of the network's own nodes; a cast that is none of them casts float32 to fp16, or back.
    """
    added = {node.output[0]: node for node in graph.node if node.op_type == "Cast" and node.name not in own}
    outputs = {one.name for one in graph.output}
    joined = [node for node in added.values() if node.input[0] in added]
    for back in joined:
        made, given = added[back.input[0]].input[0], back.output[0]
        old, new = (made, given) if given in outputs else (given, made)
        for node in graph.node:
            for names in (node.input, node.output):
                for at, name in enumerate(names):
                    if name == old:
                        names[at] = new
    gone = {node.name for node in joined}
    read = {name for node in graph.node for name in node.input if node.name not in gone}
    gone |= {node.name for node in added.values() if node.output[0] not in read | outputs}
    kept = [node for node in graph.node if node.name not in gone]
    del graph.node[:]
    graph.node.extend(kept)


def _tidy(model: onnx.ModelProto, core: Core) -> onnx.ModelProto:
    """Input, output, operator set and order of nodes as in the float32 network; no notes of the tool."""
    import onnx

    ordered = _in_order(model.graph)
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    del model.graph.value_info[:]
    del model.opset_import[:]
    model.opset_import.extend(core.model.opset_import)
    onnx.checker.check_model(model, full_check=True)
    assert [one.name for one in model.graph.input] == [core.input]  # noqa: S101
    assert [one.name for one in model.graph.output] == [one.name for one in core.model.graph.output]  # noqa: S101
    return model


def _in_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes, each after those that make its inputs; the fp16 converter puts its casts at the end."""
    waiting = list(graph.node)
    producer = {name: node.name for node in waiting for name in node.output}
    ordered: list[onnx.NodeProto] = []
    done: set[str] = set()
    while waiting:
        ready = [node for node in waiting if all(name not in producer or name in done for name in node.input)]
        if not ready:
            raise ValueError("the converted network has a cycle")
        ordered += ready
        done.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not set(node.output) <= done]
    return ordered


def _converter() -> Any:
    """ONNX Runtime's own converter; onnxconverter-common, which it came from, is not kept up (Olive #1132)."""
    path = list(sys.path)
    try:
        return importlib.import_module("onnxruntime.transformers.float16")
    finally:
        sys.path[:] = path  # the package puts its own folder, with names like 'fusion_utils', on it
