"""Small sets in the shape of published ones: pictures and tables where a test wants them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

__all__ = ["paint", "write", "write_dicom"]

_RNG = np.random.default_rng(0)


def paint(*paths: Path) -> None:
    """A different picture at each path."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng([*path.name.encode()]).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


def write(path: Path, head: str, rows: Iterable[str]) -> Path:
    """A table with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((head, *rows)) + "\n")
    return path


def write_dicom(path: Path, *, patient: str = "", study: str = "", frames: int = 1) -> None:
    """A gray picture of 8 × 8, different each time."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    data = pydicom.Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    data.PatientID, data.StudyInstanceUID = patient, study
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    if frames > 1:
        data.NumberOfFrames = frames
    data.PixelData = _RNG.integers(0, 256, (frames, 8, 8), np.uint8).tobytes()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
