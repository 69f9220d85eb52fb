"""Columns of 1, 0, -1 and nothing, as CheXpert and MIMIC-CXR write them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from noted import noted
from PIL import Image
from refusals import refused

from zoo.data import judge_uncertain, open_data, split_table
from zoo.data._named import index
from zoo.data._splitting.split import folds
from zoo.data.audit import audit
from zoo.errors import DataError
from zoo.spec import UNKNOWN, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ("label:Edema", "label:Mass", "label:Fracture")


def chest(root: Path, rows: Sequence[str], *, columns: Sequence[str] = COLUMNS, extra: str = "") -> Path:
    """A table of one different image for each row of cells, such as "1.0,,-1"; `extra`: one more column."""
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    lines = [",".join(("path", *columns, *([extra] if extra else [])))]
    for i, cells in enumerate(rows):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(root / f"{i}.png")
        lines.append(f"{i}.png,{cells}")
    (root / "chest.csv").write_text("\n".join(lines) + "\n")
    return root / "chest.csv"


MIXED = ("1.0,,-1.0", "0.0,1.0,", "-1.0,-1.0,0", ",0,1")


def test_minus_one_is_unknown_and_nothing_is_absent(tmp_path: Path) -> None:
    pool = index(chest(tmp_path, MIXED))
    assert pool.labels == ("Edema", "Fracture", "Mass")
    assert pool.targets.tolist() == [[1, -1, 0], [0, 0, 1], [-1, 0, -1], [0, 1, 0]]
    assert noted(pool.notes, "3 empty cells", "0")
    assert noted(pool.notes, "3 labels", "2 images", "'Edema' 1", "--uncertain")


def test_spellings_of_a_label_that_are_joined_stay_unknown(tmp_path: Path) -> None:
    """The larger of -1 and 0 is "absent", which nobody said."""
    cells = ["-1,0,1", "0,-1,0", "-1,,1", "1,-1,0", "-1,1,0", "0,0,1", "-1,-1,0", ",,1"]
    pool = index(chest(tmp_path, cells, columns=("label:Edema", "label:edema", "label:Mass")))
    assert len(pool.labels) == 2
    assert pool.targets[:, 0].tolist() == [-1, -1, -1, 1, 1, 0, -1, 0]
    assert pool.targets[:, 1].tolist() == [1, 0, 1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(("rule", "value"), [("positive", 1), ("negative", 0)])
def test_uncertain_labels_are_what_the_user_says(tmp_path: Path, rule: str, value: int) -> None:
    table = chest(tmp_path, MIXED)
    plain, decided = index(table), index(table, uncertain=rule)
    assert decided.targets.tolist() == np.where(plain.targets == UNKNOWN, value, plain.targets).tolist()
    assert noted(decided.notes, "3 labels", f"--uncertain {rule}")


@pytest.mark.parametrize("nothing", ["", "NA", "nan", "None", "#N/A", "null", "-", " "])
def test_every_spelling_of_nothing_is_an_empty_cell(tmp_path: Path, nothing: str) -> None:
    pool = index(chest(tmp_path, (f"1,{nothing},0", f"0,1,{nothing}", "1,1,0")))
    assert pool.targets[:2].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert noted(pool.notes, "2 empty cells")


def test_another_value_is_refused_by_its_row(tmp_path: Path) -> None:
    with refused("table-rows", DataError, rows=1):
        index(chest(tmp_path, ("1,0,0", "0,2,0")))


def test_columns_with_an_uncertain_label_are_labels_and_not_classes(tmp_path: Path) -> None:
    """Exactly one 1 in each row would else be taken for one class an image."""
    table = chest(tmp_path, ("1,0,-1", "0,1,0", "0,0,1"), columns=("Edema", "Mass", "Fracture"))
    assert index(table).targets.shape == (3, 3)


def many(n: int = 60, *, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    cells = rng.choice(["1.0", "0.0", "-1.0", ""], (n, 3), p=[0.3, 0.3, 0.2, 0.2])
    return [",".join(row) for row in cells]


def test_the_fingerprint_knows_what_is_unknown(tmp_path: Path) -> None:
    """Else a run could be evaluated on labels that were taken for something else."""
    table = chest(tmp_path, many())
    found = {rule: open_data(table, for_training=False, uncertain=rule) for rule in ("ignore", "positive", "negative")}
    assert len({splits.fingerprint.sha256 for splits in found.values()}) == 3
    zeros = chest(tmp_path / "zeros", [row.replace("-1.0", "0") for row in many()])
    assert found["negative"].fingerprint.sha256 == open_data(zeros, for_training=False).fingerprint.sha256


def test_a_name_that_looks_like_an_unknown_label_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    known = chest(tmp_path / "a", ("1,1", "0,0"), columns=("label:A", "label:?B"))
    unknown = chest(tmp_path / "b", ("1,-1", "0,0"), columns=("label:A", "label:B"))
    prints = {open_data(table, for_training=False).fingerprint.sha256 for table in (known, unknown)}
    assert len(prints) == 2


def test_images_of_which_nothing_is_known_are_left_out_of_training_and_counted(tmp_path: Path) -> None:
    rows = [f"{row},train" for row in many(40)] + ["-1,-1,-1,train"] * 3 + [f"{row},val" for row in many(20, seed=1)]
    rows += [f"{row},test" for row in (*many(20, seed=2), "-1,-1,-1")]
    table = chest(tmp_path, rows, extra="split")
    splits = open_data(table)
    assert (len(splits.train), len(splits.test)) == (40 - empty(rows[:40]), 21)
    assert noted(splits.notes, f"{3 + empty(rows[:40])} training images", "left out")
    assert splits.fingerprint.n == 84
    assert len(open_data(table, uncertain="negative").train) == 43


def empty(rows: Sequence[str]) -> int:
    return sum(row.startswith("-1.0,-1.0,-1.0") for row in rows)


def test_a_label_that_train_knows_only_where_it_is_there_is_refused(tmp_path: Path) -> None:
    """The network would learn to say yes always, and no number would show it."""
    rows = [f"{'1' if i % 2 else '-1'},{i % 2},{i % 3 % 2},train" for i in range(12)]
    rows += [f"1,0,1,{split}" for split in ("val", "test")] + [f"0,1,0,{split}" for split in ("val", "test")]
    with refused("split-one-class", DataError, split="train", labels=["Edema"]):
        open_data(chest(tmp_path, rows, extra="split"))


def test_a_split_of_which_nothing_is_known_is_refused(tmp_path: Path) -> None:
    """No epoch could be chosen by it."""
    rows = [f"{i % 2},{i % 3 % 2},{(i + 1) % 2},train" for i in range(12)] + [
        "-1,-1,-1,val",
        "1,0,1,test",
        "0,1,0,test",
    ]
    table = chest(tmp_path, rows, extra="split")
    with refused("labels-unknown", DataError, split="val", images=1):
        open_data(table)


def test_labels_are_dealt_out_by_what_is_known() -> None:
    """An unknown label is nobody's share: the rare known ones must be spread all the same."""
    rng = np.random.default_rng(0)
    targets = np.full((300, 2), UNKNOWN)
    targets[:30, 0] = 1
    targets[100:, 1] = rng.integers(0, 2, 200)
    digests = rng.integers(0, 256, (300, 32), np.uint8)
    part = folds(targets, digests, 5, labels=("rare", "common"), name="x", seed=0)
    assert [int((targets[part == k, 0] == 1).sum()) for k in range(5)] == [6] * 5
    ones = [int((targets[part == k, 1] == 1).sum()) for k in range(5)]
    assert max(ones) - min(ones) <= 1


