"""Published sets open as they are downloaded: each a small set of our own, with columns and files of the real one."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from noted import noted
from painted import paint, write
from PIL import Image
from refusals import refused

from zoo.data._named import index
from zoo.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data._index import Pool


def classes(pool: Pool) -> list[str]:
    return [pool.labels[target] for target in pool.targets.tolist()]


def test_ham10000(tmp_path: Path) -> None:
    """Two folders of images, ids without suffix, several images of one lesion."""
    head = "lesion_id,image_id,dx,dx_type,age,sex,localization"
    rows = [
        f"HAM_{i // 2:07},ISIC_{24306 + i:07},{'nv' if i < 8 else 'mel'},histo,{40 + i}.0,male,scalp" for i in range(16)
    ]
    table = write(tmp_path / "pub" / "HAM10000_metadata.csv", head, rows)
    for i in range(16):
        paint(table.parent / f"HAM10000_images_part_{1 + i % 2}" / f"ISIC_{24306 + i:07}.jpg")
    pool = index(table)
    assert classes(pool) == ["nv"] * 8 + ["mel"] * 8
    assert pool.ids[1] == "HAM10000_images_part_2/ISIC_0024307.jpg"
    assert pool.groups is not None
    assert pool.groups.tolist() == [i // 2 for i in range(16)]
    assert pool.roles == {"image": "image_id", "label": "dx", "group": "lesion_id", "age": "age", "sex": "sex"}
    assert set(pool.ignored) == {"dx_type", "localization"}
    folder = index(table.parent)
    assert (classes(folder), folder.roles, folder.name) == (classes(pool), pool.roles, pool.name)
    assert noted(folder.notes, "table in the folder", "taken")
    table = table.rename(table.with_suffix(""))  # as Dataverse has it
    assert index(table).roles == pool.roles
    assert index(table.parent).roles == pool.roles


def test_isic_2019(tmp_path: Path) -> None:
    """One-hot floats; lesions lie in another table, and UNK has no image."""
    names = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
    rows = [f"ISIC_{i:07}," + ",".join("1.0" if k == i % 8 else "0.0" for k in range(9)) for i in range(16)]
    table = write(tmp_path / "ISIC_2019_Training_GroundTruth.csv", f"image,{','.join(names)}", rows)
    write(
        tmp_path / "ISIC_2019_Training_Metadata.csv",
        "image,age_approx,anatom_site_general,lesion_id,sex",
        (f"ISIC_{i:07},55.0,anterior torso,BCN_{i // 2},female" for i in range(16)),
    )
    paint(*(tmp_path / "ISIC_2019_Training_Input" / f"ISIC_{i:07}.jpg" for i in range(16)))
    pool = index(table)
    assert classes(pool) == [names[i % 8] for i in range(16)]
    assert pool.groups is not None
    assert pool.groups.tolist() == [i // 2 for i in range(16)]
    assert pool.roles["group"] == "lesion_id (of another table in the folder)"
    assert noted(pool.notes, "lesion_id", "another table")
    assert pool.ignored == {"UNK": "holds no 1"}


def test_chestxray14(tmp_path: Path) -> None:
    """Labels joined by bars, images over twelve folders, and a comma at the end of the header."""
    head = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    said = ("Cardiomegaly", "Cardiomegaly|Emphysema", "No Finding", "Hernia")
    rows = [
        f"{i // 3:08}_{i % 3:03}.png,{said[i % 4]},{i % 3},{i // 3},58,M,PA,2682,2749,0.143,0.143," for i in range(12)
    ]
    table = write(tmp_path / "Data_Entry_2017.csv", head, rows)
    paint(*(tmp_path / f"images_{1 + i // 5:03}" / "images" / f"{i // 3:08}_{i % 3:03}.png" for i in range(12)))
    pool = index(table)
    assert pool.labels == ("Cardiomegaly", "Emphysema", "Hernia")
    assert pool.targets[:4].tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert pool.groups is not None
    assert pool.groups.tolist() == [i // 3 for i in range(12)]
    assert (pool.roles["age"], pool.roles["sex"]) == ("Patient Age", "Patient Gender")


FINDINGS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip


def findings(i: int) -> str:
    """1, 0, -1 and blank, a 1 in every column."""
    return ",".join(("1.0", "", "0.0", "-1.0")[(i + k) % 4] for k in range(len(FINDINGS)))


def chexpert(root: Path) -> Path:
    """The table of a small CheXpert, 12 images of 4 patients."""
    where = [f"train/patient{1 + i // 3:05}/study{1 + i % 3}/view1_frontal.jpg" for i in range(12)]
    top = root / "CheXpert-v1.0-small"
    for i, path in enumerate(where):
        (top / path).parent.mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(top / path)
    rows = (f"CheXpert-v1.0-small/{path},Female,{60 + i},Frontal,AP,{findings(i)}" for i, path in enumerate(where))
    return write(top / "train.csv", f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(FINDINGS)}", rows)


def test_chexpert(tmp_path: Path) -> None:
    """Paths begin with the name of the folder that the table lies in, and say the patient."""
    pool = index(chexpert(tmp_path))
    assert pool.labels == tuple(sorted(FINDINGS))
    assert pool.roles["labels"] == FINDINGS
    assert set(pool.ignored) == {"Frontal/Lateral", "AP/PA"}
    assert pool.ids[3] == "train/patient00002/study1/view1_frontal.jpg"
    assert pool.groups is not None
    assert pool.groups.tolist() == [i // 3 for i in range(12)]
    at = pool.labels.index("No Finding")
    assert pool.targets[[0, 2], at].tolist() == [1, 0]


def test_the_folder_of_chexpert_is_no_set_of_patients_as_classes(tmp_path: Path) -> None:
    table = chexpert(tmp_path)
    assert index(table.parent).roles == index(table).roles
    (table.parent / "valid.csv").write_text(table.read_text())
    with refused("folder-tables", DataError, tables=["train.csv", "valid.csv"]):
        index(table.parent)


def mimic(root: Path) -> list[tuple[str, str, str]]:
    """Patient, study and image of each of 12 pictures: two of each study."""
    found = [(str(10000032 + i // 4), str(50414267 + i // 2), f"{i:08x}-9ac4") for i in range(12)]
    paint(*(root / "files" / "p10" / f"p{patient}" / f"s{study}" / f"{image}.jpg" for patient, study, image in found))
    return found


def test_mimic_cxr_whose_rows_are_studies(tmp_path: Path) -> None:
    """mimic-cxr-2.0.0-chexpert.csv names no image: a study's folder holds several."""
    studies = list(dict.fromkeys((patient, study) for patient, study, _ in mimic(tmp_path)))
    rows = (f"{patient},{study},{findings(i)}" for i, (patient, study) in enumerate(studies))
    pool = index(write(tmp_path / "mimic-cxr-2.0.0-chexpert.csv", f"subject_id,study_id,{','.join(FINDINGS)}", rows))
    assert len(pool.ids) == 12
    assert pool.ids[2] == "files/p10/p10000032/s50414268/00000002-9ac4.jpg"
    assert pool.targets[0].tolist() == pool.targets[1].tolist()
    assert noted(pool.notes, "folders", "6 images")
    assert list(pool.columns["group"])[3:5] == ["10000032", "10000033"]


