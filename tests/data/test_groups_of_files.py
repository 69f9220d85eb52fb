"""Patients, studies and files that tables do not name: no split may part them, whoever names the groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from noted import noted
from painted import write_dicom
from PIL import Image
from refusals import refused

from zoo.data import open_data
from zoo.data._named import index
from zoo.data._scanning import examine, index_cache, scan
from zoo.data._splitting.split_table import split_table
from zoo.data.audit import audit
from zoo.errors import DataError
from zoo.readers import probe

RNG = np.random.default_rng(0)
SPLITS = ("train", "val", "test")


def write_pages(path: Path, pages: int) -> None:
    first, *others = (Image.fromarray(RNG.integers(0, 256, (8, 8), np.uint8)) for _ in range(pages))
    first.save(path, save_all=True, append_images=others)


def write_table(root: Path, head: str, rows: list[tuple[Any, ...]], name: str = "t.csv") -> Path:
    (root / name).write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n", "utf-8")
    return root / name


def parts(table: Path, key: dict[str, Any], **options: Any) -> list[set[Any]]:
    """What `key` says of the images of each split."""
    splits = open_data(table, **options)
    return [{key[name] for name in splits.split(split).ids} for split in SPLITS]


def shared(held: list[set[Any]]) -> set[Any]:
    return {one for i, part in enumerate(held) for other in held[i + 1 :] for one in part & other}


def partition(groups: np.ndarray | None) -> set[frozenset[int]]:
    assert groups is not None
    return {frozenset(np.flatnonzero(groups == one).tolist()) for one in groups}


def test_patients_of_files_are_whole_where_a_table_names_studies_alone(tmp_path: Path) -> None:
    rows, patient = [], {}
    for number in range(96):
        who, study, name = number % 16, number % 48, f"{number}.dcm"
        write_dicom(tmp_path / name, patient=f"P{who}")
        rows.append((name, "ab"[who % 2], f"s{study}"))
        patient[name] = who
    table = write_table(tmp_path, "image,label,study_id", rows)
    assert not shared(parts(table, patient))
    assert len(partition(index(table).groups)) == 16
    made = split_table(table, tmp_path / "made.csv")
    assert made.groups == 16
    assert audit(tmp_path / "made.csv").of_kind("group_leak") == ()


def test_a_blank_cell_is_the_patient_of_its_file(tmp_path: Path) -> None:
    """Each blank was a group of its own, beside images of the same patient."""
    rows = []
    for number in range(12):
        write_dicom(tmp_path / f"{number}.dcm", patient=f"P{number // 3}")
        rows.append((f"{number}.dcm", "ab"[number % 2], "" if number % 3 == 1 else f"name {number // 3}"))
    pool = index(write_table(tmp_path, "image,label,patient_id", rows))
    assert partition(pool.groups) == {frozenset(range(3 * i, 3 * i + 3)) for i in range(4)}
    assert list(pool.columns["group"]) == [f"name {i // 3}" for i in range(12)]


def test_one_ambiguous_patient_of_files_leaves_the_others_known(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        write_dicom(tmp_path / f"{number}.dcm", patient=f"P{number // 4}")
        rows.append((f"{number}.dcm", "ab"[number % 2], ["x", "y", "", ""][number] if number < 4 else ""))
    pool = index(write_table(tmp_path, "image,label,patient", rows))
    assert {frozenset(range(4, 8)), frozenset(range(8, 12))} < partition(pool.groups)


@pytest.mark.parametrize("frames", ["tif", "dcm"])
@pytest.mark.parametrize("patient", ["", "Removed", "some"])
def test_pictures_of_one_file_are_in_one_split(tmp_path: Path, frames: str, patient: str) -> None:
    rows, file = [], {}
    for number in range(14):
        name = f"{number}.{frames}"
        if frames == "tif":
            write_pages(tmp_path / name, 6)
        else:
            who = f"P{number}" if patient == "some" and number < 4 else "" if patient == "some" else patient
            write_dicom(tmp_path / name, patient=who, frames=6)
        for page in range(1, 7):
            rows.append((name, "ab"[number % 2], page))
            file[f"{name}#{page}"] = name
    table = write_table(tmp_path, "image,label,frame", rows)
    assert not shared(parts(table, file))
    pool = index(table)
    assert len(partition(pool.groups)) == 14
    assert split_table(table, tmp_path / "made.csv", folds=3).groups == 14


def test_a_class_of_few_files_or_studies_is_refused_with_what_made_the_groups(tmp_path: Path) -> None:
    """The error named neither the files nor the studies, so nobody knew what to change."""
    rows, files = [], {"a": 2, "b": 8}
    for label, count in files.items():
        for number in range(count):
            write_pages(tmp_path / f"{label}{number}.tif", 6)
            rows += [(f"{label}{number}.tif", label, page) for page in range(1, 7)]
            write_dicom(tmp_path / "set" / label / f"{number}.dcm", study=f"1.2.{int(label == 'a')}.{number % 4}")
            write_dicom(tmp_path / "set" / label / f"{number}_.dcm", study=f"1.2.{int(label == 'a')}.{number % 4}")
    table = write_table(tmp_path, "image,label,frame", rows)
    said = {"label": "a", "images": 12, "groups": 2, "grouped_by": "file of several pictures"}
    with refused("split-too-few", DataError, **said):
        open_data(table)
    with refused("split-too-few", DataError, **said):
        split_table(table, tmp_path / "made.csv", folds=3)
    with refused("split-too-few", DataError, label="a", groups=2, grouped_by="StudyInstanceUID of the files"):
        open_data(tmp_path / "set")
    with refused("split-too-few", DataError, label="a", groups=2, grouped_by=r"(\w+)\.tif"):
        open_data(table, group=r"(\w+)\.tif")
    assert len(open_data(table, group="(.+)").test), "what the error offers is taken"


def test_a_file_that_is_named_in_two_ways_is_one_file(tmp_path: Path) -> None:
    write_pages(tmp_path / "0.tif", 4)
    (tmp_path / "link.tif").symlink_to(tmp_path / "0.tif")
    rows = [("0.tif", "a", 1), ("link.tif", "a", 2), ("./0.tif", "b", 3)]
    write_pages(tmp_path / "1.tif", 4)
    rows += [("1.tif", "b", page) for page in range(1, 5)]
    assert partition(index(write_table(tmp_path, "image,label,frame", rows)).groups) == {
        frozenset(range(3)),
        frozenset(range(3, 7)),
    }


def test_patients_that_share_a_file_are_joined_as_far_as_splits_allow(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        write_pages(tmp_path / f"{number}.tif", 6)
        rows += [(f"{number}.tif", "ab"[number % 2], page, f"p{number}_{page % 2}") for page in range(1, 7)]
    pool = index(write_table(tmp_path, "image,label,frame,patient", rows))
    assert partition(pool.groups) == {frozenset(range(6 * i, 6 * i + 6)) for i in range(8)}
    assert noted(pool.notes, "8 files", "joined")
    few = index(write_table(tmp_path, "image,label,frame,patient", rows[:24]))
    assert len(partition(few.groups)) == 8, "two files of a class cannot be dealt out to three splits"
    assert noted(few.notes, "4 files", "two splits")


def test_pictures_of_files_beside_an_archive_are_written_down_with_their_number(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        write_pages(tmp_path / f"{number}.tif", 3)
        rows += [(f"{number}.tif", "ab"[number % 2], page) for page in range(1, 4)]
    np.savez(tmp_path / "x.npz", train_images=RNG.integers(0, 256, (4, 8, 8), np.uint8), train_labels=np.arange(4) % 2)
    rows += [(f"x.npz#train/{number}", "ab"[number % 2], "") for number in range(4)]
    before = index(write_table(tmp_path, "image,label,frame", rows))
    split_table(tmp_path / "t.csv", tmp_path / "made.csv")
    after = index(tmp_path / "made.csv")
    assert list(after.ids) == list(before.ids)
    assert partition(after.groups) == partition(before.groups)
    assert len(partition(after.groups)) == 12


def test_one_file_that_holds_all_pictures_is_divided_and_said(tmp_path: Path) -> None:
    write_pages(tmp_path / "0.tif", 30)
    table = write_table(tmp_path, "image,label,frame", [("0.tif", "ab"[page % 2], page) for page in range(1, 31)])
    pool = index(table)
    assert pool.groups is None
    assert noted(pool.notes, "one file")
    with_pattern = index(table, group="#([0-9]+)$")
    assert with_pattern.ids == pool.ids


def test_slices_that_are_channels_of_each_other_stay_together(tmp_path: Path) -> None:
    """An image of a slice and its neighbours shares two files with the next one."""
    rows = []
    for volume in range(8):
        for number in range(6):
            Image.fromarray(RNG.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / f"{volume}_{number}.png")
        rows += [
            (f"{volume}_{k - 1}.png", f"{volume}_{k}.png", f"{volume}_{k + 1}.png", "ab"[volume % 2])
            for k in range(1, 5)
        ]
    pool = index(
        write_table(tmp_path, "before,here,after,label", rows), columns={"image": "before+here+after", "label": "label"}
    )
    assert partition(pool.groups) == {frozenset(range(4 * i, 4 * i + 4)) for i in range(8)}


def lesions(root: Path, head: str = "image,label,patient_id,lesion_id") -> Path:
    """Sixty images of fifteen lesions; one in four names its patient."""
    rows = []
    for number in range(60):
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(root / f"{number}.png")
        lesion = number % 15
        patient = ("", "unknown", f"p{lesion}")[(number // 15) % 3]
        rows.append((f"{number}.png", "ab"[lesion % 2], patient, f"l{lesion}"))
    return write_table(root, head, rows)


def test_naming_the_column_that_is_taken_anyway_changes_no_group(tmp_path: Path) -> None:
    table = lesions(tmp_path)
    lesion = {f"{number}.png": number % 15 for number in range(60)}
    whole = partition(np.arange(60) % 15)
    for options in ({}, {"group": "patient_id"}, {"columns": {"group": "patient_id"}}, {"group": "Patient ID"}):
        splits = open_data(table, **options)  # type: ignore[arg-type]
        held = [{lesion[name] for name in splits.split(split).ids} for split in SPLITS]
        assert not shared(held), options
        assert sum(len(np.unique(splits.split(split).groups)) for split in SPLITS) == 15, options  # type: ignore[arg-type]
        assert noted(splits.notes, "45 images", "grouped by")
        made = split_table(table, tmp_path / "made.csv", overwrite=True, **options)  # type: ignore[arg-type]
        assert made.groups == 15
    assert partition(index(table, columns={"group": "patient_id"}).groups) == whole


def test_a_column_of_any_name_is_read_without_the_words_for_nobody(tmp_path: Path) -> None:
    table = lesions(tmp_path, "image,label,ward_of,lesion_id")
    named, asked = open_data(table, columns={"group": "ward_of"}), open_data(table, group="ward_of")
    for split in SPLITS:
        assert np.array_equal(named.split(split).ids, asked.split(split).ids)
        assert partition(named.split(split).groups) == partition(asked.split(split).groups)
    assert noted(asked.notes, "'unknown'", "ward_of")
    kept = open_data(table, group="ward_of", keep_na=True)
    assert len(np.unique(kept.train.groups)) != len(np.unique(asked.train.groups))  # type: ignore[arg-type]


def test_groups_that_part_others_are_said_where_they_are_asked_for(tmp_path: Path) -> None:
    rows = []
    for number in range(36):
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", "ab"[number % 2], f"p{number % 6}", f"l{number % 18}"))
    table = write_table(tmp_path, "image,label,patient,lesion", rows)
    asked = open_data(table, group="lesion")
    assert noted(asked.notes, "6 groups", "'patient'", "'lesion'")
    assert not noted(asked.notes, "6 groups by"), "what was said of other groups holds no longer"


def test_views_of_one_study_stay_together_where_no_patient_is_named(tmp_path: Path) -> None:
    """The basic profile empties PatientID and keeps studies apart by new identifiers."""
    study = {}
    for number in range(60):
        name = f"{'ab'[number % 2]}/{number}.dcm"
        study[name] = number % 20
        write_dicom(tmp_path / "set" / name, study=f"1.2.826.0.1.{number % 20}")
    splits = open_data(tmp_path / "set")
    assert not shared([{study[name] for name in splits.split(split).ids} for split in SPLITS])
    assert noted(splits.notes, "study", "may share patients")
    assert not noted(splits.notes, "1.2.826")
    found = probe(tmp_path / "set" / "a" / "0.dcm").study
    assert found is not None
    assert "1.2.826" not in found
    assert len(found) == 64
    text = (split_table(tmp_path / "set", tmp_path / "made.csv") and tmp_path / "made.csv").read_text()
    assert "1.2.826" not in text
    assert partition(index(tmp_path / "made.csv").groups) == partition(index(tmp_path / "set").groups)


def test_what_is_remembered_of_files_holds_their_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")
    monkeypatch.setattr(index_cache, "FEWEST", 1)
    monkeypatch.setattr(scan, "SETTLED", -(10**12))
    for number in range(12):
        write_dicom(tmp_path / "set" / "ab"[number % 2] / f"{number}.dcm", study=f"1.2.{number % 4}")
    first = index(tmp_path / "set")
    monkeypatch.setattr(examine, "probe", lambda *_, **__: pytest.fail("a file was read again"))
    again = index(tmp_path / "set")
    assert len(partition(first.groups)) == 4
    assert partition(again.groups) == partition(first.groups)


def test_a_study_joins_blank_patients_and_lesions_and_says_nothing_where_it_is_alone(tmp_path: Path) -> None:
    rows = []
    for number in range(24):
        who = ("", f"P{number % 8}", "")[number // 8]
        write_dicom(tmp_path / "set" / "ab"[number % 2] / f"{number}.dcm", patient=who, study=f"1.2.{number % 8}")
        rows.append((f"set/{'ab'[number % 2]}/{number}.dcm", "ab"[number % 2], f"l{number}"))
    assert len(partition(index(tmp_path / "set").groups)) == 8
    assert len(partition(index(write_table(tmp_path, "image,label,lesion", rows)).groups)) == 8
    for number in range(12):
        write_dicom(tmp_path / "alone" / "ab"[number % 2] / f"{number}.dcm", study=f"1.2.{number}")
    assert index(tmp_path / "alone").groups is None


def test_folders_of_patients_count_where_a_table_names_studies_alone(tmp_path: Path) -> None:
    """CheXpert's paths name the patient; a study column beside them switched that off."""
    rows, patient = [], {}
    for number in range(48):
        who, study = number % 12, number % 24
        name = f"patient{who:05}/study{study // 12}/{number}.png"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / name)
        rows.append((name, "ab"[who % 2], f"s{study}"))
        patient[name] = who
    table = write_table(tmp_path, "image,label,study_id", rows)
    assert not shared(parts(table, patient))
    assert len(partition(index(table).groups)) == 12
    for options in ({"group": "study_id"}, {"columns": {"group": "study_id"}}):
        asked = open_data(table, for_training=False, **options)  # type: ignore[arg-type]
        assert len(partition(asked.test.groups)) == 24
        assert noted(asked.notes, "12 groups", "study_id")


def test_patients_of_another_table_count_where_a_table_names_lesions_alone(tmp_path: Path) -> None:
    rows = []
    for number in range(36):
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", "ab"[number % 2], f"l{number % 18}"))
    write_table(tmp_path, "image,patient_id", [(f"{number}.png", f"p{number % 6}") for number in range(36)], "who.csv")
    assert len(partition(index(write_table(tmp_path, "image,label,lesion_id", rows)).groups)) == 6


def test_an_audit_says_nothing_of_groups_that_were_not_asked_for(tmp_path: Path) -> None:
    rows = []
    for number in range(36):
        Image.fromarray(RNG.integers(0, 256, (20, 20, 3), np.uint8)).save(tmp_path / f"{number}.png")
        split = ("train", "val", "test")[number % 18 % 3]
        rows.append((f"{number}.png", "ab"[number // 18], f"p{number % 6}", f"l{number % 18}", split))
    table = write_table(tmp_path, "image,label,patient,lesion,split", rows)
    found = audit(table, group="lesion")
    assert found.of_kind("group_leak") == ()
    assert not noted(found.notes, "6 groups by")
    assert noted(audit(table).notes, "6 groups by")
