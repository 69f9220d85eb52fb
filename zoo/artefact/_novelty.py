"""The output "novelty" of a core: how unlike the images of training an image is, made of its features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.artefact._features import with_features
from zoo.artefact.nodes import Builder
from zoo.evaluation.novelty import LARGEST, SHORTEST
from zoo.spec import FEATURES, NOVELTY

if TYPE_CHECKING:
    import onnx

    from zoo.evaluation import FeatureSpace

__all__ = ["has_features", "with_novelty"]


def has_features(core: onnx.ModelProto) -> bool:
    """Whether the core gives features, which `with_features` finds; adds that output where it can."""
    return any(one.name == FEATURES for one in with_features(core).graph.output)


def with_novelty(core: onnx.ModelProto, space: FeatureSpace) -> onnx.ModelProto:
    """A copy of the core with the output "novelty" (N,): `zoo.evaluation.score_novelty` as nodes.

    Args:
        core: "input" (N, C, h, w) to "logits" (N, K), with features (`has_features`).
        space: where features of training images lie.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(core)
    b = Builder("novelty")
    x = b.op("Clip", FEATURES, b.floats(-LARGEST), b.floats(LARGEST))
    length = b.op("ReduceL2", x, b.ints(1), keepdims=1)
    x = b.op("Sub", b.op("Div", x, b.op("Max", length, b.floats(SHORTEST))), b.floats(space.mean))
    axes = b.floats(space.axes)
    along = b.op("MatMul", x, axes)  # (N, k)
    beside = b.op("Sub", x, b.op("Gemm", along, axes, transB=1))  # (N, D)
    parts = [b.op("Div", along, b.floats(space.spread)), b.op("Div", beside, b.floats(np.float32(space.rest)))]
    squares = b.op("Add", *(b.op("ReduceSumSquare", part, b.ints(1), keepdims=0) for part in parts))
    b.name_tensor(NOVELTY, b.op("Sqrt", b.op("Div", squares, b.floats(np.float32(len(space.mean))))))
    made.graph.node.extend(b.nodes)
    made.graph.initializer.extend(b.constants)
    made.graph.output.append(onnx.helper.make_tensor_value_info(NOVELTY, onnx.TensorProto.FLOAT, ["N"]))
    return made
