"""Real DICOM files of pydicom's wheel, and a model that decides, for reports."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_models import deciding_manifest, make_manifest, make_model

if TYPE_CHECKING:
    from zoo.spec import Manifest

COLOUR = "SC_rgb_small_odd.dcm"
"""Three colours, 3 x 3 pixels."""
TWO_FRAMES = "SC_rgb_rle_2frame.dcm"
CANARY = "Zzyzx^Canaria"


def bundled(name: str = COLOUR) -> bytes:
    import pydicom

    return (Path(pydicom.__path__[0]) / "data" / "test_files" / name).read_bytes()


def edited(name: str = COLOUR, **elements: Any) -> bytes:
    """A bundled file with other elements; None removes one."""
    import pydicom

    content = pydicom.dcmread(io.BytesIO(bundled(name)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some edits are meant to be odd
        for keyword, value in elements.items():
            if value is None:
                delattr(content, keyword)
            else:
                setattr(content, keyword, value)
        stream = io.BytesIO()
        content.save_as(stream)
    return stream.getvalue()


def painted(colour: tuple[int, int, int], **elements: Any) -> bytes:
    """The colour file in one colour."""
    return edited(**{"PixelData": bytes(colour) * 9 + b"\0", **elements})


def write_model(folder: Path, manifest: Manifest | None = None) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(make_model(manifest or deciding_manifest()).SerializeToString())
    return path


def several_labels() -> Manifest:
    return make_manifest(task="multilabel")
