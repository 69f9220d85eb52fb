"""Writing NAME.zoo/: the model, its manifest, golden inputs and answers, report and card."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo.edge.bundle import GOLDEN, MANIFEST, MODEL
from zoo.errors import OutputError
from zoo.export.card import model_card
from zoo.files import sha256_bytes
from zoo.spec import Manifest, decode, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.evaluate import Predict

__all__ = ["GOLDEN_IMAGES", "write_bundle"]

GOLDEN_IMAGES = 32

_TOLERANCE = 1e-3
"""Of a golden logit, relative to max(1, |logit|): other CPUs and builds sum float32 in other orders."""


def write_bundle(
    target: Path, model: bytes, manifest: Manifest, *, images: Sequence[NDArray[Any]], predict: Predict
) -> Manifest:
    """Write the folder, whole or not at all; a bundle that stood there before is replaced.

    Args:
        target: the folder, NAME.zoo.
        model: bytes of the ONNX file, proven.
        manifest: its manifest, files still empty.
        images: raw (H, W, C) images for the golden set, at least `GOLDEN_IMAGES`.
        predict: the file itself, raw images to logits: its own answers are what a device must reproduce.

    Returns:
        The manifest as written, with every file's hash and size.

    Raises:
        OutputError: the folder holds something else, or can not be written.
    """
    files = {
        MODEL: model,
        GOLDEN: _golden(images, predict),
        "report.json": encode(manifest.report),
        "CARD.md": model_card(manifest).encode(),
    }
    manifest = msgspec.structs.replace(
        manifest,
        files={name: sha256_bytes(data) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
    )
    files[MANIFEST] = encode(manifest)
    if target.exists() and not _is_bundle(target):
        raise OutputError(f"{target} exists and is no bundle; choose another place with --out")
    try:
        _replace_folder(target, files)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise OutputError(f"cannot write {target}: {reason}; free space there or choose another place") from None
    return manifest


def _is_bundle(target: Path) -> bool:
    """Whether the folder is a bundle and nothing else, so that replacing it loses nothing of the user's."""
    try:
        old = decode((target / MANIFEST).read_bytes(), Manifest, MANIFEST, OutputError)
        return {entry.name for entry in target.iterdir()} <= {MANIFEST, *old.files}
    except (OSError, OutputError):
        return False


def _golden(images: Sequence[NDArray[Any]], predict: Predict) -> bytes:
    logits = np.concatenate([predict(image[None]) for image in images])
    stream = io.BytesIO()
    arrays: dict[str, Any] = {f"image_{index:04d}": image for index, image in enumerate(images)}
    np.savez_compressed(stream, logits=logits, tolerance=np.float32(_TOLERANCE), **arrays)
    return stream.getvalue()


def _replace_folder(target: Path, files: dict[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        fresh.chmod(0o755)  # mkdtemp makes it private
        for name, data in files.items():
            with (fresh / name).open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        if target.exists():
            old = fresh.with_name(f"{fresh.name}.old")
            target.rename(old)
            try:
                fresh.rename(target)
            except OSError:
                old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
