"""Groups, several labels, folds: what a made division must keep, whatever the data looks like."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noted import noted
from refusals import refused

from zoo.data._index import Arrays, Pool
from zoo.data._names import Names
from zoo.data._splitting.assemble import NO_GROUPS, assemble
from zoo.data._splitting.deal import units
from zoo.data._splitting.split import folds, stratify
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARES = {"val": 0.15, "test": 0.15}


def digests_of(images: Sequence[object]) -> np.ndarray:
    return np.frombuffer(b"".join(hashlib.sha256(str(i).encode()).digest() for i in images), np.uint8).reshape(-1, 32)


def divide(targets: np.ndarray, digests: np.ndarray, groups: np.ndarray | None, seed: int = 0) -> dict[Any, np.ndarray]:
    labels = [str(k) for k in range(targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1)]
    return stratify(
        np.arange(len(targets)), targets, digests, SHARES, groups=groups, labels=labels, name="made", seed=seed
    )


def pool_of(targets: np.ndarray, **more: Any) -> Pool:
    classes = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    details: dict[str, Any] = {
        "name": "made",
        "labels": tuple("abcdefghij"[:classes]),
        "ids": Names.of(f"{i}.png" for i in range(len(targets))),
        "targets": targets,
        "source": Arrays(()),
        "digests": digests_of(range(len(targets))),
        "rows": {},
        "kind": "uint8",
        "gray": True,
        "largest_side": 28,
    }
    return Pool(**{**details, **more})


@st.composite
def patients(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Targets and groups: each class has at least three patients of its own; others have mixed images."""
    classes = draw(st.integers(2, 4))
    groups: list[list[int]] = []
    for k in range(classes):
        sizes = draw(st.lists(st.integers(1, 6), min_size=3, max_size=12))
        groups += [[k] * size for size in sizes]
    groups += draw(st.lists(st.lists(st.integers(0, classes - 1), min_size=1, max_size=6), max_size=10))
    targets = np.array([k for group in groups for k in group])
    return targets, np.repeat(np.arange(len(groups)), [len(group) for group in groups])


@given(made=patients(), seed=st.integers(0, 3))
def test_no_patient_stands_in_two_splits_and_every_class_in_all(made: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    targets, groups = made
    parts = divide(targets, digests_of(range(len(targets))), groups, seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(targets)))
    owners = [set(groups[rows].tolist()) for rows in parts.values()]
    assert sum(map(len, owners)) == len(set(groups.tolist()))
    for rows in parts.values():
        assert set(targets[rows].tolist()) == set(targets.tolist())


@given(made=patients(), order=st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_neither_file_order_nor_the_names_of_groups_matter(made: tuple[np.ndarray, np.ndarray], order: Any) -> None:
    targets, groups = made
    digests = digests_of(range(len(targets)))
    turned = list(range(len(targets)))
    order.shuffle(turned)
    one = {split: {bytes(digests[i]) for i in rows} for split, rows in divide(targets, digests, groups).items()}
    other = divide(targets[turned], digests[turned], 1000 - groups[turned])
    assert {split: {bytes(digests[turned][i]) for i in rows} for split, rows in other.items()} == one


@given(made=patients(), count=st.integers(3, 3))
@settings(max_examples=50)
def test_folds_part_no_patient_and_leave_no_class_out(made: tuple[np.ndarray, np.ndarray], count: int) -> None:
    targets, groups = made
    digests = digests_of(range(len(targets)))
    labels = [str(k) for k in range(int(targets.max()) + 1)]
    found = folds(targets, digests, count, groups=groups, labels=labels, name="made", seed=0)
    assert len({(group, fold) for group, fold in zip(groups.tolist(), found.tolist(), strict=True)}) == len(
        set(groups.tolist())
    )
    for fold in range(count):
        assert set(targets[found == fold].tolist()) == set(targets.tolist())


def test_shares_are_kept_as_well_as_patients_allow() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 400, 4000)
    targets = (groups % 10 == 0).astype(np.int64)  # one patient in ten is ill
    parts = divide(targets, digests_of(range(4000)), groups)
    for split, share in {"train": 0.7, **SHARES}.items():
        have = np.bincount(targets[parts[split]]) / np.bincount(targets)
        np.testing.assert_allclose(have, share, atol=0.02)


def test_large_patients_do_not_all_go_to_train() -> None:
    """Patients with many images would then never be tested on."""
    sizes = np.arange(1, 61)
    groups = np.repeat(np.arange(60), sizes)
    parts = divide(np.arange(len(groups)) % 2, digests_of(range(len(groups))), groups)
    largest = {split: sizes[np.unique(groups[rows])].max() for split, rows in parts.items()}
    assert largest["val"] > 30
    assert largest["test"] > 30


@pytest.mark.parametrize("grouped", [False, True])
def test_several_labels_are_stratified_one_by_one(grouped: bool) -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((3000, 6)) < [0.4, 0.2, 0.1, 0.05, 0.01, 0.002]).astype(np.int64)
    groups = rng.integers(0, 1000, 3000) if grouped else None
    parts = divide(targets, digests_of(range(3000)), groups)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(3000))
    for split, share in {"train": 0.7, **SHARES}.items():
        have, wanted = targets[parts[split]].sum(axis=0), share * targets.sum(axis=0)
        assert (np.abs(have - wanted) <= np.maximum(2, 0.1 * wanted)).all()
        assert (have > 0).all(), "the rarest label has 6 images and still stands in every split"
        assert abs(len(parts[split]) - share * 3000) <= 10
    if groups is not None:
        assert sum(len(np.unique(groups[rows])) for rows in parts.values()) == len(np.unique(groups))


