"""One walker: what is trained on is what is looked at and what is predicted, and what is left out is said."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from zoo._support.text import natural_key
from zoo.data import open_data
from zoo.data._named import index
from zoo.data.audit import audit
from zoo.edge._stream import expand
from zoo.errors import ImageError
from zoo.readers import _raster as raster
from zoo.readers import is_image, read
from zoo.readers._walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterable

HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"
EXR = b"\x76\x2f\x31\x01\2\0\0\0"
JPEG_XL = b"\0\0\0\x0cJXL \r\n\x87\n"
NIFTI = b"\x5c\x01\0\0".ljust(344, b"\0") + b"n+1\0"


def paint(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)
    with path.open("wb") as stream:
        Image.fromarray(pixels).save(stream, "PNG")
    return path


def paint_all(root: Path, names: Iterable[str]) -> None:
    for seed, name in enumerate(names):
        paint(root / name, seed)


def found_by_predicting(root: Path) -> list[str]:
    return [Path(name).relative_to(root).as_posix() for name, _ in expand(root)]


@pytest.mark.parametrize(
    "names",
    [
        ["b10/2.png", "b10/10.png", "b9/x/1.png", "b9/A.png", "b9/a.png", "b9/y.png", "c/IM0001"],
        ["train/a/1.png", "train/b/1.png", "test/a/2.png", "test/b/2.png", "val/a/3.png", "val/b/3.png"],
    ],
    ids=["classes", "splits"],
)
def test_training_the_audit_and_prediction_find_the_same_images_in_the_same_order(
    names: list[str], tmp_path: Path
) -> None:
    """A model would be judged on images that nobody can predict, and a table of answers would not fit the data."""
    root = tmp_path / "set"
    paint_all(root, names)
    for name in ("@eaDir/1.png/SYNOPHOTO_THUMB_SM.jpg", "$RECYCLE.BIN/1.png", "lost+found/1.png", "__MACOSX/._1.png"):
        paint(root / Path(names[0]).parent / name)
        paint(root / name)
    (root / "labels.csv").write_text("x\n")
    (root / "Thumbs.db").write_bytes(b"x")
    expected = sorted(names, key=lambda name: [natural_key(part) for part in Path(name).parts])
    assert found_by_predicting(root) == expected
    pool = index(root)
    assert list(pool.ids) == expected
    splits = open_data(root, for_training=False)
    assert [name for name in expected if name in set(splits.test.ids)] == list(splits.test.ids)
    assert {*splits.train.ids, *splits.val.ids, *splits.test.ids} == set(expected)
    assert audit(root).n == len(expected)


def test_thumbnails_of_network_storage_are_not_trained_on(tmp_path: Path) -> None:
    for label in "ab":
        for i in range(3):
            paint(tmp_path / label / f"{i}.png", i)
            paint(tmp_path / label / "@eaDir" / f"{i}.png" / "SYNOPHOTO_THUMB_SM.jpg", i)
    assert len(index(tmp_path).ids) == len(found_by_predicting(tmp_path)) == 6


def test_what_systems_leave_and_what_is_hidden_is_counted_once(tmp_path: Path) -> None:
    """A hidden folder of pictures may be the study; a hidden text is nobody's business."""
    for split in ("train", "val", "test"):
        for label in "ab":
            paint(tmp_path / split / label / "0.png")
            paint(tmp_path / split / label / "@eaDir" / "0.png" / "SYNOPHOTO_THUMB_SM.jpg")
        paint(tmp_path / split / ".ipynb_checkpoints" / "1.png")
    for name in ("__MACOSX/train/a/._0.png", "Thumbnails/0.png", "train/a/._0.png", "val/a/Thumbs.db"):
        paint(tmp_path / name)
    (tmp_path / ".hidden.txt").write_text("x")
    said = "6 @eaDir, 3 .ipynb_checkpoints, 1 Thumbnails, 1 Thumbs.db, 1 __MACOSX and 1 hidden .png"
    pool = index(tmp_path)
    assert (pool.labels, len(pool.ids), pool.passed_over) == (("a", "b"), 6, {})
    (note,) = pool.notes
    assert said in note
    walk = Walk(str(tmp_path))
    assert len(list(walk.images())) == 6
    assert said in str(walk.passed)


@pytest.mark.parametrize("suffix", [".svs", ".ndpi", ".mrxs", ".scn", ".mp4", ".avi", ".mov", ".mkv", ".czi"])
def test_slides_and_films_are_counted_and_not_read_as_their_thumbnail(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / f"a{suffix.upper()}")
    walk = Walk(str(tmp_path))
    assert list(walk.images()) == ([] if suffix in {".svs", ".ndpi", ".mrxs", ".scn"} else [f"a{suffix.upper()}"])
    (tmp_path / f"a{suffix.upper()}").write_bytes(b"x")
    walk = Walk(str(tmp_path))
    assert list(walk.images()) == []
    assert walk.passed.pictures == {suffix: 1}


