"""Which column of a table names the images, by its cells; what a user says of columns; what is said of the others."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from noted import noted
from PIL import Image
from refusals import refused

from zoo.data import describe_data
from zoo.data._named import index
from zoo.errors import DataError, UsageError


def paint(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng([*name.encode()]).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path, format="PNG")


def write(root: Path, head: str, *rows: str, name: str = "t.csv") -> Path:
    (root / name).write_text("\n".join((head, *rows)) + "\n", encoding="utf-8")
    return root / name


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        ("{}", "deep/down/part_{}/x{}.png"),
        ("{}.png", "deep/x{}.PNG"),
        ("{}.PNG", "x{}.png"),
        ("sub/{}", "images/sub/x{}.png"),
        ("sub/{}.png", "images/part_{}/sub/x{}.png"),
        ("/home/other/data/{}.png", "images/x{}.png"),
        ("C:\\data\\sub\\{}.png", "sub/x{}.png"),
        ("{}.5.840.1", "dicoms/x{}.5.840.1.png"),
        ("é{}", "e\u0301x{}.png"),
    ],
    ids=["stem", "suffix in capitals", "cell in capitals", "folder", "folders", "absolute", "windows", "dots", "nfd"],
)
def test_cells_lead_to_images_wherever_they_lie(tmp_path: Path, cell: str, file: str) -> None:
    names = [file.format(i, i) if file.count("{") == 2 else file.format(i) for i in range(6)]
    paint(tmp_path, *names)
    rows = [f"{cell.format(f'x{i}')},{'ab'[i % 2]}" for i in range(6)]
    pool = index(write(tmp_path, "whatever,label", *rows))
    assert [unicodedata.normalize("NFC", name) for name in pool.ids] == [
        unicodedata.normalize("NFC", name) for name in names
    ]
    assert pool.roles["image"] == "whatever"
    assert noted(pool.notes, "'whatever'", "image")
    np.testing.assert_array_equal(pool.source.read(3).pixels, np.asarray(Image.open(tmp_path / names[3])))


def test_paths_that_are_right_are_taken_without_a_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million files are not walked to find what the table says."""
    paint(tmp_path, *(f"a/{i}.png" for i in range(4)))

    def walk(*_: object) -> None:
        raise AssertionError("walked")

    monkeypatch.setattr("zoo.data._sources.places.Walk", walk)
    pool = index(write(tmp_path, "image,id,label", *(f"a/{i}.png,{i},{i % 2}" for i in range(4))))
    assert list(pool.ids) == [f"a/{i}.png" for i in range(4)]


def test_a_path_never_leads_to_a_file_of_another_folder(tmp_path: Path) -> None:
    """Files of folder a are missing, and those of b have the same names."""
    paint(tmp_path, *(f"b/{i}.png" for i in range(4)))
    table = write(tmp_path, "image,label", *(f"{c}/{i}.png,{c}" for c in "ab" for i in range(4)))
    with refused("images-unusable", DataError, unusable=4, images=8):
        index(table)
    assert list(index(table, skip_bad=True, as_is=True).ids) == [f"b/{i}.png" for i in range(4)]


def test_a_sorted_table_is_looked_at_beyond_its_first_rows(tmp_path: Path) -> None:
    paint(tmp_path, *(f"b/{i}.png" for i in range(400)))
    rows = [f"{c}/{i}.png,{c}" for c in "ab" for i in range(400)]
    assert len(index(write(tmp_path, "image,label", *rows), skip_bad=True, as_is=True).ids) == 400


def test_a_stem_of_two_images_is_refused(tmp_path: Path) -> None:
    paint(tmp_path, "x/a.png", "y/a.jpg", "x/b.png")
    table = write(tmp_path, "image,label", "a,1", "b,0")
    with refused("table-rows", DataError, rows=1) as caught:
        index(table)
    assert "'x/a.png', 'y/a.jpg'" in str(caught.value)
    write(tmp_path, "image,label", "a.png,1", "b.png,0")
    assert list(index(table).ids) == ["x/a.png", "x/b.png"]


