"""The network inside a file: taken out to be changed, put back between the same preprocessing and last step.

Only what lies between the tensors "preprocessed" and "logits" is ever touched. The nodes before and after it are
those of the proven float32 file, byte for byte, so a quantised file prepares pictures and turns logits into
probabilities exactly as that one does.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.artefact._graph import CORE_INPUT
from zoo.artefact.nodes import ancestors
from zoo.errors import UsageError
from zoo.spec import EVIDENCE, FEATURES, NOVELTY

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx

__all__ = ["LOGITS", "Core", "core_of", "find_weighted", "with_core"]

LOGITS = "logits"

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose weights are quantised."""


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """A network ready to be quantised.

    Attributes:
        model: from `input` (N, C, h, w) to "logits", and "evidence", "features" and "novelty" where the file has
            them; constants
            folded, normalisation folded into convolutions.
        input: name of its one input.
        layers: names of nodes with weights, from the input to the logits; the head is not among them.
        head: names of the node that makes the logits from features and of all after it, and of what only the novelty
            score needs; they stay in float32.
    """

    model: onnx.ModelProto
    input: str
    layers: tuple[str, ...]
    head: tuple[str, ...]


def core_of(model: onnx.ModelProto) -> Core:
    """The network of an assembled file, prepared for quantisation.

    Raises:
        UsageError: it has no layer to quantise: a random forest, a support vector machine, or a head alone.
    """
    if foreign := sorted({node.op_type for node in model.graph.node if node.domain not in {"", "ai.onnx"}}):
        raise UsageError(
            f"this model computes with {foreign[0]}, which has no int8 or fp16 form; only neural networks can be "
            "quantised, export it as it is",
            code="quantise-nothing",
            operator=foreign[0],
        )
    made = {name for node in model.graph.node for name in node.output}
    name = CORE_INPUT if CORE_INPUT in made else model.graph.input[0].name
    prepared = _prepare(_cut_out(model, name))
    weights = find_weighted(prepared)
    head = (*_head(prepared, weights), *_only_novelty(prepared))
    layers = tuple(layer for layer in weights if layer not in head)
    if not layers:
        raise UsageError(
            "this model has no convolution or matrix product before its classifier, so nothing to quantise; "
            "export it as it is",
            code="quantise-nothing",
        )
    return Core(prepared, name, layers, head)


def with_core(model: onnx.ModelProto, core: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the file with another network in it; preprocessing and last step are untouched."""
    import onnx

    inside = _between(model, core.graph.input[0].name)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    before, after = ancestors(model.graph, core.graph.input[0].name), []
    for index, node in enumerate(model.graph.node):
        if index not in inside and index not in before:
            after.append(node)
    first = [model.graph.node[index] for index in sorted(before)]
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend([*first, *core.graph.node, *after])
    needed = {name for node in (*first, *after) for name in node.input}
    result.graph.initializer.extend(one for one in model.graph.initializer if one.name in needed)
    result.graph.initializer.extend(core.graph.initializer)
    for node in result.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(result, full_check=True)
    return result


def find_weighted(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the nodes that multiply by constant weights, in the graph's order."""
    constants = {one.name for one in model.graph.initializer}
    return tuple(
        node.name for node in model.graph.node if node.op_type in WEIGHTED and constants & set(node.input[1:2])
    )


def _cut_out(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The nodes between the tensor `name` and the network's own outputs, as a model."""
    import onnx

    inside = sorted(_between(model, name))
    nodes = [model.graph.node[index] for index in inside]
    needed = {used for node in nodes for used in node.input}
    known = {one.name: one for one in (*model.graph.input, *onnx.shape_inference.infer_shapes(model).graph.value_info)}
    graph = onnx.helper.make_graph(
        nodes,
        "core",
        [known[name]],
        [one for one in model.graph.output if one.name in {LOGITS, EVIDENCE, FEATURES, NOVELTY}],
        initializer=[one for one in model.graph.initializer if one.name in needed],
    )
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded, normalisation folded into convolutions, shapes noted, every node with a name of its own."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "core.onnx", Path(folder) / "prepared.onnx"
        given.write_bytes(model.SerializeToString())
        # Symbolic shapes need sympy and say nothing new of networks whose only free size is the batch.
        quant_pre_process(str(given), str(made), skip_symbolic_shape=True)
        prepared = onnx.load(made)
    taken: set[str] = set()
    for index, node in enumerate(prepared.graph.node):
        name = node.name or f"core/{index}_{node.op_type}"
        node.name = name if name not in taken else f"{name}_{index}"
        taken.add(node.name)
    del prepared.opset_import[:]  # ONNX Runtime declares every domain it knows
    prepared.opset_import.extend(model.opset_import)
    del prepared.metadata_props[:]
    return prepared


def _head(model: onnx.ModelProto, weights: Iterable[str]) -> tuple[str, ...]:
    """The last node with weights before the logits, and all that comes after it."""
    there = set(weights)
    producer = {name: node for node in model.graph.node for name in node.output}
    waiting, seen = [LOGITS], set()
    found = None
    while waiting and found is None:
        node = producer.get(waiting.pop(0))
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.name in there:
            found = node
        waiting.extend(node.input)
    if found is None:
        return ()
    reached, head = set(found.output), [found.name]
    for node in model.graph.node:
        if reached & set(node.input):
            reached.update(node.output)
            head.append(node.name)
    return tuple(head)


def _only_novelty(model: onnx.ModelProto) -> tuple[str, ...]:
    """Nodes that make the novelty score and nothing else: distances have no int8 or fp16 form worth having."""
    only = ancestors(model.graph, NOVELTY) - ancestors(model.graph, LOGITS, EVIDENCE, FEATURES)
    return tuple(model.graph.node[index].name for index in sorted(only))


def _between(model: onnx.ModelProto, name: str) -> set[int]:
    """Positions of the nodes that lead from the tensor `name` to the logits, and to what else it may give."""
    return ancestors(model.graph, LOGITS, EVIDENCE, FEATURES, NOVELTY) - ancestors(model.graph, name)