def test_copies_join_the_patients_that_hold_them() -> None:
    """The same picture under two names of a patient: both must fall into one split."""
    same = np.array([0, 1, 1, 2, 3, 3, 4])
    groups = np.array([5, 5, 7, 7, 9, 8, 8])
    assert units(same, groups).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert units(same, None).tolist() == same.tolist()
    chain = np.arange(2000) // 2, (np.arange(2000) + 1) // 2  # each image ties two neighbours
    assert set(units(*chain).tolist()) == {0}


def test_an_index_with_patients_is_divided_by_them_and_says_so() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 600)
    splits = assemble(pool_of(groups % 2, groups=groups), split_seed=0, for_training=True)
    sets = (splits.train, splits.val, splits.test)
    assert sum(len(set(images.groups.tolist())) for images in sets) == 60
    assert noted(splits.notes, "val and test", "70/15/15", "groups kept whole", "seed 0")
    assert NO_GROUPS not in splits.notes
    lone = assemble(pool_of(groups % 2), split_seed=0, for_training=True)
    assert NO_GROUPS in lone.notes
    assert NO_GROUPS in assemble(pool_of(groups % 2), split_seed=0, for_training=False).notes


def test_a_patient_of_a_brought_split_stays_out_of_a_made_one() -> None:
    groups = np.repeat(np.arange(40), 5)
    rows = {"train": np.arange(160), "test": np.arange(155, 200)}  # patient 31 stands in both
    pool = pool_of(np.arange(200) % 2, groups=groups, rows={**rows, "test": np.arange(160, 200)})
    splits = assemble(pool, split_seed=0, for_training=True)
    assert not set(splits.val.groups.tolist()) & (set(splits.train.groups.tolist()) | set(splits.test.groups.tolist()))
    overlapping = pool_of(
        np.arange(200) % 2, groups=groups, rows={"train": np.arange(158), "test": np.arange(158, 200)}
    )
    kept = assemble(overlapping, split_seed=0, for_training=True, leaks="keep")
    assert 31 not in kept.val.groups


def test_shares_that_patients_do_not_allow_are_said() -> None:
    groups = np.repeat(np.arange(6), [50, 50, 50, 50, 50, 50])
    splits = assemble(pool_of(groups % 2, groups=groups), split_seed=0, for_training=True)
    (note,) = (note for note in splits.notes if "uneven" in note)
    assert noted([note], "uneven", "33% of 'a'", "70%")


def test_too_few_patients_are_refused_with_their_number() -> None:
    groups = np.repeat(np.arange(20), 5)
    with refused("split-too-few", DataError, label="b"):
        assemble(pool_of((groups < 2).astype(np.int64), groups=groups), split_seed=0, for_training=True)
    with refused("split-too-few", DataError, parts=["train", "val", "test"]):
        assemble(pool_of(np.arange(100) % 2, groups=np.arange(100) % 2), split_seed=0, for_training=True)


def test_folds_become_test_val_and_train() -> None:
    brought = np.arange(90) % 5
    pool = pool_of(np.arange(90) // 10 % 2, folds=brought)
    for fold in range(5):
        splits = assemble(pool, split_seed=0, for_training=True, fold=fold)
        assert set(brought[splits.test.rows].tolist()) == {fold}
        assert set(brought[splits.val.rows].tolist()) == {(fold + 1) % 5}
        assert len(splits.train) == 54
        assert noted(splits.notes, "5 folds", f"fold {fold} is test", f"fold {(fold + 1) % 5} is val")
    first = assemble(pool, split_seed=0, for_training=True)
    assert noted(first.notes, "fold 0 is test", "fold 1 is val", "--fold")
    with refused("fold-unknown", DataError, fold=7):
        assemble(pool, split_seed=0, for_training=True, fold=7)
    with refused("fold-count", DataError, folds=2):
        assemble(pool_of(np.arange(90) % 2, folds=np.arange(90) // 45), split_seed=0, for_training=True)
    with refused("fold-unknown", DataError, fold=1):
        assemble(pool_of(np.arange(90) % 2), split_seed=0, for_training=True, fold=1)


def test_a_label_that_no_training_image_has_is_refused_and_a_rare_one_is_said() -> None:
    targets = np.zeros((60, 3), np.int64)
    targets[:, 0] = np.arange(60) % 2
    targets[:, 1] = 1 - targets[:, 0]
    rows = {"train": np.arange(40), "val": np.arange(40, 50), "test": np.arange(50, 60)}
    targets[[0, 45], 2] = 1
    splits = assemble(pool_of(targets, rows=rows), split_seed=0, for_training=True)
    assert noted(splits.notes, "no image", "test", "'c'")
    assert splits.task == "multilabel"
    targets[0, 2] = 0
    with refused("split-one-class", DataError, split="train", has="no", labels=["c"]):
        assemble(pool_of(targets, rows=rows), split_seed=0, for_training=True)
