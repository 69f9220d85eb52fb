"""Folders: which layouts are understood, and which defects are refused before an hour of training."""

from __future__ import annotations

import logging
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from noted import noted
from PIL import Image, ImageFile, PngImagePlugin
from refusals import refused

from zoo.data import open_data
from zoo.data._named import index
from zoo.data._scanning import examine
from zoo.data._splitting.assemble import NO_GROUPS
from zoo.errors import DataError, UsageError
from zoo.readers._walk import MARK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeFolder = Callable[..., Path]


def refusal(source: Path | str, **options: bool) -> DataError:
    with pytest.raises(DataError) as caught:
        open_data(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    return caught.value


def test_a_set_with_splits_keeps_them(tabled: Path) -> None:
    splits = open_data(tabled)
    assert splits.labels == ("china", "flower")
    assert [len(splits.split(name)) for name in ("train", "val", "test")] == [39, 16, 24]  # a copy was left out
    assert splits.fingerprint.name == "tabled"
    assert splits.fingerprint.splits == {"train": 40, "val": 16, "test": 24}
    assert (splits.kind, splits.gray, splits.largest_side) == ("uint8", False, 64)  # two files are in colour
    assert splits.train.ids[0].startswith("train/china/china_")
    assert splits.train.read(0).pixels.shape == (64, 64, 3)
    assert "passed over: 1 .csv" in splits.notes


def test_masks_beside_images_are_said(tmp_path: Path) -> None:
    """BUSI: a network that learns from the masks learns nothing of the images."""
    for number, name in enumerate(f"{label} ({i})" for label in ("benign", "normal") for i in range(3)):
        (tmp_path / name[:6]).mkdir(exist_ok=True)
        for end in ("", "_mask", "_mask_1"):
            pixels = np.random.default_rng([number, len(end)]).integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name[:6] / f"{name}{end}.png")
    assert noted(index(tmp_path).notes, "12 images", "masks")
    for path in tmp_path.rglob("*_mask.png"):
        path.rename(path.with_name(f"mask of {path.name.replace('_mask', '')}"))
    for path in tmp_path.rglob("*_mask_1.png"):
        path.unlink()
    assert not noted(index(tmp_path).notes, "masks")


@pytest.mark.parametrize(
    ("folders", "code"),
    [
        (("train_images", "test_images"), "folder-splits"),
        (("images", "masks"), "folder-without-classes"),
        (("images", "Labels"), "folder-without-classes"),
    ],
)
def test_folders_that_cannot_be_classes_are_refused(tmp_path: Path, folders: tuple[str, ...], code: str) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / folder / "a.png")
    with refused(code, DataError, folders=sorted(folders, key=str.lower)):
        index(tmp_path)


def test_folders_within_class_folders_are_said_where_they_may_be_the_classes(tmp_path: Path) -> None:
    """LC25000: colon_image_sets/colon_aca and lung_image_sets/lung_scc."""
    for folder in ("colon/colon_aca", "colon/colon_n", "lung/lung_aca"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / folder / "a.png")
    assert noted(index(tmp_path).notes, "2 outer", "3 folders")
    shutil.rmtree(tmp_path / "colon" / "colon_n")
    assert index(tmp_path).notes == (), "a folder in each class is no other division"


