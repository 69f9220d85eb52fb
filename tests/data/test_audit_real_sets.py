"""The audit on real sets: it must find the defects they are known for, and nothing in a sound one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted import COPIES

from zoo.data._named import index
from zoo.data.audit import audit


def test_the_fifteen_planted_copies_of_the_brain_set_are_found(shared: Path) -> None:
    found = audit(shared / "data" / "brain4_224")
    across = [finding for finding in found.of_kind("duplicate") if finding.across_splits]
    in_test = {name for finding in across for name in finding.files if name.startswith("test/")}
    assert len(across) == 15
    assert len(in_test) == 15
    assert found.verdict == "leak"
    assert found.n == 320
    assert found.splits == {"train": 240, "test": 80}
    assert found.classes["glioma"] == {"train": 60, "test": 20}
    assert found.storage == {"8-bit colour": 176, "8-bit gray": 144}
    mirrored = [f for f in found.of_kind("near_duplicate") if "mirrored left to right" in f.detail]
    assert mirrored, "the set holds mirrored slices across its splits, which no file hash can find"


def test_the_test_image_of_breastmnist_that_is_a_training_image_is_found_with_its_two_labels(shared: Path) -> None:
    found = audit(shared / "data" / "medmnist" / "breastmnist.npz")
    (copy,) = found.of_kind("duplicate")
    assert copy.files == ("train/115", "test/76")
    assert copy.across_splits
    conflict = found.of_kind("label_conflict")[0]
    assert conflict.files == copy.files
    assert conflict.severity == "error"
    assert found.findings[0] == conflict, "a copy across splits under two labels is the worst there is"


def test_ultrasound_taken_twice_is_found_across_splits_but_a_lookalike_is_not(shared: Path) -> None:
    """All of these images look alike: plain correlation at 0.9 calls 1483 pairs copies, most of them wrongly."""
    found = audit(shared / "data" / "busi256")
    (copy,) = found.of_kind("duplicate")
    assert copy.files == ("train/malignant/malignant_145.png", "test/benign/benign_433.png")
    near = found.of_kind("near_duplicate")
    held_out = {
        name
        for finding in near
        if finding.across_splits
        for name in finding.files
        if name.startswith(("val/", "test/"))
    }
    assert 76 <= len(held_out) <= 110
    assert 120 <= len(near) <= 160
    assert max(len(finding.files) for finding in near) <= 6, "families grew together through lookalikes"
    assert found.verdict == "leak"


@pytest.mark.slow
def test_the_cell_under_two_labels_is_found_among_seventeen_thousand(shared: Path) -> None:
    found = audit(shared / "data" / "pbc8" / "pbc8_28.npz")
    exact = [finding for finding in found.of_kind("label_conflict") if finding.severity == "error"]
    assert [finding.files for finding in exact] == [("train/3358", "test/2250")]
    assert "'1' and '6'" in exact[0].detail
    assert len(found.of_kind("duplicate")) == 17
    assert len(found.of_kind("near_duplicate")) <= 3
    assert found.n == 17092


@pytest.mark.slow
def test_planted_copies_are_found_and_no_other_pair_of_a_set_that_is_clean(shared: Path, tmp_path: Path) -> None:
    """480 microscope images, 200 of them with a copy in train, by twelve ways of copying in turn."""
    source = shared / "data" / "pbc8" / "folder"
    sound = audit(index(source))
    assert sound.findings == ()
    assert sound.verdict == "clean"
    assert sound.sizes[0].n > 1000
    assert sum(size.n for size in sound.sizes) == 1200
    expected: dict[str, str] = {}
    originals = sorted((source / "test").rglob("*.jpg")) + sorted((source / "val").rglob("*.jpg"))
    chosen = set(np.random.default_rng(0).permutation(len(originals))[:200].tolist())
    ways = list(COPIES.items())
    for number, path in enumerate(originals):
        place = tmp_path / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        if number in chosen:
            way, copy = ways[number % len(ways)]
            folder = tmp_path / "train" / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            copy(Image.open(path).convert("RGB")).save(folder / f"{number}.png")
            expected[f"train/{path.parent.name}/{number}.png"] = f"{path.relative_to(source).as_posix()} {way}"
    found = audit(tmp_path)
    pairs = {
        frozenset(f.files) for f in (*found.of_kind("near_duplicate"), *found.of_kind("duplicate")) if f.across_splits
    }
    missed = [f"{copy}: {of}" for copy, of in expected.items() if frozenset((copy, of.split(" ")[0])) not in pairs]
    assert len(missed) <= 10, missed
    assert len(pairs) - (len(expected) - len(missed)) <= 4, "pairs that were not planted"
    assert found.verdict == "leak"


def test_copies_in_other_transfer_syntaxes_are_the_same_picture_and_truncated_dicom_is_unreadable(
    tmp_path: Path,
) -> None:
    dicom = Path(pytest.importorskip("pydicom").__file__).parent / "data" / "test_files"
    for folder, name in (
        ("train/mr", "MR_small.dcm"),
        ("test/mr", "MR_small_RLE.dcm"),
        ("train/cut", "MR_truncated.dcm"),
        ("train/ct", "CT_small.dcm"),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dicom / name, tmp_path / folder / name)
    found = audit(tmp_path)
    assert [f.files for f in found.of_kind("unreadable")] == [("train/cut/MR_truncated.dcm",)]
    assert [f.files for f in found.of_kind("duplicate")] == [("train/mr/MR_small.dcm", "test/mr/MR_small_RLE.dcm")]
    assert found.verdict == "leak"
    fields = {finding.detail.split(" ")[0] for finding in found.of_kind("personal_data")}
    assert "PatientName" in fields
