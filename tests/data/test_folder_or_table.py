"""A folder whose images a table lists is that table; class folders are what a person would call so; else it is asked.

Each shape is that of a published set. A tool that guesses trains on "part_1" against "part_2", and calls it clean.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from noted import noted
from painted import paint, write
from PIL import Image
from refusals import refused

from zoo.data import open_data, reopen_data
from zoo.data._named import index
from zoo.errors import DataError
from zoo.spec import PluginOrigin, Provenance, TrainConfig

Build = Callable[[Path], None]

HAM = "lesion_id,image_id,dx"


def lesions(n: int = 16) -> list[str]:
    return [f"HAM_{i // 2},ISIC_{i:07},{'nv' if i < n // 2 else 'mel'}" for i in range(n)]


def in_parts(root: Path, name: str, n: int = 16, parts: int = 2) -> None:
    paint(*(root / name.format(1 + i % parts) / f"ISIC_{i:07}.jpg" for i in range(n)))


def ham(root: Path) -> None:
    write(root / "HAM10000_metadata.csv", HAM, lesions())
    in_parts(root, "HAM10000_images_part_{}")


def one_folder_and_a_table(root: Path) -> None:
    write(root / "metadata.tsv", HAM.replace(",", "\t"), (row.replace(",", "\t") for row in lesions()))
    in_parts(root, "images")


def loose_images_and_a_table(root: Path) -> None:
    write(root / "labels.csv", HAM, lesions())
    in_parts(root, ".")


def pad_ufes(root: Path) -> None:
    """The class column is called 'diagnostic', beside columns of truth values."""
    rows = [f"PAT_{i // 2},{i},{i % 2 > 0},{i % 3 > 0},{'BCC' if i % 2 else 'ACK'},PAT_{i}_1.png" for i in range(12)]
    write(root / "metadata.csv", "patient_id,lesion_id,smoke,drink,diagnostic,img_id", rows)
    paint(*(root / f"imgs_part_{1 + i % 3}" / f"imgs_part_{1 + i % 3}" / f"PAT_{i}_1.png" for i in range(12)))


def isic(root: Path) -> None:
    """Lesions lie in a second table, which says no class."""
    rows = [f"ISIC_{i:07}," + ",".join(str(float(k == i % 3)) for k in range(3)) for i in range(12)]
    write(root / "ISIC_2019_Training_GroundTruth.csv", "image,MEL,NV,BCC", rows)
    write(root / "ISIC_2019_Training_Metadata.csv", "image,lesion_id", (f"ISIC_{i:07},BCN_{i // 2}" for i in range(12)))
    in_parts(root, "ISIC_2019_Training_Input", 12)


def chestxray14(root: Path) -> None:
    """A second table holds boxes of a few images."""
    names = [f"{i // 3:08}_{i % 3:03}.png" for i in range(12)]
    said = ("Cardiomegaly", "Cardiomegaly|Emphysema", "No Finding", "Hernia")
    rows = (f"{name},{said[i % 4]},{i // 3}" for i, name in enumerate(names))
    write(root / "Data_Entry_2017.csv", "Image Index,Finding Labels,Patient ID", rows)
    write(root / "BBox_List_2017.csv", "Image Index,Finding Label,x", (f"{name},Hernia,1" for name in names[:3]))
    paint(*(root / f"images_{1 + i // 5:03}" / "images" / name for i, name in enumerate(names)))


def rsna(root: Path) -> None:
    rows = (f"{i:08x}-ffd0,1,{i % 2}" for i in range(8) for _ in range(1 + i % 2))
    write(root / "stage_2_train_labels.csv", "patientId,x,Target", rows)
    paint(*(root / "stage_2_train_images" / f"{i:08x}-ffd0.png" for i in range(8)))
    paint(*(root / "stage_2_test_images" / f"{i:08x}-ffd1.png" for i in range(8)))


def mimic(root: Path) -> None:
    """Rows name the folders of studies."""
    paint(*(root / "files" / "p10" / f"p{i // 4}" / f"s{50414267 + i // 2}" / f"{i:08x}.png" for i in range(12)))
    rows = (f"{i // 2},{50414267 + i},{i % 2},{1 - i % 2}" for i in range(6))
    write(root / "mimic-cxr-2.0.0-chexpert.csv", "subject_id,study_id,Edema,Fracture", rows)


@pytest.mark.parametrize(
    ("build", "name", "labels", "n", "groups"),
    [
        (ham, "HAM10000_metadata", ("mel", "nv"), 16, 8),
        (one_folder_and_a_table, "metadata", ("mel", "nv"), 16, 8),
        (loose_images_and_a_table, "labels", ("mel", "nv"), 16, 8),
        (pad_ufes, "metadata", ("ACK", "BCC"), 12, 6),
        (isic, "ISIC_2019_Training_GroundTruth", ("BCC", "MEL", "NV"), 12, 6),
        (chestxray14, "Data_Entry_2017", ("Cardiomegaly", "Emphysema", "Hernia"), 12, 4),
        (rsna, "stage_2_train_labels", ("0", "1"), 8, 8),
        (mimic, "mimic-cxr-2.0.0-chexpert", ("Edema", "Fracture"), 12, 3),
    ],
)
def test_a_folder_whose_images_a_table_lists_is_that_table(
    tmp_path: Path, build: Build, name: str, labels: tuple[str, ...], n: int, groups: int
) -> None:
    build(tmp_path)
    pool = index(tmp_path)
    assert (pool.name, pool.labels, len(pool.ids)) == (name, labels, n)
    assert pool.groups is not None
    assert len(set(pool.groups.tolist())) == groups
    assert noted(pool.notes, "table in the folder", "taken")


def test_images_that_no_row_names_are_counted(tmp_path: Path) -> None:
    rsna(tmp_path)
    assert noted(index(tmp_path).notes, "8 images", "no row")


def test_columns_hold_for_the_table_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "file,dx,grade", (f"{i}.png,{'ab'[i % 2]},{'xyz'[i % 3]}" for i in range(12)))
    paint(*(tmp_path / "images" / f"{i}.png" for i in range(12)))
    assert index(tmp_path).labels == ("a", "b")
    assert index(tmp_path, columns={"label": "grade"}).labels == ("x", "y", "z")


CLASSES = [
    ("grade 1", "grade 2", "grade 3"),
    ("stage_1", "stage_2"),
    ("type 1", "type 2"),
    ("0", "1", "2"),
    ("BI-RADS 3", "BI-RADS 4"),
    ("T1", "T2"),
    ("level1", "level2"),
    ("class_1", "class_2"),
    ("bus", "car", "train"),
    ("set", "match"),
    ("normal", "slide 1", "slide 2", "blurred"),
]


@pytest.mark.parametrize("names", CLASSES, ids=" ".join)
def test_class_names_that_end_in_numbers_stay_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    paint(*(tmp_path / name / f"{name}{i}.png" for name in names for i in range(2)))
    assert set(index(tmp_path).labels) == set(names)


PARTS = [
    ("HAM10000_images_part_1", "HAM10000_images_part_2"),
    ("images_001", "images_002", "images_012"),
    ("imgs_part_1", "imgs_part_2", "imgs_part_3"),
    ("batch1", "batch2", "batch10"),
    ("fold 0", "fold 1"),
    ("chunk-1", "chunk-2"),
    ("Shard_00", "Shard_01"),
    ("set1", "set2"),
    ("vol.1", "vol.2"),
    ("train_1", "train_2"),
    ("images", "images (2)"),
    ("part_a", "part_b"),
    ("Part 1", "part 2", "masks"),
    ("patient00001", "patient00002"),
    ("dataset", "dataset2"),
]


@pytest.mark.parametrize("names", PARTS, ids=" ".join)
def test_folders_that_differ_only_by_a_number_are_asked_about(tmp_path: Path, names: tuple[str, ...]) -> None:
    paint(*(tmp_path / name / f"{name}{i}.png" for name in names for i in range(4)))
    with refused("folder-parts", DataError) as caught:
        index(tmp_path)
    assert set(caught.value.fields["folders"]) == set(names)
    pool = index(tmp_path, columns={"label": "folder"})
    assert set(pool.labels) == set(names), "the user says that these are classes"
    assert pool.roles == {"label": "folder"}


def test_parts_within_splits_are_asked_about_too(tmp_path: Path) -> None:
    paint(*(tmp_path / split / f"part{k}" / f"{split}{k}{i}.png" for split in ("train", "test") for k in (1, 2)
            for i in range(4)))  # fmt: skip
    with refused("folder-parts", DataError, folders=["part1", "part2"]):
        open_data(tmp_path)


def two_tables(root: Path) -> None:
    ham(root)
    write(root / "second opinion.csv", HAM, lesions())


def images_in_three_columns(root: Path) -> None:
    """CBIS-DDSM: the film, a cut-out and a mask; each case in a folder of its own."""
    for i in range(12):
        paint(root / f"P_{i:05}_CC" / "1.3" / f"film{i}.png", root / f"P_{i:05}_CC_1" / "1.4" / f"cut{i}.png")
    rows = (f"M{i % 2},P_{i:05}_CC/1.3/film{i}.png,P_{i:05}_CC_1/1.4/cut{i}.png" for i in range(12))
    write(root / "mass_case_description.csv", "pathology,image file path,cropped image file path", rows)


def cases_and_no_known_class(root: Path) -> None:
    paint(*(root / f"P_{i:05}" / f"film{i}.png" for i in range(12)))
    write(root / "cases.csv", "path,pathology", (f"P_{i:05}/film{i}.png,M{i % 2}" for i in range(12)))


def a_tenth_of_the_images(root: Path) -> None:
    write(root / "HAM10000_metadata.csv", HAM, lesions(64))
    in_parts(root, "HAM10000_images_part_{}", 8)


def a_table_of_a_few_images(root: Path) -> None:
    paint(*(root / label / f"{label}{i}.png" for label in ("cat", "dog") for i in range(20)))
    rows = (f"{label}{i}.png,{'sharp' if i % 2 else 'blurred'}" for label in ("cat", "dog") for i in range(3))
    write(root / "quality.csv", "image,label", rows)


def truth_values_beside_class_folders(root: Path) -> None:
    paint(*(root / label / f"{label}{i}.png" for label in ("cat", "dog") for i in range(4)))
    rows = (f"{label}{i}.png,{i % 2},{1 - i % 2}" for label in ("cat", "dog") for i in range(4))
    write(root / "more.csv", "image,smoker,diabetic", rows)


@pytest.mark.parametrize(
    ("build", "tables"),
    [
        (two_tables, ["HAM10000_metadata.csv", "second opinion.csv"]),
        (images_in_three_columns, ["mass_case_description.csv"]),
        (cases_and_no_known_class, ["cases.csv"]),
        (a_tenth_of_the_images, ["HAM10000_metadata.csv"]),
        (a_table_of_a_few_images, ["quality.csv"]),
        (truth_values_beside_class_folders, ["more.csv"]),
    ],
)
def test_what_is_not_clear_is_refused_with_the_tables(tmp_path: Path, build: Build, tables: list[str]) -> None:
    build(tmp_path)
    with refused("folder-tables", DataError, tables=tables):
        index(tmp_path)


def kermany(root: Path) -> None:
    paint(*(root / s / c / f"{c}-{s}{i}.png" for s in ("train", "test") for c in ("CNV", "DME") for i in range(4)))


def classes_and_a_table_of_ages(root: Path) -> None:
    paint(*(root / label / f"{label}{i}.png" for label in ("cat", "dog") for i in range(4)))
    write(root / "ages.csv", "image,age", (f"{label}{i}.png,{i}" for label in ("cat", "dog") for i in range(4)))


def classes_and_our_own_answers(root: Path) -> None:
    paint(*(root / label / f"{label}{i}.png" for label in ("cat", "dog") for i in range(4)))
    rows = (f"{label}/{label}{i}.png,{label if i else 'cat'},0.9" for label in ("cat", "dog") for i in range(4))
    write(root / "answers.csv", "image,label,probability", rows)


def classes_and_their_names(root: Path) -> None:
    paint(*(root / label / f"{label}{i}.png" for label in ("cat", "dog") for i in range(4)))
    write(root / "classes.csv", "name,category", ["cat,animal", "dog,pet"])


@pytest.mark.parametrize(
    "build", [kermany, classes_and_a_table_of_ages, classes_and_our_own_answers, classes_and_their_names]
)
def test_class_folders_stay_the_classes(tmp_path: Path, build: Build) -> None:
    build(tmp_path)
    pool = index(tmp_path)
    assert pool.labels in {("CNV", "DME"), ("cat", "dog")}
    assert pool.roles == {}


def test_groups_that_only_the_table_knows_are_said(tmp_path: Path) -> None:
    paint(*(tmp_path / label / f"{label}{i}.png" for label in ("cat", "dog") for i in range(4)))
    rows = (f"{label}{i}.png,{label},{i // 2}" for label in ("cat", "dog") for i in range(4))
    write(tmp_path / "all.csv", "image,label,patient_id", rows)
    assert noted(index(tmp_path).notes, "groups", "patient_id")


def near(root: Path, problem: DataError) -> str:
    """The table that a refusal names."""
    found = [path for path in root.rglob("*.*") if path.suffix in {".csv", ".xlsx"} and path.name in str(problem)]
    return found[0].name if found else ""


def test_a_table_above_or_inside_is_named(tmp_path: Path) -> None:
    """Whoever names the folder of images is told of the table beside it."""
    ham(tmp_path / "a b")
    with refused("folder-without-classes", DataError) as caught:
        index(tmp_path / "a b" / "HAM10000_images_part_1")
    assert near(tmp_path, caught.value) == "HAM10000_metadata.csv"
    loose_images_and_a_table(tmp_path / "inner" / "images")
    with refused("folder-without-classes", DataError) as caught:
        index(tmp_path / "inner")
    assert near(tmp_path / "inner", caught.value) == "labels.csv"
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "findings.xlsx").write_bytes(b"PK")
    in_parts(tmp_path / "book", "images")
    with refused("folder-without-classes", DataError) as caught:
        index(tmp_path / "book")
    assert near(tmp_path / "book", caught.value) == "findings.xlsx"


def test_breakhis_is_found_below_folders_of_one_folder(tmp_path: Path) -> None:
    inner = "BreaKHis_v1/histology_slides/breast"
    paint(*(tmp_path / inner / kind / f"{kind}{i}.png" for kind in ("benign", "malignant") for i in range(4)))
    rows = (f"1,train,{inner}/{kind}/{kind}{i}.png" for kind in ("benign", "malignant") for i in range(4))
    write(tmp_path / "Folds.csv", "fold,grp,filename", rows)
    with refused("folder-nested", DataError, folder=inner):
        index(tmp_path)


def test_a_table_is_found_among_files_without_suffix(tmp_path: Path) -> None:
    """Thirty DICOM files IM0001 come before metadata.csv by name."""
    for i in range(30):
        paint(tmp_path / f"IM{i:04}.png")
        (tmp_path / f"IM{i:04}.png").rename(tmp_path / f"IM{i:04}")
    write(tmp_path / "metadata.csv", "image,label", (f"IM{i:04},{'ab'[i % 2] * 2}" for i in range(30)))
    assert index(tmp_path).labels == ("aa", "bb")


def test_a_model_meets_a_folder_whose_table_has_other_columns(tmp_path: Path) -> None:
    """A run records the columns of its own table; the folder of another hospital has others."""
    ham(tmp_path / "own")
    own = open_data(tmp_path / "own" / "HAM10000_metadata.csv", for_training=False, columns={"label": "dx"})
    rows = (f"{i}.png,{('mel', 'nv')[i % 2]}" for i in range(12))
    write(tmp_path / "other" / "labels.csv", "file,class", rows)
    paint(*(tmp_path / "other" / f"part_{1 + i % 2}" / f"{i}.png" for i in range(12)))
    origin = Provenance(
        run="r", model="m", created="2026-01-01T00:00:00Z", versions={}, data=own.fingerprint, weights=None,
        plugin=PluginOrigin(name="m", distribution="d", version="1"), config=TrainConfig(columns={"label": "dx"}),
    )  # fmt: skip
    assert reopen_data(tmp_path / "other", origin).labels == ("mel", "nv")


@pytest.mark.parametrize("damaged", [False, True])
def test_pictures_of_one_file_are_not_said_to_be_left_out(tmp_path: Path, damaged: bool) -> None:
    """The id of a picture has a number behind the name of its file."""
    shades = [[Image.new("L", (8, 8), 40 * k + 5 * at) for at in range(3)] for k in range(4)]
    for k, (first, *others) in enumerate(shades):
        first.save(tmp_path / f"vol{k}.tif", save_all=True, append_images=others)
    rows = [f"vol{k}.tif,{at},{'ab'[k % 2]}" for k in range(4) for at in (1, 2, 3)]
    write(tmp_path / "labels.csv", "image,frame,label", rows)
    if damaged:
        (tmp_path / "vol3.tif").write_bytes(b"II*\0 cut")
    pool = index(tmp_path, skip_bad=damaged)
    assert len(pool.ids) == (9 if damaged else 12)
    assert not noted(pool.notes, "no row of the table names them")
    paint(tmp_path / "another.png")
    assert noted(index(tmp_path, skip_bad=damaged).notes, "1 image was left out", "no row of the table names them")
