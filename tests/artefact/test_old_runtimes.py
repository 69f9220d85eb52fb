"""From which ONNX Runtime on a file says that it runs, and that nothing in it stops an older one."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from zoo.artefact import _oldest as oldest
from zoo.artefact import assemble
from zoo.artefact._oldest import ProvenOperators, find_oldest
from zoo.spec import InputSpec, PreprocessSpec


def core(operator: str = "GlobalAveragePool") -> onnx.ModelProto:
    """As torch writes it: IR version 10."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["input"], ["mean"]), helper.make_node("Flatten", ["mean"], ["logits"])],
        "core",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def file(operator: str = "GlobalAveragePool", *, portable: bool = False) -> onnx.ModelProto:
    spec = PreprocessSpec(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
    given = InputSpec(name="image", dtype="uint8", channels=3)
    return assemble(core(operator), spec, given, temperature=1.0, portable=portable)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> ProvenOperators:
    """Of float32 every operator of such files, Resize from the second version on; of int8 none."""
    used = {name: "1.17.3" for portable in (False, True) for name in oldest.list_operators(file(portable=portable))}
    made = ProvenOperators(
        command="none",
        versions=("1.17.3", "1.20.1"),
        ir_version=8,
        opsets={"": 18},
        operators={"float32": used | {"Resize": "1.20.1"}},
    )
    monkeypatch.setattr(oldest, "_table", lambda: made)
    return made


@pytest.mark.parametrize("portable", [False, True])
def test_the_format_is_one_that_old_runtimes_read(portable: bool) -> None:
    assert file(portable=portable).ir_version == 8


def test_sizes_of_the_resize_have_a_length_that_old_runtimes_infer() -> None:
    """ONNX Runtime before 1.24 takes the Concat of Shapes alone for empty, and refuses the file."""
    graph = file().graph
    makers = {name: node for node in graph.node for name in node.output}
    (resize,) = (node for node in graph.node if node.op_type == "Resize")
    last = makers[resize.input[3]]
    (shape,) = (one for one in graph.initializer if one.name == last.input[1])
    assert (last.op_type, onnx.numpy_helper.to_array(shape).tolist()) == ("Reshape", [4])


def test_a_file_is_as_old_as_its_youngest_operator() -> None:
    assert (find_oldest(file(), None).onnxruntime, find_oldest(file(), None).proven) == ("1.20.1", "operators")
    assert find_oldest(file(portable=True), None).onnxruntime == "1.17.3"


def test_what_was_not_tried_is_proven_by_the_file_alone() -> None:
    here = ("file", onnxruntime.__version__)
    newer = file()
    newer.ir_version = 9
    for model, kind in ((file("GlobalMaxPool"), None), (file(), "int8"), (newer, None)):
        found = find_oldest(model, kind)
        assert (found.proven, found.onnxruntime) == here


def test_the_table_that_ships_can_be_read() -> None:
    shipped = oldest.decode(oldest.TABLE.read_bytes(), ProvenOperators, "runtimes.json", ValueError)
    assert {"Conv", "Resize", "Reshape"} <= shipped.operators["float32"].keys()
    assert {one for kind in shipped.operators.values() for one in kind.values()} <= set(shipped.versions)


def test_a_runtime_older_than_the_table_says_claims_no_more_than_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file ran here, so 'from 1.20.1 on' would deny what the gate has shown, and vouch for what nobody ran."""
    for here in ("1.18.0", "1.9.2", "1.20.0+cu12", "1.20"):
        monkeypatch.setattr(onnxruntime, "__version__", here)
        found = find_oldest(file(), None)
        assert (found.onnxruntime, found.proven) == (here, "file")
    for here in ("1.20.1", "1.20.1+cu12", "1.100.0", "2.0"):
        monkeypatch.setattr(onnxruntime, "__version__", here)
        found = find_oldest(file(), None)
        assert (found.onnxruntime, found.proven) == ("1.20.1", "operators")


@pytest.mark.parametrize("kind", ["float32", "int8", "fp16"])
def test_the_table_that_ships_knows_the_last_step_of_both_tasks(kind: str) -> None:
    """Without Sigmoid no file with several labels would say from which runtime on it runs, and no file of a SiLU."""
    shipped = oldest.decode(oldest.TABLE.read_bytes(), ProvenOperators, "runtimes.json", ValueError)
    assert {"Softmax", "Sigmoid"} <= shipped.operators[kind].keys()
