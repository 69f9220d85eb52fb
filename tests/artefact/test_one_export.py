"""A network is exported once: what is settled before the file is settled by the very graph that goes into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from zoo.artefact import TrainedNetwork
from zoo.spec import IR_VERSION, OPSET, InputSpec, ModelCard, PreprocessSpec, Scale, TrainConfig

MATRIX = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
SPEC = PreprocessSpec(size=(2, 2), intensity=Scale(maximum=255), mean=(0.5,) * 3, std=(0.5,) * 3)
CARD = ModelCard(name="l", plugin="", arch="", family="", summary="", preprocess=SPEC, train=TrainConfig(epochs=1))
RAW = np.random.default_rng(1).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
INPUT = InputSpec(name="image", dtype="uint8", channels=3, stage="raw")


class Counting:
    """A linear network that counts how often it is exported and how often the framework answers."""

    def __init__(self, operator: str = "MatMul") -> None:
        self.exports = self.asked = 0
        self.operator = operator

    @property
    def predict(self) -> Any:
        def answer(batch: Any) -> Any:
            self.asked += 1
            return batch.reshape(len(batch), -1) @ MATRIX

        return answer

    def to_onnx(self) -> onnx.ModelProto:
        self.exports += 1
        nodes = [
            helper.make_node("Flatten", ["input"], ["rows"]),
            helper.make_node(self.operator, ["rows", "matrix"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 2, 2])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
            [numpy_helper.from_array(MATRIX, "matrix")],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


@pytest.mark.parametrize("shift", [None, (1.0, -2.0, 0.5)])
def test_answers_before_the_file_come_from_its_core(shift: tuple[float, ...] | None) -> None:
    network = Counting()
    trained = TrainedNetwork(network, CARD, "multiclass")
    plain = trained.raw_answers(RAW)[0]
    assert network.asked == 0
    if shift is not None:
        trained = trained.shifted(shift)
    made = trained.assemble(INPUT, temperature=1.0)
    assert network.exports == 1
    session = onnxruntime.InferenceSession(made.model.SerializeToString())
    (logits,) = session.run(["logits"], {"image": RAW})
    np.testing.assert_allclose(logits, plain + np.asarray(shift or 0, np.float32), atol=2e-2)  # a level of the resize


def test_what_onnx_runtime_cannot_run_the_framework_answers() -> None:
    """The gate says what is wrong with such a file; it has to be reached."""
    network = Counting("NoSuchOperator")
    logits = TrainedNetwork(network, CARD, "multiclass").raw_answers(RAW)[0]
    assert logits.shape == (5, 3)
    assert network.asked == 1
