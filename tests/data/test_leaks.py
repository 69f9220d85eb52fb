"""Copies and patients that stand in two splits, the fingerprint that finds data again, and what a model has seen."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from noted import noted
from refusals import refused
from test_splits_grouped import digests_of, pool_of

from zoo.data import Seen, format_seen, open_data, parse_seen, read_seen, write_seen
from zoo.data._splitting.assemble import assemble
from zoo.data._splitting.fingerprint import contents, fingerprint
from zoo.errors import DataError, GateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeFolder = Callable[..., Path]

THREE = {"train": np.arange(40), "val": np.arange(40, 60), "test": np.arange(60, 80)}


def test_standard_sets_with_a_known_twin_train_without_it(shared: Path) -> None:
    """brain4_224 holds 15 test images in train on purpose, breastmnist one; both must train as they are, honestly.

    Runs name their data by the fingerprint; another way to compute it would orphan every one of them.
    """
    for name, left_out, sha256 in (
        ("brain4_224", 16, "6984aaf3af4d1bd325e226df72c72a5af5069c03258931eb23e1903c2bc11c7e"),
        ("medmnist/breastmnist.npz", 1, "f177189ed3f9df2b544927b9a794dc849b59fbe0c9c354de46b37f78eaaf36ea"),
        ("busi256", 1, "d5bc0d3c76b868b9f329b0ed16d1b118f8858d8cfe2c8b04a56c3fb1a921f81a"),
    ):
        splits = open_data(shared / "data" / name)
        assert splits.fingerprint.sha256 == sha256
        held_out = Seen({"val": splits.val.digests, "train": splits.test.digests}, {})
        assert not held_out.holds(splits.train.digests).any()
        assert splits.fingerprint.n - len(splits.train) - len(splits.val) - len(splits.test) == left_out
        images = "1 training image was" if left_out == 1 else f"{left_out} training images were"
        assert noted(splits.notes, images, "left out", "byte for byte")
        assert not any("optimistic" in note for note in splits.notes)


def test_the_fingerprint_is_of_the_data_as_brought(leaky: Path) -> None:
    dropped, kept = (open_data(leaky, leaks=leaks) for leaks in ("drop", "keep"))
    assert dropped.fingerprint == kept.fingerprint
    assert len(kept.train) - len(dropped.train) == 16
    assert noted(kept.notes, "two splits", "kept")


def test_strict_names_counts_and_pairs_and_no_more_than_five(leaky: Path, scenes: Path) -> None:
    with refused("split-copies", GateError, copies=15) as caught:
        open_data(leaky, leaks="refuse")
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert text.count(" = ") == 5
    assert "\n" not in text
    assert open_data(scenes, leaks="refuse").fingerprint.n == 80


def test_copies_of_validation_images_are_left_out_too(make_folder: MakeFolder) -> None:
    root = make_folder({f"{s}/{c}": 4 for s in ("train", "val", "test") for c in ("cat", "dog")})
    shutil.copy(root / "val" / "cat" / "0.png", root / "train" / "cat" / "copy.png")
    splits = open_data(root)
    assert len(splits.train) == 8
    assert "train/cat/copy.png" not in splits.train.ids
    assert noted(splits.notes, "1 training image", "left out")


def test_copies_in_val_and_test_stay_and_are_said(make_folder: MakeFolder) -> None:
    root = make_folder({f"{s}/{c}": 4 for s in ("train", "val", "test") for c in ("cat", "dog")})
    shutil.copy(root / "val" / "cat" / "0.png", root / "test" / "cat" / "copy.png")
    note = "1 image is in both val and test, byte for byte; numbers on test are optimistic"
    assert note in open_data(root).notes
    with refused("split-copies", GateError, copies=1):
        open_data(root, leaks="refuse")


def test_a_class_that_would_be_emptied_is_refused(make_folder: MakeFolder) -> None:
    root = make_folder(
        {"train/cat": 4, "train/dog": 0, **{f"{s}/{c}": 4 for s in ("val", "test") for c in ("cat", "dog")}}
    )
    shutil.copy(root / "test" / "dog" / "0.png", root / "train" / "dog" / "copy.png")
    with refused("class-copies", DataError, label="dog"):
        open_data(root)
    assert len(open_data(root, leaks="keep").train) == 5


def test_a_patient_in_two_splits_is_refused_unless_kept() -> None:
    groups = np.arange(80) // 4
    assert (
        len(assemble(pool_of(np.arange(80) % 2, rows=THREE, groups=groups), split_seed=0, for_training=True).train)
        == 40
    )
    groups[[41, 61]] = 0, 1
    pool = pool_of(np.arange(80) % 2, rows=THREE, groups=groups)
    for leaks in ("drop", "refuse"):
        with refused("split-groups", GateError, groups=2):
            assemble(pool, split_seed=0, for_training=True, leaks=leaks)
    with refused("split-groups", GateError, groups=2):
        assemble(pool, split_seed=0, for_training=True)
    kept = assemble(pool, split_seed=0, for_training=True, leaks="keep")
    assert noted(kept.notes, "2 groups", "optimistic")
    assert noted(kept.notes, "two splits", "kept")
    other = assemble(pool, split_seed=0, for_training=False)
    assert noted(other.notes, "2 groups", "optimistic"), "evaluation refuses nothing"


def test_a_patient_whose_only_second_image_is_a_copy_does_not_leak() -> None:
    groups = np.arange(80) // 4
    groups[61] = 0
    digests = digests_of(range(80)).copy()
    digests[61] = digests[1]
    groups[:4] = [0, 0, 90, 90]
    groups[0] = 91
    pool = pool_of(np.arange(80) % 2, rows=THREE, groups=groups, digests=digests)
    splits = assemble(pool, split_seed=0, for_training=True)
    assert len(splits.train) == 39


def test_a_fingerprint_of_an_earlier_release_still_matches() -> None:
    """Runs name their data by it; another way to compute it would orphan every one of them."""
    assert open_data("digits").fingerprint.sha256 == "a5a69bbb1ccce51f695765a436ed982c5da5db3eec7c83105c0449c171d68120"


def test_the_fingerprint_is_the_hash_of_sorted_lines() -> None:
    rng = np.random.default_rng(0)
    labels = ("ä", "b", "a|b")
    digests = rng.integers(0, 256, (200, 32), np.uint8)
    digests[7] = digests[8]
    rows = {"train": rng.permutation(150), "test": np.arange(150, 200)}
    for targets in (rng.integers(0, 3, 200), rng.integers(0, 2, (200, 3))):
        lines = []
        for split, chosen in rows.items():
            for row in chosen.tolist():
                of = (
                    [labels[targets[row]]]
                    if targets.ndim == 1
                    else sorted(labels[k] for k in np.flatnonzero(targets[row]))
                )
                lines.append(f"{split}\t{'|'.join(of)}\t{bytes(digests[row]).hex()}\n")
        found = fingerprint("made", labels, targets, digests, rows, same=contents(digests))
        assert found.sha256 == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
        assert (found.n, found.splits) == (200, {"train": 150, "val": 0, "test": 50})


def test_contents_are_numbered_in_the_order_of_their_digests() -> None:
    rng = np.random.default_rng(0)
    digests = rng.integers(0, 2, (300, 32), np.uint8)
    digests[:, 3:20] = 0  # many digests that differ late: the first 8 bytes do not tell them apart
    expected = {digest: number for number, digest in enumerate(sorted({bytes(row) for row in digests}))}
    assert contents(digests).tolist() == [expected[bytes(row)] for row in digests]
    assert contents(digests[:0]).tolist() == []


def test_what_a_model_has_seen_is_kept_without_names_or_order(tmp_path: Path) -> None:
    splits = open_data("digits")
    write_seen(tmp_path / "seen.npz", splits)
    seen = read_seen(tmp_path / "seen.npz")
    assert len(seen.files["train"]) + len(seen.files["val"]) == len(splits.train) + len(splits.val)
    assert seen.holds(splits.train.digests).all()
    assert not seen.holds(splits.test.digests).any()
    assert not seen.holds(splits.train.digests, "val").any()
    with np.load(tmp_path / "seen.npz", allow_pickle=False) as archive:
        assert [bytes(row) for row in archive["train"]] == sorted(map(bytes, splits.train.digests))
    (tmp_path / "seen.npz").write_bytes((tmp_path / "seen.npz").read_bytes()[:500])
    with pytest.raises(DataError, match="damaged"):
        read_seen(tmp_path / "seen.npz")


def test_a_list_that_no_run_writes_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    rows = np.zeros((1000, 32), np.uint8)
    np.savez_compressed(tmp_path / "packed.npz", train=rows, val=rows)
    (tmp_path / "huge.npz").write_bytes(_npz_of(rows.shape[0] * 2**40))
    (tmp_path / "objects.npz").write_bytes(_npz_of(1, kind="|O"))
    for name in ("packed.npz", "huge.npz", "objects.npz"):
        with refused("seen-damaged", DataError):
            read_seen(tmp_path / name)


def _npz_of(rows: int, kind: str = "|u1") -> bytes:
    """Two arrays that say to be of so many rows, without them."""
    header = repr({"descr": kind, "fortran_order": False, "shape": (rows, 32)}).ljust(117).encode() + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("train.npy", "val.npy"):
            archive.writestr(name, b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    return buffer.getvalue()


def test_a_bundle_holds_short_salted_hashes_that_answer_as_the_list_does(tmp_path: Path) -> None:
    splits = open_data("digits")
    write_seen(tmp_path / "start.npz", open_data("digits", split_seed=1))
    write_seen(tmp_path / "seen.npz", splits, start=[read_seen(tmp_path / "start.npz")])
    kept = read_seen(tmp_path / "seen.npz")
    document = format_seen(kept, "run 1")
    carried = parse_seen(document, "m.zoo")
    for parts in ((), ("train", "val"), ("start",)):
        for images in (splits.train, splits.val, splits.test):
            assert np.array_equal(carried.holds(images.digests, *parts), kept.holds(images.digests, *parts))
    assert document == format_seen(kept, "run 1")
    images = len(splits.train) + len(splits.val)
    assert len(document) <= 64 + 8 * 2 * images, "eight bytes for each image of a list"
    whole = splits.train.digests[0].tobytes()
    assert all(whole[i : i + 8] not in document for i in range(25)), "no part of a plain digest goes out"
    other = parse_seen(format_seen(kept, "run 2"), "m.zoo")
    assert not np.isin(carried.files["train"].view("<u8"), other.files["train"].view("<u8")).any()
    for broken in (document[:-1], document + b"\0", b"zoo seen 2" + document[10:], document[:40], b""):
        with refused("seen-damaged", DataError):
            parse_seen(broken, "m.zoo")
