"""Cells and names of folders: nothing, one class under several names, perhaps one patient, several labels in one."""

from __future__ import annotations

import logging
import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import pytest
from noted import noted
from PIL import Image
from refusals import refused

from zoo._support.labels import class_key
from zoo.data import align, describe_data, open_data, reopen_data, split_table
from zoo.data._named import index
from zoo.data._sources.codes import Codes, refuse_unlabelled
from zoo.data._sources.joined import divide_labels
from zoo.data._sources.values import choose_spellings, find_missing, pair_alike
from zoo.data.audit import audit
from zoo.errors import DataError
from zoo.spec import PluginOrigin, Provenance, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from zoo.data import Splits

    MakeTable = Callable[..., Path]

NFC, NFD = (unicodedata.normalize(form, "bénin") for form in ("NFC", "NFD"))


@pytest.fixture
def make_table(tmp_path: Path) -> MakeTable:
    """Call with {'label': cells, …}: a table of as many different pictures, with these columns."""

    def make(columns: dict[str, Sequence[str]], *, first: str = "", mark: str = ",", name: str = "t.csv") -> Path:
        n = len(next(iter(columns.values())))
        rng = np.random.default_rng(0)
        lines = [mark.join(("image", *columns))]
        for i in range(n):
            image = tmp_path / f"{i}.png"
            if not image.exists():
                Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).save(image)
            lines.append(mark.join((image.name, *(f'"{cells[i]}"' for cells in columns.values()))))
        (tmp_path / name).write_text(first + "\n".join(lines) + "\n", encoding="utf-8", newline="")
        return tmp_path / name

    return make


def count(path: Path, *, skip_bad: bool = False, keep_na: bool | None = None) -> dict[str, int]:
    """Class or label: images."""
    pool = index(path, skip_bad=skip_bad, keep_na=keep_na)
    one_hot = np.eye(len(pool.labels), dtype=int)[pool.targets] if pool.targets.ndim == 1 else pool.targets
    return dict(zip(pool.labels, one_hot.sum(axis=0).tolist(), strict=True))


def provenance(splits: Splits, config: TrainConfig) -> Provenance:
    return Provenance(
        run="r",
        model="m",
        created="2026-01-01T00:00:00Z",
        plugin=PluginOrigin(name="m", distribution="d", version="1"),
        versions={},
        data=splits.fingerprint,
        config=config,
        weights=None,
    )


# nothing


@pytest.mark.parametrize(
    "nothing", ["NA", "N/A", "NaN", "nan", "None", "none", "#N/A", "null", "NULL", "-", "--", "n.a.", "<NA>", "", " "]
)
def test_a_label_that_says_nothing_is_no_class(nothing: str, make_table: MakeTable) -> None:
    """R, pandas and Excel each write a gap in their own way, and a network would learn the gap."""
    table = make_table({"label": [nothing, "benign", "malignant", "benign", nothing, "malignant"]})
    with refused("table-rows", DataError, rows=2) as caught:
        open_data(table)
    assert "row 2" in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    assert ("--keep-na" in str(caught.value)) == bool(nothing.strip())
    pool = index(table, skip_bad=True)
    assert count(table, skip_bad=True) == {"benign": 2, "malignant": 2}
    assert list(pool.ids) == ["1.png", "2.png", "3.png", "5.png"]
    assert [one.name for one in pool.unlabelled] == ["0.png", "4.png"]
    assert len(open_data(table, skip_bad=True, for_training=False).skipped) == 2, "so that a run is reopened alike"
    assert noted(pool.notes, "2 rows", "no label")


def test_rows_without_a_label_take_the_rest_of_their_row_with_them(make_table: MakeTable) -> None:
    table = make_table(
        {
            "label": ["a", "nan", "b", "a", "b"],
            "patient": ["p1", "p9", "p2", "p3", "p2"],
            "split": ["train", "test", "val", "test", "train"],
            "frame": ["1", "1", "1", "1", "1"],
            "age": ["1", "2", "3", "4", "5"],
        }
    )
    pool = index(table, skip_bad=True)
    assert list(pool.columns["group"]) == ["p1", "p2", "p3", "p2"]
    assert list(pool.columns["age"]) == ["1", "3", "4", "5"]
    assert {split: rows.tolist() for split, rows in pool.rows.items()} == {"train": [0, 3], "val": [1], "test": [2]}
    assert pool.groups is not None
    assert pool.groups.tolist() == [0, 1, 2, 1]
    with refused("data-empty", DataError, unlabelled=2):
        index(make_table({"label": ["NA", "-"]}), skip_bad=True)


