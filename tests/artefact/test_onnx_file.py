"""What stands in the exported file, and what must not."""

from __future__ import annotations

import getpass
import re
import socket
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
import pytest

import zoo
import zoo.plugin
from zoo.artefact import set_manifest
from zoo.data import open_data
from zoo.edge import Runtime
from zoo.spec import Manifest, decode
from zoo.workflow import _prove as ship

if TYPE_CHECKING:
    from pathlib import Path

    from export_cases import Case


@pytest.fixture(scope="module")
def model(case: Case) -> onnx.ModelProto:
    return onnx.load(case.run.file("model.onnx"))


def test_the_file_explains_itself(model: onnx.ModelProto) -> None:
    """A lone .onnx years later: labels, preprocessing, numbers and proof are in it."""
    entry, checksum = model.metadata_props
    assert (entry.key, checksum.key) == ("zoo", "zoo.sha256")
    manifest = decode(entry.value, Manifest, "metadata", zoo.ZooError)
    assert manifest.labels == ("blue", "green", "red")
    assert manifest.report is not None
    assert manifest.parity is not None
    assert manifest.provenance.data.n == 60
    assert manifest.files == {}


def test_the_signature_is_dynamic(model: onnx.ModelProto) -> None:
    """Any number of pictures of any size."""
    (image,) = model.graph.input
    dims = image.type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["N", "H", "W", 3]
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in model.graph.output] == ["probabilities", "logits"]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 7), (3, 24, 40), (5, 32, 32)])
def test_probabilities_are_the_calibrated_softmax(case: Case, shape: tuple[int, ...]) -> None:
    runtime = Runtime.open(case.run.file("model.onnx"))
    batch = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    logits, probabilities = runtime.logits(batch), runtime.probabilities(batch)
    assert probabilities.shape == (shape[0], 3)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    exponents = np.exp(logits.astype(float) / runtime.manifest.temperature)
    assert np.allclose(probabilities, exponents / exponents.sum(axis=1, keepdims=True), atol=1e-6)


def test_nothing_of_the_training_machine_is_in_the_bytes(case: Case) -> None:
    """torch notes source files and stack traces; a shipped file must not tell who trained it where."""
    data = case.run.file("model.onnx").read_bytes()
    for place in (b"/root", b"/tmp", b"/home", b"/work", b"site-packages", b"Traceback", b"pkg.torch"):
        assert place not in data
    assert not re.search(rb"\w+\.py\b", data)
    assert str(case.run.path).encode() not in data
    for name in (getpass.getuser(), socket.gethostname()):
        if len(name) < 5:  # too short to tell from other bytes
            continue
        assert not re.search(rb"\b" + re.escape(name.encode()) + rb"\b", data)


def test_no_notes_of_the_exporter_are_left(model: onnx.ModelProto) -> None:
    graph = model.graph
    parts = [model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info]
    assert not any(part.doc_string for part in parts)
    assert not any(len(part.metadata_props) for part in parts if part is not model)
    assert not len(model.functions)


def test_the_file_stands_alone(model: onnx.ModelProto) -> None:
    """No second file of weights that could be lost or exchanged."""
    assert not any(t.HasField("data_location") and t.data_location for t in model.graph.initializer)
    onnx.checker.check_model(model, full_check=True)


def test_assembling_twice_gives_the_same_bytes(case: Case) -> None:
    """Else a file could not be compared with one made again."""
    first, second = (case.assembled().SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_a_manifest_is_replaced_not_added(case: Case) -> None:
    model = case.assembled()
    set_manifest(model, case.manifest)
    set_manifest(model, msgspec.structs.replace(case.manifest, name="other"))
    assert [p.key for p in model.metadata_props] == ["zoo", "zoo.sha256"]
    assert '"other"' in model.metadata_props[0].value


@pytest.mark.parametrize("stage", ["normalize", "none"])
def test_every_stage_gives_the_same_answers(
    case: Case, stage: ship.Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that resizes in hardware gets another file, not other answers."""
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", lambda _: case.fresh_core())
    made = zoo.export(case.run.path, preprocess=stage, out=tmp_path / "m.onnx")
    assert made.parity.max_abs_logit <= 1e-5
    assert made.size_bytes == (tmp_path / "m.onnx").stat().st_size
    images = case.images[:10]
    full, part = (list(zoo.open(path).predict(images)) for path in (case.run.path, made.path))
    for a, b in zip(full, part, strict=True):
        assert a.row()["label"] == b.row()["label"]
        for label, probability in a.row()["probabilities"].items():
            assert b.row()["probabilities"][label] == pytest.approx(probability, abs=5e-3)


def test_the_file_gives_the_trained_answers_on_images_it_was_not_proven_on(case: Case) -> None:
    """From the framework itself, on test images: the promise, without the gate in between."""
    from zoo.preprocess import apply

    splits = open_data(case.run.record.source)
    runtime = Runtime.open(case.run.file("model.onnx"))
    for index in range(len(splits.test)):
        pixels = splits.test.read(index).pixels
        ours = case.trained.predict(apply(pixels, case.manifest.preprocess)[None])
        assert np.abs(ours - runtime.logits(pixels[None])).max() < 0.02
