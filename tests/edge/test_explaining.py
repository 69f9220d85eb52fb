"""Heat maps: they point at what decides, and say so in numbers and in a picture."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edge_models import LABELS, deep_manifest, make_manifest, make_model
from PIL import Image
from refusals import refused

import zoo
from zoo.edge.__main__ import main
from zoo.edge._explain import VISIBLE, explain_images, map_occlusion, overlay
from zoo.edge._runtime import Runtime
from zoo.errors import ImageError, OutputError, UsageError
from zoo.readers import from_array, read

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE, CUE = 32, 8


def _scene(rng: np.random.Generator, corner: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Noise around mid-grey, with a bright square at `corner` or without."""
    pixels = rng.integers(60, 140, (SIDE, SIDE, 3), dtype=np.uint8)
    if corner is not None:
        pixels[corner[0] : corner[0] + CUE, corner[1] : corner[1] + CUE] = 245
    return pixels


def _corner(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(0, SIDE - CUE)), int(rng.integers(0, SIDE - CUE))


@pytest.fixture(scope="module", params=["told", "shuffled"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Runtime]:
    """A network that learnt "square" and "plain", by their true labels or by shuffled ones."""
    folder = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(3)
    names = np.array(["square", "plain"] * 60)
    given = names.copy()
    if request.param == "shuffled":
        rng.shuffle(given)
    for i, (shown, label) in enumerate(zip(names, given, strict=True)):
        path = folder / "images" / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_scene(rng, _corner(rng) if shown == "square" else None)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = zoo.train("simple_cnn", "images", epochs=6, batch_size=16, seed=1, out="run").run
        return request.param, zoo.open(run)


@pytest.mark.slow  # two networks are trained
def test_the_brightest_place_is_the_one_that_decides(trained: tuple[str, Runtime]) -> None:
    """And a network that learnt nothing of the square shows nothing: the map is of the model, not of the image."""
    told, runtime = trained
    rng = np.random.default_rng(7)
    found = []
    for _ in range(12):
        top, left = _corner(rng)
        drop, y, x = map_occlusion(runtime, from_array(_scene(rng, (top, left))), "square").peak
        found.append((drop > VISIBLE, top <= y < top + CUE and left <= x < left + CUE))
    if told == "told":
        assert found == [(True, True)] * 12
    else:
        assert not any(visible for visible, _ in found)


def _opened(tmp_path: Path, **changes: object) -> Runtime:
    path = tmp_path / "model.onnx"
    path.write_bytes(make_model(make_manifest(**changes)).SerializeToString())
    return Runtime.open(path)


def test_the_map_is_of_the_label_asked_for(tmp_path: Path) -> None:
    runtime = _opened(tmp_path)
    pixels = np.full((24, 24, 3), 20, np.uint8)
    pixels[:8, :8] = (250, 0, 0)
    pixels[16:, 16:] = (0, 200, 0)
    image = from_array(pixels)
    red, green = map_occlusion(runtime, image, "red"), map_occlusion(runtime, image, "green")
    assert (red.peak[1] < 8, red.peak[2] < 8) == (True, True)
    assert (green.peak[1] >= 16, green.peak[2] >= 16) == (True, True)
    assert map_occlusion(runtime, image).label == "red", "the most probable one, when none is named"
    assert red.values[-1][-1] < 0, "hiding the green raises the probability of red"


def test_a_label_is_found_in_either_unicode_form(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "mélanome") for form in ("NFC", "NFD"))
    image = from_array(np.full((8, 8, 3), 20, np.uint8))
    for known, asked in ((composed, apart), (apart, composed)):
        runtime = _opened(tmp_path, labels=("a", known, "b"))
        assert map_occlusion(runtime, image, asked).label == known
    with refused("label-unknown", UsageError, known=["a", apart, "b"]):
        map_occlusion(runtime, image, "melanome")


