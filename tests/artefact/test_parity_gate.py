"""The gate refuses every fault that would make the shipped file answer otherwise than what was trained."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from export_cases import Case
from onnx import helper, numpy_helper
from refusals import refused

import zoo
import zoo.plugin
from zoo.artefact import assemble, parity_images
from zoo.artefact._graph import CORE_INPUT, RESIZED, SCALED
from zoo.edge._session import open_session
from zoo.errors import GateError, ModelError
from zoo.runs import open_run

Fault = Callable[[Case], onnx.ModelProto]


# --- faults


def shifted(case: Case, field: str, by: float) -> onnx.ModelProto:
    first, *rest = getattr(case.manifest.preprocess, field)
    return case.assembled(**{field: (first + by, *rest)})


def inserted(case: Case, after: str, kind: str, value: Any, **attributes: Any) -> onnx.ModelProto:
    """The file with one node more behind the tensor `after`."""
    model = case.assembled()
    nodes = model.graph.node
    for node in nodes:
        node.input[:] = ["spoilt" if name == after else name for name in node.input]
    at = next((index + 1 for index, node in enumerate(nodes) if after in node.output), 0)
    nodes.insert(at, helper.make_node(kind, [after, "spoilt/by"], ["spoilt"], **attributes))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), "spoilt/by"))
    return model


def with_end(
    case: Case, *nodes: onnx.NodeProto, changes: dict[str, Any] | None = None, **constants: Any
) -> onnx.ModelProto:
    """The file whose core's logits are called "before" and go through `nodes` to "logits"."""
    core = case.fresh_core()
    for node in core.graph.node:
        for index, name in enumerate(node.output):
            if name == "logits":
                node.output[index] = "before"
    core.graph.node.extend(nodes)
    for name, value in constants.items():
        core.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return case.assembled(core, **(changes or {}))


def permuted(case: Case) -> onnx.ModelProto:
    order = np.roll(np.arange(len(case.manifest.labels)), 1)
    return with_end(case, helper.make_node("Gather", ["before", "order"], ["logits"], axis=1), order=order)


def batch_of_one(case: Case) -> onnx.ModelProto:
    shape = np.array([1, len(case.manifest.labels)])
    return with_end(case, helper.make_node("Reshape", ["before", "shape"], ["logits"]), shape=shape)


