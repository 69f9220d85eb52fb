"""The graph of an ensemble against its members' own, and a gate that sees what is wrong in it."""

from __future__ import annotations

import importlib
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from refusals import refused

from zoo.artefact import Branch, TrainedEnsemble, model_card, parity_images, reorder
from zoo.edge._session import open_session
from zoo.errors import GateError, ModelError
from zoo.evaluation import learn_weights, pool_logits
from zoo.evaluation import report as make_report
from zoo.evaluation.page import Subject
from zoo.evaluation.page._checklists import CLAIM, fill
from zoo.spec import (
    OPSET,
    Fingerprint,
    InputSpec,
    Manifest,
    Member,
    PluginOrigin,
    PreprocessSpec,
    Provenance,
    Scale,
    Task,
    TrainConfig,
)

RGB = PreprocessSpec(size=(8, 8), resize="letterbox", mean=(0.4,) * 3, std=(0.2,) * 3)
GRAY = PreprocessSpec(size=(12, 10), channels="gray", resize="stretch", interpolation="bilinear")
GIVEN = InputSpec(name="image", dtype="uint8", channels=3)
LABELS = ("a", "b", "c")
DATA = Fingerprint(name="none", sha256="0" * 64, n=1, splits={"train": 1})
ORIGIN = PluginOrigin(name="none", distribution="none", version="0")


def branch(spec: PreprocessSpec, weight: float, temperature: float, seed: int) -> Branch:
    """A linear network of the preprocessed pixels, as a core and in numpy."""
    channels = 3 if spec.channels == "rgb" else 1
    matrix = np.random.default_rng(seed).normal(0, 0.1, (channels * spec.size[0] * spec.size[1], 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["input"], ["rows"]), helper.make_node("MatMul", ["rows", "matrix"], ["logits"])],
        "core",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", channels, *spec.size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    core = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    member = Member(
        name=f"linear{seed}", run=f"run{seed}", weight=weight, temperature=temperature, preprocess=spec, plugin=ORIGIN,
        data=DATA, config=TrainConfig(), weights=None, weights_licence=None, licence="mit", code_licence="mit",
        trained={},
    )  # fmt: skip
    return Branch(member, core, lambda batch: batch.reshape(len(batch), -1) @ matrix)


def ensemble(task: Task = "multiclass") -> TrainedEnsemble:
    return TrainedEnsemble((branch(RGB, 0.7, 0.5, 1), branch(GRAY, 0.3, 2.0, 2)), task)


def manifest(of: TrainedEnsemble, **changes: Any) -> Manifest:
    known: dict[str, Any] = {
        "schema": 1, "name": "pool", "labels": LABELS, "preprocess": GRAY, "input": GIVEN, "temperature": 1.5,
        "outputs": ("probabilities", "logits"), "parity": None, "report": None, "licence": "mit",
        "intended_use": "tests",
        "provenance": Provenance(
            run="none", model="pool", created="2026-01-01T00:00:00Z", plugin=ORIGIN, versions={}, data=DATA,
            config=TrainConfig(), weights=None,
        ),
        "task": of.task, "members": of.members,
    }  # fmt: skip
    return Manifest(**(known | changes))


@pytest.fixture(scope="module")
def images() -> list[Any]:
    rng = np.random.default_rng(0)
    return parity_images([rng.integers(0, 256, (20, 30, 3)).astype(np.uint8) for _ in range(4)])


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("portable", [False, True])
def test_an_ensemble_answers_as_its_members_do_together(task: Task, portable: bool, images: list[Any]) -> None:
    of = ensemble(task)
    made = of.assemble(GIVEN, temperature=1.5, portable=portable)
    parity = of.prove(made, manifest(of), labels=LABELS, images=images)
    assert parity.flips == 0
    batch = images[0][None]
    each = [
        open_session(file.SerializeToString(), "one", provider="cpu", threads=1).run(["logits"], {"image": batch})[0]
        / member.temperature
        for file, member in zip(made.parts, of.members, strict=True)
    ]
    together = open_session(made.model.SerializeToString(), "pool", provider="cpu", threads=1)
    logits = together.run(["logits"], {"image": batch})[0]
    assert np.allclose(logits, pool_logits(each, (0.7, 0.3), task), atol=1e-4)


