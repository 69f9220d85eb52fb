"""The audit of every source that `zoo data` takes: what headers say is found there too."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from noted import noted
from PIL import Image

from zoo.data._named import index
from zoo.data.audit import audit, page


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(10, 240, (7, 7), np.uint8)
    return Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC)


def png(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def test_shards_are_audited_where_they_lie_with_what_their_headers_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x013B] = "CANARY^NAME"
    for split, start in (("train", 0), ("test", 100)):
        with tarfile.open(tmp_path / f"{split}-000.tar", "w") as shard:
            for i in range(24):
                # the last image of test is the first of train, turned, and names somebody
                copied = split == "test" and i == 23
                data = png(picture(0).rotate(90), exif=exif) if copied else png(picture(start + i))
                for name, content in ((f"{i}.png", data), (f"{i}.cls", b"%d" % (i % 2))):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))
    pool = index(tmp_path, skip_bad=True, as_is=True)
    found = audit(pool)
    (near,) = found.of_kind("near_duplicate")
    assert near.across_splits
    assert "turned by 90°" in near.detail
    (personal,) = found.of_kind("personal_data")
    assert "Artist" in personal.detail
    assert found.storage == {"8-bit gray": 48}
    assert "CANARY" not in page(found, pool)


def test_images_with_several_labels_are_counted_under_each_and_conflict_as_sets(tmp_path: Path) -> None:
    images = np.stack([np.asarray(picture(i)) for i in range(40)])
    images[1] = images[0]
    labels = np.zeros((40, 3), np.uint8)
    labels[:30, 0] = labels[10:, 1] = 1
    labels[1] = (1, 0, 1)
    np.savez(tmp_path / "chest.npz", train_images=images, train_labels=labels)
    found = audit(tmp_path / "chest.npz")
    assert {label: counts["train"] for label, counts in found.classes.items()} == {"0": 30, "1": 30, "2": 1}
    (conflict,) = found.of_kind("label_conflict")
    assert conflict.files == ("train/0", "train/1")
    assert "'0 and 2'" in conflict.detail


def test_the_embedded_digits_are_audited_and_too_small_for_lookalikes() -> None:
    found = audit("digits")
    assert found.n == 1797
    assert found.search.threshold is None
    assert "under 16 pixels" in found.search.note
    assert not found.of_kind("near_duplicate")


def test_patients_that_dicom_files_name_are_groups(tmp_path: Path) -> None:
    """Two slices of one patient, one to learn from and one to be tested on."""
    source = Path(pytest.importorskip("pydicom").__file__).parent / "data" / "test_files"
    for name, place in (("MR_small.dcm", "train/mr/a.dcm"), ("MR_small_implicit.dcm", "test/mr/b.dcm")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes((source / name).read_bytes())
    found = audit(tmp_path)
    (leak,) = found.of_kind("group_leak")
    assert leak.files == ("train/mr/a.dcm", "test/mr/b.dcm")
    assert found.verdict == "leak"


def test_pixels_that_are_not_square_are_said(tmp_path: Path) -> None:
    """A lesion twice as high as wide is a round one where rows lie twice as close."""
    pydicom = pytest.importorskip("pydicom")
    for name, spacing in (("a", [0.4, 0.4]), ("b", [0.4, 0.2]), ("c", [0.2, 0.4])):
        scan = pydicom.dcmread(pydicom.data.get_testdata_file("MR_small.dcm", download=False))
        scan.PixelSpacing = spacing
        scan.PatientID = name
        (tmp_path / "train" / "mr").mkdir(parents=True, exist_ok=True)
        scan.save_as(tmp_path / "train" / "mr" / f"{name}.dcm")
    assert noted(audit(tmp_path).notes, "2 images", "not square", "2 : 1")
    for name in "bc":
        (tmp_path / "train" / "mr" / f"{name}.dcm").unlink()
    assert not noted(audit(tmp_path).notes, "not square")


def test_a_table_is_audited_with_its_group_column_and_its_labels_against_the_folders(tmp_path: Path) -> None:
    lines = ["image,label,split,clinic"]
    for i in range(48):
        folder, split = ("benign", "malignant")[i % 2], ("train", "test")[i // 24]
        (tmp_path / folder).mkdir(exist_ok=True)
        picture(i).save(tmp_path / folder / f"{i}.png")
        label = "malignant" if i == 4 else folder
        clinic = "north" if i in {3, 30} else f"c{i}"
        lines.append(f"{folder}/{i}.png,{label},{split},{clinic}")
    (tmp_path / "images.csv").write_text("\n".join(lines) + "\n")
    found = audit(tmp_path / "images.csv", group="clinic")
    (leak,) = found.of_kind("group_leak")
    assert leak.files == ("malignant/3.png", "benign/30.png"), "train first"
    assert "north" not in leak.detail
    (mismatch,) = found.of_kind("label_mismatch")
    assert mismatch.files == ("benign/4.png",)
    assert found.storage == {"8-bit gray": 48}
    assert found.verdict == "leak"


def test_folds_are_looked_across_as_splits_are(tmp_path: Path) -> None:
    lines = ["image,label,patient,fold"]
    for i in range(30):
        picture(0 if i == 9 else i).save(tmp_path / f"{i}.png")
        patient = 7 if i in {3, 4} else 100 + i
        lines.append(f"{i}.png,{'ab'[i // 3 % 2]},{patient},{i % 3}")
    (tmp_path / "folds.csv").write_text("\n".join(lines))
    found = audit(tmp_path / "folds.csv")
    assert found.splits == {"fold 0": 10, "fold 1": 10, "fold 2": 10}
    (leak,) = found.of_kind("group_leak")
    assert leak.files == ("3.png", "4.png")
    assert "fold 1 (1)" in leak.detail
    (same,) = found.of_kind("duplicate")
    assert not same.across_splits, "both copies are in fold 0"
    assert found.verdict == "leak"
    assert noted(found.notes, "29 groups", "30 images")
    assert "fold 2" in page(found, index(tmp_path / "folds.csv", as_is=True))


def test_a_set_of_one_class_is_not_called_clean(tmp_path: Path) -> None:
    (tmp_path / "ill").mkdir()
    for i in range(12):
        picture(i).save(tmp_path / "ill" / f"{i}.png")
    (found,) = audit(tmp_path).of_kind("label_mismatch")
    assert (found.severity, "at least two" in found.detail) == ("error", True)
