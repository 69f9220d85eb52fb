"""A scikit-learn run keeps its model as an ONNX core; a run from elsewhere is checked like any other file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from zoo.errors import ModelError
from zoo.plugin._sklearn import CORE_FILE, _SklearnLoaded

if TYPE_CHECKING:
    from pathlib import Path


def core(weights: onnx.TensorProto) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["input"], ["rows"]), helper.make_node("MatMul", ["rows", "w"], ["logits"])],
        "core",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        initializer=[weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def loaded(folder: Path, content: bytes) -> _SklearnLoaded:
    (folder / CORE_FILE).write_bytes(content)
    return _SklearnLoaded(SimpleNamespace(file=lambda name: folder / name))  # type: ignore[arg-type]


def test_a_sound_core_answers(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    answer = loaded(tmp_path, core(weights)).predict(np.ones((3, 1, 2, 2), np.float32))
    assert answer.tolist() == [[4, 4]] * 3


def test_a_core_whose_weights_are_another_file_of_the_machine_is_refused(tmp_path: Path) -> None:
    """onnx.load would read it, and the run would carry it away."""
    (tmp_path / "secret").write_bytes(np.ones((4, 2), np.float32).tobytes())
    weights = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 2])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="secret")
    with pytest.raises(ModelError, match="outside"):
        loaded(tmp_path, core(weights))


def test_a_core_that_is_damaged_is_one_line(tmp_path: Path) -> None:
    whole = core(numpy_helper.from_array(np.ones((4, 2), np.float32), "w"))
    with pytest.raises(ModelError, match=r"core\.onnx: "):
        loaded(tmp_path, whole[:-5])
