"""Tables: which columns and spellings are understood, and which rows are refused by their number."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from noted import noted
from PIL import Image

from zoo.data import open_data
from zoo.data._named import index
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeFolder = Callable[..., Path]


@pytest.fixture
def images(make_folder: MakeFolder) -> Path:
    """A folder with 12 different images: a/0.png to a/5.png, b/0.png to b/5.png."""
    return make_folder({"a": 6, "b": 6}, name="images")


def written(root: Path, text: str | bytes, name: str = "t.csv") -> Path:
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root / name


def rows(n: int = 6, extra: str = "") -> str:
    return "".join(f"{c}/{i}.png,{c}{extra}\n" for c in "ab" for i in range(n))


def refusal(path: Path, **options: bool) -> DataError:
    with pytest.raises(DataError) as caught:
        open_data(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path.parent) not in str(caught.value)
    return caught.value


def test_a_table_is_the_same_data_as_its_folders(tabled: Path) -> None:
    """Its columns: path, split, class and four of another kind."""
    folder, table = open_data(tabled), open_data(tabled / "labels.csv")
    assert table.fingerprint.sha256 == folder.fingerprint.sha256
    assert (table.labels, table.kind, table.gray, table.largest_side) == (
        folder.labels,
        folder.kind,
        folder.gray,
        folder.largest_side,
    )
    (note,) = (note for note in table.notes if "ignored" in note)
    assert noted([note], "4 columns", "'number'", "'mode'")
    at = 5
    there = list(folder.test.ids).index(table.test.ids[at])
    np.testing.assert_array_equal(table.test.read(at).pixels, folder.test.read(there).pixels)


@pytest.mark.parametrize(
    "spelling",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("image,label", '"Image Path","Diagnosis"'),
        lambda text: text.replace("image,label", "FILENAME, Class ").replace(",a", ", a "),
        lambda text: text.replace("a/0.png,a", '"a/0.png","a"').replace("a/1.png", "./a/1.png"),
        lambda text: text.replace("a/", "a\\"),
        lambda text: text + "\n,\n",
        lambda text: text.rstrip(),
    ],
    ids=["bom", "crlf", "semicolon", "tab", "utf16", "synonyms", "spaces", "quotes", "backslash", "blank", "no end"],
)
def test_spellings_of_one_table_are_one_table(images: Path, spelling: Callable[[str], str | bytes]) -> None:
    plain = index(written(images, "image,label\n" + rows()))
    other = index(written(images, spelling("image,label\n" + rows()), "other.csv"))
    assert other.labels == plain.labels == ("a", "b")
    assert other.targets.tolist() == plain.targets.tolist()
    np.testing.assert_array_equal(other.digests, plain.digests)


def test_parquet_is_the_same_table(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "path": [f"{c}/{i}.png" for c in "ab" for i in range(6)],
        "label": pa.array([c for c in "ab" for _ in range(6)]).dictionary_encode(),
        "patient_id": [1.0, 1.0, 2.0, None, float("nan"), 3.0] * 2,
        "fold": pa.array(list(range(3)) * 4, pa.int32()),
    }
    parquet.write_table(pa.table(columns), images / "t.parquet")
    pool = index(images / "t.parquet")
    assert pool.labels == ("a", "b")
    assert pool.folds.tolist() == [0, 1, 2] * 4
    assert list(pool.columns["group"]) == ["1", "1", "2", "", "", "3"] * 2
    assert len(set(pool.groups.tolist())) == 7
    assert noted(pool.notes, "4 of 12", "no group")
    shutil.copy(images / "t.parquet", images / "renamed.csv")  # content decides
    assert index(images / "renamed.csv").targets.tolist() == pool.targets.tolist()
    columns["label"] = [["a", "b"]] * 12
    parquet.write_table(pa.table(columns), images / "lists.parquet")
    problem = refusal(images / "lists.parquet")
    assert problem.code == "table-cell"
    assert problem.fields["row"] == 2
    damaged = (images / "t.parquet").read_bytes()[:200]
    assert refusal(written(images, damaged, "cut.parquet")).code == "table-unreadable"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    problem = refusal(images / "t.parquet")
    assert problem.code == "package-missing"
    assert problem.fields["extra"] == "parquet"


def test_splits_groups_and_what_else_is_known_are_kept(images: Path) -> None:
    words = ["Train", "training", "train", "val", "validation", "test"] * 2
    body = "".join(f"{c}/{i}.png,{c},{words[i]},p{i % 3},{40 + i},F,St. Anna\n" for c in "ab" for i in range(6))
    pool = index(written(images, "image,label,split,Patient ID,age,sex,Hospital\n" + body))
    assert {split: len(chosen) for split, chosen in pool.rows.items()} == {"train": 6, "val": 4, "test": 2}
    assert pool.groups.tolist() == [0, 1, 2] * 4
    assert set(pool.columns) == {"group", "age", "sex", "site"}
    assert list(pool.columns["age"])[:2] == ["40", "41"]
    assert pool.columns["site"][11] == "St. Anna"


def test_the_widest_group_decides(images: Path) -> None:
    body = "".join(f"{c}/{i}.png,{c},study{i},p{i % 2}\n" for c in "ab" for i in range(6))
    pool = index(written(images, "image,label,study_id,subject_id\n" + body))
    assert len(set(pool.groups.tolist())) == 2
    assert list(index(images / "t.csv", group="Study ID").columns["Study ID"])[:2] == ["study0", "study1"]


def test_several_labels_come_in_one_cell_or_in_columns(images: Path) -> None:
    """ChestX-ray14 writes 'Effusion|Mass' and 'No Finding'; CheXpert has a column for each finding."""
    joined = ["Mass|Effusion", "No Finding", "Mass", "Effusion", "Grade 10|Mass", "Grade 2"] * 2
    body = "".join(f"{c}/{i}.png,{joined[i]}\n" for c in "ab" for i in range(6))
    cell = index(written(images, "Image Index,Finding Labels\n" + body))
    assert cell.labels == ("Effusion", "Grade 2", "Grade 10", "Mass")
    assert cell.targets[:6].tolist() == [[1, 0, 0, 1], [0] * 4, [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0]]
    marks = "".join(
        f"{c}/{i}.png," + ",".join(str(k) for k in cell.targets[i].tolist()) + "\n" for c in "ab" for i in range(6)
    )
    head = "path," + ",".join(f"label:{label}" for label in cell.labels) + "\n"
    columns = index(written(images, head + marks, "marks.csv"))
    assert columns.labels == cell.labels
    assert columns.targets.tolist() == cell.targets.tolist()
    guessed = index(written(images, head.replace("label:", "") + marks, "plain.csv"))
    assert guessed.targets.tolist() == cell.targets.tolist()
    assert noted(guessed.notes, "taken for labels")


def test_one_hot_columns_are_classes(images: Path) -> None:
    """As ISIC writes them; a sigmoid on each would be another task."""
    body = "".join(f"{c}/{i}.png,{int(c == 'a')}.0,{int(c == 'b')}.0\n" for c in "ab" for i in range(6))
    pool = index(written(images, "image,NV,MEL\n" + body))
    assert (pool.labels, pool.targets.tolist()) == (("MEL", "NV"), [1] * 6 + [0] * 6)
    assert noted(pool.notes, "taken for classes")


def test_labels_are_in_natural_order(images: Path) -> None:
    names = {"a": "grade 10", "b": "grade 9"}
    body = "".join(f"{c}/{i}.png,{names[c]}\n" for c in "ab" for i in range(6))
    assert index(written(images, "image,label\n" + body)).labels == ("grade 9", "grade 10")


def test_paths_lead_anywhere_on_this_machine(images: Path, tmp_path: Path) -> None:
    """A table of absolute paths is common; ids stay as they are written, and nothing else names the place."""
    (tmp_path / "tables").mkdir()
    up = written(
        tmp_path / "tables", "image,label\n" + rows().replace("a/", "../images/a/").replace("b/", "../images/b/")
    )
    absolute = written(
        images, "image,label\n" + rows().replace("a/", f"{images}/a/").replace("b/", f"{images}/b/"), "abs.csv"
    )
    plain = index(written(images, "image,label\n" + rows()))
    for table in (up, absolute):
        pool = index(table)
        np.testing.assert_array_equal(pool.digests, plain.digests)
        np.testing.assert_array_equal(pool.source.read(3).pixels, plain.source.read(3).pixels)
        assert str(tmp_path) not in " ".join(pool.notes)
    assert index(absolute).ids[0] == f"{images}/a/0.png"


def test_images_of_archives_and_files_stand_in_one_table(images: Path) -> None:
    gray = np.arange(12 * 48, dtype=np.uint16).astype(np.uint8).reshape(12, 6, 8)
    np.savez(images / "x.npz", train_images=gray, train_labels=np.arange(12) % 2)
    body = "".join(f"x.npz#train/{i},{'ab'[i % 2]}\n" for i in range(12))
    whole = index(images / "x.npz")
    alone = index(written(images, "image,label\n" + body))
    np.testing.assert_array_equal(alone.digests, whole.digests)
    assert alone.gray
    mixed = index(written(images, "image,label\n" + rows() + body, "mixed.csv"))
    assert len(mixed.ids) == 24
    np.testing.assert_array_equal(mixed.source.read(12 + 5).pixels[..., 0], gray[5])
    with Image.open(images / "b" / "1.png") as picture:
        np.testing.assert_array_equal(mixed.source.read(7).pixels, np.asarray(picture))
    assert not mixed.gray
    outside = written(images, "image,label\nx.npz#train/12,a\nx.npz#val/0,b\n", "outside.csv")
    text = str(refusal(outside))
    assert "row 2: x.npz#train/12:" in text
    (images / "a" / "0.png").unlink()
    kept = index(images / "mixed.csv", skip_bad=True)
    np.testing.assert_array_equal(kept.source.read(11 + 5).pixels[..., 0], gray[5])


def test_missing_files_are_counted_named_by_row_and_can_be_left_out(images: Path) -> None:
    for i in range(6):
        (images / "a" / f"{i}.png").unlink()
    (images / "b" / "0.png").write_bytes(b"hello")
    for i in range(6):
        Image.fromarray(np.full((6, 8, 3), i, np.uint8)).save(images / f"c{i}.png")
    table = written(images, "image,label\n" + rows() + "".join(f"c{i}.png,a\n" for i in range(6)))
    problem = refusal(table)
    assert (problem.fields["unusable"], problem.fields["images"]) == (7, 18)
    text = str(problem)
    assert "row 2: a/0.png: " in text
    assert "no such file" in text
    assert "and 2 more" in text
    assert "--skip-bad" in text
    pool = index(table, skip_bad=True)
    assert len(pool.ids) == len(pool.digests) == len(pool.targets) == 11
    assert len(pool.skipped) == 7
    assert pool.targets.tolist() == [1] * 5 + [0] * 6
    assert noted(open_data(table, skip_bad=True, for_training=False).notes, "7 images", "left out")
    np.testing.assert_array_equal(pool.source.read(5).pixels, 0)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", "table-empty", ""),
        ("image,label\n", "data-empty", ""),
        ("image,label\na/0.png,\nb/0.png,b\n", "table-rows", "no label"),
        ("image,label\n,a\n", "table-rows", "names no image"),
        ("image,label,split\na/0.png,a,tset\n", "table-rows", "'tset'"),
        ("image,label,split\na/0.png,a,\n", "table-rows", "split ''"),
        ("image,label,fold\na/0.png,a,x\n", "table-rows", "fold 'x'"),
        ("image,label,frame\na/0.png,a,-1\n", "table-rows", "frame '-1'"),
        ("image,label,split,fold\na/0.png,a,train,1\n", "table-columns", "both divide"),
        ("image,label\na/0.png,a\n\na/0.png,b\n", "table-image-twice", "different labels"),
        (
            "image,label\na/0.png,a\n./a//0.png,a\n",
            "table-image-twice",
            "the same label",
        ),
        ("image,label\na/0.png,Mass|Effusion\n", "table-rows", "'labels'"),
        ("image,label:x,label: x\na/0.png,1,0\n", "table-columns", "twice"),
        ("image,label\na/0.png,a,b\n", "table-row", "3 cells"),
        ('image,label\n"a/0.png,a\n', "table-row", "row 2"),
        ("image,image,label\na,b,c\n", "table-columns", "'image'"),
        ("path,file,label\na,b,c\n", "table-columns", "'path', 'file'"),
        ("image,class,target\na,b,c\n", "table-columns", "'class', 'target'"),
        ("image,label,labels\na,b,c\n", "table-columns", "'label', 'labels'"),
        ("image\na/0.png\n", "table-column-missing", "'label'"),
        ("picture,label\nnowhere.png,a\n", "table-column-missing", "image=COLUMN"),
        (
            "image,weight,height\na/0.png,70,1.8\n",
            "table-column-missing",
            "'70'",
        ),
        ("image,label:x\na/0.png,2\n", "table-rows", "'2'"),
        ("image,labels\na/0.png,\n", "table-rows", "'No Finding'"),
        ("image,label\na/0.png,a\x07\n", "table-rows", "row 2"),
        ("image,label\na/\x07.png,a\n", "file-name", "rename"),
        (b"image,label\na/\xfc.png,a\n", "table-encoding", "row 1"),
        ("image,label,frame\na/0.png,a,2\nb/0.png,b,1\n", "images-unusable", "row 2: a/0.png"),
        ("image,label\nnone.npz#train/0,a\n", "archive-missing", "none.npz"),
    ],
)
def test_what_can_not_be_meant_is_refused(images: Path, text: str | bytes, code: str, said: str) -> None:
    problem = refusal(written(images, text))
    assert problem.code == code
    assert said in str(problem)


def test_bad_rows_are_all_counted_and_five_are_named(images: Path) -> None:
    problem = refusal(written(images, "image,label,split\n" + rows(extra=",oops")))
    assert problem.code == "table-rows"
    assert problem.fields["rows"] == 12
    text = str(problem)
    assert text.count("row ") == 5
    assert "and 7 more" in text


def test_mixed_depths_are_refused(images: Path) -> None:
    Image.fromarray(np.full((6, 8), 4000, np.uint16)).save(images / "deep.png")
    text = str(refusal(written(images, "image,label\n" + rows() + "deep.png,a\n")))
    assert "uint8 (a/0.png)" in text
    assert "uint16 (deep.png)" in text


def test_pictures_of_one_dicom_file_are_chosen_by_frame(images: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    pixels = np.random.default_rng(0).integers(0, 4000, (3, 8, 8), np.uint16)
    data = pydicom.Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7.3", generate_uid()
    data.PatientID, data.Modality = "Mustermann1961", "OT"
    data.Rows, data.Columns, data.NumberOfFrames, data.SamplesPerPixel = 8, 8, 3, 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = pixels.tobytes()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(images / "scan.dcm", enforce_file_format=True)
    pool = index(
        written(
            images, "image,label,frame\n" + "".join(f"scan.dcm,{c},{i}\n" for i, c in ((1, "a"), (2, "b"), (3, "b")))
        )
    )
    assert list(pool.ids) == ["scan.dcm#1", "scan.dcm#2", "scan.dcm#3"]
    assert len({bytes(digest) for digest in pool.digests}) == 3
    np.testing.assert_array_equal(pool.source.read(2).pixels[..., 0], pixels[2])
    assert pool.groups.tolist() == [0, 0, 0], "one patient, as the file says"
    assert "Mustermann1961" not in " ".join(pool.columns["patient"])
    text = str(refusal(written(images, "image,label\nscan.dcm,a\na/0.png,b\n")))
    assert "row 2: scan.dcm: holds 3" in text
