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
from zoo.edge._last_step import LAST_STEP, find_changed_labels, find_open_labels, measure_last_step
from zoo.edge._tables import describe_proof
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


def test_a_label_of_several_that_the_tolerance_leaves_open_is_counted(tmp_path: Path) -> None:
    """The kernels of another processor move an int8 file's logits within its tolerance: that device is right."""
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
    found = verify(bundle, isolated=False)
    assert found.max_abs_logit == pytest.approx(0.48, abs=0.01)
    still = sum(len(find_open_labels(row, "multilabel", 0.5)) for row in arrays["logits"])
    assert found.open_labels == still > 1
    assert f"{still} labels" in found.headline()
    assert f"{still} labels" in describe_proof(found, None)["golden set"]
    arrays["logits"][0, 0] = 0.6
    np.savez(bundle / "golden.npz", **arrays)
    seal(bundle, manifest)
    with refused("golden-mismatch", GateError, mismatches=2):  # the logit, and the finding that went
        verify(bundle, isolated=False)


@pytest.mark.parametrize(
    ("task", "expected", "tolerance", "still"),
    [
        ("multilabel", (0.4, -3.7, 3.8), 0.5, [0]),
        ("multilabel", (0.4, -3.7, 3.8), 0.3, []),
        ("multilabel", (0.0009, -0.0011, 3.8), 0.0, [0]),
        ("multiclass", (1.0, 1.2, -3.0), 0.1, [0]),
        ("multiclass", (1.0, 1.25, -3.0), 0.1, []),
        ("ordinal", (10.0, 10.0, 10.0), 0.0, [1, 2]),
    ],
)
def test_a_label_is_open_where_moved_logits_may_change_it(
    task: Task, expected: tuple[float, ...], tolerance: float, still: list[int]
) -> None:
    logits = np.array(expected)
    assert find_open_labels(logits, task, tolerance) == still
    moved = logits[None] + tolerance * np.maximum(1, np.abs(logits)) * np.random.default_rng(0).uniform(
        -1, 1, (200, len(logits))
    )
    assert not any(find_changed_labels(row, logits, task, tolerance) for row in moved)


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
