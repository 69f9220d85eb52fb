"""npz archives and the built-in digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from noted import noted
from pictures import breast_archive
from refusals import refused

from zoo.data import open_data
from zoo.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)


def arrays(n: int = 12, **shape: Any) -> dict[str, Any]:
    """A good archive with train only: 3 classes, 4 different images each."""
    return {
        "train_images": RNG.integers(0, 256, (n, *shape.get("size", (6, 5))), shape.get("dtype", np.uint8)),
        "train_labels": (np.arange(n, dtype=np.uint8) % 3)[:, None],
    }


def save(path: Path, content: dict[str, Any]) -> Path:
    np.savez(path, **content)
    return path


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        open_data(path)
    assert "\n" not in str(caught.value)
    return caught.value


def test_official_breastmnist_is_read_as_published(shared: Path) -> None:
    path = shared / "data" / "medmnist" / "breastmnist.npz"
    splits = open_data(path)
    assert splits.fingerprint.splits == {"train": 546, "val": 78, "test": 156}
    assert splits.fingerprint.name == "breastmnist"
    assert splits.labels == ("0", "1")
    assert (splits.kind, splits.gray, splits.largest_side) == ("uint8", True, 28)
    assert noted(splits.notes, "1 training image", "left out")
    splits = open_data(path, leaks="keep")
    assert noted(splits.notes, "1 image", "train and test", "optimistic")
    with np.load(path) as archive:
        for name in ("train", "val", "test"):
            images, labels = archive[f"{name}_images"], archive[f"{name}_labels"]
            split = splits.split(name)
            assert split.targets.tolist() == labels[:, 0].tolist()
            np.testing.assert_array_equal(split.read(7).pixels[..., 2], images[7])
            assert split.ids[7] == f"{name}/7"


def test_missing_splits_are_made_of_train(tmp_path: Path) -> None:
    splits = open_data(save(tmp_path / "a.npz", arrays(60)))
    assert splits.fingerprint.splits == {"train": 42, "val": 9, "test": 9}
    assert noted(splits.notes, "val and test", "out of train", "70/15/15", "seed 0")
    test_only = {**arrays(60), "test_images": arrays(6)["train_images"], "test_labels": np.arange(6) % 3}
    assert open_data(save(tmp_path / "b.npz", test_only)).fingerprint.splits == {
        "train": 48,
        "val": 12,
        "test": 6,
    }


def test_class_names_may_come_with_the_file(tmp_path: Path) -> None:
    named = {**arrays(), "label_names": np.array(["benign", "malignant", "normal"])}
    assert open_data(save(tmp_path / "named.npz", named)).labels == ("benign", "malignant", "normal")
    named["label_names"] = np.array(["benign", "malignant"])
    problem = refusal(save(tmp_path / "few.npz", named))
    assert problem.code == "npz-names"
    assert problem.fields["names"] == 2
    named["label_names"] = np.array(["a", "a", "b"])
    assert refusal(save(tmp_path / "same.npz", named)).code == "npz-names"


@pytest.mark.parametrize(
    ("size", "dtype", "kind", "gray"),
    [
        ((6, 5), np.uint8, "uint8", True),
        ((6, 5, 1), np.uint8, "uint8", True),
        ((6, 5, 3), np.uint8, "uint8", False),
        ((6, 5), np.uint16, "uint16", True),
        ((6, 5, 1), np.uint16, "uint16", True),
    ],
)
def test_shapes_and_types_that_are_understood(
    tmp_path: Path, size: tuple[int, ...], dtype: type, kind: str, gray: bool
) -> None:
    splits = open_data(save(tmp_path / "a.npz", arrays(size=size, dtype=dtype)))
    assert (splits.kind, splits.gray, splits.largest_side) == (kind, gray, 6)
    assert splits.test.read(0).pixels.shape == (6, 5, 3 if kind == "uint8" else 1)


@pytest.mark.parametrize(
    ("change", "code", "fields"),
    [
        ({"train_images": np.zeros((12, 3, 6, 5), np.uint8)}, "npz-images", {}),
        ({"train_images": np.zeros((12, 6, 5), np.float64)}, "npz-images", {}),
        ({"train_images": np.zeros((12, 6, 5, 17), np.uint16)}, "npz-images", {}),
        ({"train_images": np.zeros((0, 6, 5), np.uint8)}, "npz-images", {}),
        ({"train_labels": np.arange(11)}, "npz-labels", {"entries": 11, "images": 12}),
        ({"train_labels": np.full((12, 14), 2, np.uint8)}, "npz-labels", {"low": 2, "high": 2, "columns": 14}),
        ({"train_labels": np.linspace(0, 2, 12)}, "npz-labels", {}),
        ({"train_labels": np.arange(12) - 1}, "npz-labels", {"low": -1, "high": 10}),
        ({"train_labels": np.arange(12) * 10**9}, "npz-labels", {"low": 0, "high": 11000000000}),
        ({"train_labels": np.array([0, 2] * 6)}, "split-missing-class", {"split": "train", "labels": ["1"]}),
        ({"train_labels": np.zeros(12, int)}, "split-one-class", {"labels": ["0"]}),
        ({"train_labels": None}, "npz-keys", {"key": "train_labels"}),
        ({"train_images": None}, "npz-keys", {}),
        ({"val_imags": np.zeros((2, 6, 5), np.uint8)}, "npz-keys", {"key": "val_imags", "meant": "val_images"}),
        ({"val_images": np.zeros((3, 6, 5), np.uint16), "val_labels": np.arange(3)}, "pixel-types", {}),
        ({"train_labels": np.array([{}] * 12, object)}, "npz-pickle", {}),
    ],
)
def test_bad_content_is_refused(tmp_path: Path, change: dict[str, Any], code: str, fields: dict[str, Any]) -> None:
    content = {key: value for key, value in {**arrays(), **change}.items() if value is not None}
    with refused(code, DataError, **fields):
        open_data(save(tmp_path / "bad.npz", content))


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    whole = breast_archive(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    assert refusal(tmp_path / "cut.npz").code == "npz-unreadable"
    damaged = bytearray(whole)
    damaged[len(whole) // 3 : len(whole) // 3 + 50] = bytes(50)
    (tmp_path / "flipped.npz").write_bytes(damaged)
    assert refusal(tmp_path / "flipped.npz").code == "npz-unreadable"
    (tmp_path / "text.npz").write_text("hello")
    assert refusal(tmp_path / "text.npz")
    with (tmp_path / "single.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    assert refusal(tmp_path / "single.npz").code == "npz-unreadable"


def test_unknown_arrays_are_ignored_and_counted(tmp_path: Path) -> None:
    splits = open_data(save(tmp_path / "a.npz", {**arrays(), "patient_age": np.zeros(12)}))
    assert noted(splits.notes, "1 unknown array", "ignored")


def test_digits_are_real_and_full_range() -> None:
    splits = open_data("digits")
    assert splits.fingerprint.n == 1797
    assert splits.fingerprint.splits == {"train": 1259, "val": 269, "test": 269}
    assert splits.labels == tuple("0123456789")
    assert (splits.kind, splits.gray, splits.largest_side) == ("uint8", True, 8)
    pixels = np.stack([splits.test.read(i).pixels for i in range(100)])
    assert pixels.shape == (100, 8, 8, 3)
    assert set(np.unique(pixels)) == {round(level * 255 / 16) for level in range(17)}
    assert splits.fingerprint.sha256 == open_data("digits", for_training=False).fingerprint.sha256
    assert splits.fingerprint.sha256 != open_data("digits", split_seed=1).fingerprint.sha256