def mixed_batch(case: Case) -> onnx.ModelProto:
    """Right for one image; in a batch each answer takes something of the others."""
    return with_end(
        case,
        helper.make_node("ReduceMean", ["before", "axis"], ["mean"], keepdims=1),
        helper.make_node("Add", ["before", "mean"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["logits"]),
        axis=np.array([0]),
        half=np.float32(0.5),
    )


def one_weight(case: Case, name: str, value: Callable[[float], float]) -> onnx.ModelProto:
    core = case.fresh_core()
    tensor = next(t for t in core.graph.initializer if t.name.endswith(name))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[values.size // 2] = value(float(values.flat[values.size // 2]))
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return case.assembled(core)


def resize_with(case: Case, **attributes: Any) -> onnx.ModelProto:
    model = case.assembled()
    nodes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert nodes
    for node in nodes:
        kept = [attribute for attribute in node.attribute if attribute.name not in attributes]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items() if v is not None)
    return model


def other_interpolation(case: Case) -> onnx.ModelProto:
    other = {"bicubic": "bilinear", "bilinear": "bicubic"}
    return case.assembled(interpolation=other[case.manifest.preprocess.interpolation])


def hidden_stage(case: Case) -> onnx.ModelProto:
    model = case.assembled()
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == RESIZED:
                    names[index] = "elsewhere"
    return model


def logits_passed_by(case: Case) -> onnx.ModelProto:
    """Its probabilities are made of another tensor than the logits that it gives."""
    less = helper.make_node("Mul", ["before", "most"], ["logits"])
    model = with_end(case, less, most=np.float32(0.99))
    scale = next(node for node in model.graph.node if SCALED in node.output)
    scale.input[0] = next(node.input[0] for node in model.graph.node if "logits" in node.output)
    return model


def one_class_more(case: Case) -> onnx.ModelProto:
    return with_end(
        case,
        helper.make_node("Slice", ["before", "zero", "one", "one"], ["first"]),
        helper.make_node("Concat", ["before", "first"], ["logits"], axis=1),
        zero=np.array([0]),
        one=np.array([1]),
    )


FAULTS: dict[str, tuple[Fault, str]] = {
    "mean": (lambda c: shifted(c, "mean", 0.01), "preprocessed values"),
    "std": (lambda c: shifted(c, "std", 0.01), "preprocessed values"),
    "blue first": (lambda c: inserted(c, "image", "Gather", [2, 1, 0], axis=3), "resized pixels"),
    "behind the resize": (lambda c: inserted(c, RESIZED, "Mul", np.float32(0.98)), "preprocessed values"),
    "before the network": (lambda c: inserted(c, CORE_INPUT, "Mul", np.float32(1.02)), "logits .*differ"),
    "behind the logits": (lambda c: inserted(c, "logits", "Mul", np.float32(1.01)), "logits over the temperature"),
    "before the softmax": (lambda c: inserted(c, SCALED, "Mul", np.float32(1.1)), "probabilities of the same logits"),
    "logits passed by": (logits_passed_by, "no tensor 'post/scaled'"),
    "permuted outputs": (permuted, "logits .*differ"),
    "convolution weight": (lambda c: one_weight(c, "conv1.weight", lambda x: x + 0.05), "logits .*differ"),
    "last bias": (lambda c: one_weight(c, "classifier.bias", lambda x: x + 0.01), "logits .*differ"),
    "weight not a number": (lambda c: one_weight(c, "conv2.weight", lambda _: np.nan), "logits .* by inf"),
    "no antialiasing": (lambda c: resize_with(c, antialias=None, exclude_outside=None), "resized pixels"),
    "other filter": (other_interpolation, "resized pixels"),
    "nearest": (
        lambda c: resize_with(c, mode="nearest", antialias=None, cubic_coeff_a=None, exclude_outside=None),
        "resized pixels",
    ),
    "corner alignment": (
        lambda c: resize_with(c, coordinate_transformation_mode="align_corners"),
        "resized pixels",
    ),
    "stretched": (lambda c: c.assembled(resize="stretch"), "resized pixels"),
    "temperature": (lambda c: c.assembled(temperature=c.manifest.temperature * 1.05), "temperature"),
    "batch of one": (batch_of_one, "cannot take images"),
    "mixed batch": (mixed_batch, "a batch of three"),
    "hidden stage": (hidden_stage, "no tensor 'resized'"),
}  # fmt: skip


def test_a_faultless_file_passes(case: Case) -> None:
    """And says how near it is: the gate must not refuse what is right."""
    parity = case.prove(case.assembled())
    assert parity.images >= 64
    assert parity.sizes >= 20
    assert parity.max_abs_logit <= 1e-5
    assert parity.max_abs_pixel <= 2
    assert parity.flips == 0


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_refused(case: Case, name: str) -> None:
    fault, stage = FAULTS[name]
    with pytest.raises(GateError, match=stage) as caught:
        case.prove(fault(case))
    assert caught.value.code.startswith("parity-")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.slow
def test_a_planted_fault_is_refused_on_gray_pictures_of_many_sizes(gray: Case, name: str) -> None:
    """There is no colour order to get wrong in them."""
    if name == "blue first":
        pytest.skip("gray pictures have equal channels")
    fault, stage = FAULTS[name]
    with pytest.raises(GateError, match=stage):
        gray.prove(fault(gray))


@pytest.mark.slow
def test_a_faultless_file_of_gray_pictures_passes(gray: Case) -> None:
    parity = gray.prove(gray.assembled())
    assert parity.max_abs_logit <= 1e-5
    assert parity.max_abs_probability <= 5e-3
    assert parity.flips == 0


def test_labels_in_another_order_are_refused(case: Case) -> None:
    wrong = msgspec.structs.replace(case.manifest, labels=case.manifest.labels[::-1])
    with refused("parity-statement", GateError, differs="labels"):
        case.prove(case.assembled(), wrong)


def test_another_number_of_labels_is_refused(case: Case) -> None:
    wrong = msgspec.structs.replace(case.manifest, labels=(*case.manifest.labels, "violet"))
    with refused("parity-statement", GateError, differs="labels"):
        case.prove(case.assembled(), wrong)


def test_a_file_with_another_number_of_outputs_is_refused(case: Case) -> None:
    with pytest.raises((GateError, ModelError)):
        case.prove(one_class_more(case))


def test_a_statement_that_differs_from_the_graph_is_refused(case: Case) -> None:
    spec = msgspec.structs.replace(case.manifest.preprocess, resize="stretch")
    with refused("parity-statement", GateError, differs="preprocess"):
        case.prove(case.assembled(), msgspec.structs.replace(case.manifest, preprocess=spec))


class TestSaturated:
    """A network so sure of itself that every probability is 0 or 1: they and the labels show no fault."""

    GAIN = np.float32(1e4)

    def saturated(self, case: Case, **changes: Any) -> onnx.ModelProto:
        mul = helper.make_node("Mul", ["before", "gain"], ["logits"])
        return with_end(case, mul, changes=changes, gain=self.GAIN)

    def reference(self, case: Case) -> Any:
        return lambda batch: case.trained.predict(batch) * self.GAIN

    def test_the_wrong_mean_does_not_show_in_the_probabilities(self, case: Case) -> None:
        """The premise of this class: from outside, the spoilt file looks right."""
        mean = tuple(value + 0.002 for value in case.manifest.preprocess.mean)
        answers = []
        for model in (self.saturated(case), self.saturated(case, mean=mean)):
            session = open_session(model.SerializeToString(), "x", provider="cpu", threads=1)
            images = [i for i in case.images[:64] if i.shape == case.images[0].shape]
            answers.append(session.run(["probabilities"], {"image": np.stack(images)})[0])
        assert np.abs(answers[0] - answers[1]).max() < 1e-3

    def test_the_wrong_mean_is_refused(self, case: Case) -> None:
        mean = tuple(value + 0.002 for value in case.manifest.preprocess.mean)
        with pytest.raises(GateError, match="preprocessed values"):
            case.prove(self.saturated(case, mean=mean), reference=self.reference(case))

    def test_the_wrong_temperature_is_refused(self, case: Case) -> None:
        with pytest.raises(GateError, match="temperature"):
            case.prove(self.saturated(case, temperature=1.5), reference=self.reference(case))


def test_one_image_of_many_may_be_at_the_edge_of_float32(case: Case) -> None:
    """Else a sound MobileNet would be refused for the rounding of one picture."""

    def noisy(share: float) -> Any:
        def predict(batch: Any) -> Any:
            answer = case.trained.predict(batch)
            moved = np.arange(len(answer))[:, None] % 40 < 40 * share
            return answer + 4e-4 * np.maximum(1, np.abs(answer)) * moved

        return predict

    assert case.prove(case.assembled(), reference=noisy(0.05)).max_abs_logit > 1e-4
    with refused("parity-answers", GateError) as caught:
        case.prove(case.assembled(), reference=noisy(0.8))
    assert any("half" in found for found in caught.value.fields["found"])


def test_few_images_still_give_many_sizes() -> None:
    """A set of one image, and a set whose images all have one size, must prove the resize all the same."""
    only = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    images = parity_images([only])
    assert len(images) >= 64
    assert len({image.shape for image in images}) >= 20
    assert any(not image.any() for image in images)
    deep = parity_images([np.full((5, 4, 1), 4000, np.uint16)])
    assert {image.dtype for image in deep} == {np.dtype(np.uint16)}
    assert max(int(image.max()) for image in deep) == 4000


def test_large_images_are_not_enlarged_beyond_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("zoo.artefact._parity"), "_LARGEST", 120 * 120)
    images = parity_images([np.zeros((120, 120, 3), np.uint8)])
    assert max(image.shape[0] * image.shape[1] for image in images) <= 121 * 121


