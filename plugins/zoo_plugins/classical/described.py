"""Pictures as rows of numbers: pixels, HOG, LBP, colours or several of them, as one ONNX graph.

The graph is what training sees, too, through ONNX Runtime: a tree that was fitted to numbers meets the very same
numbers in the shipped file. That the graph computes what the definitions in numpy say is proven on the user's own
images in every training.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import UsageError
from zoo.plugin import FeatureGraph
from zoo.preprocess import channels_of
from zoo_plugins.classical import colour, hog, lbp

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.spec import PreprocessSpec

__all__ = ["NAMES", "build_described"]

_KINDS: dict[str, ModuleType] = {"hog": hog, "lbp": lbp, "colour": colour}

NAMES = ("pixels", *_KINDS)
"""Features by name; `+` joins them."""


def build_described(names: tuple[str, ...], spec: PreprocessSpec) -> FeatureGraph:
    """The features `names`, one after the other.

    Args:
        names: features by name, from `NAMES`.
        spec: what the pictures went through; its mean and std are undone, so that features see values in [0, 1].

    Raises:
        UsageError: the pictures are too small.
    """
    shape = (channels_of(spec), *spec.size)
    for name in names:
        if name in _KINDS and min(spec.size) < _KINDS[name].MINIMUM_SIDE:
            raise UsageError(
                f"features {name}: pictures of {spec.size[1]}x{spec.size[0]} are too small, expected at least "
                f"{_KINDS[name].MINIMUM_SIDE} pixels a side; give --size",
                code="size-too-small",
                features=name,
                found=list(spec.size),
                expected=_KINDS[name].MINIMUM_SIDE,
            )

    def reference(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        unit = batch * np.reshape(spec.std, (1, -1, 1, 1)) + np.reshape(spec.mean, (1, -1, 1, 1))
        parts = [
            _KINDS[name].rows(unit.astype(np.float32)) if name in _KINDS else unit.reshape(len(unit), -1)
            for name in names
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)

    return FeatureGraph("+".join(names), _graph(names, spec, shape), reference)


def _graph(names: tuple[str, ...], spec: PreprocessSpec, shape: tuple[int, int, int]) -> onnx.ModelProto:
    from onnx import TensorProto, helper

    from zoo.artefact.nodes import Builder
    from zoo.spec import IR_VERSION, OPSET

    b = Builder()
    unit = "input"
    if any(value != 1 for value in spec.std):
        unit = b.op("Mul", unit, b.floats(np.reshape(spec.std, (1, -1, 1, 1))))
    if any(spec.mean):
        unit = b.op("Add", unit, b.floats(np.reshape(spec.mean, (1, -1, 1, 1))))
    parts = [_KINDS[name].nodes(b, unit, shape) if name in _KINDS else b.op("Flatten", unit, axis=1) for name in names]
    b.name_tensor("rows", parts[0] if len(parts) == 1 else b.op("Concat", *parts, axis=1))
    width = sum(_KINDS[name].length(shape) if name in _KINDS else int(np.prod(shape)) for name in names)
    graph = helper.make_graph(
        b.nodes,
        "features",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", width])],
        initializer=b.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