def test_numbers_are_the_drop_of_the_probability_by_hand(tmp_path: Path) -> None:
    """2 x 2 pixels: four cells under one window, which hides all of the image."""
    runtime = _opened(tmp_path)
    pixels = np.array([[[255, 0, 0], [0, 0, 255]], [[255, 0, 0], [255, 0, 0]]], np.uint8)
    heat = map_occlusion(runtime, from_array(pixels), "red")
    hidden = np.full((1, 2, 2, 3), (191, 0, 64), np.uint8)  # the mean, 191.25 and 63.75, rounded
    expected = heat.base - float(runtime.probabilities(hidden)[0, 0])
    assert (heat.height, heat.width) == (2, 2)
    assert np.allclose(heat.values, expected, atol=1e-7)


def test_same_image_gives_the_same_map(tmp_path: Path) -> None:
    runtime = _opened(tmp_path)
    image = from_array(np.random.default_rng(0).integers(0, 256, (50, 41, 3), dtype=np.uint8))
    assert map_occlusion(runtime, image) == map_occlusion(runtime, image)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_deep_images_are_explained_in_their_own_values(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "deep.onnx"
    manifest = make_manifest(
        **{name: getattr(deep_manifest(dtype=dtype), name) for name in ("preprocess", "input")},
        labels=("dark", "bright"),
    )
    path.write_bytes(make_model(manifest).SerializeToString())
    pixels = np.full((20, 20, 1), 100, dtype)
    pixels[12:16, 4:8] = 4000
    heat = map_occlusion(Runtime.open(path), from_array(pixels), "dark")
    assert heat.peak[0] > 0
    assert (12 <= heat.peak[1] < 16, 4 <= heat.peak[2] < 8) == (True, True)
    assert overlay(from_array(pixels), heat).size == (20, 20)


def test_a_label_of_several_is_explained_by_its_own_probability(tmp_path: Path) -> None:
    runtime = _opened(tmp_path, task="multilabel")
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[:8, :8, 0] = 255
    pixels[16:, 16:, 2] = 255
    red, blue = (map_occlusion(runtime, from_array(pixels), label) for label in ("red", "blue"))
    assert (red.peak[1] < 8, blue.peak[1] >= 16) == (True, True)
    assert abs(red.values[-1][-1]) < red.peak[0] / 5, "hiding the blue hardly changes red"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (3, 900), (640, 480), (8, 8)])
def test_cost_is_bounded_and_cells_cover_any_shape(tmp_path: Path, height: int, width: int) -> None:
    runtime = _opened(tmp_path)
    asked: list[int] = []
    answer = runtime.probabilities

    def counted(batch: NDArray[np.uint8], columns: Any = None) -> NDArray[np.float32]:
        asked.append(len(batch))
        return answer(batch, columns)

    runtime.probabilities = counted  # type: ignore[method-assign]
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    heat = map_occlusion(runtime, from_array(pixels))
    assert sum(asked) <= 1 + 144
    assert max(asked) <= 16
    assert (heat.height, heat.width) == (height, width)
    assert all(math.isfinite(value) for row in heat.values for value in row)


def test_large_image_is_averaged_first_and_keeps_its_answer(tmp_path: Path) -> None:
    runtime = _opened(tmp_path)  # its input is 8 x 8
    pixels = np.random.default_rng(0).integers(0, 256, (331, 402, 3), dtype=np.uint8)
    pixels[200:, 300:] = (255, 0, 0)
    heat = map_occlusion(runtime, from_array(pixels), "red")
    assert heat.base == pytest.approx(float(runtime.probabilities(pixels[None])[0, 0]), abs=5e-3)
    assert (heat.height, heat.width) == (331, 402)
    assert heat.peak[1] > 200
    assert heat.peak[2] > 300


def test_overlay_colours_only_what_matters(tmp_path: Path) -> None:
    runtime = _opened(tmp_path)
    pixels = np.full((24, 24, 3), 40, np.uint8)
    pixels[:8, :8] = (250, 0, 0)
    image = from_array(pixels)
    drawn = np.asarray(overlay(image, map_occlusion(runtime, image, "red")), np.int16)
    changed = np.abs(drawn - pixels).max(axis=2)
    assert changed[:6, :6].min() > 30
    assert changed[-6:, -6:].max() <= 2
    plain = from_array(np.full((24, 24, 3), 40, np.uint8))
    assert np.array_equal(overlay(plain, map_occlusion(runtime, plain)), plain.pixels), (
        "nothing matters, nothing is drawn"
    )


