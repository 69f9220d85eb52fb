"""Weights that an installed Python package ships as a torch pickle, turned into safetensors once.

The pickle is opened only when its sha256 is the card's, and even then with `weights_only`.
"""

from __future__ import annotations

import io
import pickle
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from zoo._support.files import sha256_bytes
from zoo.errors import WeightsError
from zoo.store.weights._store import mismatch

if TYPE_CHECKING:
    from zoo.spec import PackagedWeights

__all__ = ["convert", "find_installed", "source_of"]


def source_of(package: PackagedWeights) -> str:
    """How provenance and the lock call these weights."""
    name = package.file.rpartition("/")[2].rpartition(".")[0]
    return f"package:{package.distribution}/{name}@{package.sha256[:12]}"


def find_installed(package: PackagedWeights) -> Path | None:
    """The pickle's path, None when the package is not installed."""
    try:
        found = distribution(package.distribution)
    except PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(package.file)))
    return path if path.is_file() else None


def convert(path: Path, package: PackagedWeights, arch: str, target: Path, what: str) -> None:
    """Write the pickle at `path` to `target` as safetensors with the tensor names of timm's `arch`.

    The package's names differ from timm's and the order of the layers does not, so names go by position;
    the number of tensors and every shape must agree.

    Raises:
        WeightsError: the sha256 is not the card's (and nothing was parsed), or the tensors do not fit `arch`.
    """
    # Read once: what is hashed is what is parsed, whatever happens to the file meanwhile.
    data = path.read_bytes()
    actual = sha256_bytes(data)
    if actual != package.sha256:
        again = f"run 'pip install --force-reinstall {package.distribution}'"
        raise mismatch(f"{what} in package {package.distribution}", actual, package.sha256, "the card", again)
    try:
        import timm
        import torch
        from safetensors.torch import save_file
    except ModuleNotFoundError as problem:
        raise WeightsError(
            f"{what}: needs {problem.name}: pip install 'edgezoo[train]'", code="package-missing", package=problem.name
        ) from None
    try:
        tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as problem:
        reason = str(problem).splitlines()[0]
        raise WeightsError(
            f"{what}: {path.name} of {package.distribution}: {reason}; reinstall it",
            code="weights-damaged",
            path=str(path),
        ) from None
    with torch.device("meta"):  # shapes without memory
        expected = timm.create_model(arch, pretrained=False).state_dict()
    if len(tensors) != len(expected):
        raise WeightsError(
            f"{what}: {path.name} holds {len(tensors)} tensors, expected {len(expected)} for {arch}",
            code="weights-other-network",
            found=len(tensors),
            expected=len(expected),
        )
    named = {}
    for (name, like), (old, tensor) in zip(expected.items(), tensors.items(), strict=True):
        if tensor.shape != like.shape:
            raise WeightsError(
                f"{what}: {path.name}: {old} is {tuple(tensor.shape)}, expected {tuple(like.shape)} ({name})",
                code="weights-shape",
                tensor=old,
                found=list(tensor.shape),
                expected=list(like.shape),
            )
        named[name] = tensor.contiguous()
    save_file(named, target, metadata={"format": "pt"})
