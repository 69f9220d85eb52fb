"""The preprocessing of a spec as a graph in ONNX Runtime, with a core that only averages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from zoo.artefact._graph import CORE_INPUT, RESIZED, assemble
from zoo.edge._session import open_session
from zoo.preprocess import channels_of, raw_channels
from zoo.spec import InputSpec, PreprocessSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mean_core(channels: int, height: int, width: int) -> onnx.ModelProto:
    """ "input" (N, C, h, w) to "logits" (N, 2): the mean of each picture, and its negative."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
            helper.make_node("Gemm", ["mean", "weight"], ["logits"]),
        ],
        "core",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", channels, height, width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(np.array([2, 3]), "axes"),
            numpy_helper.from_array(np.tile(np.float32([[1, -1]]), (channels, 1)), "weight"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


class Graph:
    """What the exported nodes make of raw images."""

    def __init__(
        self, spec: PreprocessSpec, dtype: Literal["uint8", "uint16", "float32"] = "uint8", *, portable: bool = False
    ) -> None:
        given = InputSpec(name="image", dtype=dtype, channels=raw_channels(spec, dtype))
        core = mean_core(channels_of(spec), *spec.size)
        model = assemble(core, spec, given, temperature=1.0, portable=portable)
        for name in (RESIZED, CORE_INPUT):
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        self.model = model
        self.session = open_session(model.SerializeToString(), "test", provider="cpu", threads=1)

    def __call__(self, image: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """(h, w, c) resized raw values and (c, h, w) input of the network."""
        resized, made = self.session.run([RESIZED, CORE_INPUT], {"image": image[None]})
        return resized[0].transpose(1, 2, 0), made[0]
