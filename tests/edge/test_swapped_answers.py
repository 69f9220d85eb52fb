"""A file whose answers are no probabilities gives none; a file of many nodes opens; too little memory is said."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from edge_models import make_bundle, make_manifest, make_model, paint, seal
from onnx import helper, numpy_helper
from refusals import refused

from zoo.edge import Runtime, bench, verify
from zoo.edge.__main__ import main
from zoo.errors import GateError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

WHITE = np.full((1, 5, 7, 3), 255, np.uint8)


def swapped(task: str = "multiclass") -> onnx.ModelProto:
    """Probabilities are called logits, and logits probabilities; the manifest is as it was."""
    model = make_model(make_manifest(task=task))
    names = {"probabilities": "logits", "logits": "probabilities"}
    for node in model.graph.node:
        for held in (node.input, node.output):
            held[:] = [names.get(name, name) for name in held]
    return model


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_swapped_outputs_are_refused_whichever_is_asked_for(task: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(swapped(task).SerializeToString())
    runtime = Runtime.open(path)
    for ask in (runtime.probabilities, runtime.logits, lambda batch: next(runtime.predict(batch[0]))):
        with refused("model-answer-range", ModelError) as caught:
            ask(WHITE)
        assert caught.value.fields["high"] > 1


@pytest.mark.parametrize("operator", ["Sigmoid", "Relu"])
def test_rows_of_one_label_each_must_add_up_to_one(operator: str, tmp_path: Path) -> None:
    model = make_model()
    model.graph.node[-1].CopyFrom(helper.make_node(operator, ["logits"], ["probabilities"]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with refused("model-answer-range", ModelError):
        Runtime.open(tmp_path / "m.onnx").probabilities(WHITE)


def test_a_probability_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    model = make_model()
    model.graph.node[-1].CopyFrom(helper.make_node("Log", ["negative"], ["probabilities"]))
    model.graph.node.insert(3, helper.make_node("Neg", ["logits"], ["negative"]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with refused("model-answer-range", ModelError):
        Runtime.open(tmp_path / "m.onnx").probabilities(WHITE)


def test_every_verb_refuses_them_and_verify_is_a_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(tmp_path / "m.zoo")
    (bundle / "model.onnx").write_bytes(swapped().SerializeToString())
    seal(bundle)
    image = paint(tmp_path / "red.png", (255, 0, 0))
    for arguments in (["predict", bundle, image], ["explain", bundle, image, "--out", tmp_path / "maps"]):
        assert main([str(argument) for argument in arguments]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    with refused("model-answer-range", ModelError):
        bench(bundle, runs=1)
    with refused("golden-mismatch", GateError):
        verify(bundle, isolated=False)


def test_equal_nodes_are_sought_in_files_of_few_nodes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime compares all nodes `Add(x, x)` of a chain with each other: 20 000 nodes are 200 million pairs."""
    given: list[dict[str, Any]] = []
    real = onnxruntime.InferenceSession

    def opened(*arguments: Any, **named: Any) -> Any:
        given.append(named)
        return real(*arguments, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    path = tmp_path / "m.onnx"
    for nodes in (10, 19_000):
        model = make_model()
        names = ["logits", *(f"n{i}" for i in range(nodes))]
        chain = itertools.pairwise(names)
        model.graph.node.extend(helper.make_node("Add", [before, before], [after]) for before, after in chain)
        path.write_bytes(model.SerializeToString())
        assert Runtime.open(path).probabilities(WHITE).shape == (1, 3)
    assert [named.get("disabled_optimizers") for named in given] == [None, ["CommonSubexpressionElimination"]]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is kept on Linux")
def test_too_little_memory_is_said_in_one_line(tmp_path: Path) -> None:
    """45 MB of weights in a process that may have 300 MB: what a small device does."""
    model = make_model()
    for i in range(8):
        model.graph.initializer.append(numpy_helper.from_array(np.ones((1200, 1200), np.float32), f"w{i}"))
        model.graph.node.append(helper.make_node("Transpose", [f"w{i}"], [f"t{i}"]))
        model.graph.node.append(helper.make_node("Mul", [f"w{i}", f"t{i}"], [f"m{i}"]))
        model.graph.output.append(helper.make_tensor_value_info(f"m{i}", 1, [1200, 1200]))
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    image = paint(tmp_path / "red.png", (255, 0, 0))
    code = (
        "import onnxruntime, zoo.edge._runtime, zoo.edge._verbs, resource;"  # the code itself is not what is limited
        "from pathlib import Path;"
        "held = int(Path('/proc/self/statm').read_text().split()[0]) * 4096;"
        "resource.setrlimit(resource.RLIMIT_AS, (held + 40_000_000, held + 40_000_000));"
        "import sys; from zoo.edge.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(path), str(image), "--threads", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "model-memory"
    assert done.stderr.count("\n") == 1
