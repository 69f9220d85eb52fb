"""What answers are made of is proven: probabilities of the device's own logits, and each label that is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from edge_models import make_bundle, make_manifest, seal
from onnx import helper, numpy_helper
from refusals import refused

from zoo.edge import verify
from zoo.edge._last_step import LAST_STEP, measure_last_step
from zoo.errors import GateError

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.spec import Task


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("fault", ["temperature", "last step"])
def test_probabilities_that_are_not_those_of_the_logits_fail(tmp_path: Path, task: Task, fault: str) -> None:
    """Answers, operating points and sets are made of them, and logits alone would pass."""
    manifest = make_manifest(task=task)
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=manifest)
    verify(bundle, isolated=False)
    model = onnx.load(bundle / "model.onnx")
    (last,) = (node for node in model.graph.node if node.output[0] == "probabilities")
    if fault == "temperature":
        model.graph.initializer.append(numpy_helper.from_array(np.float32(1.01), "other"))
        model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Div", ["logits", "other"], ["scaled"]))
        last.input[0] = "scaled"
    else:
        last.op_type = "HardSigmoid" if task == "multilabel" else "Softmax"
        if task == "multiclass":  # of the labels in another order
            model.graph.initializer.append(numpy_helper.from_array(np.array([1, 0, 2]), "order"))
            model.graph.node.insert(
                len(model.graph.node) - 1, helper.make_node("Gather", ["logits", "order"], ["moved"], axis=1)
            )
            last.input[0] = "moved"
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    seal(bundle, manifest)
    with refused("golden-mismatch", GateError, mismatches=4):
        verify(bundle, isolated=False)


def test_a_label_of_several_that_changes_within_the_tolerance_fails(tmp_path: Path) -> None:
    """An int8 file may say that its logits move by half; a finding that comes or goes is another answer even so."""
    manifest = make_manifest(task="multilabel")
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=manifest, tolerance=0.5)
    with np.load(bundle / "golden.npz") as golden:
        arrays = dict(golden)
    image = np.zeros((4, 4, 3), np.uint8)
    image[...] = (125, 10, 250)  # logits -0.08, -3.7, 3.8
    arrays |= {"image_0000": image, "logits": arrays["logits"].copy()}
    arrays["logits"][0] = (0.4, -3.7, 3.8)
    np.savez(bundle / "golden.npz", **arrays)
    seal(bundle, manifest)
    with refused("golden-mismatch", GateError, mismatches=1):
        verify(bundle, isolated=False)
    arrays["logits"][0, 0] = -0.4
    np.savez(bundle / "golden.npz", **arrays)
    seal(bundle, manifest)
    assert verify(bundle, isolated=False).max_abs_logit == pytest.approx(0.32, abs=0.01)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_no_float32_device_takes_the_last_step_wrongly(task: Task) -> None:
    """Large logits, many labels, a product with 1 / temperature in place of the division, an exponential of 4 ulp."""
    rng = np.random.default_rng(0)
    for scale, labels, temperature in ((1, 2, 1.0), (5, 1000, 0.73), (100, 14, 3.1), (1000, 3, 0.9), (30, 5, 1e-2)):
        logits = rng.normal(0, scale, (200, labels)).astype(np.float32)
        scaled = logits * (np.float32(1) / np.float32(temperature))
        if task == "multilabel":
            found = np.float32(1) / (np.float32(1) + np.exp(np.clip(-scaled, None, np.float32(88))))
        else:
            powers = np.exp(scaled - scaled.max(axis=1, keepdims=True)) * np.float32(1 + 5e-7)
            found = powers / np.add.accumulate(powers, axis=1)[:, -1:]  # summed one after the other
        assert measure_last_step(logits, found, temperature, task) < LAST_STEP / 3
