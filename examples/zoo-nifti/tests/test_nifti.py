"""The reader on volumes that nibabel writes, and through the door of the zoo."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from zoo_nifti import READER

from zoo.errors import ImageError
from zoo.readers import is_image, probe, read
from zoo.testing import ReaderContract

RNG = np.random.default_rng(0)
AFFINE = np.diag([-1, -1, 2, 1])


def write(
    path: Path, voxels: Any, *, kind: type = nibabel.Nifti1Image, slope: tuple[float, float] | None = None
) -> Path:
    image = kind(voxels, AFFINE)
    image.header.set_data_dtype(voxels.dtype)
    data = image.to_bytes()
    if slope is not None:
        at, form = (112, "<f4") if kind is nibabel.Nifti1Image else (176, "<f8")
        scale = np.array(slope, form).tobytes()
        data = data[:at] + scale + data[at + len(scale) :]
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    noise = RNG.integers(0, 256, (20, 30, 4))
    write(folder / "bytes.nii", noise.astype(np.uint8))
    write(folder / "deep.nii", (noise * 200).astype(np.uint16))
    write(folder / "signed.nii.gz", (noise - 100).astype(np.int16))
    write(folder / "plane.nii.gz", noise[:, :, 0].astype(np.float32))
    write(folder / "scaled.nii", noise.astype(np.int16), slope=(0.5, -3))
    write(folder / "second.nii", noise.astype(np.float64), kind=nibabel.Nifti2Image)
    write(folder / "time.nii", RNG.integers(0, 99, (5, 6, 3, 2)).astype(np.uint16))
    return folder


class TestNifti(ReaderContract):
    reader = "nifti"

    @pytest.fixture(scope="class")
    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        return sorted(folder.iterdir())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("bytes.nii", "uint8"), ("deep.nii", "uint16"), ("signed.nii.gz", "float32"), ("second.nii", "float32")],
)
def test_every_slice_is_what_nibabel_reads(name: str, kind: str, folder: Path) -> None:
    voxels = np.asarray(nibabel.load(folder / name).dataobj)
    header = probe(folder / name)
    assert (header.width, header.height, header.frames, header.kind) == (20, 30, 4, kind)
    for frame in range(1, 5):
        image = read(folder / name, frame=frame)
        assert image.kind == kind
        assert np.array_equal(image.pixels[:, :, 0], voxels[:, :, frame - 1].T)  # column i, row j: voxel (i, j)
        assert (image.pixels == image.pixels[:, :, :1]).all()


@pytest.mark.parametrize("stored", ["LPS", "RAS", "LAS", "RPS", "PLS", "ARS", "ALI"])
def test_left_is_left_however_a_volume_is_stored(stored: str, tmp_path: Path) -> None:
    """A mirrored scan has its finding on the other side."""
    voxels = RNG.integers(0, 256, (6, 5, 3)).astype(np.uint8)
    whole = nibabel.Nifti1Image(voxels, AFFINE)  # LPS
    ours = nibabel.orientations.io_orientation(AFFINE)
    turn = nibabel.orientations.ornt_transform(ours, nibabel.orientations.axcodes2ornt(stored))
    (tmp_path / "x.nii").write_bytes(whole.as_reoriented(turn).to_bytes())
    header = probe(tmp_path / "x.nii")
    assert (header.width, header.height, header.frames) == (6, 5, 3)
    frame = 3 if stored.endswith("I") else 1
    assert np.array_equal(read(tmp_path / "x.nii", frame=frame).pixels[:, :, 0], voxels[:, :, 0].T)


@pytest.mark.parametrize(
    ("plane", "towards"), [("LIP", "LI"), ("RSA", "LI"), ("SRA", "LI"), ("PIL", "PI"), ("SAR", "PI")]
)
def test_other_planes_stand_upright(plane: str, towards: str, tmp_path: Path) -> None:
    voxels = RNG.integers(0, 256, (4, 5, 6)).astype(np.uint8)
    whole = nibabel.Nifti1Image(voxels, AFFINE)
    ours = nibabel.orientations.io_orientation(AFFINE)

    def turned(codes: str) -> Any:
        return whole.as_reoriented(nibabel.orientations.ornt_transform(ours, nibabel.orientations.axcodes2ornt(codes)))

    (tmp_path / "x.nii").write_bytes(turned(plane).to_bytes())
    expected = np.asarray(turned(towards + plane[2]).dataobj)[:, :, 1].T
    assert np.array_equal(read(tmp_path / "x.nii", frame=2).pixels[:, :, 0], expected)


def test_a_volume_that_says_no_orientation_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 4), np.uint8), None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    (tmp_path / "x.nii").write_bytes(image.to_bytes())
    for ask in (read, probe):
        with pytest.raises(ImageError, match="orientation"):
            ask(tmp_path / "x.nii")


def test_values_are_scaled_as_the_header_says(folder: Path) -> None:
    scaled = read(folder / "scaled.nii", frame=2).pixels[:, :, 0]
    assert scaled.dtype == np.float32
    assert np.allclose(scaled, np.asarray(nibabel.load(folder / "scaled.nii").dataobj)[:, :, 1].T)


def test_a_volume_without_a_frame_is_refused_and_one_slice_is_not(folder: Path) -> None:
    with pytest.raises(ImageError, match="4 slices"):
        read(folder / "bytes.nii")
    assert read(folder / "plane.nii.gz").pixels.shape == (30, 20, 1)


def test_time_counts_behind_the_third_axis(folder: Path) -> None:
    voxels = np.asarray(nibabel.load(folder / "time.nii").dataobj)
    assert probe(folder / "time.nii").frames == 6
    assert np.array_equal(read(folder / "time.nii", frame=4).pixels[:, :, 0], voxels[:, :, 0, 1].T)


@pytest.mark.parametrize(
    ("voxels", "said"),
    [
        (np.full((4, 4), np.nan, np.float32), "not finite"),
        (np.full((4, 4), 2**24 + 1, np.int32), "whole numbers"),
        (np.full((4, 4), 1j, np.complex64), "complex64"),
        (np.full((4, 4), 1e300), "not finite"),
    ],
)
def test_what_can_not_be_read_without_loss_is_refused(voxels: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.nii", voxels)
    with pytest.raises(ImageError, match=said):
        read(path)


def test_a_name_in_the_header_is_reported_and_never_shown(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 4), np.uint8), AFFINE)
    image.header["db_name"] = b"DOE^JANE"
    (tmp_path / "x.nii").write_bytes(image.to_bytes())
    header = probe(tmp_path / "x.nii")
    assert header.personal == ("db_name",)
    assert "DOE" not in repr(header)


def test_a_file_is_known_by_its_bytes_whatever_its_name(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "IM0001"
    other.write_bytes((folder / "signed.nii.gz").read_bytes())
    assert is_image(other)
    assert not READER.recognise(gzip.compress(b"text " * 200))
    assert np.array_equal(
        read(other, frame=1).pixels, READER.read(io.BytesIO(other.read_bytes()), "x", frame=1, voi=False).pixels
    )
