"""The file's own map: laid back onto the raw image it points at the same place, whatever preprocessing did to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
import pytest
from edge_models import make_manifest, make_model
from evidence_models import evident
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from refusals import refused

from zoo.edge.__main__ import main
from zoo.edge._explain import average_in_cells, explain_image, map_evidence, overlay
from zoo.edge._runtime import Runtime
from zoo.errors import ModelError, UsageError
from zoo.preprocess import place_image, resize_image
from zoo.readers import from_array
from zoo.spec import EVIDENCE, PreprocessSpec, encode

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SPOT = 12


def _spotted(height: int, width: int, top: int, left: int) -> NDArray[np.uint8]:
    """Noise, darker than half, with a red square."""
    pixels = np.random.default_rng(0).integers(30, 90, (height, width, 3), dtype=np.uint8)
    pixels[top : top + SPOT, left : left + SPOT] = (250, 10, 10)
    return pixels


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize(("height", "width"), [(90, 200), (200, 90), (131, 77)])
def test_a_spot_in_the_corner_lights_up_where_it_is(tmp_path: Path, resize: str, height: int, width: int) -> None:
    runtime = evident(tmp_path / "m.onnx", resize=resize)
    (down, above), (across, before) = place_image(height, width, runtime.manifest.preprocess)
    top, left = (max(0, round(-offset / scale) + 1) for scale, offset in ((down, above), (across, before)))
    for y, x in ((top, left), (height - SPOT - top, left), (top, width - SPOT - left)):
        image = from_array(_spotted(height, width, y, x))
        heat = map_evidence(runtime, image, "red")
        value, row, column = heat.peak
        assert value > 3
        assert (y <= row < y + SPOT, x <= column < x + SPOT) == (True, True), (row, column)
        drawn = np.asarray(overlay(image, heat), np.int16)
        changed = np.abs(drawn - image.pixels).max(axis=2)
        assert changed[y + 4 : y + SPOT - 4, x + 4 : x + SPOT - 4].min() > 60
        assert np.median(changed) < 20


def test_what_a_crop_cuts_off_has_no_evidence(tmp_path: Path) -> None:
    runtime = evident(tmp_path / "m.onnx", resize="crop")
    heat = map_evidence(runtime, from_array(_spotted(60, 180, 0, 0)), "red")
    grid = np.asarray(heat.values)
    third = grid.shape[1] // 3
    assert np.all(grid[:, : third - 1] == 0)
    assert np.all(grid[:, -third + 1 :] == 0)
    assert np.any(grid[:, third:-third] != 0)


sides = st.integers(1, 90)


@given(
    height=sides, width=sides, size=st.tuples(sides, sides), resize=st.sampled_from(["stretch", "crop", "letterbox"])
)
def test_a_ramp_that_was_resized_is_laid_back_where_it_came_from(
    height: int, width: int, size: tuple[int, int], resize: str
) -> None:
    """Each pixel tells its own place, so that a shift or a swapped axis cannot hide."""
    spec = PreprocessSpec(size=size, resize=resize, interpolation="bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)  # type: ignore[arg-type]
    (down, above), (across, before) = place_image(height, width, spec)
    places = np.mgrid[:height, :width].astype(np.float32) + 0.5  # middles, in raw pixels
    for axis, (scale, offset) in enumerate(((down, above), (across, before))):
        seen = resize_image(
            places[axis][:, :, None], msgspec.structs.replace(spec, channels="gray", mean=(0.0,), std=(1.0,))
        )
        middles = (np.arange(size[axis]) + 0.5 - offset) / scale
        line = seen[:, :, 0].mean(axis=1 - axis) if resize == "stretch" else seen[:, :, 0].max(axis=1 - axis)
        blur = 1 + 1 / scale  # an antialiased filter bends a ramp at its ends
        inside = (middles > blur) & (middles < (height, width)[axis] - blur)
        assert np.allclose(line[inside], middles[inside], atol=0.51)


@given(height=sides, width=sides, size=st.tuples(sides, sides), resize=st.sampled_from(["stretch", "letterbox"]))
def test_an_even_map_stays_even(height: int, width: int, size: tuple[int, int], resize: str) -> None:
    """Cells are means, so that evidence neither fades nor grows with the size of an image."""
    spec = PreprocessSpec(size=size, resize=resize, mean=(0.0,) * 3, std=(1.0,) * 3)  # type: ignore[arg-type]
    assert np.allclose(average_in_cells(np.full(size, 2.5), height, width, spec), 2.5)


def test_numbers_are_the_evidence_over_that_for_the_others(tmp_path: Path) -> None:
    pixels = np.full((40, 40, 3), (255, 51, 0), np.uint8)
    red = map_evidence(evident(tmp_path / "m.onnx"), from_array(pixels))
    assert (red.label, red.method) == ("red", "evidence")
    assert np.allclose(red.values, 8 - 1.6 / 2, atol=1e-5)
    several = evident(tmp_path / "several.onnx", task="multilabel")
    assert np.allclose(map_evidence(several, from_array(pixels), "green").values, 1.6, atol=1e-5)


def test_the_map_is_answered_beside_the_probabilities_or_refused(tmp_path: Path) -> None:
    runtime = evident(tmp_path / "m.onnx")
    batch = np.random.default_rng(1).integers(0, 256, (3, 50, 70, 3), dtype=np.uint8)
    evidence = runtime.evidence(batch)
    assert (evidence.shape, evidence.dtype) == ((3, 3, 40, 40), np.float32)
    assert np.allclose(evidence.mean(axis=(2, 3)), runtime.logits(batch), atol=1e-4)
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(make_model().SerializeToString())
    with refused("evidence-missing", UsageError, outputs=["probabilities", "logits"]):
        Runtime.open(plain).evidence(batch)
    assert explain_image(Runtime.open(plain), from_array(batch[0])).method == "occlusion"


def test_a_manifest_that_promises_another_map_is_refused(tmp_path: Path) -> None:
    runtime = evident(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    for size in ((40, 41), None):
        manifest = runtime.manifest
        if size is None:
            model = make_model(make_manifest(outputs=runtime.manifest.outputs))
        else:
            spec = msgspec.structs.replace(manifest.preprocess, size=size)
            onnx.helper.set_model_props(
                model, {"zoo": encode(msgspec.structs.replace(manifest, preprocess=spec)).decode()}
            )
        (tmp_path / "wrong.onnx").write_bytes(model.SerializeToString())
        with refused("model-outputs", ModelError, output=EVIDENCE):
            Runtime.open(tmp_path / "wrong.onnx")


def test_a_map_that_is_no_number_is_refused_and_not_shown_as_empty(tmp_path: Path) -> None:
    evident(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    del model.metadata_props[1:]  # its hash: what follows is not a damage
    made = next(node for node in model.graph.node if EVIDENCE in node.output)
    made.output[list(made.output).index(EVIDENCE)] = "sound"
    for node in model.graph.node:
        node.input[:] = ["sound" if name == EVIDENCE else name for name in node.input]
    below = onnx.helper.make_node("Sub", ["sound", "thousand"], ["below"])
    model.graph.node.extend([below, onnx.helper.make_node("Sqrt", ["below"], [EVIDENCE])])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1000), "thousand"))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    runtime = Runtime.open(tmp_path / "m.onnx")
    image = from_array(np.zeros((40, 40, 3), np.uint8))
    assert np.isfinite(runtime.probabilities(image.pixels[None])).all()
    with refused("evidence-not-finite", ModelError):
        explain_image(runtime, image)


def test_a_map_that_no_device_has_room_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.edge._graph.MOST_EVIDENCE", 3 * 40 * 40)
    evident(tmp_path / "m.onnx")
    with refused("evidence-size", ModelError, numbers=4803):
        evident(tmp_path / "m.onnx", size=(1601, 1))


def test_the_verb_says_by_which_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evident(tmp_path / "m.onnx")
    Image.fromarray(_spotted(60, 90, 40, 70)).save(tmp_path / "x.png")
    asked = [
        "explain",
        str(tmp_path / "m.onnx"),
        str(tmp_path / "x.png"),
        "--out",
        str(tmp_path / "maps"),
        "--overwrite",
    ]
    assert main([*asked, "--label", "red"]) == 0
    said = capsys.readouterr()
    assert "most evidence around x 80, y 50" in said.out
    assert "the map that the network makes its answer of" in said.err
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["method"] == "evidence"