# --- through the doors a user takes


@pytest.fixture
def quick(case: Case, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Exports take the core that was exported before, instead of torch's exporter each time."""
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", lambda _: case.fresh_core())
    return case


def spoil(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(core: Any, spec: Any, given: Any, **rest: Any) -> onnx.ModelProto:
        shifted = msgspec.structs.replace(spec, mean=tuple(value + 0.01 for value in spec.mean))
        return assemble(core, shifted, given, **rest)

    monkeypatch.setattr(importlib.import_module("zoo.artefact._shippable"), "assemble", wrong)


@pytest.mark.parametrize("bundle", [False, True])
def test_a_refused_export_leaves_the_file_before_untouched(
    quick: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: bool
) -> None:
    target = tmp_path / ("m.zoo" if bundle else "m.onnx")
    zoo.export(quick.run.path, bundle=bundle, out=target)
    files = [target] if target.is_file() else sorted(target.iterdir())
    before = {path: path.read_bytes() for path in files}
    spoil(monkeypatch)
    with pytest.raises(GateError):
        zoo.export(quick.run.path, bundle=bundle, out=target, overwrite=True)
    assert {path: path.read_bytes() for path in before} == before
    assert list(tmp_path.iterdir()) == [target]
    if bundle:
        assert sorted(target.iterdir()) == files


@pytest.mark.parametrize("bundle", [False, True])
def test_a_refused_export_leaves_nothing_behind(
    quick: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: bool
) -> None:
    spoil(monkeypatch)
    with pytest.raises(GateError):
        zoo.export(quick.run.path, bundle=bundle, out=tmp_path / ("m.zoo" if bundle else "m.onnx"))
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_framework_is_refused_too(quick: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that drops a weight, say."""
    core = quick.fresh_core()
    tensor = next(t for t in core.graph.initializer if t.name.endswith("classifier.bias"))
    tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", lambda _: core)
    with pytest.raises(GateError, match=r"logits .*differ"):
        zoo.export(quick.run.path, out=tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_training_that_fails_the_gate_ships_nothing_and_can_go_on(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hours of training are kept; when the cause is mended, --resume finishes the run."""
    data = case.run.record.source
    with monkeypatch.context() as patch:
        spoil(patch)
        with pytest.raises(GateError):
            zoo.train("simple_cnn", data, size=32, epochs=1, out=tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.record.status == "trained"
    assert not run.file("model.onnx").exists()
    assert not run.file("report.json").exists()
    result = zoo.train("simple_cnn", out=tmp_path / "run", resume=True)
    assert open_run(tmp_path / "run").record.status == "done"
    assert zoo.open(result.run).manifest.parity is not None
