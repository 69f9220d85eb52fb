"""The ONNX graph around a core network: preprocessing nodes before it, calibrated probabilities after it.

Executes the same steps, in the same order, as `zoo.preprocess`; what is said there about clipping and padding
holds here. `zoo.artefact._resizing` writes the resize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo._support.files import sha256_bytes
from zoo._support.text import join_lines
from zoo.artefact._columns import add_columns
from zoo.artefact._oldest import find_oldest
from zoo.artefact._resizing import by_operator, by_products, find_nearest
from zoo.artefact.nodes import Builder, ancestors
from zoo.edge.bundle import CHECKSUM_KEY, METADATA_KEY
from zoo.errors import ModelError
from zoo.preprocess import NO_CONTRAST, channels_of, gaussian_kernel, place_window
from zoo.spec import (
    COLUMNS,
    EVIDENCE,
    FEATURES,
    IR_VERSION,
    NOVELTY,
    OPSET,
    InputSpec,
    Manifest,
    Median,
    Percentile,
    PreprocessSpec,
    Scale,
    TableSpec,
    Task,
    Voi,
    Window,
    encode,
)

if TYPE_CHECKING:
    import onnx

__all__ = ["CORE_INPUT", "RESIZED", "SCALED", "assemble", "finish", "set_manifest", "with_outputs"]

CORE_INPUT = "preprocessed"
"""Name of the tensor between preprocessing and network, (N, C, h, w) float32; the parity gate reads it."""

RESIZED = "resized"
"""Name of the tensor after the geometric half, (N, C, h, w) float32 holding raw values; the gate reads it
too."""

SCALED = "post/scaled"
"""Name of the logits over the temperature; the gate reads it too."""

_INT64_MAX = np.iinfo(np.int64).max
_FLOAT_MAX = np.finfo(np.float32).max
_FLOAT, _INT64 = 1, 7
"""onnx.TensorProto.FLOAT and INT64, without importing onnx for them."""


def assemble(
    core: onnx.ModelProto,
    spec: PreprocessSpec,
    given: InputSpec,
    *,
    temperature: float,
    task: Task = "multiclass",
    portable: bool = False,
    evidence: bool = False,
    features: bool = False,
    novelty: bool = False,
    table: TableSpec | None = None,
) -> onnx.ModelProto:
    """One graph from pictures to probabilities.

    Args:
        core: "input" (N, C, h, w) float32 to "logits" (N, K) float32, opset 18; it may have the outputs "evidence",
            "features" and "novelty".
        spec: the preprocessing to write as nodes.
        given: what the file's input is; its stage says how much of the preprocessing the caller has done.
        temperature: divides the logits before the last step.
        task: that step: multiclass a softmax over the labels, multilabel a sigmoid for each.
        portable: resize by matrix products, for runtimes that read the Resize operator otherwise.
        evidence: keep the core's output "evidence" (N, K, h, w); else what only it needs is left out.
        features: keep the core's output "features" (N, D).
        novelty: keep the core's output "novelty" (N,).
        table: columns that the core takes encoded as "columns" (N, D).

    Returns:
        A model with the input `given.name`, those of `table`, and the outputs "probabilities", "logits" and, if asked
        for, "evidence", "features" and "novelty".

    Raises:
        ModelError: the core is not valid ONNX, lacks an output, or its shapes contradict each other.
    """
    import onnx
    from onnx import compose, helper

    asked = {EVIDENCE: evidence, FEATURES: features, NOVELTY: novelty}
    core = with_outputs(core, ("logits", *(name for name, kept in asked.items() if kept)))
    widths = [one.type.tensor_type.shape.dim[1].dim_value for one in core.graph.output if one.name == FEATURES]
    if given.stage == "tensor":
        merged = compose.add_prefix(core, "core/", rename_inputs=False, rename_outputs=False)
        _rename_input(merged.graph, "input", given.name)
    else:
        front = helper.make_model(
            _preprocessing(spec, given, portable=portable),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=core.ir_version,
        )
        body = compose.add_prefix(core, "core/", rename_outputs=False)
        try:
            merged = compose.merge_models(front, body, io_map=[(CORE_INPUT, "core/input")])
        except (ValueError, onnx.checker.ValidationError) as problem:
            reason = join_lines(problem, 300)
            raise ModelError(
                f"the network's graph does not fit: {reason}; expected 'input' to 'logits' at opset {OPSET}, "
                "mend the plugin's to_onnx",
                code="model-graph",
                opset=OPSET,
            ) from None
    if table is not None:
        add_columns(merged.graph, table, COLUMNS if given.stage == "tensor" else f"core/{COLUMNS}")
    return finish(
        merged,
        temperature=temperature,
        task=task,
        maps=spec.size if evidence else None,
        width=sum(widths),
        novelty=novelty,
    )


def finish(
    model: onnx.ModelProto,
    *,
    temperature: float,
    task: Task,
    maps: tuple[int, int] | None = None,
    width: int = 0,
    novelty: bool = False,
) -> onnx.ModelProto:
    """Add the last step to a graph that ends in "logits", leave out what does not belong in a shipped file, check it.

    Args:
        model: its first output is "logits"; changed in place.
        temperature: number that divides the logits.
        task: kind of the labels; it decides between softmax and sigmoid.
        maps: (h, w) of the output "evidence"; None: it has none.
        width: D of the output "features"; 0: it has none.
        novelty: it has the output "novelty".

    Raises:
        ModelError: the graph is not valid ONNX.
    """
    import onnx
    from onnx import TensorProto, helper

    model.ir_version = IR_VERSION
    graph = model.graph
    # Softmax(logits / T) or Sigmoid(logits / T): temperature scaling, Guo et al. 2017, section 4.2.
    graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(temperature, np.float32), "post/temperature"))
    graph.node.append(helper.make_node("Div", ["logits", "post/temperature"], [SCALED], name="post/scale"))
    if task == "multilabel":
        graph.node.append(helper.make_node("Sigmoid", [SCALED], ["probabilities"], name="post/sigmoid"))
    else:
        graph.node.append(helper.make_node("Softmax", [SCALED], ["probabilities"], name="post/softmax", axis=1))
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shapes: dict[str, list[str | int]] = {"probabilities": ["N", classes], "logits": ["N", classes]}
    if maps is not None:
        shapes[EVIDENCE] = ["N", classes, *maps]
    if width:
        shapes[FEATURES] = ["N", width]
    if novelty:
        shapes[NOVELTY] = ["N"]
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    del graph.value_info[:]  # shapes that the exporter noted for its own input names
    del model.metadata_props[:]
    for node in graph.node:  # the exporter notes source files and stack traces of the training machine
        del node.metadata_props[:]
        node.doc_string = ""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    del model.opset_import[:]  # merging repeats entries
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sorted(versions.items()))
    model.producer_name, model.producer_version, model.doc_string = "edgezoo", "", ""
    graph.name, graph.doc_string = "zoo", ""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        reason = join_lines(problem, 300)
        raise ModelError(
            f"the network's graph is not valid onnx: {reason}; mend the plugin's to_onnx", code="model-graph"
        ) from None
    return model


def with_outputs(core: onnx.ModelProto, names: tuple[str, ...]) -> onnx.ModelProto:
    """A copy of the core with these outputs in this order, and the nodes that lead to them.

    Raises:
        ModelError: it has not all of them.
    """
    import onnx

    there = {value.name: value for value in core.graph.output}
    if lost := [name for name in names if name not in there]:
        raise ModelError(
            f"the network's graph has the outputs {', '.join(there) or 'none'}, expected {' and '.join(names)} "
            f"({lost[0]} is not there); mend the plugin's to_onnx",
            code="model-outputs",
            found=list(there),
            expected=list(names),
        )
    result = onnx.ModelProto()
    result.CopyFrom(core)
    del result.graph.output[:]
    result.graph.output.extend(there[name] for name in names)
    if len(names) < len(there):
        kept = ancestors(core.graph, *names)
        used = {name for index in kept for name in core.graph.node[index].input} | set(names)
        del result.graph.node[:], result.graph.initializer[:]
        result.graph.node.extend(node for index, node in enumerate(core.graph.node) if index in kept)
        result.graph.initializer.extend(one for one in core.graph.initializer if one.name in used)
    return result


def set_manifest(model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    """Write the manifest into the model's metadata under the key "zoo", and give it back as it was written.

    It then says from which ONNX Runtime on the file runs. Beside it the key "zoo.sha256" holds the hash of the file
    without that entry, which opening compares. So the model must not be changed afterwards.
    """
    kind = None if manifest.quantization is None else manifest.quantization.kind
    manifest = msgspec.structs.replace(manifest, runtime=find_oldest(model, kind))
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=encode(manifest).decode())
    model.metadata_props.add(key=CHECKSUM_KEY, value=sha256_bytes(model.SerializeToString()))
    return manifest


def _preprocessing(spec: PreprocessSpec, given: InputSpec, *, portable: bool) -> onnx.GraphProto:
    from onnx import TensorProto, helper

    b = Builder()
    whole = given.dtype == "uint8"
    x = b.op("Cast", given.name, to=TensorProto.FLOAT)
    if given.stage == "raw":
        x = _channels(b, x, spec, whole=whole)  # (N, c, H, W)
        padded = _find_padding(b, x, spec)
        x = _denoise(b, _fill(b, x, padded) if padded else x, spec)
        x = (by_products if portable else by_operator)(b, x, spec, whole=whole)  # (N, c, h, w)
        if padded and isinstance(spec.intensity, Percentile):
            x = b.op("Where", find_nearest(b, padded, spec), b.floats(spec.intensity.padding[0][0]), x)
    else:
        x = b.op("Transpose", x, perm=[0, 3, 1, 2])
    x = b.name_tensor(RESIZED, x)
    x = _intensity(b, x, spec)
    x = b.op("Sub", x, b.floats(np.reshape(spec.mean, (1, -1, 1, 1))))
    x = b.op("Div", x, b.floats(np.reshape(spec.std, (1, -1, 1, 1))))
    b.name_tensor(CORE_INPUT, x)
    height, width = spec.size
    kinds = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "float32": TensorProto.FLOAT}
    sides: list[str | int] = ["H", "W"] if given.stage == "raw" else [height, width]
    return helper.make_graph(
        b.nodes,
        "preprocessing",
        [helper.make_tensor_value_info(given.name, kinds[given.dtype], ["N", *sides, given.channels])],
        [helper.make_tensor_value_info(CORE_INPUT, TensorProto.FLOAT, ["N", channels_of(spec), height, width])],
        initializer=b.constants,
    )


def _channels(b: Builder, x: str, spec: PreprocessSpec, *, whole: bool) -> str:
    if spec.channels == "gray" and whole:
        # Sums stay below 2^24, so float32 holds every one of these integers exactly.
        x = b.op("Mul", x, b.floats([19595, 38470, 7471]))
        x = b.op("ReduceSum", x, b.ints(-1), keepdims=1)
        x = b.op("Floor", b.op("Mul", b.op("Add", x, b.floats(32768)), b.floats(1 / 65536)))
    x = b.op("Transpose", x, perm=[0, 3, 1, 2])
    return b.op("Concat", x, x, x, axis=1) if spec.channels == "rgb" and not whole else x  # a stack is as it is


def _denoise(b: Builder, x: str, spec: PreprocessSpec) -> str:
    if spec.denoise is None:
        return x
    if isinstance(spec.denoise, Median):
        k = spec.denoise.k
        r = k // 2
        padded = b.op("Pad", x, b.ints(0, 0, r, r, 0, 0, r, r), mode="edge")
        shifted = []
        for dy in range(k):
            for dx in range(k):
                ends = b.ints(*(side - k + 1 or _INT64_MAX for side in (dy, dx)))
                shifted.append(b.op("Unsqueeze", b.slice(padded, b.ints(dy, dx), ends, (2, 3)), b.ints(-1)))
        stacked = b.op("Concat", *shifted, axis=-1)
        largest = b.op("TopK", stacked, b.ints((k * k + 1) // 2), axis=-1)
        return b.op("ReduceMin", largest, b.ints(-1), keepdims=0)
    kernel = gaussian_kernel(spec.denoise.sigma)
    r, channels = len(kernel) // 2, channels_of(spec)
    for shape, pads in (((-1, 1), (0, 0, r, 0, 0, 0, r, 0)), ((1, -1), (0, 0, 0, r, 0, 0, 0, r))):
        weights = np.repeat(kernel.reshape(1, 1, *shape), channels, axis=0)
        x = b.op("Conv", b.op("Pad", x, b.ints(*pads), mode="edge"), b.floats(weights), group=channels)
    return x


def _intensity(b: Builder, x: str, spec: PreprocessSpec) -> str:
    intensity = spec.intensity
    if isinstance(intensity, Voi):
        return x
    if isinstance(intensity, Scale):
        return b.op("Div", x, b.floats(intensity.maximum))
    zero, one = b.floats(0), b.floats(1)
    if isinstance(intensity, Window):
        middle, reach = place_window(intensity)
        x = b.op("Div", b.op("Sub", x, b.floats(middle)), b.floats(reach))
        return b.op("Clip", b.op("Add", x, b.floats(0.5)), zero, one)
    padded = _find_padding(b, x, spec)
    low, high = _percentiles_of_rest(b, x, padded, spec, intensity) if padded else _percentiles(b, x, spec, intensity)
    apart, largest = b.op("Sub", high, low), b.op("Max", b.op("Abs", low), b.op("Abs", high))
    contrast = b.op("Greater", apart, b.op("Mul", largest, b.floats(NO_CONTRAST)))
    span = b.op("Where", contrast, apart, b.floats(_FLOAT_MAX))
    x = b.op("Clip", b.op("Div", b.op("Sub", x, low), span), zero, one)
    return b.op("Where", padded, zero, x) if padded else x


def _ranked(spec: PreprocessSpec, intensity: Percentile) -> tuple[int, tuple[int, int], tuple[int, ...]]:
    """How many values each percentile is of, the shape of rows to rank, and that of percentiles beside the picture."""
    channels, pixels = channels_of(spec), spec.size[0] * spec.size[1]
    if intensity.per == "channel":
        return pixels, (-1, pixels), (-1, channels, 1, 1)
    return channels * pixels, (0, -1), (-1, 1, 1, 1)


def _percentiles(b: Builder, x: str, spec: PreprocessSpec, intensity: Percentile) -> tuple[str, str]:
    """Two percentiles of each image, (N, 1, 1, 1), or of each of its channels, (N, c, 1, 1)."""
    count, rows, beside = _ranked(spec, intensity)
    ascending = b.op("TopK", b.op("Reshape", x, b.ints(*rows)), b.ints(count), axis=1, largest=0)

    def percentile(q: float) -> str:
        """Linear interpolation between order statistics, as numpy does."""
        position = q / 100 * (count - 1)
        lower, upper = (
            b.op("Gather", ascending, b.ints(int(index)), axis=1) for index in (np.floor(position), np.ceil(position))
        )
        value = b.op("Add", lower, b.op("Mul", b.op("Sub", upper, lower), b.floats(position % 1)))
        return b.op("Reshape", value, b.ints(*beside))

    return percentile(intensity.low), percentile(intensity.high)


def _find_padding(b: Builder, x: str, spec: PreprocessSpec) -> str:
    """`zoo.preprocess.find_padding` in nodes: a tensor as `x` of booleans; "" where the spec names no padding."""
    found = ""
    for low, high in spec.intensity.padding if isinstance(spec.intensity, Percentile) else ():
        inside = b.op("And", b.op("GreaterOrEqual", x, b.floats(low)), b.op("LessOrEqual", x, b.floats(high)))
        found = b.op("Or", found, inside) if found else inside
    return found


def _fill(b: Builder, x: str, padded: str) -> str:
    """Each image's smallest value that is not padding in the place of padding; an image of padding alone stays."""
    none = b.floats(_FLOAT_MAX)
    lowest = b.op("ReduceMin", b.op("Where", padded, none, x), b.ints(1, 2, 3), keepdims=1)
    return b.op("Where", b.op("And", padded, b.op("Less", lowest, none)), lowest, x)