def test_mimic_cxr_whose_tables_were_joined(tmp_path: Path) -> None:
    found = mimic(tmp_path)
    rows = (f"{image},{patient},{study},validate,{findings(i)}" for i, (patient, study, image) in enumerate(found))
    head = f"dicom_id,subject_id,study_id,split,{','.join(FINDINGS)}"
    pool = index(write(tmp_path / "joined.csv", head, rows))
    assert pool.roles["image"] == "dicom_id"
    assert pool.roles["labels"] == FINDINGS
    assert list(pool.rows) == ["val"]


def test_aptos(tmp_path: Path) -> None:
    table = write(tmp_path / "train.csv", "id_code,diagnosis", (f"{i:012x},{i % 5}" for i in range(10)))
    paint(*(tmp_path / "train_images" / f"{i:012x}.png" for i in range(10)))
    paint(*(tmp_path / "test_images" / f"{i:012x}.png" for i in range(10, 14)))
    pool = index(table)
    assert classes(pool) == [str(i % 5) for i in range(10)]
    write(tmp_path / "sample_submission.csv", "id_code,diagnosis", (f"{i:012x},0" for i in range(10, 14)))
    folder = index(tmp_path)
    assert classes(folder) == classes(pool)
    assert noted(folder.notes, "4 images", "no row")


