"""What is on no list keeps a file shut: types, sizes, numbers, names, and bytes that two readers differ on."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from edge_models import make_model
from hostile_models import changed, with_constant, with_matrix, with_node
from onnx import TensorProto, helper, numpy_helper

from zoo.edge import Runtime
from zoo.edge.vet import _operators as operators
from zoo.edge.vet import _rules as rules
from zoo.edge.vet import check
from zoo.edge.vet._wire import MESSAGES
from zoo.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def refusal(model: onnx.ModelProto | bytes) -> ModelError:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(ModelError) as caught:
        check(data, "m.onnx")
    line = str(caught.value)
    assert line.startswith("m.onnx: ")
    assert "\n" not in line
    return caught.value


def accepted(model: onnx.ModelProto) -> None:
    check(model.SerializeToString(), "m.onnx")


def test_every_field_of_onnx_is_known_and_no_other() -> None:
    """A field we do not know would be skipped here and read by ONNX Runtime."""
    messages = {
        "model": onnx.ModelProto,
        "graph": onnx.GraphProto,
        "node": onnx.NodeProto,
        "attribute": onnx.AttributeProto,
        "tensor": onnx.TensorProto,
        "value": onnx.ValueInfoProto,
        "type": onnx.TypeProto,
        "tensor_type": onnx.TypeProto.Tensor,
        "shape": onnx.TensorShapeProto,
        "dim": onnx.TensorShapeProto.Dimension,
        "opset": onnx.OperatorSetIdProto,
        "entry": onnx.StringStringEntryProto,
    }
    assert messages.keys() == MESSAGES.keys()
    for name, message in messages.items():
        known = {number: record.name for number, record in MESSAGES[name].items()}
        assert known == {field.number: field.name for field in message.DESCRIPTOR.fields}, name


def test_every_operator_on_the_list_is_one_of_onnx_and_calls_no_graph() -> None:
    for domain, operator in operators.ALLOWED:
        schema = onnx.defs.get_schema(operator, domain=domain)
        kinds = {attribute.type for attribute in schema.attributes.values()}
        assert not kinds & {onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS}, operator
    assert not {("", name) for name in ("If", "Loop", "Scan", "RandomNormal", "StringConcat")} & operators.ALLOWED


def test_each_operator_stands_in_one_group_with_a_reason() -> None:
    named = [(domain, name) for _, domain, names in operators.GROUPS for name in names.split()]
    assert len(named) == len(set(named)) == len(operators.ALLOWED)
    assert all(reason and reason[0].islower() for reason, _, _ in operators.GROUPS)


FLOATS = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "float64": TensorProto.DOUBLE,
}


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
def test_weights_that_are_no_numbers_are_refused_in_every_spelling(kind: str, bad: float, raw: bool) -> None:
    values = np.array([1, -2.5, 0, 6e4, 1e-7, 0, 0, 0, 0], np.float64)
    for place in (0, 4, 8):
        sick = values.copy()
        sick[place] = bad
        problem = refusal(with_matrix(spelled(sick, FLOATS[kind], raw=raw)))
        assert problem.code == "model-not-finite"
        assert problem.fields["tensor"] == "tensor 'matrix'"
    accepted(with_matrix(spelled(values, FLOATS[kind], raw=raw)))


def spelled(values: np.ndarray[Any, Any], kind: int, *, raw: bool) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="matrix", data_type=kind, dims=[3, 3])
    bits = {
        TensorProto.FLOAT: values.astype("<f4"),
        TensorProto.DOUBLE: values.astype("<f8"),
        TensorProto.FLOAT16: values.astype("<f2"),
        TensorProto.BFLOAT16: (values.astype("<f4").view("<u4") >> 16).astype("<u2"),
    }[kind]
    if raw:
        tensor.raw_data = bits.tobytes()
    elif kind == TensorProto.FLOAT:
        tensor.float_data.extend(bits.tolist())
    elif kind == TensorProto.DOUBLE:
        tensor.double_data.extend(bits.tolist())
    else:
        tensor.int32_data.extend(bits.view("<u2").tolist())
    return tensor


def test_numbers_far_into_a_large_tensor_are_looked_at_too() -> None:
    for kind in (TensorProto.FLOAT, TensorProto.FLOAT16):
        for raw in (True, False):
            values = np.zeros(3_000_001)
            values[2_999_999] = np.nan
            tensor = spelled(values, kind, raw=raw)
            tensor.dims[:] = [3_000_001]
            assert "NaN" in str(refusal(with_matrix(tensor)))
            values[2_999_999] = 1
            tensor = spelled(values, kind, raw=raw)
            tensor.dims[:] = [3_000_001]
            accepted(with_matrix(tensor))


@pytest.mark.parametrize("count", [1, 5])
def test_attributes_that_are_no_numbers_are_refused(count: int) -> None:
    numbers = [0.5] * (count - 1) + [float("nan")]
    value: dict[str, Any] = {"alpha": numbers[0]} if count == 1 else {"nodes_values": numbers}
    node = with_node(
        "Elu" if count == 1 else "TreeEnsembleClassifier", domain="" if count == 1 else "ai.onnx.ml", **value
    )
    node.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    assert refusal(node).code == "model-not-finite"
    assert refusal(with_node("Constant", value_float=float("inf"))).code == "model-not-finite"
    assert refusal(with_node("Constant", value=numpy_helper.from_array(np.float32(np.nan)))).code == "model-not-finite"


def many(nodes: int, elements: int) -> onnx.ModelProto:
    """Several tensors, each of which is within the limit."""
    model = with_constant("ConstantOfShape", [elements])
    for i in range(1, nodes):
        model.graph.node.append(helper.make_node("ConstantOfShape", ["c0"], [f"unread{i}"]))
    return model


def doubling(operator: str, times: int, *, step: int = 1) -> onnx.ModelProto:
    """Nodes that each repeat what the one before made; with `step` a pool follows that takes it back."""
    model = make_model()
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1]), "twice"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "larger"))
    inputs = {"Concat": ("{0}", "{0}"), "Tile": ("{0}", "twice"), "Resize": ("{0}", "", "larger")}[operator]
    name = "mean"
    for i in range(times):
        made = helper.make_node(operator, [one.format(name) for one in inputs], [f"more{i}"])
        model.graph.node.append(made)
        name = f"more{i}"
        if step > 1:
            pool = helper.make_node("MaxPool", [name], [f"less{i}"], kernel_shape=[3, 3], strides=[step, step])
            model.graph.node.append(pool)
            name = f"less{i}"
    return model


HUGE: dict[str, Callable[[], onnx.ModelProto]] = {
    "ConstantOfShape": lambda: with_constant("ConstantOfShape", [2**20, 2**20]),
    "Expand": lambda: with_constant("Expand", [2**20, 2**12], inputs=("x",)),
    "Tile": lambda: with_constant("Tile", [2**15, 2**15, 1, 1], inputs=("x",)),
    "Range": lambda: with_constant("Range", 0, 2**40, 1),
    "endless Range": lambda: with_constant("Range", 0, 1, 0),
    "float Range": lambda: with_constant("Range", 0.0, 1.0, 1e-12),
    "Pad": lambda: with_constant("Pad", [0, 0, 0, 0, 0, 0, 2**31, 0], inputs=("x",)),
    "Resize by size": lambda: with_constant("Resize", [1, 3, 2**20, 2**20], inputs=("x", "", "")),
    "Resize by scale": lambda: with_constant("Resize", np.array([1, 1, 1e6, 1e6], np.float32), inputs=("x", "")),
    "OneHot": lambda: with_constant("OneHot", 2**40, inputs=("x",)),
    "kernel": lambda: with_node("MaxPool", inputs=["x"], kernel_shape=[2**20, 2**20]),
    "padding": lambda: with_node("Conv", inputs=["x", "w"], pads=[0, 2**40, 0, 0]),
    "output shape": lambda: with_node("ConvTranspose", inputs=["x", "w"], output_shape=[2**40, 1]),
    "a pool of a whole large map": lambda: with_node("MaxPool", inputs=["x"], kernel_shape=[4097, 4097]),
    "a pool with small steps": lambda: with_node("AveragePool", inputs=["x"], kernel_shape=[512, 512], strides=[4, 4]),
    "many together": lambda: many(8, 250_000_000),
    "doubling": lambda: doubling("Concat", 28),
    "doubling by Tile": lambda: doubling("Tile", 28),
    "doubling by Resize": lambda: doubling("Resize", 14),
    "many kernels": lambda: with_node("MaxPool", inputs=["x"], kernel_shape=[1] * 1000),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_node_that_makes_something_huge_from_constants_is_refused(name: str) -> None:
    assert "expected at most" in str(refusal(HUGE[name]()))


def test_a_huge_shape_in_a_constant_node_is_seen_as_well() -> None:
    for value in ({"value_ints": [2**20, 2**20]}, {"value": numpy_helper.from_array(np.array([2**40]))}):
        model = with_node("ConstantOfShape", inputs=["shape"])
        model.graph.node.insert(0, helper.make_node("Constant", [], ["shape"], **value))
        problem = refusal(model)
        assert problem.code == "model-asks-much"
        assert problem.fields["what"] == "values"


def test_shapes_of_ordinary_size_are_accepted() -> None:
    accepted(with_constant("ConstantOfShape", [1, 64, 56, 56]))
    accepted(with_constant("Expand", [1, -1, 1], inputs=("x",)))
    accepted(with_constant("Pad", [0, 0, 3, 3, 0, 0, 3, 3], inputs=("x",)))
    accepted(with_constant("Resize", [1, 3, 480, 480], inputs=("x", "", "")))
    accepted(with_constant("Range", 0, 197, 1))
    accepted(doubling("Concat", 6))
    accepted(doubling("Resize", 40, step=2))
    accepted(with_node("AveragePool", inputs=["x"], kernel_shape=[56, 56]))
    accepted(with_node("AveragePool", inputs=["x"], kernel_shape=[224, 224], strides=[224, 224]))
    accepted(with_node("Transpose", inputs=["x"], perm=[0, 3, 1, 2]))


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.INT4, 99])
def test_a_tensor_of_a_type_no_network_needs_is_refused(kind: int) -> None:
    tensor = onnx.TensorProto(name="matrix", data_type=kind, dims=[1], raw_data=b"12345678")
    assert f"of type {kind}" in str(refusal(with_matrix(tensor)))


def two_rows(tensor: onnx.TensorProto) -> None:
    tensor.float_data.extend([1.0] * 9)


TENSORS: dict[str, tuple[Callable[[onnx.TensorProto], Any], str]] = {
    "twice": (two_rows, "model-twice"),
    "none": (lambda t: t.ClearField("raw_data"), "model-tensor"),
    "more": (lambda t: setattr(t, "raw_data", t.raw_data + b"1234"), "model-tensor"),
    "overflow": (lambda t: t.dims.extend([2**62, 2**62]), "model-tensor"),
    "many sides": (lambda t: t.dims.extend([1] * 10), "model-tensor"),
    "very many sides": (lambda t: t.dims.extend([1] * 1000), "model-many"),
    "a piece": (lambda t: t.segment.CopyFrom(onnx.TensorProto.Segment(begin=0, end=1)), "model-part"),
    "other field": (lambda t: (t.ClearField("raw_data"), t.int64_data.extend([1] * 9)), "model-tensor"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_that_does_not_hold_what_its_shape_says_is_refused(name: str) -> None:
    change, code = TENSORS[name]
    assert refusal(changed(lambda model: change(model.graph.initializer[0]))).code == code


def typeless(model: onnx.ModelProto) -> None:
    model.graph.input[0].ClearField("type")


def sequence(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


GRAPHS: dict[str, tuple[Callable[[onnx.ModelProto], Any], str]] = {
    "input without type": (typeless, "model-value"),
    "input of text": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING),
        "model-value",
    ),
    "output of doubles": (
        lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", TensorProto.DOUBLE),
        "model-value",
    ),
    "input without shape": (lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"), "model-value"),
    "output is a sequence": (sequence, "model-part"),
    "two inputs": (second_input, "model-input"),
    "no input": (lambda m: m.graph.ClearField("input"), "model-input"),
    "no output": (lambda m: m.graph.ClearField("output"), "model-outputs"),
    "one name twice": (lambda m: m.graph.node.append(m.graph.node[0]), "model-twice"),
    "a weight named as the input": (
        lambda m: m.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "image")),
        "model-twice",
    ),
    "a long name": (
        lambda m: m.graph.node.append(helper.make_node("Relu", ["x"], ["y" * 2000])),
        "model-name",
    ),
    "an overload": (lambda m: setattr(m.graph.node[0], "overload", "mine"), "model-operator"),
    "many inputs": (
        lambda m: m.graph.node.append(helper.make_node("Concat", ["x"] * 5000, ["y"], axis=0)),
        "model-many",
    ),
    "an attribute twice": (
        lambda m: m.graph.node[0].attribute.append(m.graph.node[0].attribute[0]),
        "model-twice",
    ),
    "a type as attribute": (
        lambda m: m.graph.node[0].attribute.add(name="t").tp.tensor_type.SetInParent(),
        "model-operator",
    ),
    "two versions": (lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 17)), "model-twice"),
    "an old ml opset": (
        lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx.ml", 99)),
        "model-version",
    ),
    "metadata keys": (
        lambda m: [m.metadata_props.add(key=f"k{i}", value="") for i in range(100)],
        "model-many",
    ),
    "devices": (lambda m: m.configuration.add(name="d"), "model-part"),
    "a random operator": (
        lambda m: m.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[1])),
        "model-operator",
    ),
    "text": (lambda m: m.graph.node.append(helper.make_node("StringNormalizer", ["x"], ["r"])), "model-operator"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_with_something_no_classifier_has_is_refused(name: str) -> None:
    change, code = GRAPHS[name]
    assert refusal(changed(change)).code == code


def test_more_nodes_than_any_network_has_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules.MOST_NODES == 20_000
    monkeypatch.setattr(rules, "MOST_NODES", 5)
    model = make_model()
    accepted(model)
    model.graph.node.extend(helper.make_node("Relu", ["x"], [f"r{i}"]) for i in range(2))
    problem = refusal(model)
    assert problem.code == "model-many"
    assert problem.fields["what"] == "nodes"
    assert problem.fields["most"] == 5
    model = make_model()
    model.graph.initializer.extend(numpy_helper.from_array(np.float32(i), f"w{i}") for i in range(3))
    problem = refusal(model)
    assert problem.code == "model-many"
    assert problem.fields["what"] == "weights"
    assert problem.fields["most"] == 5


def test_metadata_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST_TEXT", 10_000)
    model = make_model()
    accepted(model)
    model.metadata_props.add(key="notes", value="x" * 10_000)
    problem = refusal(model)
    assert problem.code == "model-many"
    assert problem.fields["what"] == "bytes of metadata"
    assert problem.fields["most"] == 10000
    model = make_model()
    model.graph.doc_string = "x" * 10_001
    problem = refusal(model)
    assert problem.code == "model-many"
    assert problem.fields["what"] == "bytes of descriptions"
    assert problem.fields["most"] == 10000


def nested(*fields: int) -> bytes:
    """Many empty pieces in messages within messages; `fields` are their tags, the pieces' own last."""
    data = bytes([fields[-1], 0]) * 150_000
    for tag in reversed(fields[:-1]):
        size, length = b"", len(data)
        while length > 0x7F:
            size += bytes([length & 0x7F | 0x80])
            length >>= 7
        data = bytes([tag]) + size + bytes([length]) + data
    return data


