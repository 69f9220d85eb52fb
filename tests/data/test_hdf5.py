"""HDF5 files that cannot be used are refused by name, and nothing leads out of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from noted import noted
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


def test_a_table_beside_names_the_slide_of_each_image(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "train_meta.csv").write_text("wsi,patient\ns1,p1\ns2,p1\ns3,p2\ns3,nan\n")
    pool = index(path)
    assert pool.groups is not None
    assert pool.groups.tolist() == [0, 0, 1, 2], "a patient has several slides, and nan is nobody"
    assert noted(pool.notes, "1 of 4 images", "no group")
    write(tmp_path, "test")
    assert noted(index(path).notes, "5 of 8 images", "no group"), "the table of one split does not speak for the others"


@pytest.mark.parametrize("rows", [3, 5])
def test_a_table_beside_with_another_number_of_rows_is_refused(tmp_path: Path, rows: int) -> None:
    """Nobody can say which image lacks its slide, and without slides their images lie in two splits."""
    path = write(tmp_path)
    (tmp_path / "train_meta.csv").write_text("index,wsi\n" + "".join(f"{at},s{at // 2}\n" for at in range(rows)))
    with refused("hdf5-table", DataError, rows=rows, images=4):
        index(path)


def test_a_table_beside_is_never_passed_over_in_silence(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "train_meta.csv").write_text("index,coord_x\n0,1\n1,1\n2,1\n3,1\n")
    pool = index(path)
    assert pool.groups is None
    assert noted(pool.notes, "train_meta.csv", "coord_x")
    (tmp_path / "train_meta.csv").rename(tmp_path / "train_meta.csv.gz")
    with refused("data-format", DataError):
        index(path)