@pytest.mark.parametrize(("name", "files"), [("train.csv", "ab"), ("Training labels.csv", "a")])
def test_the_table_of_a_folder_means_the_images_of_that_folder(tmp_path: Path, name: str, files: str) -> None:
    """Kaggle numbers the images of train/ and of test/ from 0."""
    paint(tmp_path, *(f"train/{i}.png" for i in "ab"), *(f"test/{i}.png" for i in files))
    (tmp_path / name).write_text("id,label\na,1\nb,0\n")
    pool = index(tmp_path / name)
    assert list(pool.ids) == ["train/a.png", "train/b.png"]
    assert noted(pool.notes, "'train'")


@pytest.mark.parametrize("name", ["labels.csv", "val.csv"])
def test_names_in_two_folders_are_refused_where_nothing_tells_which_is_meant(tmp_path: Path, name: str) -> None:
    paint(tmp_path, *(f"{folder}/{i}.png" for i in "ab" for folder in ("train", "test")))
    (tmp_path / name).write_text("id,label\na,1\nb,0\n")
    with refused("table-rows", DataError, rows=2):
        index(tmp_path / name)


def test_a_table_without_a_header_is_refused_as_that(tmp_path: Path) -> None:
    paint(tmp_path, "a.png", "b.png")
    with refused("table-columns", DataError, columns=["a.png"]):
        index(write(tmp_path, "a.png,1", "b.png,0"))


def test_copies_of_one_image_in_two_folders_are_one_image(tmp_path: Path) -> None:
    """HAM10000 on Kaggle has its two folders twice, in capital and in small letters."""
    paint(tmp_path, "HAM/a.png", "HAM/b.png")
    (tmp_path / "ham").mkdir()
    for i in "ab":
        (tmp_path / "ham" / f"{i}.png").write_bytes((tmp_path / "HAM" / f"{i}.png").read_bytes())
    pool = index(write(tmp_path, "id,label", "a,1", "b,0"))
    assert list(pool.ids) == ["HAM/a.png", "HAM/b.png"]
    assert noted(pool.notes, "2 images", "the first")


def test_pictures_that_were_converted_are_found_under_their_new_suffix(tmp_path: Path) -> None:
    paint(tmp_path, "png/a.png", "png/1.2.png", "png/1.png")
    pool = index(write(tmp_path, "image,label", "a.dcm,1", "1.2.dcm,0", "1.dcm,0"))
    assert list(pool.ids) == ["png/a.png", "png/1.2.png", "png/1.png"]


def test_columns_that_name_different_images_are_refused_with_their_shares(tmp_path: Path) -> None:
    paint(tmp_path, *(f"{side}/{side}{i}.png" for side in ("left", "right") for i in range(4)))
    rows = [f"left{i},right{i if i else 'none'},{'ab'[i % 2]}" for i in range(4)]
    table = write(tmp_path, "one,two,label", *rows)
    with refused("table-columns", DataError, role="image", tried={"one": 1.0, "two": 0.75}):
        index(table)
    assert index(table, columns={"image": "one"}).ids[0] == "left/left0.png"


def test_a_table_whose_cells_name_no_image_says_what_was_tried(tmp_path: Path) -> None:
    paint(tmp_path, "a.png")
    with refused("table-column-missing", DataError, role="image", tried={"id": 0.0}):
        index(write(tmp_path, "id,label", "x,1", "y,0"))


def test_known_names_win_where_they_lead_to_images(tmp_path: Path) -> None:
    paint(tmp_path, *(f"{i}.png" for i in range(4)))
    rows = [f"{i},{3 - i},gone{i},{i % 2}" for i in range(4)]
    pool = index(write(tmp_path, "path,id,image,label", *rows))
    assert pool.ids[1] == "1.png"
    assert pool.roles["image"] == "path"
    assert pool.ignored["image"] == "'path' was taken for the image"


@pytest.mark.parametrize("other", ["{root}/a.png", "sub/../a.png", "link.png"])
def test_one_file_under_two_paths_is_one_image_twice(tmp_path: Path, other: str) -> None:
    paint(tmp_path, "a.png", "b.png", "sub/c.png")
    (tmp_path / "link.png").symlink_to("a.png")
    table = write(tmp_path, "image,label", "a.png,1", "b.png,0", f"{other.format(root=tmp_path)},1")
    with refused("table-image-twice", DataError):
        index(table)


