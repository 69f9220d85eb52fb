"""Columns of a table that a model is given: which are taken, how they are encoded, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_images import write_table
from refusals import refused

from zoo.data import Splits, open_data
from zoo.errors import DataError, UsageError
from zoo.spec import Categorical, Numeric
from zoo.workflow._inputs import fit_table

N = 80
LABELS = ["benign", "malign"] * (N // 2)
AGES = [f"{40 + at * 7 % 31 + at % 3 / 4}" for at in range(N)]
SEXES = [("F", "M", "m")[at % 3] for at in range(N)]


def opened(root: Path, inputs: tuple[str, ...], *, columns: dict[str, str] | None = None, **cells: Any) -> Splits:
    known = {"split": [("train", "train", "val", "test")[at // 2 % 4] for at in range(N)], "age": AGES, "sex": SEXES}
    return open_data(write_table(root, {**known, **cells}, LABELS), inputs=inputs, columns=columns)


def fitted(root: Path, *inputs: str, **cells: Any) -> Any:
    table, notes = fit_table(inputs, opened(root, inputs, **cells))
    assert table is not None
    return table.columns, notes


def test_numbers_by_mean_and_deviation_of_training_images_and_others_by_their_values(tmp_path: Path) -> None:
    data = opened(tmp_path, ("age", "sex"))
    table, notes = fit_table(("age", "sex"), data)
    assert table is not None
    training = np.asarray([float(cell) for cell in data.train.columns["age"]])
    assert table.columns[0] == Numeric(name="age", mean=float(training.mean()), std=float(training.std()))
    assert table.columns[1] == Categorical(name="sex", values=("F", "M"))  # 'm' is another spelling
    assert len(notes) == 2


def test_missing_and_rare_values_get_a_number_of_their_own(tmp_path: Path) -> None:
    ages = ["" if at % 9 == 0 else age for at, age in enumerate(AGES)]
    sites = ["Lyon" if at % 8 == 0 else "Bern" if at % 2 else "Graz" for at in range(N)]
    sites[8:11] = ["Nice", "Rome", ""]
    (age, site), notes = fitted(tmp_path, "age", "site", age=ages, site=sites)
    assert (age.missing, age.width) == ("learnt", 2)
    assert (site.values, site.other) == (("Bern", "Graz", "Lyon"), True)
    assert "without" in notes[0]


def test_numbers_may_be_names_and_what_is_there_may_be_missing_later(tmp_path: Path) -> None:
    (site, age), _ = fitted(tmp_path, "clinic:category", "age:optional", clinic=[str(at % 3) for at in range(N)])
    assert site == Categorical(name="clinic", values=("0", "1", "2"))
    assert (age.missing, age.width) == ("neutral", 1)


def test_a_column_is_found_by_its_role_and_by_its_name_in_another_spelling(tmp_path: Path) -> None:
    data = opened(tmp_path, ("age", "skin_tone"), columns={"age": "jahre"}, jahre=AGES, **{"Skin tone": SEXES})
    assert list(data.train.columns) == ["age", "skin_tone"]
    assert [int(name[2:5]) for name in data.train.ids[:3]] == [0, 1, 2]
    assert list(data.train.columns["age"])[:3] == AGES[:3]


def test_columns_stay_beside_their_images(tmp_path: Path) -> None:
    data = opened(tmp_path, ("age",))
    for images in (data.train, data.val, data.test.subset([3, 1])):
        wanted = [AGES[int(name[2:5])] for name in images.ids]
        assert list(images.columns["age"]) == wanted


CASES: dict[str, tuple[str, dict[str, list[str]]]] = {
    "inputs-constant": ("state", {"state": ["open"] * N}),
    "inputs-empty": ("note", {"note": ["a", "b"] + ["NA"] * (N - 2)}),
    "inputs-label": ("verdict", {"verdict": ["good" if one == "benign" else "bad" for one in LABELS]}),
    "inputs-mixed": ("age", {"age": ["80+", *AGES[1:]]}),
    "inputs-identity": ("code", {"code": [f"x{at}" for at in range(N)]}),
    "inputs-missing": ("weight", {}),
    "inputs-role": ("label", {}),
}


@pytest.mark.parametrize("code", CASES)
def test_a_column_that_cannot_help_is_refused(tmp_path: Path, code: str) -> None:
    name, cells = CASES[code]
    with refused(code, DataError):
        fitted(tmp_path, name, **cells)


@pytest.mark.parametrize(
    "values",
    [
        [str(1000 + at) for at in range(N)],  # a running number
        [f"{at}.0" for at in reversed(range(N))],
    ],
)
def test_a_number_of_the_row_is_refused(tmp_path: Path, values: list[str]) -> None:
    with refused("inputs-identity", DataError, column="case_no"):
        fitted(tmp_path, "case_no", case_no=values)


def test_whole_ages_that_all_differ_are_not_taken_for_a_number_of_the_row(tmp_path: Path) -> None:
    (volume,), _ = fitted(tmp_path, "volume", volume=[str(at * at * 13 % 9973) for at in range(N)])
    assert isinstance(volume, Numeric)


def test_the_image_the_group_and_the_split_are_no_inputs(tmp_path: Path) -> None:
    patients = [f"p{at // 2}" for at in range(N)]
    for name, role in (("image", "image"), ("split", "split"), ("patient", "group")):
        with refused("inputs-role", DataError, column=name, role=role):
            opened(tmp_path, (name,), patient=patients, split=["train"] * N)


def test_a_column_is_named_once(tmp_path: Path) -> None:
    with refused("inputs-twice", UsageError):
        opened(tmp_path, ("age", "Age"))
    with refused("inputs-twice", UsageError):
        opened(tmp_path, ("age", "age:optional"))


def test_a_folder_of_classes_has_no_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "a", {}, LABELS[:8])
    for at, name in enumerate(sorted((tmp_path / "a").glob("*.png"))):
        (tmp_path / "b" / LABELS[at]).mkdir(parents=True, exist_ok=True)
        name.rename(tmp_path / "b" / LABELS[at] / name.name)
    with refused("inputs-missing", DataError, columns=["age"]):
        open_data(tmp_path / "b", inputs=("age",))
    with refused("inputs-missing", DataError, columns=["age"]):
        open_data("digits", inputs=("age",))


def test_a_folder_is_its_table_with_columns(tmp_path: Path) -> None:
    write_table(tmp_path, {"age": AGES}, LABELS)
    assert len(open_data(tmp_path, inputs=("age",)).train.columns["age"]) == 56


def test_what_held_out_images_lack_is_refused_before_training(tmp_path: Path) -> None:
    data = opened(tmp_path, ("age",))
    at = int(data.test.ids[0][2:5])
    ages = ["" if place == at else age for place, age in enumerate(AGES)]
    with refused("inputs-cell-missing", DataError, column="age"):
        fitted(tmp_path, "age", age=ages)
    assert fitted(tmp_path, "age:optional", age=ages)[0][0].missing == "neutral"


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    names = tuple(f"c{at}" for at in range(33))
    with refused("inputs-many", UsageError):
        fitted(tmp_path, *names, **dict.fromkeys(names, AGES))