@pytest.mark.parametrize(("n", "said"), [(15, "equal weights"), (200, "weights learnt on validation images")])
def test_card_and_page_say_alike_where_the_weights_come_from(n: int, said: str) -> None:
    """Fewer than 20 images learn no weights, and the checklist said that they had."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, n)
    logits = [rng.normal(0, 1, (n, 3)) + strength * np.eye(3)[targets] for strength in (1, 3)]
    weights = learn_weights(logits, targets).weights
    of = TrainedEnsemble((branch(RGB, weights[0], 0.5, 1), branch(GRAY, weights[1], 2.0, 2)), "multiclass")
    about = manifest(of)
    report = make_report(logits[0], targets, LABELS, model="pool", split="test", temperature=1, fingerprint=DATA)
    assert fill(CLAIM, Subject(report=report, manifest=about))["27"] == f"2 members, {said}."
    assert said in model_card(about)


def test_the_gate_refuses_another_mean(images: list[Any]) -> None:
    of = ensemble()
    made = of.assemble(GIVEN, temperature=1.5)
    (shares,) = (one for one in made.model.graph.initializer if one.name.startswith("pool/") and len(one.dims) == 3)
    shares.CopyFrom(numpy_helper.from_array(np.log(np.float32([0.6, 0.4])).reshape(1, 2, 1), shares.name))
    with pytest.raises(GateError, match="logits"):
        of.prove(made, manifest(of), labels=LABELS, images=images)


def test_the_gate_refuses_a_member_that_is_not_what_was_trained_and_names_it(images: list[Any]) -> None:
    of = ensemble()
    made = of.assemble(GIVEN, temperature=1.5)
    first, second = of.branches
    other = TrainedEnsemble(
        (first, Branch(second.member, second.core, lambda batch: second.predict(batch) * 1.01)), of.task
    )
    with refused("parity-answers", GateError, member="linear2"):
        other.prove(made, manifest(other), labels=LABELS, images=images)


def test_the_gate_refuses_a_member_that_answers_otherwise_inside(images: list[Any]) -> None:
    of = ensemble()
    made = of.assemble(GIVEN, temperature=1.5)
    (temperature,) = (one for one in made.model.graph.initializer if one.name == "member1/post/temperature")
    temperature.CopyFrom(numpy_helper.from_array(np.float32(2.1), temperature.name))
    with refused("parity-answers", GateError):
        of.prove(made, manifest(of), labels=LABELS, images=images)


def test_the_gate_refuses_a_file_that_states_other_members(images: list[Any]) -> None:
    of = ensemble()
    made = of.assemble(GIVEN, temperature=1.5)
    said = tuple(msgspec.structs.replace(member, weight=0.5) for member in of.members)
    with refused("parity-statement", GateError, differs="members"):
        of.prove(made, manifest(of, members=said), labels=LABELS, images=images)


def test_labels_in_another_order_are_put_right_by_the_graph() -> None:
    core = branch(RGB, 1.0, 1.0, 1).core
    batch = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    one, other = (
        open_session(model.SerializeToString(), "core", provider="cpu", threads=1).run(["logits"], {"input": batch})[0]
        for model in (core, reorder(core, [2, 0, 1]))
    )
    assert np.array_equal(other, one[:, [2, 0, 1]])


def test_other_outputs_of_a_member_are_left_out() -> None:
    """A map of evidence is one network's; an ensemble answers with probabilities."""
    core = branch(RGB, 1.0, 1.0, 1).core
    core.graph.node.append(helper.make_node("Relu", ["rows"], ["evidence"]))
    core.graph.output.append(helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["N", 192]))
    left = reorder(core, [0, 1, 2])
    assert [one.name for one in left.graph.output] == ["logits"]
    assert [node.op_type for node in left.graph.node] == ["Flatten", "MatMul"]


def test_members_too_large_for_one_file_are_refused_before_they_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("zoo.artefact._ensemble"), "MOST_BYTES", 1000)
    with refused("ensemble-too-large", ModelError, limit=1000):
        ensemble().assemble(GIVEN, temperature=1.0)


def test_an_image_that_one_member_can_not_take_is_refused_for_all() -> None:
    """Member a was trained on values to 4095, b on 65535; what lies between is not what a has seen."""
    from zoo.edge._intake import Intake
    from zoo.readers import from_array

    low, high = (msgspec.structs.replace(GRAY, intensity=Scale(maximum=most)) for most in (4095, 65535))
    of = TrainedEnsemble((branch(low, 0.5, 1.0, 1), branch(high, 0.5, 1.0, 2)), "multiclass")
    deep = InputSpec(name="image", dtype="uint16", channels=1)
    intake = Intake(manifest(of, preprocess=high, input=deep))
    answer = intake.pixels("x", np.full((20, 20), 5000, np.uint16))
    assert isinstance(answer, str)
    assert "5000" in answer
    assert from_array(np.full((20, 20), 5000, np.uint16)).kind == "uint16"
    assert not isinstance(intake.pixels("x", np.full((20, 20), 4000, np.uint16)), str)
