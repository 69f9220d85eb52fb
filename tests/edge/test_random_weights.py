"""What a map is worth is said beside it: how alike it is to the maps of the same network with random weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from edge_models import make_manifest
from evidence_models import evident
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from zoo.artefact import assemble, set_manifest
from zoo.edge.__main__ import main
from zoo.edge._explain import FileMapper, correlate_ranks, explain_images, score_map, shuffle_weights
from zoo.edge._runtime import Runtime
from zoo.readers import from_array
from zoo.spec import OPSET

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 16


def convolving(path: Path, kernels: NDArray[np.float32], second: NDArray[np.float32]) -> Path:
    """A file that answers by two convolutions with a ReLU between, and the mean over places."""
    spec = make_manifest().preprocess
    manifest = make_manifest(
        preprocess=type(spec)(size=(SIDE, SIDE), resize="stretch", mean=(0.0,) * 3, std=(1.0,) * 3)
    )
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "first"], ["seen"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["seen"], ["kept"]),
            helper.make_node("Conv", ["kept", "second"], ["places"]),
            helper.make_node("ReduceMean", ["places", "sides"], ["logits"], keepdims=0),
        ],
        "convolving",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        initializer=[
            numpy_helper.from_array(kernels, "first"),
            numpy_helper.from_array(second, "second"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "sides"),
        ],
    )
    core = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    model = assemble(core, manifest.preprocess, manifest.input, temperature=1.0, task="multiclass")
    set_manifest(model, manifest)
    path.write_bytes(model.SerializeToString())
    return path


def of_brightness(path: Path) -> Path:
    """All weights of a channel are equal, so no order of them is another network."""
    second = np.repeat(np.array([1, -1, 0.5], np.float32), 4).reshape(3, 4, 1, 1)
    return convolving(path, np.full((4, 3, 3, 3), 0.5, np.float32), second)


def of_redness(path: Path) -> Path:
    """The first label is red less the other colours, which only this order of the weights gives."""
    kernels = np.zeros((4, 3, 3, 3), np.float32)
    kernels[0, :, 1, 1] = (4, -2, -2)
    kernels[1, :, 1, 1] = (-2, 4, -2)
    kernels[2, :, 1, 1] = (-2, -2, 4)
    return convolving(path, kernels, 8 * np.eye(3, 4, dtype=np.float32).reshape(3, 4, 1, 1))


def _scene(seed: int = 0) -> NDArray[np.uint8]:
    """Gray of any brightness everywhere, red in one place."""
    rng = np.random.default_rng(seed)
    pixels = np.repeat(rng.integers(0, 256, (32, 32, 1), dtype=np.uint8), 3, axis=2)
    top, left = rng.integers(0, 22, 2)
    pixels[top : top + 10, left : left + 10] = (230, 20, 20)
    return pixels


@pytest.mark.parametrize("levels", [3, 1000])
def test_ranks_are_correlated_as_by_scipy(levels: int) -> None:
    rng = np.random.default_rng(levels)
    one, other = rng.integers(0, levels, (2, 12, 12)).astype(float)
    stats = pytest.importorskip("scipy.stats")  # a device has none
    assert np.isclose(correlate_ranks(one, other), stats.spearmanr(one.ravel(), other.ravel()).statistic, atol=1e-12)
    assert np.isclose(correlate_ranks(one, one**3 + 7), 1)
    assert correlate_ranks(one, np.zeros_like(one)) == 0


def test_weights_change_places_within_a_channel_and_nothing_else_changes(tmp_path: Path) -> None:
    kernels = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    before = convolving(tmp_path / "m.onnx", kernels, np.ones((3, 4, 1, 1), np.float32)).read_bytes()
    after = shuffle_weights(before, 1)
    assert after is not None
    assert after == shuffle_weights(before, 1) != shuffle_weights(before, 2)
    old, new = (
        {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(model).graph.initializer}
        for model in (before, after)
    )
    changed = [name for name in old if not np.array_equal(old[name], new[name])]
    assert changed == ["core/first"], "preprocessing, shapes, and weights that are all equal stay"
    assert not any(np.array_equal(*pair) for pair in zip(kernels, new["core/first"], strict=True))
    assert np.array_equal(np.sort(kernels.reshape(4, -1)), np.sort(new["core/first"].reshape(4, -1)))


def test_a_map_that_any_weights_give_scores_one(tmp_path: Path) -> None:
    mapper = FileMapper(Runtime.open(of_brightness(tmp_path / "m.onnx")))
    for seed in range(3):
        image = from_array(_scene(seed))
        score = score_map(mapper, mapper(image, None, None), image, None, 3)
        assert score is not None
        assert score > 0.95, "it is not exactly 1: one map is of probabilities, the others are of log-odds"


def test_a_map_of_what_the_weights_say_scores_far_less_and_the_same_each_time(tmp_path: Path) -> None:
    mapper = FileMapper(Runtime.open(of_redness(tmp_path / "m.onnx")))
    found = []
    for seed in range(4):
        image = from_array(_scene(seed))
        heat = mapper(image, "red", None)
        found.append(score_map(mapper, heat, image, None, 3))
        assert score_map(mapper, heat, image, None, 3) == found[-1]
    assert np.mean(np.array(found, float)) < 0.5


def test_nothing_is_compared_where_there_is_nothing_to_compare(tmp_path: Path) -> None:
    image = from_array(_scene())
    mapper = FileMapper(evident(tmp_path / "m.onnx"))  # its only weight is one number
    assert score_map(mapper, mapper(image, None, None), image, None, 1) is None
    bright = FileMapper(Runtime.open(of_brightness(tmp_path / "b.onnx")))
    flat = from_array(np.full((20, 20, 3), 90, np.uint8))
    assert score_map(bright, bright(flat, None, None), flat, None, 1) is None


def test_the_first_map_of_a_call_is_scored(tmp_path: Path) -> None:
    runtime = Runtime.open(of_redness(tmp_path / "m.onnx"))
    first, second = explain_images(runtime, [_scene(0), _scene(1)], draws=1)
    assert isinstance(first.row()["randomised"], float)
    assert second.row()["randomised"] is None
    (unasked,) = explain_images(runtime, [_scene(0)])
    assert unasked.row()["randomised"] is None


def test_the_verb_prints_the_score_unless_no_draw_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(_scene()).save(tmp_path / "x.png")
    asked = ["explain", str(of_redness(tmp_path / "m.onnx")), str(tmp_path / "x.png"), "--overwrite"]
    asked += ["--out", str(tmp_path / "maps")]
    assert main(asked) == 0
    assert "same map with random weights: rank correlation" in capsys.readouterr().err
    assert main([*asked, "--draws", "0", "--json"]) == 0
    said = capsys.readouterr()
    assert "random weights" not in said.err
    assert json.loads(said.out)[0]["randomised"] is None