def test_eyepacs(tmp_path: Path) -> None:
    """Both eyes of a patient are one group."""
    names = [f"{10 + i // 2}_{'left' if i % 2 else 'right'}" for i in range(12)]
    table = write(tmp_path / "trainLabels.csv", "image,level", (f"{name},{i % 3}" for i, name in enumerate(names)))
    paint(*(tmp_path / "train" / f"{name}.jpeg" for name in names))
    pool = index(table)
    assert classes(pool) == [str(i % 3) for i in range(12)]
    assert pool.groups is not None
    assert pool.groups.tolist() == [i // 2 for i in range(12)]
    assert noted(pool.notes, "groups", "left and right")


def dicom(path: Path, patient: str, seed: int) -> None:
    """A plain gray DICOM file, written tag by tag."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
        value += (b"\0" if kind == b"UI" else b" ") * (len(value) % 2)
        size = struct.pack("<HI", 0, len(value)) if kind in (b"OB", b"OW") else struct.pack("<H", len(value))
        return struct.pack("<HH", group, number) + kind + size + value

    syntax = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    numbers = ((2, 1), (16, 8), (17, 8), (0x100, 8), (0x101, 8), (0x102, 7), (0x103, 0))
    elements = {
        (0x10, 0x20): (b"LO", patient.encode()),
        (0x28, 4): (b"CS", b"MONOCHROME2"),
        **{(0x28, number): (b"US", struct.pack("<H", value)) for number, value in numbers},
        (0x7FE0, 0x10): (b"OW", np.random.default_rng(seed).bytes(64)),
    }
    body = b"".join(element(*tag, *value) for tag, value in sorted(elements.items()))
    path.write_bytes(b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(syntax))) + syntax + body)


def test_rsna_pneumonia(tmp_path: Path) -> None:
    """A row for each box: several rows of one DICOM file are one image."""
    pytest.importorskip("pydicom")
    rows, names = [], [f"{i:08x}-ffd0" for i in range(8)]
    for i, name in enumerate(names):
        dicom(tmp_path / "stage_2_train_images" / f"{name}.dcm", name, i)
        boxes = ["264.0,152.0,213.0,379.0", "562.0,152.0,256.0,453.0"] if i % 2 else [",,,"]
        rows += [f"{name},{box},{i % 2}" for box in boxes]
    pool = index(write(tmp_path / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", rows))
    assert classes(pool) == ["0", "1"] * 4
    assert pool.ids[1] == f"stage_2_train_images/{names[1]}.dcm"
    assert pool.roles == {"image": "patientId", "label": "Target", "group": "patientId"}
    assert set(pool.ignored) == {"x", "y", "width", "height"}
    assert noted(pool.notes, "4 rows", "left out")
    detail = [
        f"{name},{'Lung Opacity' if i % 2 else 'Normal'}" for i, name in enumerate(names) for _ in range(1 + i % 2)
    ]
    pool = index(write(tmp_path / "stage_2_detailed_class_info.csv", "patientId,class", detail))
    assert classes(pool) == ["Normal", "Lung Opacity"] * 4


def test_boxes_of_one_image_with_two_labels_are_refused(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", tmp_path / "b.png")
    rows = ["a.png,1,0", "a.png,9,1", "b.png,1,1"]
    with refused("table-image-twice", DataError):
        index(write(tmp_path / "t.csv", "image,x,label", rows))


def test_rows_of_one_image_that_differ_do_not_let_the_first_speak(tmp_path: Path) -> None:
    """A report by reader would be one of reader A alone, who read every image as B did."""
    paint(*(tmp_path / f"scan{i}.png" for i in range(20)))
    rows = [f"scan{i},{'ab'[i % 2]},{reader},{i % 3},{reader * (i > 0)}" for i in range(20) for reader in "AB"]
    table = write(tmp_path / "t.csv", "id,label,reader,room,second", [*rows, rows[0]])
    pool = index(table)
    assert len(pool.ids) == 20
    assert set(pool.others["reader"]) == {""}
    assert list(pool.others["room"]) == [str(i % 3) for i in range(20)], "rows of one image agree here"
    assert list(pool.others["second"]) == [""] * 20
    assert noted(pool.notes, "21 rows", "left out")
    assert noted(pool.notes, "'reader'", "'second'", "20 images", "empty")
    assert not noted(pool.notes, "'room'", "empty")
    alike = index(write(tmp_path / "t.csv", "id,label,reader", [f"scan{i},{'ab'[i % 2]},A" for i in range(20)] * 2))
    assert set(alike.others["reader"]) == {"A"}
    assert not noted(alike.notes, "empty")


def test_rows_without_a_label_do_not_shift_what_is_emptied(tmp_path: Path) -> None:
    paint(*(tmp_path / f"scan{i}.png" for i in range(4)))
    rows = ["scan0,,A", "scan1,a,A", "scan2,b,A", "scan2,b,B", "scan3,a,A"]
    pool = index(write(tmp_path / "t.csv", "id,label,reader", rows), skip_bad=True)
    assert dict(zip(pool.ids, pool.others["reader"], strict=True)) == {
        "scan1.png": "A",
        "scan2.png": "",
        "scan3.png": "A",
    }


def test_padchest(tmp_path: Path) -> None:
    """Images in numbered folders; an index without a name; the labels of a row are a list in one cell."""
    head = ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,Report,Labels"
    said = ("\"['normal']\"", "\"['COPD signs', 'scoliosis']\"", "\"['scoliosis']\"")
    rows = [f"{i},{i:039}_k6ga{i}.png,{i % 3},2014,S{i},P{i // 2},1950,F,PA,texto,{said[i % 3]}" for i in range(9)]
    table = write(tmp_path / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", head, rows)
    paint(*(tmp_path / str(i % 3) / f"{i:039}_k6ga{i}.png" for i in range(9)))
    pool = index(table)
    assert (pool.roles["image"], pool.roles["labels"], pool.roles["group"]) == ("ImageID", "Labels", "PatientID")
    assert pool.groups is not None
    assert pool.groups.tolist() == [i // 2 for i in range(9)]
    assert pool.labels == ("COPD signs", "normal", "scoliosis")
    assert pool.targets[1].tolist() == [1, 0, 1]


def test_breakhis(tmp_path: Path) -> None:
    """Class folders several deep; the file name says the patient."""
    from zoo.data import split_table

    for kind, short, slides in (("benign", "B", "ABCD"), ("malignant", "M", "JKLM")):
        for slide in slides:
            for number in (1, 2):
                case = f"SOB_{short}_{slide}_14-225{ord(slide)}AB"
                name = f"SOB_{short}_{slide}-14-225{ord(slide)}AB-40-{number:03}.png"
                paint(tmp_path / "breast" / kind / "SOB" / "adenosis" / case / "40X" / name)
    pool = index(tmp_path / "breast")
    assert classes(pool) == ["benign"] * 8 + ["malignant"] * 8
    made = split_table(tmp_path / "breast", tmp_path / "s.csv", group=r"SOB_[BM]_\w+-(\d+-\w+)-")
    assert made.groups == 8


def test_patch_camelyon(tmp_path: Path) -> None:
    """HDF5: pixels in one file, labels in another, one pair for each split."""
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    pixels = {
        split: rng.integers(0, 256, (n, 8, 8, 3), np.uint8) for split, n in (("train", 8), ("valid", 4), ("test", 4))
    }
    for split, images in pixels.items():
        stem = f"camelyonpatch_level_2_split_{split}"
        with h5py.File(tmp_path / f"{stem}_x.h5", "w") as file:
            file["x"] = images
        with h5py.File(tmp_path / f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(len(images)) % 2).astype(np.uint8).reshape(-1, 1, 1, 1)
        write(
            tmp_path / f"{stem}_meta.csv",
            ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi",
            (f"{i},1,1,True,True,camelyon16_{split}_{i // 2}" for i in range(len(images))),
        )
    for place in (tmp_path, tmp_path / "camelyonpatch_level_2_split_train_x.h5"):
        pool = index(place)
        assert {split: len(rows) for split, rows in pool.rows.items()} == {"train": 8, "val": 4, "test": 4}
        assert pool.labels == ("0", "1")
        assert pool.targets[pool.rows["val"]].tolist() == [0, 1, 0, 1]
        np.testing.assert_array_equal(pool.source.read(int(pool.rows["test"][1])).pixels, pixels["test"][1])
        assert pool.groups is not None
        assert pool.groups.tolist() == [i // 2 for i in range(16)]
