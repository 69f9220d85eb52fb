"""npz archives with several labels an image, as ChestMNIST has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from noted import noted
from refusals import refused

from zoo.data import align, open_data
from zoo.data._labels import label_text
from zoo.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("Mass", "Effusion", "Hernia")


def archive(**changes: Any) -> dict[str, Any]:
    """A good archive with all splits: 8 different images each, every label there and not there in each split."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {"label_names": np.array(NAMES)}
    for split in ("train", "val", "test"):
        content[f"{split}_images"] = rng.integers(0, 256, (8, 6, 5), np.uint8)
        content[f"{split}_labels"] = (np.arange(8)[:, None] >> np.arange(3) & 1).astype(np.uint8)
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def save(path: Path, content: dict[str, Any]) -> Path:
    np.savez(path, **content)
    return path


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        open_data(path)
    assert "\n" not in str(caught.value)
    return caught.value


def test_columns_of_zeros_and_ones_are_several_labels_an_image(tmp_path: Path) -> None:
    splits = open_data(save(tmp_path / "chest.npz", archive()))
    assert splits.task == "multilabel"
    assert splits.labels == NAMES
    for split in (splits.train, splits.val, splits.test):
        assert (split.targets.shape, split.targets.dtype) == ((8, 3), np.int64)
    assert splits.test.targets[5].tolist() == [1, 0, 1]
    assert label_text(splits.labels, splits.test.targets[5]) == "Mass|Hernia"
    assert label_text(splits.labels, splits.test.targets[0]) == ""
    assert open_data(save(tmp_path / "bare.npz", archive(label_names=None))).labels == ("0", "1", "2")
    booleans = {f"{split}_labels": archive()[f"{split}_labels"].astype(bool) for split in ("train", "val", "test")}
    assert open_data(save(tmp_path / "bool.npz", archive(**booleans))).task == "multilabel"


def test_the_fingerprint_knows_every_label(tmp_path: Path) -> None:
    """Else a run could be resumed, or evaluated, on other labels of the same images."""
    other = archive()["test_labels"]
    other[7, 1] = 0
    first, again, changed = (
        open_data(save(tmp_path / name, content)).fingerprint.sha256
        for name, content in (("a.npz", archive()), ("b.npz", archive()), ("c.npz", archive(test_labels=other)))
    )
    assert first == again != changed


@pytest.mark.parametrize(
    ("change", "code", "fields"),
    [
        ({"train_labels": np.full((8, 3), 2, np.uint8)}, "npz-labels", {"low": 2, "high": 2, "columns": 3}),
        ({"train_labels": np.full((8, 3), -1, np.int8)}, "npz-labels", {"columns": 3}),
        ({"train_labels": np.zeros((8, 3), np.float32)}, "npz-labels", {}),
        ({"train_labels": np.zeros((7, 3), np.uint8)}, "npz-labels", {"entries": 7, "images": 8}),
        ({"train_labels": np.zeros((8, 3, 1), np.uint8)}, "npz-labels", {}),
        ({"val_labels": np.arange(8) % 3}, "npz-labels", {}),
        ({"val_labels": np.zeros((8, 2), np.uint8)}, "npz-labels", {}),
        ({"label_names": np.array(NAMES[:2])}, "npz-names", {"names": 2, "labels": 3}),
        ({"label_names": np.array([*NAMES, "Nodule"])}, "npz-names", {"names": 4, "labels": 3}),
        ({"label_names": np.array(["a|b", "c", "d"])}, "label-name", {"label": "a|b"}),
    ],
)
def test_labels_that_can_not_be_meant_are_refused(
    tmp_path: Path, change: dict[str, Any], code: str, fields: dict[str, Any]
) -> None:
    with refused(code, DataError, **fields):
        open_data(save(tmp_path / "bad.npz", archive(**change)))


@pytest.mark.parametrize(("value", "has"), [(0, "no"), (1, "every")])
def test_a_label_must_be_there_and_not_there_in_train(tmp_path: Path, value: int, has: str) -> None:
    labels = archive()["train_labels"]
    labels[:, 2] = value
    with refused("split-one-class", DataError, split="train", has=has, labels=["Hernia"]):
        open_data(save(tmp_path / "x.npz", archive(train_labels=labels)))


def test_a_rare_label_may_miss_in_validation_and_test_which_is_said(tmp_path: Path) -> None:
    """ChestMNIST has 0.2 % of hernias: refusing every set without one in val would refuse honest sets."""
    labels = archive()["test_labels"]
    labels[:, 2], labels[:, 0] = 0, 1
    splits = open_data(save(tmp_path / "x.npz", archive(test_labels=labels)))
    assert noted(splits.notes, "no image", "test", "'Hernia'", "undefined")
    assert noted(splits.notes, "every image", "test", "'Mass'", "undefined")


def test_one_of_each_row_is_said_to_look_like_classes(tmp_path: Path) -> None:
    once = np.eye(3, dtype=np.uint8)[np.arange(8) % 3]
    labels = {f"{split}_labels": once for split in ("train", "val", "test")}
    splits = open_data(save(tmp_path / "x.npz", archive(**labels)))
    assert noted(splits.notes, "exactly one", "several labels")
    assert not any("exactly one" in note for note in open_data(save(tmp_path / "y.npz", archive())).notes)


def test_labels_are_matched_to_those_of_a_model_by_name(tmp_path: Path) -> None:
    splits = open_data(save(tmp_path / "x.npz", archive()))
    moved = align(splits, ("Hernia", "Mass", "Effusion"), "multilabel")
    assert moved.test.targets[5].tolist() == [1, 1, 0]
    assert moved.test.targets[2].tolist() == [0, 0, 1]
    with refused("label-unknown", DataError, labels=["Hernia"]):
        align(splits, ("Mass", "Effusion"), "multilabel")


def test_a_label_the_data_says_nothing_of_is_not_taken_for_absent(tmp_path: Path) -> None:
    """Zeros in its place would count every image as a true negative."""
    splits = open_data(save(tmp_path / "x.npz", archive()))
    with refused("label-unsaid", DataError, labels=["Nodule"]):
        align(splits, (*NAMES, "Nodule"), "multilabel")


def test_data_of_another_task_than_the_models_is_refused(tmp_path: Path) -> None:
    several = open_data(save(tmp_path / "x.npz", archive()))
    one = {f"{split}_labels": np.arange(8) % 3 for split in ("train", "val", "test")}
    single = open_data(save(tmp_path / "y.npz", archive(**one)))
    with refused("task-differs", DataError):
        align(several, NAMES)
    with refused("task-differs", DataError, data="multiclass", model="multilabel"):
        align(single, NAMES, "multilabel")