def test_pictures_of_other_formats_are_counted_by_format_by_every_verb(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Photos of a telephone would be left out of a study, and nobody would know."""
    for label in "ab":
        paint(tmp_path / label / "0.png")
        for i in range(2):
            (tmp_path / label / f"IMG_{i}.JXL").write_bytes(JPEG_XL)
        (tmp_path / label / "1.exr").write_bytes(EXR)
        (tmp_path / label / "notes.txt").write_text("x")
    (tmp_path / "a" / "2.nrrd").write_bytes(b"NRRD0004")
    said = "4 .jxl, 2 .exr and 1 .nrrd files are pictures of formats that are not read; 2 .txt"
    assert f"passed over: {said}" in index(tmp_path).notes
    assert f"passed over: {said}" in audit(tmp_path).notes
    with caplog.at_level(logging.INFO, "zoo"):
        assert len(found_by_predicting(tmp_path)) == 2
    assert [(record.levelname, said in record.getMessage()) for record in caplog.records] == [("WARNING", True)]


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (EXR, "OpenEXR"),
        (JPEG_XL, "JPEG XL"),
        (b"\xff\x0a\xf8\x57", "JPEG XL"),
        (NIFTI, "NIfTI"),
        (b"\x1c\x02\0\0n+2\0\r\n\x1a\n", "NIfTI"),
        (b"8BPS\0\1", "PSD"),
        (b"FUJIFILMCCD-RAW 0201", "RAW"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "RAW"),
    ],
)
def test_a_picture_of_another_format_is_known_by_its_first_bytes(head: bytes, form: str, tmp_path: Path) -> None:
    (tmp_path / "scan").write_bytes(head)
    walk = Walk(str(tmp_path))
    assert list(walk.images()) == []
    assert walk.passed.pictures == {form: 1}
    with pytest.raises(ImageError) as caught:
        read(tmp_path / "scan")
    assert (caught.value.code, caught.value.fields) == ("image-format", {"format": form})


@pytest.mark.parametrize("brand", [b"heic", b"hevx"])
def test_photos_of_a_telephone_are_counted_where_the_extra_is_missing(
    brand: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raster, "HAS_HEIF", False)
    (tmp_path / "scan").write_bytes(HEIC.replace(b"ftypheic", b"ftyp" + brand))
    walk = Walk(str(tmp_path))
    assert list(walk.images()) == []
    assert walk.passed.pictures == {"HEIC": 1}


def test_a_camera_file_is_not_read_as_its_thumbnail(tmp_path: Path) -> None:
    """A NEF begins as a TIFF whose first picture is 160 pixels wide."""
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "DSC_0001.NEF")
    walk = Walk(str(tmp_path))
    assert list(walk.images()) == []
    assert walk.passed.pictures == {".nef": 1}


def test_suffixes_that_are_numbers_names_or_without_end_are_not_told_apart(tmp_path: Path) -> None:
    for name in ("1.2.840.113", "x.Max-Mustermann", "y.averylongsuffix", "z"):
        (tmp_path / name).write_bytes(b"x")
    for i in range(150):
        (tmp_path / f"q.s{i}").write_bytes(b"x")
    walk = Walk(str(tmp_path))
    assert list(walk.images()) == []
    assert walk.passed.others[""] == 4
    assert walk.passed.others.total() == 154
    assert len(walk.passed.others) == 101


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_links_to_files_are_read_and_links_to_folders_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paint(tmp_path / "elsewhere" / "1.png")
    root = tmp_path / "root"
    paint(root / "b" / "2.png")
    (root / "a.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (root / "again").symlink_to("again")
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "b" / "up.png").symlink_to(root, target_is_directory=True)
    walk = Walk(str(root))
    assert list(walk.images()) == ["a.png", "b/2.png", "gone.png"]  # the last one is a row with a reason
    assert (walk.passed.linked, walk.passed.links) == (2, ["b/up.png", "linked"])
    assert "2 links to folders" in str(walk.passed)
    with caplog.at_level(logging.INFO, "zoo"):
        assert len(found_by_predicting(root)) == 3
    assert len(caplog.records) == 1


def test_files_that_cannot_be_read_are_counted_and_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An image that a share did not give would be missing from a study, and called a file without suffix."""
    paint(tmp_path / "a.png")
    for name in ("IM0001", "notes.txt", "b.jxl"):
        (tmp_path / name).write_bytes(b"x")
    real = os.open

    def fail(path: Any, *more: Any) -> Any:
        if str(path).startswith(str(tmp_path)):
            raise OSError(errno.EIO, "input/output error", path)
        return real(path, *more)

    monkeypatch.setattr("zoo.readers._door.os.open", fail)
    assert not is_image(tmp_path / "IM0001")
    walk = Walk(str(tmp_path))
    assert list(walk.images()) == ["a.png"], "a name that says it is an image becomes a row with a reason"
    assert walk.passed.formats() == {"unreadable": 2, ".jxl": 1}
    with caplog.at_level(logging.WARNING, "zoo"):
        found_by_predicting(tmp_path)
    assert "2 files that cannot be read" in caplog.text


def test_a_folder_of_ordinary_pictures_is_walked_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / ".hidden.txt").write_text("x")
    with caplog.at_level(logging.INFO, "zoo"):
        assert found_by_predicting(tmp_path) == ["a.png"]
    assert not caplog.records


def test_files_of_a_suffix_are_found_without_asking_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin is checked in a process of its own; who looks for its files must not import it."""
    monkeypatch.setattr("zoo.readers._walk.image_suffixes", None)
    for name in ("10.ACME", "2.acme", "a/1.acme", "a/1.png", ".venv/1.acme", "@eaDir/1.acme", "x.acme/1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    if os.name == "posix":
        (tmp_path / "b.acme").symlink_to(tmp_path / "a", target_is_directory=True)
    walk = Walk(str(tmp_path))
    assert list(walk.files((".acme",))) == ["2.acme", "10.ACME", "a/1.acme"]
    assert str(walk.passed) == ""
