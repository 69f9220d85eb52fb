"""Tables, archives and shards made to fill the memory, to take hours or to end in a traceback."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import refused
from work import counted

from zoo.data import _groups as groups
from zoo.data import _patterns as patterns
from zoo.data._named import index
from zoo.errors import DataError, ImageError

IMAGES = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
LABELS = np.array([0, 1])


def refuse(source: Path, code: str, *, calls: int = 50_000, **fields: Any) -> None:
    """One line, after at most so many calls of functions."""
    with counted() as work, refused(code, DataError, **fields) as error:
        index(source)
    assert work.calls < calls
    assert "\n" not in str(error.value)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def table(folder: Path, text: str) -> Path:
    for number in range(2):
        Image.fromarray(IMAGES[number]).save(folder / f"{number}.png")
    (folder / "table.csv").write_text(text)
    return folder / "table.csv"


def shard(folder: Path, label: bytes) -> Path:
    stream = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(stream, "PNG")
    with tarfile.open(folder / "all.tar", "w") as tar:
        for name, data in (("0.png", stream.getvalue()), ("0.json", label)):
            told = tarfile.TarInfo(name)
            told.size = len(data)
            tar.addfile(told, io.BytesIO(data))
    return folder / "all.tar"


def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    head = npy(np.empty((0, 1000, 1000), np.uint8)).replace(b"(0, 1000, 1000), }   ", b"(300, 1000, 1000), } ")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train_images.npy", "w", force_zip64=True) as member:
            member.write(head)
            for _ in range(30):
                member.write(bytes(10_000_000))
        archive.writestr("train_labels.npy", npy(np.zeros(300, np.int64)))
    refuse(path, "npz-size", array="train_images.npy", calls=10_000)


def test_an_encrypted_archive_is_a_line_and_no_defect(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, train_images=IMAGES, train_labels=LABELS)
    data = bytearray(path.read_bytes())
    at = -1
    while (at := data.find(b"PK\1\2", at + 1)) >= 0:
        data[at + 8] |= 1
    data[6] |= 1
    path.write_bytes(data)
    refuse(path, "npz-unreadable")


def test_a_header_that_is_cut_off_is_a_line_and_no_defect(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", npy(IMAGES).replace(b"(2, 8, 8)", b"(2, 8, 8("))
        archive.writestr("train_labels.npy", npy(LABELS))
    refuse(path, "npz-unreadable")


def test_labels_of_a_million_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.npz"
    np.savez_compressed(path, train_images=IMAGES, train_labels=np.zeros((2, 10**6), np.uint8))
    refuse(path, "label-many", labels=1_000_000, most=4096)


@pytest.mark.parametrize("mark", ["", "label:"])
def test_a_table_of_a_hundred_thousand_columns_is_answered_after_few_looks_at_each(tmp_path: Path, mark: str) -> None:
    head = ",".join(f"{mark}c{number}" for number in range(100_000))
    cells = ",".join("1" for _ in range(100_000))
    text = f"path,{head}\n0.png,{cells}\n1.png,{cells}\n"
    refuse(table(tmp_path, text), "label-many", labels=100_000, most=4096, calls=50 * 100_000)


def test_a_row_number_of_thousands_of_digits_is_not_in_the_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=IMAGES, train_labels=LABELS)
    refuse(table(tmp_path, f"path,label\na.npz#train/{'9' * 5000},a\n"), "images-unusable")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "\u202eevil", "\ud800", "x" * 256, " ", "a|b"])
def test_class_names_that_cannot_be_shown_or_listed_are_refused_from_everywhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, train_images=IMAGES, train_labels=LABELS, label_names=np.array(["fine", name]))
    refuse(path, "label-name")
    if name != "\ud800":
        refuse(shard(tmp_path, json.dumps({"label": name}).encode()), "label-name")


def test_a_label_nested_beyond_measure_is_no_label(tmp_path: Path) -> None:
    refuse(shard(tmp_path, b"[" * 100_000 + b"]" * 100_000), "images-unusable")


def test_a_shard_of_many_different_names_takes_no_matrix_of_all_of_them() -> None:
    from zoo.data._sources.shard_labels import targets_of
    from zoo.data._sources.tars import Shard

    n = 60_000
    held = Shard([], b"", b"", b"", np.arange(n, dtype=np.int32).tobytes(), [(f"n{i}",) for i in range(n)],
                 [False] * n, [], {}, 0, [()] * n, [], False)  # fmt: skip
    labels, targets = targets_of([held], np.arange(n), None, "all")
    assert [labels[target] for target in targets.tolist()] == [f"n{i}" for i in range(n)]


def test_parquet_that_a_kilobyte_makes_gigabytes_of_is_refused(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    cells = pa.array(["x" * 5_000_000]).dictionary_encode().take(pa.array([0] * 200))
    pq.write_table(pa.table({"path": cells, "label": pa.array(["a"] * 200)}), path, compression="zstd")
    refuse(path, "table-cell", bytes=5_000_000)
    pq.write_table(pa.table({"path": pa.array(["x"] * 10**6), "label": pa.array(["a"] * 10**6)}), path)
    refuse(path, "table-unreadable", rows=1_000_000)


def dig(folder: Path, depth: int) -> None:
    """Folders in folders, and an image at the end."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(depth):
            Path("d").mkdir(exist_ok=True)
            os.chdir("d")
        Image.fromarray(IMAGES[1]).save("1.png")
    finally:
        os.chdir(before)


@pytest.mark.slow
def test_a_folder_a_thousand_deep_is_walked_and_one_beyond_any_path_is_a_line(tmp_path: Path) -> None:
    from zoo.edge._stream import expand

    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(IMAGES[0 if name == "a" else 1]).save(tmp_path / name / "0.png")
    dig(tmp_path / "a", 1200)
    assert [len(name) for name in index(tmp_path).ids] == [7, 2 + 2400 + 5, 7]
    assert len(list(expand(tmp_path))) == 3
    dig(tmp_path / "a", 3000)
    try:
        refuse(tmp_path, "folder-unreadable", calls=3000**2)
        assert sum(isinstance(source, ImageError) for _, source in expand(tmp_path)) == 1
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "a")], check=True)  # shutil and pytest give up on such a path


def test_a_link_to_itself_is_passed_over(tmp_path: Path) -> None:
    from zoo.edge._stream import expand

    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(IMAGES[0]).save(tmp_path / name / "0.png")
    (tmp_path / "a" / "again").symlink_to("again")
    assert "passed over: 1 file that cannot be read" in index(tmp_path).notes
    assert len(list(expand(tmp_path))) == 2


@pytest.mark.skipif(os.name != "posix", reason="SIGALRM is POSIX")
@pytest.mark.parametrize("group", ["(a+)+$", "(a|aa)+$"])
def test_an_expression_that_would_search_for_years_is_given_up(
    tmp_path: Path, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "PATIENCE", 0.1)
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(IMAGES[0]).save(tmp_path / name / f"{'a' * 100}!.png")
    before = signal.getsignal(signal.SIGALRM)
    with refused("group-pattern-slow", DataError, seconds=0.1):
        groups.names_of(index(tmp_path), group, every=True)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_expression_beyond_measure_is_no_expression(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, train_images=IMAGES, train_labels=LABELS)
    for group in ("(" * 5000 + ")" * 5000, "(a{99999999999})"):
        with refused("group-pattern", DataError):
            groups.names_of(index(path), group, every=True)