SMALL_PIECES = {
    "descriptions": nested(0x3A, 0x6A),
    "attributes": nested(0x3A, 0x0A, 0x2A),
    "inputs of a node": nested(0x3A, 0x0A, 0x0A),
    "inputs": nested(0x3A, 0x5A),
    "pieces of floats": nested(0x3A, 0x0A, 0x2A, 0x3A),
    "tensors": nested(0x3A, 0x0A, 0x2A, 0x52),
    "words": nested(0x3A, 0x0A, 0x2A, 0x4A),
    "sides": nested(0x3A, 0x2A, 0x0A),
    "opsets": b"".join(b"\x42\x06\x0a\x04%04d" % i for i in range(1000)),
}


@pytest.mark.parametrize("name", SMALL_PIECES)
def test_a_file_of_very_many_small_pieces_is_refused_early_and_in_little_memory(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.edge.vet._outline._MOST_RECORDS", 100_000)
    tracemalloc.start()
    refusal(SMALL_PIECES[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_bytes_that_two_readers_take_for_two_models_are_refused() -> None:
    """Protobuf skips unknown fields and lets the last of two win; another reader need not."""
    whole = make_model().SerializeToString()
    assert refusal(whole + b"\x9a\x06\x01x").code == "model-malformed"
    assert refusal(whole + b"\x08\x08").code == "model-malformed"
    assert refusal(b"\x0a\x01x" + whole).code == "model-malformed"
    graph = helper.make_graph([], "second", [], []).SerializeToString()
    assert refusal(whole + b"\x3a" + bytes([len(graph)]) + graph).code == "model-malformed"
    assert refusal(whole + b"\x0b").code == "model-malformed"


def test_a_cycle_and_nodes_out_of_order_give_one_line_or_an_answer(tmp_path: Path) -> None:
    model = make_model()
    model.graph.node.append(helper.make_node("Add", ["b", "mean"], ["a"]))
    model.graph.node.append(helper.make_node("Add", ["a", "mean"], ["b"]))
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="onnxruntime") as caught:
        Runtime.open(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: with_constant("OneHot", np.zeros(0, np.float32), np.float32([0, 1]), inputs=("x",)), "OneHot needs"),
        (lambda: with_node("OneHot", inputs=["x", "mean", "matrix"]), "OneHot needs"),
        (lambda: with_node("LayerNormalization", inputs=["mean", "mean", ""]), "third input"),
        (lambda: with_node("QuantizeLinear", inputs=["mean", "matrix", ""], block_size=2), "third input"),
        (lambda: with_constant("GatherND", [[0]], inputs=("x",), batch_dims=-(2**31)), "batch_dims -2147483648"),
    ],
    ids=["no depth", "a computed depth", "room for a bias", "room for a zero", "batch_dims"],
)
def test_what_the_runtime_crashes_on_is_refused(model: Callable[[], onnx.ModelProto], named: str) -> None:
    """Found by running random nodes of every operator on the list: it reads beyond an empty tensor, or no tensor."""
    assert named in str(refusal(model()))


def test_attention_by_no_head_is_not_run() -> None:
    """ONNX Runtime divides by the number of heads; shapes computed while running can make it 0."""
    problem = refusal(with_node("Attention", inputs=["x", "x", "x"]))
    assert problem.code == "model-operator"
    assert problem.fields["operator"] == "Attention"


def test_what_a_node_repeats_is_not_taken_for_what_it_makes() -> None:
    one = numpy_helper.from_array(np.array([3], np.int64))
    model = with_constant("ConstantOfShape", [0], value=one)
    values = numpy_helper.from_array(np.float32([0, 1]), "values")
    model.graph.initializer.append(values)
    model.graph.node.append(helper.make_node("OneHot", ["x", "unread", "values"], ["hot"]))
    problem = refusal(model)
    assert problem.code == "model-crashes"
    assert problem.fields["operator"] == "OneHot"


def test_the_sound_forms_of_such_operators_are_opened() -> None:
    accepted(with_constant("OneHot", 3, np.float32([0, 1]), inputs=("x",)))
    accepted(with_node("LayerNormalization", inputs=["mean", "mean"]))
    accepted(with_constant("GatherND", [[0]], inputs=("x",), batch_dims=1))