def _percentiles_of_rest(
    b: Builder, x: str, padded: str, spec: PreprocessSpec, intensity: Percentile
) -> tuple[str, str]:
    """As `_percentiles`, of what is not padding: it sorts to the front, another number in each image."""
    count, rows, beside = _ranked(spec, intensity)
    flat = b.op("Reshape", b.op("Where", padded, b.floats(_FLOAT_MAX), x), b.ints(*rows))
    ascending = b.op("TopK", flat, b.ints(count), axis=1, largest=0)
    counted = b.op("Reshape", b.op("Cast", b.op("Not", padded), to=_INT64), b.ints(*rows))
    last = b.op("Max", b.op("Sub", b.op("ReduceSum", counted, b.ints(1), keepdims=1), b.ints(1)), b.ints(0))

    def percentile(q: float) -> str:
        place = b.op("Mul", b.op("Cast", last, to=_FLOAT), b.floats(q / 100))
        whole = b.op("Floor", place)
        lower, upper = (
            b.op("GatherElements", ascending, b.op("Min", b.op("Cast", rank, to=_INT64), last), axis=1)
            for rank in (whole, b.op("Ceil", place))
        )
        value = b.op("Add", lower, b.op("Mul", b.op("Sub", upper, lower), b.op("Sub", place, whole)))
        return b.op("Reshape", value, b.ints(*beside))

    return percentile(intensity.low), percentile(intensity.high)


def _rename_input(graph: onnx.GraphProto, old: str, new: str) -> None:
    graph.input[0].name = new
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
