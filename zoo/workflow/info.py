"""`zoo info`: what the catalogue says of a model, or what an exported one says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.workflow._find import is_run, model_file

if TYPE_CHECKING:
    from zoo.spec import Manifest, ModelCard

__all__ = ["info", "is_file_of_a_model"]

_EXPORTED = (".onnx", ".zoo", ".zip")


def info(model: str | Path) -> ModelCard | Manifest:
    """One card, or the manifest of an exported model.

    Args:
        model: a name from `models()`, timm/NAME, hf-hub:…, local-dir:…; or a run, a bundle, an .onnx file.

    Raises:
        CatalogueError: no such model; the nearest names are given.
        ModelError: not a model of this tool, or damaged; a run without a finished file.
    """
    if is_file_of_a_model(model):
        from zoo.edge.bundle import open_model

        return open_model(model_file(Path(model))).manifest
    from zoo.registry import find

    return find(str(model))


def is_file_of_a_model(model: str | Path) -> bool:
    """Whether `model` means a run or an exported file; a name without a suffix is a card's, whatever lies here."""
    path = Path(model)
    return path.suffix in _EXPORTED or (path.suffix != "" and path.is_file()) or is_run(path)
