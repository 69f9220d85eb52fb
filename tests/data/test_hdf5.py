"""HDF5 files that cannot be used are refused by name, and nothing leads out of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from refusals import refused

from zoo.data._named import index
from zoo.errors import DataError, ImageError

if TYPE_CHECKING:
    from pathlib import Path

h5py = pytest.importorskip("h5py")


def write(folder: Path, split: str = "train", **arrays: Any) -> Path:
    """A pair of 4 images; `arrays` replace x and y."""
    content = {"x": np.arange(4 * 48, dtype=np.uint8).reshape(4, 4, 4, 3), "y": np.arange(4) % 2} | arrays
    for key, value in content.items():
        with h5py.File(folder / f"{split}_{key}.h5", "w") as file:
            file[key] = value
    return folder / f"{split}_x.h5"


def test_a_pair_without_a_split_is_divided_by_training(tmp_path: Path) -> None:
    pool = index(write(tmp_path, "patches"))
    assert (pool.rows, pool.labels, pool.groups) == ({}, ("0", "1"), None)
    assert pool.ids[3] == "patches_x/3"
    with refused("image-window-missing", ImageError):
        pool.source.read(0, voi=True)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros((4, 4, 4, 3), np.float32)},
        {"x": np.zeros((4, 4, 4, 17), np.uint8)},
        {"x": np.zeros(4, np.uint8)},
        {"y": np.arange(3)},
        {"y": np.array([0, 1, -1, 0])},
        {"y": np.zeros(4)},
        {"y": np.zeros((4, 2), np.uint8)},
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with refused("hdf5-array", DataError, key=next(iter(arrays))):
        index(write(tmp_path, **arrays))


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    (tmp_path / "train_y.h5").unlink()
    with refused("hdf5-pair", DataError):
        index(path)
    path.write_bytes(path.read_bytes()[:300])
    with refused("hdf5-unreadable", DataError):
        index(path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "test_x.h5.gz").write_bytes(b"\x1f\x8b")
    with refused("data-format", DataError):
        index(tmp_path / "b")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with refused("package-missing", DataError, extra="hdf5"):
        index(path)


def test_a_link_to_another_file_is_not_followed(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.rename(tmp_path / "elsewhere")
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink("elsewhere", "x")
    with refused("hdf5-array", DataError, key="x"):
        index(path)


def test_two_files_of_one_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "training")
    with refused("hdf5-pair", DataError):
        index(tmp_path)