def test_copies_in_train_and_test_are_said_aloud(leaky: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A silent tool would report their accuracy as skill."""
    with caplog.at_level(logging.WARNING, "zoo"):
        splits = open_data(leaky, leaks="keep")
    note = "15 images are in both train and test, byte for byte; numbers on test are optimistic"
    assert note in splits.notes
    assert note in caplog.text


def test_validation_is_carved_out_of_train_and_said(leaky: Path) -> None:
    splits = open_data(leaky, leaks="keep")
    assert noted(splits.notes, "val", "out of train", "15/85", "seed 0")
    assert len(splits.train) + len(splits.val) == 240
    assert len(splits.test) == 80
    assert all(9 <= count <= 11 for count in np.bincount(splits.val.targets))
    assert not set(splits.train.ids) & set(splits.val.ids)
    assert not any("val" in note and "byte" in note for note in splits.notes), "a made split held a copy"


def test_a_well_made_set_has_nothing_to_be_noted(scenes: Path) -> None:
    splits = open_data(scenes)
    assert splits.notes == (NO_GROUPS,)
    assert np.bincount(splits.train.targets).tolist() == [20] * 2


def test_flat_class_folders_are_divided(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 20, "dog": 40})
    splits = open_data(root)
    assert [np.bincount(s.targets).tolist() for s in (splits.train, splits.val, splits.test)] == [
        [14, 28],
        [3, 6],
        [3, 6],
    ]
    assert noted(splits.notes, "val and test", "all images", "70/15/15", "seed 0")
    assert splits.train.ids[0].startswith("cat/")


def test_split_folders_go_by_many_names(make_folder: MakeFolder) -> None:
    root = make_folder({f"{s}/{c}": 2 for s in ("Training", "VALID", "testing") for c in ("a", "b")})
    assert open_data(root).fingerprint.splits == {"train": 4, "val": 4, "test": 4}


def test_two_folders_for_one_split_are_refused(make_folder: MakeFolder) -> None:
    root = make_folder({f"{s}/{c}": 2 for s in ("train", "val", "valid") for c in ("a", "b")})
    problem = refusal(root)
    assert problem.code == "folder-splits"
    assert problem.fields["split"] == "val"
    assert problem.fields["folders"] == ["val", "valid"]


def test_a_class_called_train_is_a_class(make_folder: MakeFolder) -> None:
    assert open_data(make_folder({"train": 5, "bus": 5, "car": 5})).labels == ("bus", "car", "train")


def test_classes_are_in_natural_order(make_folder: MakeFolder) -> None:
    """Sorted as text, grade 10 would stand before grade 2, and every number would belong to another class."""
    root = make_folder({f"grade {i}": 3 for i in (10, 2, 1)})
    assert open_data(root).labels == ("grade 1", "grade 2", "grade 10")


def test_subfolders_of_a_class_belong_to_it(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/patient 1": 3, "cat/patient 2": 3, "dog": 6})
    splits = open_data(root)
    assert splits.labels == ("cat", "dog")
    assert splits.fingerprint.n == 12


def test_what_is_no_image_is_ignored_and_counted(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 4, "dog": 4, ".cache": 2})
    for name in ("Thumbs.db", "cat/notes.txt", "dog/.hidden.png"):
        (root / name).write_bytes(b"x")
    shutil.copy(root / "cat" / "0.png", root / "stray.png")
    splits = open_data(root)
    assert splits.fingerprint.n == 8
    assert noted(splits.notes, "passed over: 1 .txt", "1 .cache, 1 Thumbs.db and 1 hidden .png")
    assert splits.passed_over == {".txt": 1}
    assert noted(splits.notes, "1 image", "left out", "outside")


def test_missing_and_misspelled_sources_are_answered_with_a_suggestion(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # what lies in the working directory is suggested, too
    make_folder({"cat": 4, "dog": 4})
    assert "pets" in str(refusal(str(tmp_path / "pest")))
    assert refusal("digit").code == "data-missing"
    assert refusal(tmp_path / "nowhere-like-anything").code == "data-missing"
    (tmp_path / "archive.zip").write_bytes(b"PK")
    assert refusal(tmp_path / "archive.zip").code == "data-format"


def test_folders_without_classes_are_refused(make_folder: MakeFolder, tmp_path: Path, photos: Path) -> None:
    problem = refusal(photos)
    assert problem.code == "folder-without-classes"
    assert problem.fields["images"] == 6
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").code == "folder-without-classes"
    problem = refusal(make_folder({"cat": 2}, name="one"))
    assert problem.code == "split-one-class"
    assert problem.fields["labels"] == ["cat"]
    problem = refusal(make_folder({"train": 3, "test": 3}, name="unsorted"))
    assert problem.code == "folder-without-classes"
    assert problem.fields["folder"] == "test"
    nested = make_folder({"data/cat": 3, "data/dog": 3}, name="nested")
    problem = refusal(nested)
    assert problem.code == "folder-nested"
    assert problem.fields["folder"] == "data"


def test_folders_beside_splits_are_refused_when_they_hold_images(make_folder: MakeFolder) -> None:
    counts = {f"{s}/{c}": 3 for s in ("train", "test") for c in ("a", "b")}
    root = make_folder({**counts, "masks": 2})
    assert refusal(root).code == "folder-splits"
    shutil.rmtree(root / "masks")
    (root / "docs").mkdir()
    assert open_data(root).fingerprint.n == 12


def test_class_folder_without_an_image_is_refused_by_name(make_folder: MakeFolder) -> None:
    problem = refusal(make_folder({"train/cat": 3, "train/dog": 0, "test/cat": 2, "test/dog": 2}))
    assert problem.code == "class-empty"
    assert problem.fields["labels"] == ["train/dog"]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_a_class_is_refused(make_folder: MakeFolder, split: str) -> None:
    counts = {f"{s}/{c}": 3 for s in ("train", "val", "test") for c in ("cat", "dog")}
    del counts[f"{split}/dog"]
    with refused("split-missing-class", DataError, split=split, labels=["dog"]):
        open_data(make_folder(counts))


def test_too_few_images_to_divide_are_refused(make_folder: MakeFolder) -> None:
    text = str(refusal(make_folder({"cat": 9, "dog": 2})))
    assert "class 'dog' has 2 different images to divide, expected at least 3" in text


def test_unreadable_headers_are_listed_and_can_be_left_out(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 9, "dog": 9})
    for i in range(6):
        (root / "cat" / f"{i}.png").write_bytes(b"" if i % 2 else b"hello")
    text = str(refusal(root))
    assert "cat/0.png: not an image" in text
    assert "cat/1.png: empty file" in text
    assert "and 1 more" in text
    assert "--skip-bad" in text
    assert str(root) not in text
    splits = open_data(root, skip_bad=True)
    assert len(splits.skipped) == 6
    assert splits.fingerprint.n == 12
    assert noted(splits.notes, "6 images", "left out")


def test_a_class_is_never_skipped_whole(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    for path in (root / "cat").iterdir():
        path.write_bytes(b"hello")
    assert refusal(root, skip_bad=True).code == "class-unreadable"


def test_mixed_depths_are_refused_with_an_example_of_each(make_folder: MakeFolder) -> None:
    """One scale for both would make the 8-bit ones almost black."""
    make_folder({"cat": 3})
    root = make_folder({"dog": 3}, deep=True)
    text = str(refusal(root))
    assert "uint16 (dog/0.png)" in text
    assert "uint8 (cat/0.png)" in text


def test_sixteen_bit_folder_is_indexed_as_such(make_folder: MakeFolder) -> None:
    splits = open_data(make_folder({"cat": 3, "dog": 3}, deep=True))
    assert (splits.kind, splits.gray) == ("uint16", True)
    assert splits.train.read(0).pixels.dtype == np.uint16


def test_links_to_files_are_read_and_links_to_folders_refused(make_folder: MakeFolder) -> None:
    """A class that is a link would be left out unsaid; followed, a link upward would never end."""
    other = make_folder({"x": 3}, name="other")
    root = make_folder({"cat": 3, "dog": 3})
    (root / "cat" / "inside.png").symlink_to(root / "dog" / "0.png")
    (root / "cat" / "outside.png").symlink_to(other / "x" / "0.png")
    assert open_data(root).fingerprint.n == 8
    for link, target in (("cat/circle", root), ("bird", other / "x"), (".hidden", other)):
        (root / link).symlink_to(target, target_is_directory=True)
    problem = refusal(root)
    assert (problem.code, problem.fields) == ("folder-links", {"links": 2})


def test_names_that_break_a_line_are_refused(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    (root / "cat" / "0.png").rename(root / "cat" / "a\nb.png")
    assert refusal(root).code == "file-name"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere names are text")
def test_a_path_that_is_not_utf8_is_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    """Neither a run nor a report could hold its name."""
    root = make_folder({"cat": 3, "dog": 3}).rename(tmp_path / "caf\udce9")
    assert refusal(root).code == "file-name"


def test_no_name_and_no_such_word_are_refused(make_folder: MakeFolder) -> None:
    """An empty name is a variable of the shell that is not set, and not the working directory."""
    with refused("data-missing", DataError):
        open_data("")
    with refused("option-value", UsageError, option="uncertain", value="maybe"):
        open_data(make_folder({"cat": 3, "dog": 3}), uncertain="maybe")  # type: ignore[arg-type]


def test_a_link_that_leads_to_itself_is_no_table(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    (root / "loop.csv").symlink_to("loop.csv")
    assert open_data(root).labels == ("cat", "dog")


def test_runs_bundles_and_heat_maps_below_a_set_are_no_classes(make_folder: MakeFolder) -> None:
    """Who trains in the folder of the images trains there again."""
    root = make_folder({"cat": 3, "dog": 3})
    before = open_data(root).fingerprint
    shutil.copytree(root / "cat", root / "runs" / "svm-1")
    for name in ("run.json", "trained_on.npz"):
        (root / "runs" / "svm-1" / name).touch()
    (root / "runs" / "latest").symlink_to("svm-1", target_is_directory=True)
    shutil.copytree(root / "cat", root / "lungs.zoo")
    for name in ("manifest.json", "golden.npz"):
        (root / "lungs.zoo" / name).touch()
    for place in (root / "cat", root / "heatmaps"):
        place.mkdir(exist_ok=True)
        info = PngImagePlugin.PngInfo()
        info.add_text("Software", MARK)
        Image.new("RGB", (4, 4)).save(place / "0.heat.png", pnginfo=info)
    again = open_data(root)
    assert again.labels == ("cat", "dog")
    assert again.fingerprint == before
    assert any("5 runs, bundles or heat maps" in note for note in again.notes)


def test_conflicting_labels_are_said(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 9, "dog": 9})
    shutil.copy(root / "cat" / "0.png", root / "dog" / "copy.png")
    splits = open_data(root)
    assert noted(splits.notes, "1 image", "more than one class")
    assert not any("both" in note for note in splits.notes), "a made split parted two copies"


def test_fingerprint_depends_on_content_and_not_on_place(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({f"{s}/{c}": 3 for s in ("train", "val", "test") for c in ("cat", "dog")})
    before = open_data(root).fingerprint
    shutil.move(root, tmp_path / "moved" / "pets")
    root = tmp_path / "moved" / "pets"
    (root / "train" / "cat" / "0.png").rename(root / "train" / "cat" / "renamed.png")
    assert open_data(root).fingerprint == before
    assert str(tmp_path) not in repr(before)
    shutil.move(root / "train" / "cat" / "1.png", root / "train" / "dog" / "11.png")
    assert open_data(root).fingerprint.sha256 != before.sha256


def test_notes_name_no_file_and_no_path(tabled: Path, leaky: Path) -> None:
    """Notes are published with the model; a file name may be a patient's name."""
    for folder in (tabled, leaky):
        splits = open_data(folder)
        text = " ".join(splits.notes)
        assert "left out" in text
        assert ".png" not in text
        assert ".jpg" not in text
        assert str(folder.parent) not in text


def test_evaluation_makes_nothing_and_allows_missing_classes(make_folder: MakeFolder) -> None:
    flat = open_data(make_folder({"cat": 2}, name="flat"), for_training=False)
    assert flat.fingerprint.splits == {"train": 0, "val": 0, "test": 2}
    assert "as test" in flat.notes[0]
    only = open_data(make_folder({"test/cat": 2, "test/dog": 1}, name="only"), for_training=False)
    assert only.fingerprint.splits == {"train": 0, "val": 0, "test": 3}
    with refused("split-empty", DataError, split="val"):
        only.split("val")
    problem = refusal(make_folder({"test/cat": 2, "test/dog": 1}, name="only2"))
    assert problem.code == "split-empty"
    assert problem.fields["split"] == "train"


def test_indexing_decodes_nothing(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand files would take an hour instead of a minute."""

    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    root = make_folder({"cat": 3, "dog": 3})
    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    assert open_data(root).fingerprint.n == 6


def test_large_files_are_hashed_like_small_ones(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    small = open_data(root).fingerprint
    monkeypatch.setattr(examine, "_SMALL", 10)
    assert open_data(root).fingerprint == small
