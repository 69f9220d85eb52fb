"""What must not happen to images in training, however they were named: by name, by their file, by DICOM headers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from noted import noted

import zoo
from zoo.data import apply_advice, open_data
from zoo.data._named import index
from zoo.runs import open_run
from zoo.store import sets

if TYPE_CHECKING:
    from zoo.data import Splits

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def archive(path: Path, *, classes: int = 2) -> Path:
    """Made pictures with the keys of MedMNIST."""
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = RNG.integers(0, 256, (6 * classes, 8, 8), np.uint8)
        arrays[f"{split}_labels"] = np.arange(6 * classes, dtype=np.uint8)[:, None] % classes
    np.savez(path, **arrays)
    return path


def write_dicoms(root: Path, shown: int, *, n: int = 20, **elements: str) -> Path:
    """Two classes of `n` gray pictures; `shown` of each have the `elements`."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    for number in range(2 * n):
        data = pydicom.Dataset()
        data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
        data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
        data.WindowCenter, data.WindowWidth = 128, 256
        if number // 2 < shown:
            for keyword, value in elements.items():
                setattr(data, keyword, value)
        data.PixelData = RNG.integers(0, 256, (8, 8), np.uint8).tobytes()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = root / "ab"[number % 2] / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)
    return root


def asked(splits: Splits, **settings: Any) -> dict[str, Any]:
    return apply_advice(splits, settings)[0]


@pytest.mark.parametrize("name", ["pneumoniamnist", "pneumoniamnist_224", "chestmnist-first-100", "my_ChestMNIST_cut"])
def test_a_chest_film_is_never_mirrored_whatever_way_its_file_is_named(tmp_path: Path, name: str) -> None:
    """`--data pneumoniamnist.npz` is what `--data pneumoniamnist` is, and was mirrored."""
    splits = open_data(archive(tmp_path / f"{name}.npz"))
    settings, notes = apply_advice(splits, {})
    assert settings == {"augment_flip": "none"}
    assert noted(notes, "augment_flip none", "by the name", "--set augment_flip=")


def test_a_folder_of_that_name_counts_too_and_other_names_do_not(tmp_path: Path) -> None:
    shards = zoo.shard(archive(tmp_path / "organsmnist.npz"), tmp_path / "shards")
    assert shards
    assert asked(open_data(tmp_path / "shards")) == {"augment_flip": "none", "augment": "none"}
    for name in ("breastmnist", "digits", "mnist", "xpneumoniamnistx", "chest"):
        assert asked(open_data(archive(tmp_path / f"{name}.npz"))) == {}


def test_a_renamed_copy_is_known_by_its_checksum(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(sets.catalogue())
    files = known.pop("breastmnist").files
    known["pneumoniamnist"] = msgspec.structs.replace(known["pneumoniamnist"], files=files)
    monkeypatch.setattr(sets, "catalogue", lambda: known)
    shutil.copyfile(published, tmp_path / "films.npz")
    settings, notes = apply_advice(open_data(tmp_path / "films.npz"), {})
    assert settings == {"augment_flip": "none"}
    assert noted(notes, "pneumoniamnist", "checksum")
    monkeypatch.setattr(sets, "HASHED_MOST", 10)
    assert asked(open_data(tmp_path / "films.npz")) == {}, "a large file is not read a second time"


def test_settings_that_a_set_asks_for_give_way_to_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "resolve", lambda _: archive(tmp_path / "made.npz", classes=11))
    splits = open_data("organamnist@64")
    settings, notes = apply_advice(splits, {"lr": 0.1})
    assert settings == {"augment": "none", "augment_flip": "none", "lr": 0.1}
    assert len(notes) == 1
    assert noted(notes, "augment none", "organs")
    assert apply_advice(splits, settings) == (settings, ())
    assert asked(splits, augment_flip="both") == {"augment": "none", "augment_flip": "both"}
    assert asked(open_data("digits")) == {"augment_flip": "none", "augment": "none"}


