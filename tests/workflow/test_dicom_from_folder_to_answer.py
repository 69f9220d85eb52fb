"""DICOM all the way: a folder of files is trained on, shipped and asked, and nothing of a patient comes along."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from refusals import refused

import zoo
from zoo.edge import Failure, Prediction
from zoo.edge.__main__ import main as edge_main
from zoo.errors import DataError, ImageError
from zoo.spec import Voi, Window
from zoo_cli.main import main as zoo_main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CANARY = "Zzyzx"
PATIENTS = 20
LOW, HIGH = -32768, 32767


def scan(pixels: NDArray[Any], patient: int, **elements: Any) -> bytes:
    """MR_small with other pixels, full of a patient's name."""
    content: Any = get_testdata_file("MR_small.dcm", read=True, download=False)
    for keyword in ("PatientName", "PatientID", "InstitutionName", "StudyDescription", "ReferringPhysicianName"):
        setattr(content, keyword, f"{CANARY}{patient}")
    content.add_new(0x00091010, "LO", f"private {CANARY}")
    content.PixelData = pixels.astype("<i2").tobytes()
    for keyword, value in elements.items():
        setattr(content, keyword, value)
    stream = io.BytesIO()
    content.save_as(stream)
    return stream.getvalue()


def pixels_of(label: str, seed: int) -> NDArray[Any]:
    content: Any = get_testdata_file("MR_small.dcm", read=True, download=False)
    stored = content.pixel_array.astype(np.int32)
    rng = np.random.default_rng((label == "lesion", seed))
    stored = np.roll(stored, rng.integers(0, 9, 2), (0, 1)) + rng.integers(-20, 20, stored.shape)
    if label == "lesion":
        stored[20:36, 24:40] += 900
    return np.asarray(stored.clip(0, 4000))


def scans(root: Path, **elements: Any) -> Path:
    """Two classes, some files with no suffix, as scanners write them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index, label in enumerate(("healthy", "lesion")):
            (root / label).mkdir(parents=True)
            for seed in range(PATIENTS):
                name = f"IM{seed:04d}" if seed % 2 else f"{seed}.dcm"
                (root / label / name).write_bytes(scan(pixels_of(label, seed), index * 100 + seed, **elements))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scans(tmp_path_factory.mktemp("dicom") / "scans", WindowCenter="900", WindowWidth="2000")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything that any logger says, in a file."""
    path = tmp_path_factory.mktemp("log") / "all.log"
    handler = logging.FileHandler(path)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    yield path
    root.removeHandler(handler)
    root.setLevel(level)
    handler.close()


@pytest.fixture(scope="module")
def trained(folder: Path, said: Path, place: Path) -> zoo.TrainResult:
    assert said.exists()
    return zoo.train("simple_cnn", folder, epochs=2, size=32, out=place / "mri", settings={"ema": 0.5})


def answers(model: str | Path, *sources: Path) -> list[Prediction]:
    found = list(zoo.open(model).predict(list(sources)))
    assert all(isinstance(one, Prediction) for one in found), found
    return found  # type: ignore[return-value]


def test_a_folder_of_scans_is_read_through_its_own_windows(trained: zoo.TrainResult) -> None:
    manifest = zoo.open(trained.run).manifest
    assert manifest.preprocess.intensity == Voi()
    assert (manifest.input.dtype, manifest.input.channels) == ("float32", 1)
    assert manifest.parity is not None
    assert any("VOI" in note for note in manifest.provenance.notes)


def test_twins_of_one_picture_get_the_same_answer(trained: zoo.TrainResult, tmp_path: Path) -> None:
    """The same film from a device that stores it inverted must not be another diagnosis."""
    stored = pixels_of("lesion", 99)
    flipped = LOW + HIGH - stored
    # LINEAR is symmetric around center - 0.5
    mirrored = {"WindowCenter": str(LOW + HIGH - 900 + 1), "WindowWidth": "2000"}
    plain = {"WindowCenter": "900", "WindowWidth": "2000"}
    twins = {
        "plain": scan(stored, 1, **plain),
        "monochrome1": scan(flipped, 2, PhotometricInterpretation="MONOCHROME1", **mirrored),
        "inverse": scan(flipped, 3, PresentationLUTShape="INVERSE", **mirrored),
        "slope": scan(flipped, 4, RescaleSlope="-1", RescaleIntercept=str(LOW + HIGH), **plain),
    }
    for name, data in twins.items():
        (tmp_path / name).write_bytes(data)
    first, *others = answers(trained.run, *(tmp_path / name for name in twins))
    runtime = zoo.open(trained.run)
    expected = runtime.logits(zoo.readers.read(twins["plain"], voi=True).pixels[None])
    for other, data in zip(others, list(twins.values())[1:], strict=True):
        assert other.probabilities == pytest.approx(first.probabilities, abs=1e-6)
        found = runtime.logits(zoo.readers.read(data, voi=True).pixels[None])
        np.testing.assert_allclose(found, expected, atol=1e-5)
    healthy = answers(trained.run, *(_written(tmp_path, "h", scan(pixels_of("healthy", 99), 5, **plain)),))
    assert healthy[0].probabilities != pytest.approx(first.probabilities, abs=1e-3)