def test_a_table_of_splits_says_again_what_is_unknown(tmp_path: Path) -> None:
    """A division that filled in what nobody knows would change what is learnt from it."""
    table = chest(tmp_path, many())
    made = split_table(table, tmp_path / "s.csv")
    before, after = index(table), index(tmp_path / "s.csv")
    assert after.targets.tolist() == before.targets.tolist()
    assert sum(made.per_class[part]["Edema"] for part in made.parts) == (before.targets[:, 0] == 1).sum()
    split_table(table, tmp_path / "p.csv", uncertain="positive")
    assert (index(tmp_path / "p.csv").targets >= 0).all()


def test_the_audit_counts_what_is_known_and_sees_no_conflict_with_what_is_not(tmp_path: Path) -> None:
    rows = ["1,0,0", "1,-1,-1", "0,1,1", "0,1,1"]
    table = chest(tmp_path, rows)
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes())  # the same picture, of which less is known
    found = audit(table)
    assert {label: counts["all"] for label, counts in found.classes.items()} == {"Edema": 2, "Fracture": 2, "Mass": 2}
    assert len(found.of_kind("duplicate")) == 1
    assert not found.of_kind("label_conflict")
    assert not noted(open_data(table, for_training=False).notes, "more than one class")
    (tmp_path / "2.png").write_bytes((tmp_path / "0.png").read_bytes())
    assert audit(table).of_kind("label_conflict")
    assert noted(open_data(table, for_training=False).notes, "more than one class")


def test_another_choice_changes_the_labels_and_not_the_division(tmp_path: Path) -> None:
    """Divided anew, training images could come into test."""
    table = chest(tmp_path, many(120))
    splits = open_data(table)
    other = judge_uncertain(splits, table, TrainConfig(), "positive", skip_bad=False)
    for name in ("train", "val", "test"):
        before, after = splits.split(name), other.split(name)
        assert list(after.ids) == list(before.ids)
        assert after.targets.tolist() == np.where(before.targets == UNKNOWN, 1, before.targets).tolist()
    assert other.fingerprint.sha256 != splits.fingerprint.sha256
    assert noted(other.notes, "--uncertain positive asks")
    assert not noted(other.notes, "leave them out")
    assert judge_uncertain(splits, table, TrainConfig(), "ignore", skip_bad=False) is splits
