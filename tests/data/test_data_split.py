"""Splits that are made, and class orders that are matched."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from zoo._support.text import natural_bytes, natural_key
from zoo.data import align, open_data
from zoo.data._splitting.split import stratify
from zoo.errors import DataError

SHARES = {"val": 0.15, "test": 0.15}


def divide(targets: list[int], images: list[str], seed: int = 0, keep: frozenset[str] = frozenset()) -> dict:
    digests = np.frombuffer(b"".join(hashlib.sha256(i.encode()).digest() for i in images), np.uint8).reshape(-1, 32)
    return stratify(
        np.arange(len(targets)),
        np.array(targets),
        digests,
        SHARES,
        keep=np.array([image in keep for image in images]),
        labels=[str(i) for i in range(max(targets) + 1)],
        name="made",
        seed=seed,
    )


@given(counts=st.lists(st.integers(3, 60), min_size=2, max_size=5), seed=st.integers(0, 9))
def test_every_image_is_in_one_split_and_every_class_in_all(counts: list[int], seed: int) -> None:
    targets = [target for target, count in enumerate(counts) for _ in range(count)]
    parts = divide(targets, [f"image {i}" for i in range(len(targets))], seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(targets)))
    for split, rows in parts.items():
        sizes = np.bincount(np.array(targets)[rows], minlength=len(counts))
        assert (sizes >= 1).all()
        if split != "train":
            assert all(abs(size - 0.15 * count) <= 1 for size, count in zip(sizes, counts, strict=True))


def test_splits_do_not_depend_on_the_order_of_files() -> None:
    digests = [f"image {i}" for i in range(40)]
    forward = {split: {digests[i] for i in rows} for split, rows in divide([0] * 20 + [1] * 20, digests).items()}
    turned = digests[::-1]
    backward = {split: {turned[i] for i in rows} for split, rows in divide([1] * 20 + [0] * 20, turned).items()}
    assert forward == backward


def test_another_seed_is_another_division() -> None:
    targets, digests = [0] * 50 + [1] * 50, [f"image {i}" for i in range(100)]
    assert divide(targets, digests, 0)["test"].tolist() != divide(targets, digests, 1)["test"].tolist()
    assert divide(targets, digests, 1)["test"].tolist() == divide(targets, digests, 1)["test"].tolist()


def test_copies_stay_together_and_kept_ones_stay_in_train() -> None:
    """A copy of a training image in a split of our own making would be our leak, not the user's."""
    digests = [f"image {i // 2}" for i in range(80)]
    digests[79] = digests[0]  # the same image under both classes
    kept = frozenset(digests[10:30])
    parts = divide([0] * 40 + [1] * 40, digests, keep=kept)
    seen = [{digests[i] for i in rows} for rows in parts.values()]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert kept <= seen[0]


def test_too_few_different_images_are_refused() -> None:
    with refused("split-too-few", DataError, label="1", images=1):
        divide([0, 0, 0, 1, 1, 1], ["a", "b", "c", "same", "same", "same"])


@given(st.lists(st.text(max_size=8), max_size=8))
def test_natural_order_does_not_depend_on_the_order_found(names: list[str]) -> None:
    rotated = names[1:] + names[:1]
    assert sorted(rotated, key=natural_key) == sorted(names, key=natural_key)


def test_natural_order_counts() -> None:
    assert sorted(["b10", "b9", "B1", "a", "10", "2", ""], key=natural_key) == [
        "",
        "2",
        "10",
        "a",
        "B1",
        "b9",
        "b10",
    ]


def test_alignment_matches_by_name_not_by_position() -> None:
    """A model with another class order would otherwise be scored against the wrong labels."""
    splits = open_data("digits")
    model = tuple("9876543210")
    aligned = align(splits, model)
    assert aligned.labels == model
    before = [splits.labels[t] for t in splits.test.targets]
    assert [aligned.labels[t] for t in aligned.test.targets] == before
    assert align(splits, splits.labels) is splits


def test_alignment_leaves_absent_classes_empty_and_refuses_unknown_ones() -> None:
    splits = open_data("digits")
    wider = align(splits, ("none", *splits.labels))
    assert 0 not in wider.test.targets
    with refused("label-unknown", DataError, labels=["9"]):
        align(splits, tuple("012345678"))


def test_subset_keeps_ids_targets_and_pixels_together() -> None:
    images = open_data("digits").train
    part = images.subset([5, 2])
    assert part.ids == (images.ids[5], images.ids[2])
    assert part.targets.tolist() == images.targets[[5, 2]].tolist()
    np.testing.assert_array_equal(part.read(1).pixels, images.read(2).pixels)
    assert len(part.subset([])) == 0


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)))
def test_natural_order_as_bytes_is_the_same_order(names: list[str]) -> None:
    assert sorted(names, key=natural_bytes) == sorted(names, key=natural_key)
    assert [key[key.rindex(0) + 1 :].decode() for key in map(natural_bytes, names)] == names


@given(names=st.lists(st.text("aAbß019 _-.ſ", min_size=1, max_size=6)))
def test_natural_order_as_bytes_is_the_same_order_for_look_alikes(names: list[str]) -> None:
    assert sorted(names, key=natural_bytes) == sorted(names, key=natural_key)
