"""Decoding a set once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from refusals import refused

from zoo.data import _room as room
from zoo.data import decode_all, open_data
from zoo.errors import DataError, OutputError
from zoo.preprocess import resize_image
from zoo.spec import PreprocessSpec, Scale

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeFolder = Callable[..., Path]

RGB = PreprocessSpec(size=(32, 40), mean=(0.5,) * 3, std=(0.5,) * 3)
GRAY = PreprocessSpec(size=(5, 4), channels="gray", intensity=Scale(maximum=65535), resize="stretch")


def test_every_image_lands_in_its_own_row(leaky: Path) -> None:
    images = open_data(leaky).test
    seen: list[tuple[int, int]] = []
    decoded = decode_all(images, RGB, workers=3, progress=lambda done, n: seen.append((done, n)))
    assert decoded.pixels.shape == (80, 32, 40, 3)
    assert decoded.pixels.dtype == np.float32
    assert decoded.ids == images.ids
    assert decoded.bad == ()
    assert seen[-1] == (80, 80)
    assert seen == sorted(seen)
    for i in range(80):
        np.testing.assert_array_equal(decoded.pixels[i], resize_image(images.read(i).pixels, RGB))


def test_deep_images_become_float(make_folder: MakeFolder) -> None:
    images = open_data(make_folder({"cat": 4, "dog": 4}, deep=True)).train
    decoded = decode_all(images, GRAY)
    assert decoded.pixels.shape == (4, 5, 4, 1)
    assert decoded.pixels.dtype == np.float32
    assert decoded.pixels.max() > 255


def test_large_sets_go_to_a_file_that_leaves_no_trace(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = open_data(make_folder({"cat": 4, "dog": 4})).train
    in_memory = decode_all(images, RGB).pixels
    monkeypatch.setattr(room, "IN_MEMORY", 100)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(room.tempfile, "tempdir", str(tmp_path / "scratch"))
    mapped = decode_all(images, RGB).pixels
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, in_memory)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_full_disk_is_said_at_once(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    images = open_data(make_folder({"cat": 4, "dog": 4})).train
    monkeypatch.setattr(room, "IN_MEMORY", 100)
    monkeypatch.setattr(room.os, "posix_fallocate", full)
    with refused("output-full", OutputError):
        decode_all(images, RGB)


def truncate(root: Path, names: list[str]) -> None:
    for name in names:
        path = root / name
        path.write_bytes(path.read_bytes()[:70])


def test_all_truncated_files_are_reported_at_once(make_folder: MakeFolder) -> None:
    """Their headers are fine, so indexing cannot see them; told one at a time, each would cost a run."""
    root = make_folder({f"{s}/{c}": 8 for s in ("train", "val", "test") for c in ("cat", "dog")})
    images = open_data(root).train
    names = [f"train/cat/{i}.png" for i in range(6)]
    truncate(root, names)
    with refused("images-unusable", DataError, unusable=6, images=16) as caught:
        decode_all(images, RGB)
    text = str(caught.value)
    assert [image["name"] for image in caught.value.fields["first"]] == names[:5]
    assert "1 more" in text
    assert "--skip-bad" in text
    decoded = decode_all(images, RGB, skip_bad=True)
    assert [identity for identity, _ in decoded.bad] == names
    assert decoded.ids == images.ids[6:]
    assert decoded.targets.tolist() == images.targets[6:].tolist()
    np.testing.assert_array_equal(decoded.pixels[0], resize_image(images.read(6).pixels, RGB))


def test_a_class_that_would_be_lost_is_refused(make_folder: MakeFolder) -> None:
    root = make_folder({f"{s}/{c}": 2 for s in ("train", "val", "test") for c in ("cat", "dog")})
    images = open_data(root).train
    truncate(root, ["train/dog/0.png", "train/dog/1.png"])
    with refused("class-unreadable", DataError, image="train/dog/0.png"):
        decode_all(images, RGB, skip_bad=True)
    truncate(root, ["train/cat/0.png", "train/cat/1.png"])
    with refused("images-unusable", DataError, unusable=4, images=4):
        decode_all(images, RGB, skip_bad=True)


def test_values_above_the_declared_range_are_refused(make_folder: MakeFolder) -> None:
    images = open_data(make_folder({"cat": 4, "dog": 4}, deep=True)).train
    narrow = PreprocessSpec(size=(5, 4), channels="gray", intensity=Scale(maximum=100))
    with refused("images-unusable", DataError):
        decode_all(images, narrow)