def test_overlay_of_a_huge_image_stays_small(tmp_path: Path) -> None:
    image = from_array(np.zeros((300, 5000, 3), np.uint8))
    assert overlay(image, map_occlusion(_opened(tmp_path), image)).size == (2048, 123)


def test_wrong_label_and_wrong_pixels_are_said(tmp_path: Path) -> None:
    runtime = _opened(tmp_path)
    with refused("label-unknown", UsageError, labels=["blu"], known=["red", "green", "blue"]):
        map_occlusion(runtime, from_array(np.zeros((4, 4, 3), np.uint8)), "blu")
    with refused("image-kind", ImageError, found="uint16", expected=["uint8"]):
        map_occlusion(runtime, from_array(np.zeros((4, 4), np.uint16)))


def test_pictures_of_equal_names_do_not_overwrite_each_other(tmp_path: Path) -> None:
    runtime = _opened(tmp_path)
    for folder, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (9, 7), colour).save(tmp_path / folder / "x.png")
    (tmp_path / "a" / "y.png").write_text("no picture")
    found = list(explain_images(runtime, [tmp_path / "a", tmp_path / "b"], out=tmp_path / "maps"))
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["x-2.heat.png", "x.heat.png"]
    assert [row.row().get("label") for row in found] == ["red", None, "blue"]
    assert "not an image" in str(found[1].row()["error"])


def test_pictures_of_somebody_else_stay_and_those_of_an_earlier_call_do_not_pile_up(tmp_path: Path) -> None:
    runtime = _opened(tmp_path)
    image, mine = tmp_path / "x.png", tmp_path / "x.heat.png"
    for place in (image, mine):
        Image.new("RGB", (9, 7), "red").save(place)
    (tmp_path / "x-2.heat.png").mkdir()
    before = mine.read_bytes()
    own = tmp_path / "x-3.heat.png"
    for overwrite in (False, True):
        (row,) = explain_images(runtime, [image], out=tmp_path, overwrite=overwrite)
        assert row.row()["file"] == str(own)
    with refused("out-occupied", OutputError, path=str(own)):
        list(explain_images(runtime, [image], out=tmp_path))
    assert mine.read_bytes() == before


def test_heat_maps_are_not_the_images_of_the_next_call_in_their_folder(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default place is in the working folder; an overlay with a label would be one more image of a study."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("x.png", "y.heat.png"):  # the latter is a picture of somebody else
        Image.new("RGB", (9, 7), "red").save(folder / name)
    monkeypatch.chdir(folder)
    for more in ((), ("--overwrite",)):
        assert main(["explain", str(model_file), ".", "--draws", "0", "--json", *more]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["image"] for row in rows] == ["./x.png", "./y.heat.png"]
    assert len(list((folder / "heatmaps").iterdir())) == 2
    assert main(["predict", str(model_file), ".", "--json"]) == 0
    said = capsys.readouterr()
    assert [row["image"] for row in json.loads(said.out)] == ["./x.png", "./y.heat.png"]
    assert "2 runs, bundles or heat maps of this tool" in said.err


def test_a_name_as_long_as_a_file_system_takes_gets_its_picture(tmp_path: Path) -> None:
    image = tmp_path / f"{'ä' * 120}x.png"
    Image.new("RGB", (9, 7), "red").save(image)
    (row,) = explain_images(_opened(tmp_path), [image], out=tmp_path / "maps")
    (made,) = (tmp_path / "maps").iterdir()
    assert row.row()["file"] == str(made)
    assert made.name == f"{'ä' * 100}.heat.png"


def test_verb_of_the_device_prints_one_document(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (12, 10), "lime").save(tmp_path / "g.png")
    code = main(["explain", str(model_file), str(tmp_path / "g.png"), "--json", "--out", str(tmp_path / "maps")])
    (row,) = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (row["label"], row["height"], row["width"]) == ("green", 10, 12)
    assert read(tmp_path / "maps" / "g.heat.png").pixels.shape == (10, 12, 3)
    assert set(row) == {"image", "label", "base", "height", "width", "values", "method", "file", "randomised"}
    assert row["label"] in LABELS
