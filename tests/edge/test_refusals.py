"""A file that is not ours, not whole or not what it says must be refused in one line, before it runs."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from edge_models import LABELS, deep_manifest, make_manifest, make_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from zoo.edge import Failure, Runtime
from zoo.edge.vet._outline import outline
from zoo.errors import ModelError
from zoo.spec import InputSpec, PreprocessSpec, encode

if TYPE_CHECKING:
    from pathlib import Path


def refusal(path: Path, model: onnx.ModelProto | bytes | None = None) -> ModelError:
    """The one line with which a file is refused."""
    if model is not None:
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(ModelError) as caught:
        Runtime.open(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.onnx"


def outside(name: str = "w", **keys: str) -> onnx.TensorProto:
    """A tensor that says its data is in another file."""
    tensor = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3, 3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "weights.bin"} | keys).items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_a_missing_file_is_refused(path: Path) -> None:
    assert refusal(path).code == "file-unreadable"


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert "manifest.json" in str(refusal(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX")
def test_a_pipe_does_not_make_the_device_wait(path: Path) -> None:
    os.mkfifo(path)
    assert refusal(path).code == "model-not-file"


def test_an_empty_file_is_refused(path: Path) -> None:
    assert "empty" in str(refusal(path, b""))


def test_a_truncated_file_is_refused_at_every_length(path: Path) -> None:
    whole = make_model().SerializeToString()
    for length in [*range(1, 400, 7), len(whole) // 2, len(whole) - 100, len(whole) - 1]:
        refusal(path, whole[:length])


class _Canary:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_pickle_named_onnx_is_refused_and_not_executed(path: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        refusal(path, pickle.dumps(_Canary(canary), protocol))
    assert not canary.exists()


def test_a_torch_style_zip_named_onnx_is_refused_and_not_executed(path: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Canary(canary)))
    assert refusal(path).code == "model-format"
    assert not canary.exists()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_random_bytes_give_a_refusal_and_never_another_error(path: Path, data: bytes) -> None:
    refusal(path, data)


def test_one_changed_byte_is_refused_nineteen_times_in_twenty_and_answered_else(path: Path) -> None:
    """What is left are changes that keep a model a model: another weight, another word in its manifest."""
    sound, chance = make_model().SerializeToString(), random.Random(0)  # noqa: S311 - accidents, no secrets
    refusals, changes = 0, 1000
    for _ in range(changes):
        data = bytearray(sound)
        at = chance.randrange(len(data))
        data[at] ^= chance.randrange(1, 256)
        path.write_bytes(data)
        try:
            (found,) = Runtime.open(path).predict([np.zeros((4, 4, 3), np.uint8)])
        except ModelError:
            refusals += 1
        else:
            assert isinstance(found, Failure) or 0 <= found.probability <= 1
    assert changes * 0.92 < refusals < changes


def test_a_graph_whose_names_are_no_text_is_refused(path: Path) -> None:
    data = make_model().SerializeToString()
    assert b"\x12\x01H" in data  # a symbolic side of the input
    assert refusal(path, data.replace(b"\x12\x01H", b"\x12\x01\x80")).code == "model-malformed"


def test_an_onnx_file_of_another_tool_is_refused(path: Path) -> None:
    model = make_model()
    del model.metadata_props[:]
    assert refusal(path, model).code == "model-foreign"


def test_two_manifests_in_one_file_are_refused(path: Path) -> None:
    model = make_model()
    model.metadata_props.add(key="zoo", value=encode(make_manifest(name="other")).decode())
    assert "twice" in str(refusal(path, model))


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[" * 100_000, '{"schema": NaN}', "9" * 100_000],
    ids=["empty", "object", "deep", "nan", "long number"],
)
def test_metadata_that_is_no_manifest_is_refused(path: Path, text: str) -> None:
    model = make_model()
    helper.set_model_props(model, {"zoo": text})
    assert "metadata 'zoo'" in str(refusal(path, model))


def test_a_manifest_of_a_later_schema_is_refused(path: Path) -> None:
    assert refusal(path, make_model(make_manifest(schema=2))).code == "manifest-malformed"


def test_a_manifest_with_one_label_twice_is_refused(path: Path) -> None:
    assert "labels" in str(refusal(path, make_model(make_manifest(labels=("a", "b", "a")))))


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"location": "../x"},
        {"location": "a/../../x"},
        {"location": "/etc/passwd"},
        {"location": "*/_ORT_MEM_ADDR_/*"},
        {"length": str(2**50)},
        {"offset": "-4"},
        {"__class__": "x"},
    ],
    ids=["plain", "parent", "dots", "absolute", "memory", "length", "offset", "dunder"],
)
def test_weights_in_another_file_are_refused(path: Path, keys: dict[str, str]) -> None:
    model = make_model()
    model.graph.initializer.append(outside(**keys))
    assert "outside the model" in str(refusal(path, model))


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_weights_in_a_linked_file_are_refused(path: Path, tmp_path: Path, link: str) -> None:
    # ONNX Runtime 1.31 reads the hard-linked one: a secret on the device becomes weights.
    secret = tmp_path / "secret"
    secret.write_bytes(np.eye(3, dtype=np.float32).tobytes())
    other = tmp_path / "weights.bin"
    if link == "hard":
        other.hardlink_to(secret)
    else:
        other.symlink_to(secret)
    model = make_model()
    del model.graph.initializer[0]
    model.graph.initializer.append(outside("matrix"))
    problem = refusal(path, model)
    assert problem.code == "model-external-data"
    assert problem.fields["tensor"] == "'matrix'"


def test_external_data_marked_only_by_its_entries_is_refused(path: Path) -> None:
    model = make_model()
    model.graph.initializer.append(outside())
    model.graph.initializer[-1].ClearField("data_location")
    assert "outside the model" in str(refusal(path, model))


def test_external_data_in_a_constant_is_refused(path: Path) -> None:
    model = make_model()
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside()))
    assert "outside the model" in str(refusal(path, model))


def test_external_data_in_a_subgraph_is_refused(path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "inner",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 3])],
        initializer=[outside()],
    )
    model = make_model()
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    problem = refusal(path, model)
    assert problem.code == "model-operator"
    assert problem.fields["operator"] == "'If'"


@pytest.mark.parametrize("part", ["values", "indices"])
def test_external_data_in_a_sparse_initializer_is_refused(path: Path, part: str) -> None:
    sparse = onnx.SparseTensorProto(dims=[3, 3])
    getattr(sparse, part).CopyFrom(outside())
    model = make_model()
    model.graph.sparse_initializer.append(sparse)
    assert refusal(path, model).code == "model-part"


def test_external_data_in_a_local_function_is_refused(path: Path) -> None:
    node = helper.make_node("Constant", [], ["y"], value=outside())
    model = make_model()
    model.functions.append(helper.make_function("own", "F", [], ["y"], [node], [helper.make_opsetid("", 18)]))
    problem = refusal(path, model)
    assert problem.code == "model-part"
    assert problem.fields["part"] == "functions"


def test_local_functions_are_refused(path: Path) -> None:
    node = helper.make_node("F", ["x"], ["y"], domain="own")
    model = make_model()
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [node], [helper.make_opsetid("own", 1)]))
    problem = refusal(path, model)
    assert problem.code == "model-part"
    assert problem.fields["part"] == "functions"


def test_operators_of_other_domains_are_refused_by_name(path: Path) -> None:
    model = make_model()
    model.graph.node.append(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft"))
    assert "com.microsoft:EPContext" in str(refusal(path, model))


def test_a_loop_is_refused_even_inside_a_branch(path: Path) -> None:
    loop = helper.make_node("Loop", ["", "c", "x"], ["y"], body=helper.make_graph([], "body", [], []))
    inner = helper.make_graph([loop], "inner", [], [])
    model = make_model()
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    assert "Loop" in str(refusal(path, model))


@pytest.mark.parametrize("opset", [0, 9, 9999])
def test_an_unsupported_opset_is_refused_with_the_range(path: Path, opset: int) -> None:
    model = make_model()
    model.opset_import[0].version = opset
    line = str(refusal(path, model))
    assert f"opset {opset}" in line
    assert "expected 13 to" in line


def test_an_unsupported_ir_version_is_refused(path: Path) -> None:
    model = make_model()
    model.ir_version = 9999
    assert "9999" in str(refusal(path, model))


def test_two_initializers_of_one_name_are_refused(path: Path) -> None:
    model = make_model()
    model.graph.initializer.append(model.graph.initializer[0])
    assert refusal(path, model).code == "model-twice"


def test_weights_shorter_than_their_shape_are_refused(path: Path) -> None:
    model = make_model()
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    assert refusal(path, model).code == "model-tensor"


def test_a_negative_size_is_refused(path: Path) -> None:
    model = make_model()
    model.graph.initializer[0].dims[0] = -3
    assert refusal(path, model).code == "model-tensor"


def test_training_information_is_refused(path: Path) -> None:
    model = make_model()
    model.training_info.add().algorithm.CopyFrom(model.graph)
    assert "training" in str(refusal(path, model))


def test_graphs_nested_without_end_are_refused(path: Path) -> None:
    graph = helper.make_graph([], "leaf", [], [])
    for _ in range(30):
        node = helper.make_node("If", ["c"], ["z"], then_branch=graph, else_branch=helper.make_graph([], "e", [], []))
        graph = helper.make_graph([node], "g", [], [])
    model = make_model()
    model.graph.node.append(graph.node[0])
    assert refusal(path, model).code == "model-operator"


def test_more_labels_than_outputs_are_refused(path: Path) -> None:
    assert "3 labels" in str(refusal(path, make_model(width=2)))


def test_an_output_width_that_only_a_run_tells_is_checked_too(path: Path) -> None:
    model = make_model(width=2)
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = "K"
    matrix = model.graph.initializer[0]
    model.graph.node.insert(0, helper.make_node("Identity", ["hidden"], ["matrix"]))
    matrix.name = "default"
    model.graph.initializer.append(numpy_helper.from_array(np.array([3, -1], np.int64), "shape"))
    model.graph.node.insert(0, helper.make_node("Reshape", ["default", "shape"], ["hidden"]))
    assert "labels" in str(refusal(path, model))


@pytest.mark.parametrize(
    "declared",
    [
        InputSpec(name="other", dtype="uint8", channels=3),
        InputSpec(name="image", dtype="float32", channels=3),
        InputSpec(name="image", dtype="uint8", channels=1),
        InputSpec(name="image", dtype="uint8", channels=3, stage="tensor"),
    ],
    ids=["name", "dtype", "channels", "stage"],
)
def test_an_input_that_is_not_what_the_manifest_says_is_refused(path: Path, declared: InputSpec) -> None:
    model = make_model()
    helper.set_model_props(model, {"zoo": encode(make_manifest(input=declared)).decode()})
    assert "export it again" in str(refusal(path, model))


def test_a_stage_that_the_preprocessing_does_not_make_is_refused(path: Path) -> None:
    gray = PreprocessSpec(size=(8, 8), channels="gray", mean=(0.0,), std=(1.0,))
    manifest = make_manifest(preprocess=gray, input=InputSpec(name="image", dtype="uint8", channels=3, stage="resized"))
    problem = refusal(path, make_model(manifest))
    assert problem.code == "model-input"
    assert problem.fields["stage"] == "resized"


def test_a_fixed_batch_is_refused(path: Path) -> None:
    model = make_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert refusal(path, model).code == "model-input"


def test_a_missing_output_is_refused(path: Path) -> None:
    model = make_model()
    del model.graph.output[1]
    problem = refusal(path, model)
    assert problem.code == "model-outputs"
    assert problem.fields["outputs"] == ["probabilities"]


def test_a_graph_that_onnxruntime_refuses_is_one_line(path: Path) -> None:
    model = make_model()
    model.graph.node[2].input[0] = "nowhere"
    assert "onnxruntime" in str(refusal(path, model))


def test_the_walker_skips_a_forest_of_numbers_fast_and_finds_what_follows() -> None:
    model = make_model(deep_manifest())
    model.graph.node.append(
        helper.make_node(
            "TreeEnsembleClassifier", ["x"], ["y"], domain="ai.onnx.ml", a=[1.5] * 300_000, b=[-7] * 300_000
        )
    )
    model.graph.node.append(helper.make_node("Last", ["x"], ["z"]))
    found = outline(model.SerializeToString(), 100)
    assert [node.operator for node in found.nodes[-2:]] == ["TreeEnsembleClassifier", "Last"]
    assert found.nodes[-2].domain == "ai.onnx.ml"
    assert len(found.nodes) == 6
    assert found.opsets[""] == 18
    assert len(LABELS) == 3
