"""Opening a set by its name: the published file, its publisher's class names, its licence on record."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from noted import noted
from refusals import refused

from zoo.data import find_named, open_data
from zoo.errors import DataError
from zoo.store import sets
from zoo.workflow._images import lasting_source

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def breastmnist(published: Path) -> Path:
    """The published file, imported; its path outside the store."""
    sets.import_file(sets.find("breastmnist"), published)
    return published


@pytest.mark.usefixtures("breastmnist")
def test_the_stored_file_is_opened_with_the_publishers_class_names() -> None:
    splits = open_data("breastmnist")
    assert splits.labels == ("malignant", "normal, benign")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (545, 78, 156)  # one copy was left out
    assert splits.fingerprint.name == "breastmnist"
    assert noted(splits.notes, "licence", "CC BY 4.0")
    assert np.bincount(splits.test.targets).tolist() == [42, 114]


@pytest.mark.usefixtures("breastmnist")
def test_any_way_to_write_the_name_means_the_same_images() -> None:
    marks = {open_data(name).fingerprint.sha256 for name in ("breastmnist", "breastmnist@28", "breastmnist_28")}
    assert len(marks) == 1


def test_the_same_file_by_its_path_stays_what_it_was(breastmnist: Path) -> None:
    splits = open_data(breastmnist)
    assert splits.labels == ("0", "1")
    assert not any("licence" in note for note in splits.notes)


def test_the_digits_are_scikit_learns_and_are_read_without_its_code() -> None:
    """Its import takes longer than the first training of whoever tries the zoo."""
    datasets = pytest.importorskip("sklearn.datasets")
    data, theirs = open_data("digits"), datasets.load_digits()
    rows = np.concatenate([data.split(name).rows for name in ("train", "val", "test")])
    targets = np.concatenate([data.split(name).targets for name in ("train", "val", "test")])
    pixels = np.stack([data.split(name).read(i).pixels for name in ("train", "val", "test") for i in range(3)])
    assert data.labels == tuple(map(str, theirs.target_names))
    assert sorted(rows) == list(range(len(theirs.target)))
    assert np.array_equal(targets, theirs.target[rows])
    first = [int(data.split(name).rows[i]) for name in ("train", "val", "test") for i in range(3)]
    expected = np.round(theirs.images[first] * 255 / 16)
    assert np.array_equal(pixels[..., 0], expected)
    program = "import sys; from zoo.data import open_data; open_data('digits'); print('sklearn' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"


def test_a_set_that_is_not_here_is_answered_with_the_two_ways() -> None:
    with pytest.raises(DataError) as caught:
        open_data("breastmnist")
    message = str(caught.value)
    assert "data fetch breastmnist" in message
    assert "data import breastmnist" in message
    assert "\n" not in message


def test_a_folder_of_the_same_name_is_given_as_a_path() -> None:
    Path("breastmnist").mkdir()
    with pytest.raises(DataError, match=r"\./breastmnist$"):
        open_data("breastmnist")
    with refused("folder-without-classes", DataError):
        open_data("./breastmnist")


def test_a_folder_named_like_a_size_that_nobody_published_is_a_folder() -> None:
    with pytest.raises(DataError, match="28, 64"):
        open_data("breastmnist_32")
    Path("breastmnist_32").mkdir()
    assert find_named("breastmnist_32") is None


def test_a_mistyped_name_is_answered_with_the_right_one() -> None:
    with refused("data-missing", DataError, source="organamnst") as caught:
        open_data("organamnst")
    assert "'organamnist'" in str(caught.value)


def test_a_run_remembers_a_set_by_its_name(tmp_path: Path) -> None:
    assert lasting_source("breastmnist_64") == "breastmnist@64"
    assert lasting_source("./breastmnist") == str(tmp_path / "breastmnist")


def test_a_non_commercial_licence_is_a_warning_before_training(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (14, 8, 8, 3), np.uint8)
        arrays[f"{split}_labels"] = np.arange(14, dtype=np.uint8)[:, None] % 7
    np.savez(tmp_path / "made.npz", **arrays)
    monkeypatch.setattr(sets, "resolve", lambda _: tmp_path / "made.npz")
    with caplog.at_level(logging.WARNING, "zoo"):
        splits = open_data("dermamnist")
    assert len(caplog.messages) == 1
    assert noted(caplog.messages, "dermamnist", "CC BY-NC 4.0", "not for commercial")
    assert noted(splits.notes[:1], "CC BY-NC 4.0", "non-commercial")
    assert splits.labels[4] == "melanoma"
    caplog.clear()
    open_data("dermamnist", for_training=False)
    assert caplog.messages == []


def test_a_set_with_several_labels_an_image_is_opened_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = np.random.default_rng(len(split)).integers(0, 256, (28, 8, 8), np.uint8)
        arrays[f"{split}_labels"] = np.eye(14, dtype=np.uint8)[np.arange(28) % 14]
    np.savez(tmp_path / "made.npz", **arrays)
    monkeypatch.setattr(sets, "resolve", lambda _: tmp_path / "made.npz")
    splits = open_data("chestmnist")
    assert splits.task == "multilabel"
    assert splits.labels[0] == "atelectasis"
    assert splits.train.targets.shape == (28, len(splits.labels))


def test_a_set_of_class_folders_is_divided_with_the_seed(
    monkeypatch: pytest.MonkeyPatch, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder({"Forest": 20, "River": 20})
    monkeypatch.setattr(sets, "resolve", lambda _: folder)
    splits = open_data("eurosat")
    assert splits.labels == ("Forest", "River")
    assert splits.fingerprint.name == "eurosat"
    assert (len(splits.train), len(splits.val), len(splits.test)) == (28, 6, 6)
    assert splits.notes[0] == "data licence: MIT"
    again = open_data("eurosat", for_training=False)
    assert again.fingerprint == splits.fingerprint, "what was trained on is never tested on"
