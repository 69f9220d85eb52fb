"""`zoo data split`, and what training and evaluation make of its tables and of leaks."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from cli_running import run_zoo
from pictures import breast_archive
from PIL import Image


@pytest.fixture
def patients(elsewhere: Path) -> Path:
    """CLASS/patientNN_K.png: 24 patients of 1 to 5 pictures, half of them of each class."""
    rng = np.random.default_rng(0)
    for patient in range(24):
        label, level = (("ill", 90), ("well", 160))[patient % 2]
        for picture in range(1 + patient % 5):
            path = elsewhere / "images" / label / f"patient{patient:02}_{picture}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(rng.normal(level, 40, (12, 12)), 0, 255).astype(np.uint8)).save(path)
    return elsewhere / "images"


def read(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_the_table_keeps_patients_whole_and_every_verb_takes_it(patients: Path) -> None:
    made = run_zoo("data", "split", "images", "--group", "patient([0-9]+)", "--json")
    assert made.code == 0, made.err
    found = made.document
    assert {"path", "n", "labels", "groups", "seed", "column", "parts", "per_class", "notes"} <= set(found)
    assert (found["path"], found["groups"]) == ("images-split.csv", 24)
    rows = read(found["path"])
    assert len(rows) == found["n"] == len(list(patients.rglob("*.png")))
    where = defaultdict(set)
    for row in rows:
        assert Path(row["image"]).is_file(), "paths are relative to the table"
        assert f"patient{row['group']}" in row["image"]
        where[row["group"]].add(row["split"])
    assert all(len(splits) == 1 for splits in where.values())
    assert {row["split"] for row in rows} == {"train", "val", "test"}

    trained = run_zoo(
        "train", "simple_cnn", "--data", "images-split.csv", "--epochs", "1", "--size", "28", "--out", "run", "--json"
    )  # fmt: skip
    assert trained.code == 0, trained.err
    test = trained.document["test"]
    assert test["n"] == sum(row["split"] == "test" for row in rows) == found["parts"]["test"]
    assert not any("no patient" in note for note in test["notes"])
    again = run_zoo("evaluate", "run", "--data", "images-split.csv", "--json")
    assert again.document["metrics"] == test["metrics"]
    other = run_zoo("evaluate", "run", "--data", "images", "--json").document
    seen = found["parts"]["train"] + found["parts"]["val"]
    assert other["n"] == test["n"] == found["n"] - seen, "only images that it has not seen are judged"
    assert {name: other["seen"][name] for name in ("count", "of", "how")} == {
        "count": seen, "of": found["n"], "how": "left out",
    }  # fmt: skip
    assert other["notes"][0] == other["seen"]["note"]
    every = run_zoo("evaluate", "run", "--data", "images", "--include-seen")
    lines = every.out.splitlines()
    assert lines[0].startswith("warning "), "it stands above the table"
    assert str(seen) in lines[0]
    assert lines.index("") < next(i for i, line in enumerate(lines) if line.startswith("test, "))
    assert " ".join(every.out.split()).count("optimistic") == 1, "and is not said again below"
    shutil.copytree("run", "other")
    pair = run_zoo("compare", "run", "other", "--data", "images")
    assert pair.out.startswith("warning "), "nor is a comparison silent about it"
    assert f"{test['n']} images" in pair.out
    assert " ".join(pair.out.split()).count(f" {seen}") == 2, "once, with a number for each model"
    assert "in training or validation sets" not in pair.err, "and once is enough"
    told = run_zoo("compare", "run", "other", "--data", "images", "--table", "csv")
    assert str(seen) in told.err, "stdout is for a program"
    known = run_zoo("evaluate", "run", "--split", "train", "--json").document
    assert (known["seen"]["count"], known["seen"]["how"]) == (found["parts"]["train"], "judged")
    assert known["n"] == found["parts"]["train"]
    assert any("no patient" in note for note in other["notes"])


@pytest.mark.slow
@pytest.mark.usefixtures("patients")
def test_folds_are_trained_on_one_after_the_other() -> None:
    made = run_zoo("data", "split", "images", "--group", "patient([0-9]+)", "--folds", "4", "--out", "k/f.csv")
    assert made.code == 0, made.err
    assert "24 groups" in made.out
    folds = {row["image"]: row["fold"] for row in read("k/f.csv")}
    tested: list[str] = []
    for fold in range(4):
        ran = run_zoo("train", "svm", "--data", "k/f.csv", "--fold", str(fold), "--size", "8", "--out", f"r{fold}")
        assert ran.code == 0, ran.err
        tested += [row["image"] for row in read(f"r{fold}/predictions.csv")]
        assert f"fold {fold} is" in ran.err
    assert sorted(tested) == sorted(folds), "each image is tested on once"
    assert json.loads(Path("r2/run.json").read_text())["card"]["train"]["fold"] == 2
    again = run_zoo("evaluate", "r2", "--json")
    assert again.code == 0, again.err
    assert again.document["n"] == sum(fold == "2" for fold in folds.values())
    assert run_zoo("export", "r2", "--onnx", "--out", "r2.onnx").code == 0
    assert run_zoo("compare", "r2", "random_forest", "--json").code == 0, "the other model is trained on the same fold"
    for arguments, words in (
        (("--fold", "9"), "has folds 0 to 3, fold 9 was asked for"),
        (("--fold", "0", "--data", "images"), "has no folds, fold 0 was asked for"),
    ):
        ran = run_zoo("train", "svm", "--data", "k/f.csv", *arguments)
        assert ran.code == 1
        assert words in ran.line


def test_a_table_can_be_divided_by_one_of_its_columns(patients: Path) -> None:
    with Path("t.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "diagnosis", "Clinic Visit", "sex"])
        for path in sorted(patients.rglob("*.png")):
            writer.writerow([path.relative_to(Path.cwd()), path.parent.name, path.name[7:9], "F"])
    made = run_zoo(
        "data", "split", "t.csv", "--group", "Clinic Visit", "--val", "0.2", "--test", "0.3", "--out", "u/s.csv"
    )
    assert made.code == 0, made.err
    rows = read("u/s.csv")
    assert set(rows[0]) == {"image", "label", "split", "group", "sex"}
    assert rows[0]["image"].startswith("../images/")
    splits = defaultdict(set)
    for row in rows:
        splits[row["group"]].add(row["split"])
    assert len(splits) == 24
    assert all(len(one) == 1 for one in splits.values())
    share = sum(row["split"] == "test" for row in rows) / len(rows)
    assert 0.2 < share < 0.4


def test_an_archive_is_divided_by_the_names_of_its_images(elsewhere: Path) -> None:
    breast_archive(elsewhere / "b.npz")
    assert run_zoo("data", "split", "b.npz", "--again", "--seed", "3").code == 0
    rows = read("b-split.csv")
    assert rows[0]["image"] == "b.npz#train/0"
    assert len(rows) == 780
    trained = run_zoo("train", "svm", "--data", "b-split.csv", "--size", "8", "--strict", "--json")
    assert trained.code == 0, "copies stay together in a made split, so nothing leaks"


def test_several_labels_are_written_as_columns(elsewhere: Path) -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((90, 3)) < [0.5, 0.3, 0.1]).astype(np.uint8)
    images = rng.integers(0, 256, (90, 8, 8), np.uint8)
    names = np.array(["effusion", "mass", "nodule"])
    np.savez(elsewhere / "chest.npz", train_images=images, train_labels=targets, label_names=names)
    assert run_zoo("data", "split", "chest.npz", "--again").code == 0
    rows = read("chest-split.csv")
    assert [[int(row[f"label:{name}"]) for name in names] for row in rows] == targets.tolist()
    from zoo.data import open_data

    splits = open_data("chest-split.csv")
    assert splits.task == "multilabel"
    assert (splits.train.targets.sum(axis=0) > 0).all()
    assert (splits.test.targets.sum(axis=0) > 0).all()


@pytest.mark.usefixtures("patients")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--group", "nobody([0-9]+)"), 1, "finds nothing in 70 of 70 ids"),
        (("--group", "patient[0-9]+"), 1, "it has 0 groups in parentheses, expected one"),
        (("--group", "patient("), 1, "not a regular expression"),
        (("--group", "patient"), 1, "no column and no DICOM file names a patient"),
        (("--folds", "2"), 2, "2 folds, expected at least 3"),
        (("--folds", "5", "--val", "0.1"), 2, "leave out --val and --test"),
        (("--val", "0.6", "--test", "0.5"), 2, "expected fractions that leave some for train"),
        (("--group", "(ill|well)"), 1, "70 images of 2 groups"),
    ],
)
def test_what_can_not_be_meant_is_refused_and_nothing_is_written(
    arguments: tuple[str, ...], code: int, words: str
) -> None:
    ran = run_zoo("data", "split", "images", *arguments)
    assert ran.code == code, ran.err
    assert words in ran.line
    assert not Path("images-split.csv").exists()


@pytest.mark.usefixtures("patients")
def test_nothing_is_replaced_and_no_division_repeated_unasked() -> None:
    assert run_zoo("data", "split", "images").code == 0
    before = Path("images-split.csv").read_bytes()
    there = run_zoo("data", "split", "images", "--seed", "1")
    assert there.code == 1
    assert "--overwrite" in there.line
    assert Path("images-split.csv").read_bytes() == before
    assert run_zoo("data", "split", "images", "--seed", "1", "--overwrite").code == 0
    assert Path("images-split.csv").read_bytes() != before
    divided = run_zoo("data", "split", "images-split.csv", "--out", "again.csv")
    assert divided.code == 1
    assert "--again" in divided.line
    assert run_zoo("data", "split", "images-split.csv", "--out", "again.csv", "--again").code == 0
    assert "named set" in run_zoo("data", "split", "digits").line


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_leaks_are_left_out_kept_or_refused_as_asked(leaky: Path) -> None:
    """15 test images are in train, too; each way of dealing with them must be said wherever numbers are."""
    left = "16 training images were left out: the same, byte for byte, as validation or test images"
    kept = "15 images are in both train and test, byte for byte; numbers on test are optimistic"
    for option, note, other in ((), left, kept), (("--keep-leaks",), kept, left):
        ran = run_zoo("train", "svm", "--data", leaky, "--size", "8", "--out", "run", "--overwrite", *option, "--json")
        assert ran.code == 0, ran.err
        record = json.loads(Path("run/run.json").read_text())
        from zoo.edge import Runtime

        manifest = Runtime.open(Path("run/model.onnx")).manifest
        for notes in (record["notes"], ran.document["test"]["notes"], manifest.provenance.notes):
            assert note in notes
            assert other not in notes
        assert record["card"]["train"]["leaks"] == ("keep" if option else "drop")
        again = run_zoo("evaluate", "run", "--json")
        assert again.document["metrics"] == ran.document["test"]["metrics"]
        assert note in again.document["notes"]
    strict = run_zoo("train", "svm", "--data", leaky, "--size", "8", "--out", "strict", "--strict")
    assert strict.code == 3
    assert "15 in" in strict.line
    assert not Path("strict").exists()
    both = run_zoo("train", "svm", "--strict", "--keep-leaks")
    assert both.code == 2
    resumed = run_zoo("train", "svm", "--resume", "--keep-leaks", "--json").document["error"]
    assert (resumed["code"], resumed["options"]) == ("option-ignored", ["--keep-leaks"])


@pytest.mark.usefixtures("patients")
def test_a_patient_in_two_splits_is_refused_with_the_way_out() -> None:
    assert run_zoo("data", "split", "images", "--group", "patient([0-9]+)").code == 0
    rows = read("images-split.csv")
    victim = next(row for row in rows if row["split"] == "train" and row["group"] == "04")
    victim["split"] = "test"
    with Path("bad.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    refused = run_zoo("train", "svm", "--data", "bad.csv", "--size", "8", "--out", "run")
    assert refused.code == 3
    assert "1 group" in refused.line
    assert "--group" in refused.line
    kept = run_zoo("train", "svm", "--data", "bad.csv", "--size", "8", "--out", "run", "--keep-leaks", "--json")
    assert kept.code == 0, kept.err
    assert any(note.startswith("1 group ") for note in kept.document["test"]["notes"])


@pytest.mark.usefixtures("at_work")
def test_evaluation_on_other_images_says_how_many_were_trained_on(tmp_path: Path) -> None:
    from zoo.data import open_data

    digits = open_data("digits")
    for images, split in ((digits.train, "train"), (digits.test, "test")):
        for label in range(2):
            (tmp_path / "set" / str(label)).mkdir(parents=True, exist_ok=True)
            rows = np.flatnonzero(images.targets == label)[:3]
            for row in rows.tolist():
                Image.fromarray(images.read(row).pixels).save(tmp_path / "set" / str(label) / f"{split}{row}.png")
    of_run = run_zoo("evaluate", "runs/tiny", "--data", tmp_path / "set", "--json")
    # other bytes, because a file is not an array, but the same pictures
    for found in (of_run, run_zoo("evaluate", "tiny.zoo", "--data", tmp_path / "set", "--json")):
        assert (found.document["n"], found.document["seen"]["count"], found.document["seen"]["of"]) == (6, 6, 12)
    lone = run_zoo("evaluate", "tiny.onnx", "--data", tmp_path / "set")
    assert lone.out.startswith("warning "), "not to know is said above the table, too"
    unknown = run_zoo("evaluate", "tiny.onnx", "--data", tmp_path / "set", "--json").document
    assert (unknown["n"], unknown["seen"]["count"], unknown["seen"]["how"]) == (12, None, "not known")
    own = run_zoo("evaluate", "tiny.zoo", "--data", "digits", "--json").document
    assert own["seen"] is None


@pytest.mark.usefixtures("patients")
def test_a_table_is_never_written_under_the_name_of_a_spreadsheet() -> None:
    made = run_zoo("data", "split", "images", "--out", "x.xlsx")
    assert (made.code, Path("x.xlsx").exists()) == (2, False)
    assert ".csv" in made.err
    Path("y.xlsx").write_bytes(b"PK\x03\x04")
    assert "as CSV" in run_zoo("data", "check", "y.xlsx").err