def test_whoever_has_a_class_of_that_name_keeps_it(make_table: MakeTable) -> None:
    """'None' is a grade of retinopathy."""
    cells = ["None", "mild", "severe"] * 4
    table = make_table({"label": cells, "patient": ["NA", "NA", "p3"] * 4})
    assert count(table, keep_na=True) == {"mild": 4, "None": 4, "severe": 4}
    assert list(index(table, keep_na=True).columns["group"])[:3] == ["NA", "NA", "p3"]


def test_a_damaged_file_does_not_cost_a_class(make_table: MakeTable) -> None:
    """The flag that the refusal of a damaged file names would leave a third of the images out as unlabelled."""
    table = make_table({"level": ["None", "Mild", "Severe"] * 30})
    (table.parent / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    with refused("label-or-gap", DataError, words={"None": 30}, rows=90):
        index(table, skip_bad=True)
    assert count(table, skip_bad=True, keep_na=True) == {"Mild": 30, "None": 29, "Severe": 30}
    assert count(table, skip_bad=True, keep_na=False) == {"Mild": 30, "Severe": 30}
    assert noted(describe_data(table).notes, "30 rows", "None"), "whoever looks at a table is told, not refused"


@pytest.mark.parametrize(
    ("gaps", "classes", "refuses"),
    [(2, (45, 45), False), (3, (45, 45), True), (9, (600, 600), False), (13, (600, 600), True), (9, (1191, 8), True)],
    ids=["too few for a class", "a class of three", "under 1 %", "over 1 %", "more than the rarest class"],
)
def test_a_word_may_be_a_class_where_it_is_as_frequent_as_one(
    gaps: int, classes: tuple[int, int], refuses: bool
) -> None:
    labels = Codes()
    for text, n in zip(("NA", "a", "b"), (gaps, *classes), strict=True):
        for _ in range(n):
            labels.add(text)
    if not refuses:
        return refuse_unlabelled("t.csv", labels, {"NA"}, settled=False)
    refuse_unlabelled("t.csv", labels, {"NA"}, settled=True)
    with refused("label-or-gap", DataError, words={"NA": gaps}):
        refuse_unlabelled("t.csv", labels, {"NA"}, settled=False)
    return None


def test_cells_with_nothing_in_them_are_no_class(make_table: MakeTable) -> None:
    table = make_table({"label": ["", "a", "b"] * 30})
    assert count(table, skip_bad=True) == {"a": 30, "b": 30}


def test_a_dash_beside_a_plus_is_a_value() -> None:
    """Receptor status."""
    assert find_missing(["+", "-", "nan"]) == {"nan"}
    assert find_missing(["a", "-", "NaN", " null "]) == {"-", "NaN", " null "}


def test_patients_that_say_nothing_are_groups_of_their_own(make_table: MakeTable) -> None:
    """18 images would be one patient called nan, and no interval would mean anything."""
    patients = [text for i in range(6) for text in (str(i // 2), "nan")]
    pool = index(make_table({"label": ["a", "b"] * 6, "patient": patients, "sex": ["F", "NA"] * 6}))
    assert pool.groups is not None
    assert len(np.unique(pool.groups)) == 3 + 6
    assert list(pool.columns["sex"])[:2] == ["F", ""]
    assert noted(pool.notes, "6 cells", "'patient'", "'nan'")
    assert noted(pool.notes, "6 of 12", "no group")


# one class


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        (("Benign ", "benign", "benign"), "benign"),
        (("Benign", "BENIGN", "benign"), "benign"),
        (("no  tumour", "no tumour", "No tumour"), "no tumour"),
        ((NFC, NFD, NFC), NFC),
        ((NFD, NFD, NFD), NFC),
        (("1", "1.0", "1"), "1"),
        (("1.0", "1.0", "1.00"), "1"),
        (("01", "1", "1.0"), "1"),
        (("01", "01", "01"), "01"),
        (("-1", "-1.0", "-1"), "-1"),
        (("NV", "nv", "nv"), "nv"),
    ],
)
def test_spellings_of_one_class_are_one_class(spellings: tuple[str, ...], name: str, make_table: MakeTable) -> None:
    """Two exports that were joined, a person's typing, and the way in which macOS writes é."""
    pool = index(make_table({"label": [*spellings, "z", "z", "z"]}))
    assert pool.labels == (name, "z")
    assert pool.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert noted(pool.notes, repr(name)) == (spellings not in ((NFD,) * 3, ("01",) * 3))


def test_names_that_mean_two_things_stay_two_classes() -> None:
    names = ["a", "A", "1.1", "1.10", "4A", "4B", "grade 1.2", "grade 12"]
    assert choose_spellings(dict.fromkeys(names, 1)) == {name: name for name in names}
    assert class_key("10") != class_key("1.0")


def test_folders_of_one_class_are_one_class_across_splits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, benign in (("train", NFD), ("val", NFC), ("test", NFC.upper())):
        for label in (benign, "naevus"):
            (tmp_path / "set" / split / label).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "set" / split / label / f"{i}.png")
    splits = open_data(tmp_path / "set")
    assert splits.labels == (NFC, "naevus")
    assert [len(splits.split(name)) for name in ("train", "val", "test")] == [6, 6, 6]
    assert noted(splits.notes, "one class", repr(NFC))
    assert not noted([finding.detail for finding in audit(tmp_path / "set").findings], "has no image")


def test_labels_in_one_cell_and_as_columns_are_one_label_too(make_table: MakeTable) -> None:
    joined = make_table({"labels": [f"{NFC}|Mass", NFD, "mass", "Mass", "No Finding", f"{NFD}|mass"]})
    assert count(joined) == {NFC: 3, "mass": 4}
    marks = make_table({f"label:{NFC}": "101", "label:Mass": "010", f"label:{NFD}": "011"}, name="marks.csv")
    assert count(marks) == {NFC: 3, "Mass": 1}


def test_names_in_an_archive_are_one_class_too(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    np.savez(
        tmp_path / "x.npz",
        train_images=images,
        train_labels=np.arange(6) % 3,
        label_names=np.array([NFC, "other", NFD]),
    )
    pool = index(tmp_path / "x.npz")
    assert (pool.labels, pool.targets.tolist()) == ((NFC, "other"), [0, 1, 0, 0, 1, 0])


def test_a_class_finds_its_place_in_a_model_that_spells_it_otherwise(make_table: MakeTable) -> None:
    splits = open_data(make_table({"label": [NFC, "Naevus", "1.0"] * 2}), for_training=False)
    aligned = align(splits, ("naevus", NFD, "1.0", "other"))
    assert aligned.labels == ("naevus", NFD, "1.0", "other")
    assert aligned.test.targets.tolist() == [1, 0, 2] * 2 if splits.labels[0] == NFC else True
    assert sorted(aligned.test.targets.tolist()) == [0, 0, 1, 1, 2, 2]
    assert noted(aligned.notes, "'Naevus'", "'naevus'")
    with refused("label-unknown", DataError):
        align(splits, ("naevus", "NAEVUS", NFC, "1"))


def test_parquet_and_csv_of_one_frame_give_the_same_classes(make_table: MakeTable, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for name, values in (("floats", [0.0, 1.0] * 3), ("truths", [False, True] * 3)):
        text = make_table({"label": [str(value) for value in values]}, name=f"{name}.csv")
        images = [f"{i}.png" for i in range(6)]
        parquet.write_table(pa.table({"image": images, "label": values}), tmp_path / f"{name}.parquet")
        assert index(text).labels == index(tmp_path / f"{name}.parquet").labels


# perhaps one patient


@pytest.mark.parametrize(
    "pair", [("7", "007"), ("P7", "p7"), ("7", "7.0"), ("Doe J1", "Doe  J1"), ("P-07", "p7"), ("é1", "e\u03011")]
)
def test_a_patient_spelled_two_ways_is_a_warning_that_names_the_pair(
    pair: tuple[str, str], make_table: MakeTable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are dealt into two splits, and the numbers are too good; whether they are one only the user knows."""
    patients = [pair[0], *map(str, range(100, 111)), pair[1], *map(str, range(200, 211))]
    table = make_table({"label": ["a", "b"] * 12, "patient": patients})
    (finding,) = audit(table).of_kind("group_leak")
    assert (finding.severity, finding.across_splits) == ("warning", False)
    made = split_table(table, tmp_path / "out.csv")
    assert made.groups == 24
    with caplog.at_level(logging.INFO, "zoo"):
        splits = open_data(table)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for texts in ([finding.detail], made.notes, said):
        assert noted(texts, "1 pair", repr(pair[0]), repr(pair[1]))
    assert noted(splits.notes, "1 pair")
    assert not noted(splits.notes, repr(pair[0])), "notes are published, patients are not"


def test_patients_that_differ_are_no_pair() -> None:
    assert pair_alike(["10", "1", "1.2", "12", "P1", "P10", "1-2", "", "a", "b"]) == []
    assert pair_alike(["007", "7", "07", "8"]) == [("007", "07"), ("007", "7")]


def test_a_group_column_does_not_hide_the_patient(make_table: MakeTable) -> None:
    """Batches that cross patients would put one patient into several splits."""
    patients = [f"{i // 3:03}" for i in range(36)]
    crossed = index(
        make_table({"label": ["a", "b", "c"] * 12, "group": [f"b{i % 9}" for i in range(36)], "patient": patients})
    )
    assert list(crossed.columns["group"]) == patients
    assert noted(crossed.notes, "12 groups", "'patient'", "'group'", "part 12")
    family = index(
        make_table({"label": ["a", "b", "c"] * 12, "group": [f"f{i // 6}" for i in range(36)], "patient": patients})
    )
    assert family.groups is not None
    assert len(np.unique(family.groups)) == 6
    assert noted(family.notes, "6 groups", "'group'", "'patient'", "inside")
    arms = ["control"] * 12 + ["drug"] * 12 + ["other"] * 12
    arm = index(make_table({"label": ["a"] * 12 + ["b"] * 24, "group": arms, "patient": patients}))
    assert list(arm.columns["group"]) == patients, "a class of one arm could not be divided"
    assert noted(arm.notes, "'patient'", "'group'", "too few")
    lesion = index(
        make_table({"label": ["a", "b", "c"] * 12, "lesion_id": [f"l{i}" for i in range(36)], "patient": patients})
    )
    assert list(lesion.columns["group"]) == patients


@pytest.mark.parametrize("nobody", ["unknown", "Anonymous", "Removed", "#REF!"])
def test_images_of_nobody_are_not_those_of_one_patient(nobody: str, make_table: MakeTable) -> None:
    pool = index(make_table({"label": ["a", "b"] * 6, "patient": [nobody] * 5 + [*"pqpqrrs"]}))
    assert pool.groups is not None
    assert len(set(pool.groups.tolist())) == 9
    assert noted(pool.notes, "5 cells", "'patient'", f"'{nobody}'")


def test_decimal_commas_are_zeros_and_ones_too(make_table: MakeTable) -> None:
    table = make_table({"A": ["1,0", "0,0", "-1,0"] * 2, "B": ["0,0", "1,0"] * 3}, mark=";")
    assert describe_data(table).classes == {"A": 2, "B": 3}


@pytest.mark.parametrize("name", ["patient_no", "PID", "MRN", "Participant ID", "case_id", "StudyInstanceUID"])
def test_other_names_of_patients_are_known(name: str, make_table: MakeTable) -> None:
    pool = index(make_table({"label": ["a", "b"] * 3, name: ["x", "x", "y", "y", "z", "z"]}))
    assert pool.roles["group"] == name


def test_many_classes_that_were_renamed_are_not_a_note_each(make_table: MakeTable) -> None:
    notes = index(make_table({"label": [f"{i // 2}.0" for i in range(40)]})).notes
    assert len(notes) == 5
    assert noted(notes, "15 more")


def test_the_column_that_a_user_groups_by_is_said(make_table: MakeTable) -> None:
    table = make_table({"label": ["a", "b"] * 6, "patient": [*"ppqqrrssttuu"], "ward": [*"vvvvwwwwxxxx"]})
    found = describe_data(table, group="ward")
    assert (found.columns["group"], found.groups) == ("ward", 3)
    assert set(found.ignored) == {"patient"}
    assert found.first[0] == {"image": "0.png", "label": "a", "group": "v"}


def test_a_column_with_one_word_says_nothing_of_patients(make_table: MakeTable) -> None:
    pool = index(make_table({"label": ["a", "b"] * 6, "patient": ["Removed"] * 12}))
    assert pool.groups is None
    assert noted(pool.notes, "'patient'", "one group")


# several labels in one cell


@pytest.mark.parametrize(
    ("cells", "labels", "said"),
    [
        (["A|B", "No Finding", "B", "C"], ["AB", "", "B", "C"], ""),
        (["A,B", "No Finding", "B", "C"], ["AB", "", "B", "C"], "','"),
        (["A; B", "no finding", "B", "C"], ["AB", "", "B", "C"], "';'"),
        (["A B", "A", "B", "NO FINDING"], ["AB", "A", "B", ""], "blanks"),
        (["A B", "B", "C", "no_finding"], ["A B|", "B", "C", ""], ""),
        (["['A', 'B']", "['B']", "[]", '["C"]'], ["AB", "B", "", "C"], "lists"),
        (["A, B|C", "C", "B"], ["A, B|C|", "C", "B"], ""),
        (["('A', 'B')", "('B',)", "()"], ["AB", "B", ""], "lists"),
        (["{'A', 'B'}", "set()", "{'C'}"], ["AB", "", "C"], "lists"),
        (["A (B)", "(A)", ""], ["A (B)|", "(A)|", ""], ""),
        (["A+B", "A", "B", "No Finding"], ["A+B|", "A", "B", ""], "'A+B'"),
        (["A and B", "A", "C", ""], ["A and B|", "A", "C", ""], ""),
        (["A", "B"], ["A", "B"], "--columns label"),
    ],
)
def test_what_divides_labels_is_found_out(cells: list[str], labels: list[str], said: str) -> None:
    found, notes = divide_labels(cells)
    assert found == [frozenset(text.strip("|").split("|") if "|" in text else text) for text in labels]
    assert noted(notes, said) == bool(said)


def test_joined_labels_are_learnt_apart(make_table: MakeTable) -> None:
    """Plant Pathology 2021: 'scab rust' is not a disease of its own."""
    plants = make_table({"labels": ["scab", "rust", "scab rust", "healthy"] * 3})
    assert count(plants) == {"healthy": 3, "rust": 6, "scab": 6}
    assert noted(index(plants).notes, "blanks", "'scab rust'")
    chest = make_table({"Labels": ["['normal']", "['COPD signs', 'scoliosis']", "['scoliosis']"]}, name="padchest.csv")
    assert count(chest) == {"COPD signs": 1, "normal": 1, "scoliosis": 2}
    with refused("table-rows", DataError, rows=1):
        index(make_table({"labels": ["A,B", "NA", "B"]}, name="gap.csv"))


# how tables are written


@pytest.mark.parametrize(
    ("first", "mark"), [("sep=;\r\n", ";"), ('"sep=,"\n', ","), ("SEP=\t\n", "\t"), ("sep=|\n", "|")]
)
def test_the_line_that_tells_excel_the_delimiter_is_no_header(first: str, mark: str, make_table: MakeTable) -> None:
    table = make_table({"label": ["a", "b", ""]}, first=first, mark=mark)
    with refused("table-rows", DataError, rows=1) as caught:
        index(table)
    assert "row 4" in str(caught.value), "as Excel counts, which does not show the line"
    assert count(table, skip_bad=True) == {"a": 1, "b": 1}


def test_a_division_is_read_back_as_it_was(make_table: MakeTable, tmp_path: Path) -> None:
    """A spreadsheet runs what looks like a formula, so such cells are quoted; numbers stay numbers."""
    labels = ["-1", "+1.5", "=1+1", "-", "+"]
    table = make_table({"label": labels * 6, "patient": [f"@p{i}" for i in range(30)]})
    made = split_table(table, tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_text()
    assert {line.split(",")[1] for line in text.splitlines()[1:]} == {"-1", "+1.5", "'=1+1", "-", "+"}
    again = index(tmp_path / "out.csv")
    assert again.labels == made.labels == index(table).labels
    assert set(again.columns["group"]) == {f"@p{i}" for i in range(30)}


# groups that a user names


def test_a_training_keeps_groups_whole_that_a_pattern_finds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(24):
            name = f"patient{(i // 3) + 8 * (label == 'b')}_{i % 3}.png"
            Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).save(tmp_path / "set" / label / name)
    plain = open_data(tmp_path / "set")
    assert plain.train.groups is None
    (offer,) = (note for note in plain.notes if "--group" in note)
    group = offer.partition("--group ")[2].strip("'")
    splits = open_data(tmp_path / "set", group=group)
    assert splits.train.groups is not None
    held = [set(splits.split(name).groups.tolist()) for name in ("train", "val", "test")]  # type: ignore[union-attr]
    assert sum(map(len, held)) == len(set.union(*held)) == 16
    origin = provenance(splits, TrainConfig(group=group))
    assert list(reopen_data(tmp_path / "set", origin).test.ids) == list(splits.test.ids)
    with refused("group-unmatched", DataError):
        open_data(tmp_path / "set", group="person([0-9]+)")


@pytest.mark.parametrize(
    "names",
    [
        [f"{20586908 + i}_{0x6C613A14B80A8500 + i // 2:x}_MG_R_CC_ANON.png" for i in range(12)],
        [f"SOB_B_A-14-{22540 + i // 3}AB-40-{i:03}.png" for i in range(18)],
        [f"{i // 2}_{('left', 'right')[i % 2]}.png" for i in range(12)],
        [f"patient{i // 2:05}/study{i % 2}/view1_frontal.png" for i in range(12)],
        [f"TCGA-AB-{1000 + i // 2}-{i}.png" for i in range(12)],
        [f"P{i // 2}_{i}.png" for i in range(12)],
    ],
)
def test_names_that_seem_to_name_patients_are_said_with_a_pattern(names: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i, name in enumerate(names):
        path = tmp_path / "set" / "ab"[i % 2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).save(path)
    (offer,) = (note for note in index(tmp_path / "set").notes if "--group" in note)
    group = offer.partition("--group ")[2].strip("'")
    groups = open_data(tmp_path / "set", for_training=False, group=group).test.groups
    assert groups is not None
    assert len(np.unique(groups)) == 6


def test_names_without_a_patient_are_left_alone(tmp_path: Path) -> None:
    for name in [f"a/{i}.png" for i in range(8)] + [f"b/grade1_{i}.png" for i in range(8)]:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), len(name) + ord(name[-5]), np.uint8)).save(tmp_path / "set" / name)
    assert not noted(index(tmp_path / "set").notes, "--group")


def test_a_patient_id_that_all_files_share_tells_no_patients_apart(tmp_path: Path) -> None:
    """INbreast: 'Removed' in every file made one group of all, and no division was possible."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    rng = np.random.default_rng(0)
    for i in range(12):
        data = pydicom.Dataset()
        data.SOPClassUID, data.SOPInstanceUID, data.PatientID = "1.2.840.10008.5.1.4.1.1.7", generate_uid(), "Removed"
        data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
        data.PixelData = rng.integers(0, 256, (8, 8), np.uint8).tobytes()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = tmp_path / "set" / ("train", "test")[i // 6] / "ab"[i % 2] / f"{i}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)
    pool = index(tmp_path / "set")
    assert pool.groups is None
    assert "patient" not in pool.columns
    assert noted(pool.notes, "PatientID", "--group")
    assert not noted(pool.notes, "Removed")
    assert audit(tmp_path / "set").of_kind("group_leak") == ()


def test_images_without_a_patient_stay_with_their_study(tmp_path: Path) -> None:
    """Else the images of a study are dealt into several splits wherever the patient is blank."""
    rows = [("P1", "s1"), ("", "s1"), ("P2", "s2"), ("", "s3"), ("", "s3"), ("P3", "s4"), ("", ""), ("P3", "s5")]
    text = "image,label,patient,study\n"
    for number, (patient, study) in enumerate(rows):
        Image.new("L", (8, 8), 20 * number).save(tmp_path / f"{number}.png")
        text += f"{number}.png,{'ab'[number % 2]},{patient},{study}\n"
    (tmp_path / "t.csv").write_text(text)
    pool = index(tmp_path / "t.csv")
    assert pool.groups is not None
    first, again, second, blank, with_it, third, alone, third_too = pool.groups.tolist()
    assert first == again
    assert blank == with_it
    assert third == third_too
    assert len({first, second, blank, third, alone}) == 5
    assert pool.columns["group"][1] == "P1"
    assert pool.columns["group"][3] == pool.columns["group"][4] != ""
    assert pool.columns["group"][6] == ""
