"""Stacks of channels from files to the shipped file: five stains of 16 bits; three of 8 bits that are not colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from refusals import refused

import zoo
from zoo.artefact._web import check_fits
from zoo.data._describe import describe_data
from zoo.data.audit import audit
from zoo.edge import Failure, Prediction, Runtime, explain_images, verify
from zoo.errors import DataError, ImageError, UsageError
from zoo.readers import JOINT, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

STAINS = 5


def cell(label: str, seed: int, channels: int = STAINS) -> NDArray[np.float64]:
    """(30, 26, C) in [0, 1]: which of two stains has a bright spot says the class; the last stain is brightest."""
    rng = np.random.default_rng((label == "late", seed))
    whole = rng.random((30, 26, channels)) * 0.1
    whole[6:20, 6:20, int(label == "late" and channels > 2)] += 0.5
    whole[..., -1] *= 9
    return whole


def stacked_tiff(path: Path, whole: NDArray[np.uint16], *, planar: bool) -> None:
    """By the tags of TIFF 6.0: five samples of 16 bits, the last four of no meaning (ExtraSamples 0)."""
    from zoo.readers import _tiff as tags

    height, width, channels = whole.shape
    data = (
        [whole[..., at].astype("<u2").tobytes() for at in range(channels)]
        if planar
        else [whole.astype("<u2").tobytes()]
    )
    fields = {
        tags.WIDTH: [width], tags.LENGTH: [height], tags.BITS: [16] * channels, tags.COMPRESSION: [1],
        tags.PHOTOMETRIC: [1], tags.SAMPLES: [channels], tags.ROWS: [height], tags.PLANAR: [2 if planar else 1],
        tags.EXTRA: [0] * (channels - 1),
    }  # fmt: skip
    path.write_bytes(tags.build(fields, data, tiled=False))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("channels") / "cells"
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for at, label in enumerate(("early", "late")):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                whole = (cell(label, 100 * len(split) + number) * 60000).astype(np.uint16)
                stacked_tiff(folder / f"{split}{at}{number}.tif", whole, planar=bool(number % 2))
    return root


@pytest.fixture(scope="module")
def bundle(cells: Path) -> Path:
    settings = {"preprocess.intensity": "fitted"}
    run = zoo.train("simple_cnn", cells, epochs=1, settings=settings, out=cells.parent / "run")
    made = zoo.export(run.run, bundle=True, out=cells.parent / "cells.zoo")
    return Path(made.path)


def test_stack_of_16_bits_goes_from_tiff_to_a_proven_bundle(cells: Path, bundle: Path) -> None:
    runtime = Runtime.open(bundle)
    manifest = runtime.manifest
    assert (manifest.input.channels, manifest.input.dtype, manifest.preprocess.channels) == (STAINS, "uint16", STAINS)
    assert len(manifest.preprocess.mean) == len(manifest.preprocess.std) == STAINS
    assert len(set(manifest.preprocess.intensity.widths)) == STAINS  # a window for each stain
    assert verify(bundle).max_abs_logit <= 1e-6
    files = sorted((cells / "test").rglob("*.tif"))
    from_files = [one.probabilities for one in runtime.predict(files) if isinstance(one, Prediction)]
    whole = np.stack([read(path).pixels for path in files])
    assert len(from_files) == len(files)
    np.testing.assert_allclose([list(one.values()) for one in from_files], runtime.probabilities(whole), atol=1e-6)


def test_a_channel_in_another_place_is_another_answer(cells: Path, bundle: Path) -> None:
    """Channels are told apart by their place alone, so the model has to look at each."""
    runtime, whole = Runtime.open(bundle), read(next((cells / "test").rglob("*.tif"))).pixels
    turned = whole[:, :, [4, 1, 2, 3, 0]]
    assert np.abs(runtime.logits(whole[None]) - runtime.logits(turned[None])).max() > 1e-4


def test_other_channels_are_refused_by_one_line(cells: Path, bundle: Path, tmp_path: Path) -> None:
    runtime = Runtime.open(bundle)
    wrong: dict[str, NDArray[Any]] = {
        "four": np.zeros((9, 9, 4), np.uint16),
        "gray": np.zeros((9, 9), np.uint16),
        "first": np.zeros((5, 9, 9), np.uint16),
        "kind": np.zeros((9, 9, 5), np.float32),
        "colours": np.zeros((9, 9, 3), np.uint8),
    }
    for name, array in wrong.items():
        np.save(tmp_path / f"{name}.npy", array)
    answers = list(runtime.predict(sorted(tmp_path.iterdir())))
    assert all(isinstance(one, Failure) and "\n" not in one.error for one in answers)
    with refused("image-kind", ImageError):
        runtime.probabilities(np.zeros((1, 9, 9, 4), np.uint16))
    with refused("image-channels", ImageError, found=4, expected=STAINS):
        runtime.check(read(tmp_path / "four.npy"))
    del cells


def test_bundle_says_what_to_send_and_no_web_page_is_made_of_it(bundle: Path) -> None:
    card = (bundle / "CARD.md").read_text(encoding="utf-8")
    assert "exactly 5 channels" in card
    with refused("web-unsupported", UsageError):
        check_fits(Runtime.open(bundle).manifest)


def test_heat_map_of_a_stack_is_drawn(cells: Path, bundle: Path, tmp_path: Path) -> None:
    (found,) = explain_images(Runtime.open(bundle), next((cells / "test").rglob("*.tif")), out=tmp_path)
    assert not isinstance(found, Failure)
    with Image.open(Path(str(found.file))) as picture:
        assert (picture.mode, picture.size) == ("RGB", (26, 30))


def test_data_of_stacks_are_described_and_audited(cells: Path) -> None:
    assert describe_data(cells).channels == STAINS
    found = audit(cells)
    assert dict(found.storage) == {"5 channels of 16-bit": 32}


def archive(path: Path, channels: int, dtype: str = "uint8") -> Path:
    arrays: dict[str, NDArray[Any]] = {}
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        labels = np.arange(count) % 2
        whole = [cell(("early", "late")[at], 100 * len(split) + n, channels) for n, at in enumerate(labels.tolist())]
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = (np.stack(whole) * 200).astype(dtype), labels
    np.savez(path, **arrays)
    return path


def test_three_channels_of_8_bits_are_no_colours_where_the_user_says_so(tmp_path: Path) -> None:
    """No file tells them from colours; so the setting does, and mean and std are those of the images."""
    data = archive(tmp_path / "stains.npz", 3)
    zoo.train("simple_cnn", data, epochs=1, out=tmp_path / "rgb")
    settings = {"preprocess.channels": 3, "preprocess.size": [30, 26]}  # their own, so that no resize blends pixels
    zoo.train("simple_cnn", data, epochs=1, settings=settings, out=tmp_path / "stains")
    colours, spec = (Runtime.open(tmp_path / name / "model.onnx").manifest.preprocess for name in ("rgb", "stains"))
    assert (colours.channels, spec.channels) == ("rgb", 3)
    assert spec.mean != colours.mean
    images = np.load(data)["train_images"] / 255
    np.testing.assert_allclose(spec.mean, images.mean(axis=(0, 1, 2)), atol=1e-4)


@pytest.mark.parametrize(("channels", "dtype"), [(2, "uint8"), (16, "uint16"), (4, "float32")])
def test_archives_hold_stacks_of_any_type(channels: int, dtype: str, tmp_path: Path) -> None:
    assert describe_data(archive(tmp_path / "set.npz", channels, dtype)).channels == channels


@pytest.mark.parametrize(("channels", "dtype"), [(2, "uint8"), (16, "uint16")])
def test_the_fewest_and_the_most_channels_go_from_an_archive_to_answers_of_the_shipped_file(
    channels: int, dtype: str, tmp_path: Path
) -> None:
    data = archive(tmp_path / "set.npz", channels, dtype)
    settings = {"preprocess.size": [16, 16]} | ({"preprocess.intensity": "fitted"} if dtype == "uint16" else {})
    run = zoo.train("simple_cnn", data, epochs=1, settings=settings, out=tmp_path / "run")
    made = zoo.export(run.run, bundle=True, out=tmp_path / "set.zoo")
    assert made.parity.flips == 0
    assert verify(Path(made.path)).max_abs_logit <= 1e-6
    runtime = Runtime.open(Path(made.path))
    found = runtime.manifest
    assert (found.input.channels, found.input.dtype, found.preprocess.channels) == (channels, dtype, channels)
    assert len(found.preprocess.mean) == len(found.preprocess.std) == channels
    images = np.load(data)["test_images"]
    for at, image in enumerate(images):
        np.save(tmp_path / f"{at}.npy", image)
    answers = list(runtime.predict([tmp_path / f"{at}.npy" for at in range(len(images))]))
    told = [list(one.probabilities.values()) for one in answers if isinstance(one, Prediction)]
    np.testing.assert_allclose(told, runtime.probabilities(images), atol=1e-6)
    kept = zoo.evaluate(Path(made.path), data)
    assert (kept.n, kept.split) == (8, "test")
    turned = np.roll(images, 1, axis=-1)
    assert np.abs(runtime.logits(images) - runtime.logits(turned)).max() > 1e-5, "no channel is passed over"


def test_columns_of_a_table_are_channels(tmp_path: Path) -> None:
    lines = ["dapi,gfp,rfp,label,split"]
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for number in range(2 * count):
            label = ("early", "late")[number % 2]
            whole = (cell(label, 100 * len(split) + number, 3) * 60000).astype(np.uint16)
            names = [f"{stain}/{split}{number}.png" for stain in ("dapi", "gfp", "rfp")]
            for at, name in enumerate(names):
                (tmp_path / name).parent.mkdir(exist_ok=True)
                Image.fromarray(whole[..., at]).save(tmp_path / name)
            lines.append(f"{','.join(names)},{label},{split}")
    (tmp_path / "cells.csv").write_text("\n".join(lines), encoding="utf-8")
    columns = {"image": "dapi+gfp+rfp"}
    described = describe_data(tmp_path, columns=columns)
    assert (described.channels, described.columns["image"]) == (3, ("dapi", "gfp", "rfp"))
    settings = {"preprocess.intensity": {"type": "percentile", "per": "channel"}}
    run = zoo.train("simple_cnn", tmp_path, epochs=1, columns=columns, settings=settings, out=tmp_path / "run")
    answer = Runtime.open(Path(run.run) / "model.onnx").answer(JOINT.join(str(tmp_path / name) for name in names))
    assert isinstance(answer, Prediction)
    (tmp_path / "gfp" / "test0.png").unlink()
    with refused("images-unusable", DataError):
        zoo.train("simple_cnn", tmp_path / "cells.csv", columns=columns, settings=settings, out=tmp_path / "other")
    with refused("table-column-missing", DataError):
        describe_data(tmp_path / "cells.csv", columns={"image": "dapi+cy5"})


def test_pages_of_a_file_are_channels_in_training_and_on_the_device(tmp_path: Path) -> None:
    for label in ("early", "late"):
        (tmp_path / "z" / label).mkdir(parents=True)
        for number in range(14):
            planes = (cell(label, number, 4) * 250).astype(np.uint8)
            first, *others = (Image.fromarray(planes[..., at]) for at in range(4))
            first.save(tmp_path / "z" / label / f"{label}{number}.tif", save_all=True, append_images=others)
    run = zoo.train("simple_cnn", tmp_path / "z", epochs=1, frames="channels", out=tmp_path / "run")
    runtime = Runtime.open(Path(run.run) / "model.onnx")
    assert runtime.manifest.input.channels == 4
    assert isinstance(runtime.answer(tmp_path / "z" / "late" / "late0.tif"), Prediction)
    assert isinstance(runtime.answer((cell("late", 0, 4) * 250).astype(np.uint8)), Prediction)


@pytest.mark.parametrize("asked", [3, "rgb", "gray", 6])
def test_channels_that_the_images_do_not_have_are_refused(asked: object, cells: Path, tmp_path: Path) -> None:
    with refused("channels-differ", DataError, found=STAINS, expected=asked):
        zoo.train("simple_cnn", cells, epochs=1, settings={"preprocess.channels": asked}, out=tmp_path / "run")


def test_images_of_different_channels_are_no_one_set(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(8):
            np.save(tmp_path / "set" / label / f"{number}.npy", np.zeros((8, 8, 3 + number % 2), np.uint16) + number)
    with refused("pixel-types", DataError, channels=[3, 4]):
        zoo.train("simple_cnn", tmp_path / "set", epochs=1, out=tmp_path / "run")
    assert "error" in {one.severity for one in audit(tmp_path / "set").findings if one.kind == "bit_depth"}
