"""The output "features": found in the graph, proven against the running network, refused where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from refusals import refused
from torch import Tensor, nn

from zoo.artefact import TrainedNetwork, assemble, core_predict, only_features, prove, with_features
from zoo.artefact.quantize._core import core_of
from zoo.edge._session import open_session
from zoo.errors import GateError, UsageError
from zoo.learn import find_last_layer, mirrored, module_to_onnx, torch_features
from zoo.spec import FEATURES

if TYPE_CHECKING:
    from export_cases import Case


def _made(case: Case, core: onnx.ModelProto | None = None) -> onnx.ModelProto:
    spec, temperature = case.manifest.preprocess, case.manifest.temperature
    return assemble(core or with_features(case.fresh_core()), spec, case.given, temperature=temperature, features=True)


def _proven(case: Case, model: onnx.ModelProto, features: Any) -> float | None:
    outputs = ("probabilities", "logits", FEATURES)
    return prove(
        model,
        msgspec.structs.replace(case.manifest, outputs=outputs),
        spec=case.manifest.preprocess,
        labels=case.manifest.labels,
        reference=case.trained.predict,
        images=case.images[:4],
        features=features,
    ).max_abs_features


def test_the_gate_passes_features_that_the_network_makes_and_refuses_others(case: Case) -> None:
    reference = case.trained.features  # type: ignore[attr-defined]
    found = _proven(case, _made(case), reference)
    assert found is not None
    assert found < 1e-4

    def doubled(batch: Any) -> Any:
        return reference(batch) * 1.01 + 0.01

    with refused("parity-answers", GateError):
        _proven(case, _made(case), doubled)
    with refused("parity-statement", GateError, differs="outputs"):
        _proven(case, _made(case), None)


def test_features_of_another_width_are_refused(case: Case) -> None:
    reference = case.trained.features  # type: ignore[attr-defined]
    with refused("parity-answers", GateError):
        _proven(case, _made(case), lambda batch: reference(batch)[:, 1:])


def test_a_file_without_the_output_is_the_same_as_before(case: Case) -> None:
    asked = assemble(
        with_features(case.fresh_core()), case.manifest.preprocess, case.given, temperature=case.manifest.temperature
    )
    assert asked.SerializeToString() == case.assembled().SerializeToString()


def test_what_is_quantised_keeps_the_output_and_its_float32_head(case: Case) -> None:
    core = core_of(_made(case))
    assert [one.name for one in core.model.graph.output] == ["logits", FEATURES]
    session = open_session(core.model.SerializeToString(), "core", provider="cpu", threads=1)
    x = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    got = session.run([FEATURES], {core.input: x})[0]
    assert np.allclose(got, case.trained.features(x), atol=1e-4)  # type: ignore[attr-defined]


# --- which layer is the last


class _Net(nn.Module):
    """Sixteen channels, and a head that ends in one way or another."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.end = end
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.SiLU(), nn.AdaptiveAvgPool2d(1))
        self.linear, self.other, self.pixel = nn.Linear(16, 5), nn.Linear(16, 5), nn.Conv2d(16, 5, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.end == "map":
            return self.pixel(self.body[0](x)).mean((2, 3))
        x = self.body(x)
        if self.end == "pixel":
            return self.pixel(x).flatten(1)
        x = x.flatten(1)
        if self.end == "two heads":
            return (self.linear(x) + self.other(x)) / 2
        return self.drop(self.linear(self.drop(x))) if self.end == "dropout" else self.linear(x)


@pytest.mark.parametrize("end", ["dropout", "pixel"])
def test_the_last_layer_is_the_same_in_the_network_and_in_its_graph(end: str) -> None:
    torch.manual_seed(0)
    network = _Net(end).eval()
    layer = find_last_layer(network, channels=3, size=(16, 16))
    assert layer is (network.pixel if end == "pixel" else network.linear)
    core = with_features(module_to_onnx(network, channels=3, size=(16, 16)))
    x = np.random.default_rng(0).normal(size=(9, 3, 16, 16)).astype(np.float32)
    got = core_predict(core.SerializeToString(), "core", output=FEATURES)(x)
    assert got.shape == (9, 16)
    assert np.allclose(got, torch_features(network, layer)(x), atol=1e-5)


@pytest.mark.parametrize("end", ["two heads", "map"])
def test_a_network_without_one_row_of_features_is_refused(end: str, case: Case) -> None:
    assert find_last_layer(_Net(end).eval(), channels=3, size=(16, 16)) is None
    network: Any = type("Network", (), {"predict": None, "features": None, "to_onnx": lambda _: case.fresh_core()})()
    card = msgspec.structs.replace(case.run.record.card, name="odd")
    with refused("features-missing", UsageError, model="odd"):
        TrainedNetwork(network, card, "multiclass").assemble(case.given, temperature=1.0, features=True)


def test_answers_by_mirror_images_come_from_two_rows_and_have_no_one() -> None:
    """The mean of two answers has no row of features that it is made of."""
    network = mirrored(_Net("linear").eval())
    assert find_last_layer(network, channels=3, size=(16, 16)) is None


def _graph(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        initializer=[numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


MATRIX = np.arange(12).reshape(4, 3)


@pytest.mark.parametrize(
    ("nodes", "width"),
    [
        ([("MatMul", ["input", "w"], "logits", {})], 4),
        ([("MatMul", ["input", "w"], "m", {}), ("Add", ["b", "m"], "logits", {})], 4),
        ([("Gemm", ["input", "t", "b"], "logits", {"transB": 1})], 4),
        ([("MatMul", ["input", "w"], "m", {}), ("LogSoftmax", ["m"], "logits", {})], None),
        ([("MatMul", ["input", "w"], "m", {}), ("Add", ["m", "m"], "logits", {})], None),
        ([("MatMul", ["w2", "input"], "logits", {})], None),
    ],
)
def test_only_a_matrix_product_with_constant_weights_is_a_last_layer(nodes: list[Any], width: int | None) -> None:
    made = [helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more in nodes]
    core = with_features(_graph(*made, w=MATRIX, w2=np.eye(3), b=np.zeros(3), t=MATRIX.T))
    found = [one.type.tensor_type.shape.dim[1].dim_value for one in core.graph.output if one.name == FEATURES]
    assert found == ([] if width is None else [width])


def test_a_core_without_its_head_gives_rows_alone() -> None:
    nodes = [helper.make_node("Relu", ["input"], ["x"]), helper.make_node("MatMul", ["x", "w"], ["logits"])]
    core = only_features(_graph(*nodes, w=MATRIX), "rows")
    assert core is not None
    assert [one.name for one in core.graph.output] == ["rows"]
    assert not core.graph.initializer  # the head's weights are gone
    session = open_session(core.SerializeToString(), "rows", provider="cpu", threads=1)
    assert session.run(None, {"input": np.float32([[1, -1, 2, -2]])})[0].tolist() == [[1, 0, 2, 0]]
    assert only_features(_graph(helper.make_node("LogSoftmax", ["input"], ["logits"])), "rows") is None
