"""Padding of DICOM files (PixelPaddingValue) from a folder to the shipped file: no range counts it."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file

import zoo
from zoo.data._named import index
from zoo.data.audit import audit
from zoo.edge import Prediction
from zoo.edge._explain import map_occlusion, overlay
from zoo.edge._explain.occlusion import HeatMap
from zoo.preprocess import apply
from zoo.readers import RawImage, read
from zoo.readers._padding import adopt_padding
from zoo.spec import Percentile, Scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 64


def scan(pixels: NDArray[Any], patient: int, padding: int = -2000, **elements: Any) -> bytes:
    """CT_small with other pixels in Hounsfield units, and this padding."""
    content: Any = get_testdata_file("CT_small.dcm", read=True, download=False)
    content.Rows, content.Columns = pixels.shape
    content.PixelData = pixels.astype("<i2").tobytes()
    content.RescaleIntercept, content.PatientID = 0, f"p{patient}"
    content["PixelPaddingValue"].VR = "SS"
    content.PixelPaddingValue = padding
    for keyword, value in elements.items():
        setattr(content, keyword, value)
    stream = io.BytesIO()
    content.save_as(stream)
    return stream.getvalue()


def tissue(label: str, seed: int, padding: int = -2000) -> NDArray[np.int32]:
    """The left half is padding, the right one 0 to 80 HU, with a bright spot in a lesion."""
    rng = np.random.default_rng((label == "lesion", seed))
    pixels = rng.integers(10, 40, (SIDE, SIDE))
    pixels[0, -1], pixels[1, -1] = 0, 80
    if label == "lesion":
        pixels[20:40, 40:56] += 30
    pixels[:, : SIDE // 2] = padding
    return pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("padding") / "ct"
    for at, label in enumerate(("healthy", "lesion")):
        (root / label).mkdir(parents=True)
        for seed in range(12):
            (root / label / f"{seed}.dcm").write_bytes(scan(tissue(label, seed), 100 * at + seed))
    return root


@pytest.fixture(scope="module")
def trained(folder: Path, place: Path) -> zoo.TrainResult:
    settings = {"preprocess.intensity": {"type": "percentile", "low": 1, "high": 99}}
    return zoo.train("simple_cnn", folder, epochs=1, size=32, out=place / "padded", settings=settings)


def test_the_file_leaves_padding_out_and_says_so(trained: zoo.TrainResult, tmp_path: Path) -> None:
    manifest = zoo.open(trained.run).manifest
    assert manifest.preprocess.intensity == Percentile(low=1, high=99, padding=((-2000, -2000),))
    assert manifest.parity is not None
    assert any("-2000" in note and "24 images" in note for note in manifest.provenance.notes)
    made = apply(read(scan(tissue("lesion", 50), 1)).pixels, manifest.preprocess)
    unit = made * np.float32(manifest.preprocess.std[0]) + np.float32(manifest.preprocess.mean[0])
    assert np.abs(unit[0][:, :16]).max() < 1e-6
    assert np.ptp(unit[0][:, 16:]) == pytest.approx(1, abs=1e-5)
    assert 0.1 < np.median(unit[0][:, 16:]) < 0.5  # with padding in it: above 0.96
    bundle = zoo.export(trained.run, bundle=True, out=tmp_path / "ct.zoo")
    assert bundle.parity.flips == 0
    zoo.verify(bundle.path)
    assert "-2000" in (Path(bundle.path) / "CARD.md").read_text()


def test_files_of_a_site_with_other_padding_get_the_same_answer(trained: zoo.TrainResult, tmp_path: Path) -> None:
    sites = {"own": -2000, "other": -1024, "above": 3000}
    for name, padding in sites.items():
        (tmp_path / f"{name}.dcm").write_bytes(scan(tissue("lesion", 50, padding), 1, padding))
    own, *others = zoo.open(trained.run).predict([tmp_path / f"{name}.dcm" for name in sites])
    assert isinstance(own, Prediction)
    for other in others:
        assert isinstance(other, Prediction)
        assert other.probabilities == pytest.approx(own.probabilities, abs=1e-6)


def test_an_index_knows_the_padding_and_how_many_name_it(folder: Path) -> None:
    assert index(folder).paddings == {(-2000.0, -2000.0): 24}
    named = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm"))
    table = folder / "table.csv"
    table.write_text("\n".join(["image,label", *(f"{name},{name.split('/')[0]}" for name in named[::2])]))
    assert index(table).paddings == {(-2000.0, -2000.0): 12}
    table.unlink()


def test_the_audit_leaves_padding_out_and_says_so(folder: Path) -> None:
    """With padding in it, every image would be half black and alike."""
    found = audit(folder)
    assert found.brightest == 80
    assert any("24 images hold padding" in note for note in found.notes)
    assert not {"saturated", "near_duplicate"} & {finding.kind for finding in found.findings}


def test_an_image_of_padding_alone_is_constant(tmp_path: Path) -> None:
    for label in ("healthy", "lesion"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.dcm").write_bytes(scan(tissue(label, 1), 1))
    (tmp_path / "lesion" / "b.dcm").write_bytes(scan(np.full((SIDE, SIDE), -2000), 2))
    (finding,) = (one for one in audit(tmp_path).findings if one.kind == "saturated")
    assert (finding.severity, finding.files) == ("error", ("lesion/b.dcm",))


def test_padding_that_a_model_does_not_know_becomes_what_it_knows() -> None:
    pixels = np.float32([[-1024, 5], [7, -2000]])[:, :, None]
    image = RawImage(pixels, "float32", (-1024, -1024))
    known = adopt_padding(image, Percentile(padding=((-2000, -2000),)))
    assert known.pixels.ravel().tolist() == [-2000, 5, 7, -2000]
    none = adopt_padding(image, Percentile())
    assert none.pixels.ravel().tolist() == [-2000, 5, 7, -2000]
    for unchanged in (Percentile(padding=((-1100, -1000),)), Scale(maximum=255)):
        assert adopt_padding(image, unchanged) is image
    alone = dataclasses.replace(image, padding=(-3000, 3000))
    assert adopt_padding(alone, Percentile()) is alone


def test_a_heat_map_leaves_padding_out(trained: zoo.TrainResult) -> None:
    """Blocks that average padding with tissue would be another image; the picture shows tissue from black to white."""
    pixels = np.kron(tissue("lesion", 50), np.ones((4, 4), int))
    image, runtime = read(scan(pixels, 1)), zoo.open(trained.run)
    heat = map_occlusion(runtime, image, "lesion")
    assert heat.base == pytest.approx(float(runtime.probabilities(image.pixels[None])[0, 1]), abs=1e-6)
    plain = HeatMap(label="lesion", base=0.5, height=256, width=256, values=((0.0,),))
    shown = np.asarray(overlay(image, plain))[:, :, 0]
    assert not shown[:, :128].any()
    assert (shown[:, 128:].min(), shown[:, 128:].max()) == (0, 255)
