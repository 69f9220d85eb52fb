"""Logits that are moved by a constant: in the framework and in the file alike, and nothing else moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from zoo.artefact import ShiftedNetwork
from zoo.spec import EVIDENCE, IR_VERSION, OPSET

MATRIX = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


class Pooled:
    """Logits that another output is made of, too, and a core that is kept between calls."""

    def __init__(self) -> None:
        nodes = [
            helper.make_node("Flatten", ["input"], ["rows"]),
            helper.make_node("MatMul", ["rows", "matrix"], ["logits"]),
            helper.make_node("Mul", ["logits", "two"], [EVIDENCE]),
        ]
        graph = helper.make_graph(
            nodes,
            "pooled",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 2, 2])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("logits", EVIDENCE)],
            [numpy_helper.from_array(MATRIX, "matrix"), numpy_helper.from_array(np.float32(2), "two")],
        )
        self.core = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    @property
    def predict(self) -> Any:
        return lambda batch: batch.reshape(len(batch), -1) @ MATRIX

    def to_onnx(self) -> onnx.ModelProto:
        return self.core


def test_file_and_framework_move_logits_alike_and_leave_other_outputs() -> None:
    batch = np.random.default_rng(1).normal(size=(5, 1, 2, 2)).astype(np.float32)
    own = Pooled()
    shifted = ShiftedNetwork(own, (1.5, -2.0, 0.25))
    for _ in range(2):  # a core that is kept must not be moved twice
        core = shifted.to_onnx()
        onnx.checker.check_model(core)
        session = onnxruntime.InferenceSession(core.SerializeToString(), providers=["CPUExecutionProvider"])
        logits, evidence = session.run(["logits", EVIDENCE], {"input": batch})
        np.testing.assert_allclose(logits, shifted.predict(batch), rtol=1e-6)
        np.testing.assert_allclose(logits - own.predict(batch), [[1.5, -2.0, 0.25]] * 5, atol=1e-5)
        np.testing.assert_allclose(evidence, 2 * own.predict(batch), rtol=1e-5)
    assert not hasattr(shifted, EVIDENCE), "a network without a map has none afterwards"