@pytest.mark.parametrize(
    ("classes", "matters"),
    [
        (("kidney-left", "kidney-right"), True),
        (("Left lung", "other", "right lung"), True),
        (("femur_left", "kidney_right"), False),
        (("left", "middle"), False),
        (("cleft", "cright"), False),
    ],
)
def test_classes_that_differ_by_their_side_are_not_mirrored(
    tmp_path: Path, classes: tuple[str, ...], *, matters: bool
) -> None:
    """Half of the left kidneys were shown as right ones, under the label of left ones."""
    path = archive(tmp_path / "made.npz", classes=len(classes))
    np.savez(path, **np.load(path), label_names=np.array(classes))
    settings, notes = apply_advice(open_data(path), {})
    assert settings == ({"augment_flip": "none"} if matters else {})
    assert noted(notes, "augment_flip none", "differ by their side") == matters


def test_dicom_that_shows_chests_is_not_mirrored_and_the_run_says_why(tmp_path: Path) -> None:
    root = write_dicoms(tmp_path / "films", 20, Modality="CR", BodyPartExamined="CHEST")
    run = open_run(Path(zoo.train("logistic_regression", root, out=tmp_path / "run").run))
    assert run.record.card.train.augment_flip == "none"
    assert noted(run.record.notes, "augment_flip none", "40 of 40 images", "--set augment_flip=horizontal")
    settings = {"augment_flip": "horizontal"}
    again = open_run(Path(zoo.train("logistic_regression", root, out=tmp_path / "again", settings=settings).run))
    assert again.record.card.train.augment_flip == "horizontal"
    assert not noted(again.record.notes, "DICOM headers")


def test_too_few_headers_decide_nothing_and_it_is_said(tmp_path: Path) -> None:
    few = open_data(write_dicoms(tmp_path / "few", 10, Modality="CR", BodyPartExamined="CHEST"))
    assert asked(few) == {}
    assert noted(apply_advice(few, {})[1], "20 of 40 images show chest or belly", "too few", "--set augment_flip=none")
    assert not noted(few.notes, "too few")
    assert apply_advice(few, {"augment_flip": "none"})[1] == (), "the user has decided"
    folds = [open_data(tmp_path / "few", folds=3, fold=fold).advice for fold in (1, 2)]
    assert folds[0] == folds[1] == few.advice
    most = open_data(write_dicoms(tmp_path / "most", 18, Modality="CR", BodyPartExamined="CHEST"))
    assert asked(most) == {"augment_flip": "none"}
    hands = open_data(write_dicoms(tmp_path / "hands", 20, Modality="CR", BodyPartExamined="HAND", Laterality="L"))
    assert asked(hands) == {}, "a mirrored left hand is a right hand"
    assert not noted(apply_advice(hands, {})[1], "DICOM headers")


def test_a_dermatoscope_keeps_its_colours(tmp_path: Path) -> None:
    splits = open_data(write_dicoms(tmp_path / "skin", 20, Modality="DMS"))
    assert asked(splits) == {"colour": "diagnostic"}


@pytest.mark.parametrize("way", ["table", "shards", "tar"])
def test_headers_count_in_every_form_that_holds_files(tmp_path: Path, way: str) -> None:
    root = write_dicoms(tmp_path / "films", 20, Modality="DX", BodyPartExamined="CHEST")
    if way == "table":
        rows = [f"films/{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(root.rglob("*.dcm"))]
        source = tmp_path / "t.csv"
        source.write_text("\n".join(["image,label", *rows]), "utf-8")
    else:
        source = tmp_path / "shards"
        zoo.shard(root, source)
        if way == "tar":
            for path in (*source.glob("*.index"), source / "index.json"):
                path.unlink()
    pool = index(source)
    assert pool.shows is not None
    assert pool.shows.tolist() == [1] * 40
    assert asked(open_data(source)) == {"augment_flip": "none"}