def test_a_frame_is_asked_for_by_its_number(
    trained: zoo.TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = pixels_of("healthy", 50), pixels_of("lesion", 50)
    window = {"WindowCenter": "900", "WindowWidth": "2000"}
    both = _written(tmp_path, "both.dcm", scan(np.stack([one, two]), 1, NumberOfFrames=2, **window))
    alone = _written(tmp_path, "two.dcm", scan(two, 1, **window))
    runtime = zoo.open(trained.run)
    (refused,) = runtime.predict(both)
    assert isinstance(refused, Failure)
    assert "holds 2 frames" in refused.error
    (second,) = runtime.predict(both, frame=2)
    assert isinstance(second, Prediction)
    assert second.probabilities == answers(trained.run, alone)[0].probabilities
    model = Path(trained.run) / "model.onnx"
    for verb in (edge_main, zoo_main):
        capsys.readouterr()
        assert verb(["predict", str(model), str(both), "--frame", "2"]) == 0
        assert f"{second.label} {second.probability:.4f}" in capsys.readouterr().out
        assert verb(["predict", str(model), str(both)]) == 1
        assert "holds 2 frames" in capsys.readouterr().err


def test_a_folder_walk_finds_scans_without_a_suffix(trained: zoo.TrainResult, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "IM0001").write_bytes((folder / "lesion" / "IM0001").read_bytes())
    found = list(zoo.open(trained.run).predict(tmp_path))
    assert [Path(one.image).name for one in found] == ["IM0001"]


def test_other_pictures_are_refused_and_not_taken_for_windowed_ones(trained: zoo.TrainResult, tmp_path: Path) -> None:
    from PIL import Image

    bare = scan(pixels_of("healthy", 1), 1)
    without = bare.replace(b"\x28\0\x50\x10DS", b"\x29\0\x50\x10DS")  # no WindowCenter
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((40, 40), np.uint16)).save(photo)
    runtime = zoo.open(trained.run)
    results = list(runtime.predict([_written(tmp_path, "bare.dcm", without), photo]))
    assert [isinstance(one, Failure) for one in results] == [True, True]
    assert "VOI LUT" in results[0].error  # type: ignore[union-attr]
    assert "expected DICOM" in results[1].error  # type: ignore[union-attr]
    with pytest.raises(ImageError, match="expected"):
        runtime.logits(np.zeros((1, 40, 40, 3), np.uint8))


def test_evaluation_and_export_read_the_same_pixels_as_training(trained: zoo.TrainResult, folder: Path) -> None:
    report = zoo.evaluate(trained.run, folder)
    assert report.metrics == trained.test.metrics
    bundle = zoo.export(trained.run, bundle=True)
    assert bundle.parity.flips == 0
    zoo.verify(bundle.path)
    assert "VOI LUT" in (Path(bundle.path) / "CARD.md").read_text()


@pytest.mark.slow
def test_file_that_leaves_preprocessing_to_the_caller_gives_the_same_answers(
    trained: zoo.TrainResult, folder: Path, tmp_path: Path
) -> None:
    paths = sorted((folder / "lesion").iterdir())[:4]
    whole = answers(trained.run, *paths)
    for stage in ("normalize", "none"):
        zoo.export(trained.run, preprocess=stage, out=tmp_path / f"{stage}.onnx")  # type: ignore[arg-type]
        for found, expected in zip(answers(tmp_path / f"{stage}.onnx", *paths), whole, strict=True):
            assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


def test_nothing_of_a_patient_leaves_the_scans(
    trained: zoo.TrainResult, said: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = zoo.export(trained.run, bundle=True, out=tmp_path / "mri.zoo").path
    broken = scan(pixels_of("lesion", 3), 7)
    files = [
        _written(tmp_path, "cut.dcm", broken[:-3000]),
        _written(tmp_path, "odd.dcm", broken.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0DS")),
        _written(tmp_path, "good.dcm", broken),
    ]
    shown = repr(list(zoo.open(bundle).predict(files))) + "".join(capfd.readouterr()) + said.read_text()
    assert "truncated" in shown
    assert CANARY not in shown
    written = [path for place in (Path(trained.run), Path(bundle)) for path in place.rglob("*") if path.is_file()]
    assert len(written) > 10
    for path in written:
        assert CANARY.encode() not in path.read_bytes(), path.name


@pytest.mark.slow
def test_scans_without_windows_are_refused_until_a_range_is_stated(tmp_path: Path) -> None:
    """Values as they are would be clipped by a card that scales by 255."""
    root = tmp_path / "ct"
    for label, level in (("air", -900), ("bone", 700)):
        (root / label).mkdir(parents=True)
        for seed in range(12):
            content: Any = get_testdata_file("CT_small.dcm", read=True, download=False)
            noise = np.random.default_rng((level + 1000, seed)).normal(level + 1024, 20, (128, 128))
            content.PixelData = noise.clip(0, 4000).astype("<i2").tobytes()
            content.PatientID = f"{label}{seed}"
            content.save_as(root / label / f"{seed}.dcm")
    with refused("intensity-range", DataError, found="float32"):
        zoo.train("simple_cnn", root, epochs=1, size=32, out=tmp_path / "none")
    settings = {"preprocess.intensity": "fitted", "preprocess.resize": "letterbox"}
    run = zoo.train("simple_cnn", root, epochs=1, size=32, out=tmp_path / "fitted", settings=settings)
    manifest = zoo.open(run.run).manifest
    window = manifest.preprocess.intensity
    assert isinstance(window, Window)
    assert -1024 < window.center - window.width / 2 < -800
    assert 600 < window.center + window.width / 2 < 1000
    assert any("fitted" in note and "training images" in note for note in manifest.provenance.notes)
    with refused("intensity-range", DataError, intensity="voi"):
        zoo.train("simple_cnn", root, size=32, out=tmp_path / "voi", settings={"preprocess.intensity": "voi"})


def _written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path