def test_what_a_user_says_of_columns_decides(tmp_path: Path) -> None:
    paint(tmp_path, *(f"{i}.png" for i in range(6)))
    rows = [f"{i}.png,{'ab'[i % 2]},{'cd'[i // 3]},p{i},s{i // 2},train,{i % 2},{(i + 1) % 2}" for i in range(6)]
    table = write(tmp_path, "image,label,Grade II,patient,ward,split,m,n", *rows)
    pool = index(table, columns={"label": "grade-ii", "group": "ward"})
    assert pool.labels == ("c", "d")
    assert pool.groups is not None
    assert pool.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert pool.roles == {"image": "image", "label": "Grade II", "split": "split", "group": "ward"}
    assert pool.ignored["label"] == "'Grade II' was taken for the label"
    assert pool.ignored["patient"] == "'ward' was taken for the group"
    several = index(table, columns={"labels": "m,n"})
    assert (several.labels, several.targets[0].tolist()) == (("m", "n"), [0, 1])


def test_unknown_roles_and_columns_are_refused_with_what_is_near(tmp_path: Path) -> None:
    paint(tmp_path, "a.png", "b.png")
    table = write(tmp_path, "image,label,patient", "a.png,1,x", "b.png,0,y")
    with refused("option-value", UsageError, option="--columns", value="lable", near=["label", "labels"]):
        index(table, columns={"lable": "label"})
    with refused("table-column-missing", DataError, role="group", column="pateint", near=["patient"]):
        index(table, columns={"group": "pateint"})
    for class_folder in "xy":
        paint(tmp_path / "folder", f"{class_folder}/1.png")
    with refused("columns-without-table", DataError, data="folder"):
        index(tmp_path / "folder", columns={"label": "label"})


def test_columns_of_zeros_and_ones_are_labels_and_numbers_are_not(tmp_path: Path) -> None:
    paint(tmp_path, *(f"{i}.png" for i in range(6)))
    rows = [f"{i}.png,{i % 2},{int(i > 3)},{i},{30 + i},text,0" for i in range(6)]
    pool = index(write(tmp_path, "image,Edema,Mass,Visit,Score,Remark,Never", *rows))
    assert pool.labels == ("Edema", "Mass")
    assert pool.roles["labels"] == ("Edema", "Mass")
    assert set(pool.ignored) == {"Visit", "Score", "Remark", "Never"}
    assert pool.ignored["Never"] == "holds no 1"


def test_a_wrong_cell_in_a_column_of_zeros_and_ones_is_not_a_reason_to_drop_the_label(tmp_path: Path) -> None:
    paint(tmp_path, *(f"{i}.png" for i in range(200)))
    rows = [f"{i}.png,{i % 2},{'x' if i == 150 else i % 3 % 2}" for i in range(200)]
    with refused("table-rows", DataError, rows=1, column="Mass"):
        index(write(tmp_path, "image,Edema,Mass", *rows))


def test_the_description_says_what_was_taken_for_what(tmp_path: Path) -> None:
    paint(tmp_path, *(f"{i}.png" for i in range(6)))
    rows = [f"{i}.png,{'ab'[i % 2]},{'ab'[i % 2]},p{i // 2},r{i}" for i in range(6)]
    found = describe_data(write(tmp_path, "file_name,label,class,patient,remark", *rows))
    assert found.columns == {"image": "file_name", "label": "label", "group": "patient"}
    assert found.ignored == {"class": "'label' was taken for the label", "remark": "its name has no meaning here"}
    assert (found.n, found.classes, found.groups, found.splits) == (6, {"a": 3, "b": 3}, 3, {})
    assert found.first[0] == {"image": "0.png", "label": "a", "group": "p0"}
    assert len(found.first) == 5


@pytest.mark.parametrize(("known", "groups"), [(6, 3), (3, None)], ids=["all images", "half of them"])
def test_groups_of_another_table_are_taken_where_it_knows_the_images(
    tmp_path: Path, known: int, groups: int | None
) -> None:
    """A table of another set may lie there too, with some names in common."""
    paint(tmp_path, *(f"x{i}.png" for i in range(6)))
    write(tmp_path, "image,patient_id", *(f"x{i},P{i // 2}" for i in range(known)), name="who.csv")
    table = write(tmp_path, "image,label", *(f"x{i},{'ab'[i % 2]}" for i in range(6)))
    assert describe_data(table).groups == groups
