"""A file that shows where it sees what, made by hand: evidence is 8 × the colour, a logit its mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from edge_models import make_manifest
from onnx import TensorProto, helper, numpy_helper

from zoo.artefact import assemble, set_manifest
from zoo.edge._runtime import Runtime
from zoo.spec import EVIDENCE, OPSET, PreprocessSpec

if TYPE_CHECKING:
    from pathlib import Path

    import onnx


def colour_core(size: tuple[int, int], *, classes: int = 3) -> onnx.ModelProto:
    """As a plugin gives it: "input" to "logits" and "evidence"."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input", "eight"], [EVIDENCE]),
            helper.make_node("ReduceMean", [EVIDENCE, "sides"], ["logits"], keepdims=0),
        ],
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", classes, *size])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes]),
            helper.make_tensor_value_info(EVIDENCE, TensorProto.FLOAT, ["N", classes, *size]),
        ],
        initializer=[
            numpy_helper.from_array(np.float32(8), "eight"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "sides"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def evident(path: Path, *, resize: str = "stretch", size: tuple[int, int] = (40, 40), **changes: Any) -> Runtime:
    """Such a file for 8-bit pictures, opened."""
    spec = PreprocessSpec(size=size, resize=resize, mean=(0.0,) * 3, std=(1.0,) * 3)  # type: ignore[arg-type]
    manifest = make_manifest(preprocess=spec, outputs=("probabilities", "logits", EVIDENCE), **changes)
    model = assemble(colour_core(size), spec, manifest.input, temperature=1.0, task=manifest.task, evidence=True)
    set_manifest(model, manifest)
    path.write_bytes(model.SerializeToString())
    return Runtime.open(path)
