"""What is found out about files without decoding them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from zoo.data import open_data, scan
from zoo.data.scan import KINDS, frame_digest
from zoo.errors import DataError
from zoo.readers import Probe, probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeFolder = Callable[..., Path]


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def pretend(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], Probe]) -> None:
    monkeypatch.setattr(scan, "probe", lambda _, *, name: answer(name))


def test_a_scan_says_what_probe_says(shared: Path) -> None:
    root = shared / "data" / "busi256"
    ids = [name for name in names(root) if name.endswith(".png")][::20]
    found = scan.scan(root, ids)
    assert found.bad == {}
    for i, name in enumerate(ids):
        header = probe(root / name)
        assert (found.width[i], found.height[i], KINDS[found.kind[i]]) == (header.width, header.height, header.kind)
        assert (found.gray[i], found.voi[i], found.bits[i]) == (header.gray, header.voi, header.bits)
        assert found.fields[found.personal[i]] == header.personal
        assert bytes(found.digests[i]) == hashlib.sha256((root / name).read_bytes()).digest()


def test_patients_named_by_files_become_groups(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them a patient's images would be divided between train and test."""
    root = make_folder({"cat": 8, "dog": 8})
    pretend(monkeypatch, lambda name: Probe(8, 6, "uint8", gray=False, group=f"patient {int(name[4]) // 4}"))
    splits = open_data(root, for_training=False)
    assert splits.test.groups is not None
    assert splits.test.groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] * 2 or splits.test.groups.tolist() == [
        1, 1, 1, 1, 0, 0, 0, 0,
    ] * 2  # fmt: skip
    assert not any("patient" in note for note in splits.notes)


def test_images_without_a_patient_are_groups_of_their_own(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 4})
    pretend(
        monkeypatch,
        lambda name: Probe(8, 6, "uint8", gray=False, group="p" if name in {"cat/0.png", "cat/2.png"} else None),
    )
    splits = open_data(root, for_training=False)
    assert splits.test.groups is not None
    groups = splits.test.groups.tolist()
    assert groups[0] == groups[2]
    assert sorted(set(groups)) == [0, 1, 2]
    assert "2 of 4 images name no patient; each of them counts as a patient of its own" in splits.notes


def test_one_image_without_a_window_makes_the_set_one_without(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 3})
    pretend(monkeypatch, lambda _: Probe(8, 6, "uint16", gray=True, voi=True))
    assert open_data(root, for_training=False).voi
    pretend(monkeypatch, lambda name: Probe(8, 6, "uint16", gray=True, voi=name != "cat/1.png"))
    assert not open_data(root, for_training=False).voi


def test_a_frame_is_neither_guessed_nor_confused_with_another(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 1})
    pretend(monkeypatch, lambda _: Probe(8, 6, "uint8", gray=True, frames=3))
    with pytest.raises(DataError, match=r"cat/0\.png: holds 3 frames, expected one image"):
        open_data(root, for_training=False)
    found = scan.scan(root, ["cat/0.png"] * 4, frames=np.array([1, 2, 3, 4]))
    assert found.bad == {3: "cat/0.png: holds 3 frames, frame 4 was asked for"}
    assert found.good().tolist() == [0, 1, 2]
    whole = hashlib.sha256((root / "cat/0.png").read_bytes()).digest()
    assert [bytes(found.digests[i]) for i in range(3)] == [frame_digest(whole, frame) for frame in (1, 2, 3)]
    assert len({bytes(digest) for digest in found.digests[:3]}) == 3
