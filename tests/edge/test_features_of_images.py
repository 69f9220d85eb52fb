"""Features on a device: a row for every image that has an answer, one file for all, proven by the golden set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_models import make_manifest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from refusals import refused

from zoo.artefact import assemble, set_manifest, with_features, write_bundle
from zoo.edge.__main__ import main
from zoo.edge._replay import prove
from zoo.edge._runtime import Runtime
from zoo.edge.bundle import GOLDEN
from zoo.errors import GateError, ModelError, UsageError
from zoo.spec import FEATURES, PreprocessSpec

SPEC = PreprocessSpec(size=(8, 8), resize="stretch", mean=(0.0,) * 3, std=(1.0,) * 3)


def _model(path: Path, *, shown: bool = True, lost: bool = False, shift: float = 0.0) -> Path:
    """The mean of each channel is the features; logits are 8 times as much. `lost`: the manifest alone has them."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input", "sides"], ["mean"], keepdims=0),
            helper.make_node("Add", ["mean", "shift"], ["x"]),
            helper.make_node("MatMul", ["x", "w"], ["logits"]),
        ],
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        initializer=[
            numpy_helper.from_array(np.array([2, 3], np.int64), "sides"),
            numpy_helper.from_array((8 * np.eye(3)).astype(np.float32), "w"),
            numpy_helper.from_array(np.float32(shift), "shift"),
        ],
    )
    core = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    outputs = ("probabilities", "logits", *([FEATURES] if shown else []))
    manifest = make_manifest(preprocess=SPEC, outputs=outputs)
    model = assemble(with_features(core), SPEC, manifest.input, temperature=1.0, features=shown)
    if lost:
        model.graph.output.pop()
    set_manifest(model, manifest)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 51), (255, 255, 255))):
        Image.new("RGB", (10 + index, 9), colour).save(folder / f"{index}.png")
    (folder / "3b.png").write_bytes(b"no picture")
    return folder


def test_rows_stand_in_the_order_of_the_images_and_skip_those_without_an_answer(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, target = _model(tmp_path / "m.onnx"), tmp_path / "f.npz"
    assert main(["predict", str(model), str(pictures), "--features", str(target), "--batch-size", "3"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 4
    with np.load(target, allow_pickle=False) as found:
        assert [Path(name).name for name in found["ids"]] == ["0.png", "1.png", "2.png", "3.png"]
        assert found["features"].dtype == np.float32
        assert np.allclose(found["features"], [[1, 0, 0], [0, 1, 0], [0, 0, 0.2], [1, 1, 1]], atol=1e-5)
        assert str(found["model"]) == Runtime.open(model).sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npz", "m.onnx", "pictures"]


def test_the_table_and_the_features_are_written_in_one_pass(tmp_path: Path, pictures: Path) -> None:
    model, target, table = _model(tmp_path / "m.onnx"), tmp_path / "f.npz", tmp_path / "t.csv"
    main(["predict", str(model), str(pictures), "--features", str(target), "--csv", str(table)])
    with np.load(target) as found:
        assert len(found["ids"]) == 4
    assert len(table.read_text().splitlines()) == 6


def test_no_image_with_an_answer_leaves_a_file_without_rows(tmp_path: Path, pictures: Path) -> None:
    target = tmp_path / "f.npz"
    assert main(["predict", str(_model(tmp_path / "m.onnx")), str(pictures / "3b.png"), "--features", str(target)]) == 1
    with np.load(target) as found:
        assert found["features"].shape == (0, 3)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["f.csv"], "out-name"),
        (["there.npz"], "out-occupied"),
        (["nowhere/f.npz"], "output-unwritable"),
        (["f.npz", "--csv", "t.csv", "--resume"], "option-conflict"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_any_image_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _model(Path("m.onnx"))
    Path("there.npz").write_bytes(b"mine")
    Path("damaged.png").write_bytes(b"it would be an error of its own")
    assert main(["predict", "m.onnx", "damaged.png", "--json", "--features", *more]) in {1, 2}
    assert f'"{code}"' in capsys.readouterr().out
    assert Path("there.npz").read_bytes() == b"mine"


def test_a_file_without_features_says_how_to_get_them(tmp_path: Path) -> None:
    runtime = Runtime.open(_model(tmp_path / "m.onnx", shown=False))
    batch = np.zeros((1, 9, 9, 3), np.uint8)
    assert (runtime.has_features, runtime.feature_count) == (False, 0)
    with refused("features-missing", UsageError, outputs=["probabilities", "logits"]):
        runtime.features(batch)
    with refused("features-missing", UsageError):
        next(runtime.predict([batch[0]], features=True))


def test_a_manifest_that_promises_features_which_the_graph_has_not_is_refused(tmp_path: Path) -> None:
    with refused("model-outputs", ModelError, output=FEATURES):
        Runtime.open(_model(tmp_path / "m.onnx", lost=True))


def _bundle(tmp_path: Path, golden_of: float) -> Path:
    """A bundle whose golden features come from a model that is `golden_of` away."""
    runtime = Runtime.open(_model(tmp_path / "m.onnx"))
    other = Runtime.open(_model(tmp_path / "other.onnx", shift=golden_of))
    images = list(np.random.default_rng(0).integers(0, 256, (32, 9, 9, 3), dtype=np.uint8))
    more: dict[str, Any] = {FEATURES: other.features}
    write_bundle(
        tmp_path / "m.zoo", runtime.path.read_bytes(), runtime.manifest, images=images, golden="generated",
        predict=runtime.logits, more=more,
    )  # fmt: skip
    return tmp_path / "m.zoo"


def test_a_device_proves_its_features_on_the_golden_set(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path, 0.0)
    with np.load(bundle / GOLDEN) as golden:
        assert golden[FEATURES].shape == (4, 3)
    assert prove(bundle).max_abs_features == 0.0


def test_features_that_differ_from_the_golden_ones_are_refused(tmp_path: Path) -> None:
    with refused("golden-mismatch", GateError, mismatches=4):
        prove(_bundle(tmp_path, 0.01))
