"""The local store: one folder of files and extracted folders, each what the catalogue says it must be."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from zoo._support.files import hold_lock, refuse_unwritable, suggest_remedy
from zoo.errors import DataError
from zoo.store._places import data_folder
from zoo.store.sets._archive import extract

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from zoo.store.sets._catalogue import Variant

__all__ = ["checksum", "folder", "guard", "is_here", "keep_archive", "part_of", "path_of", "take"]


def folder() -> Path:
    """Where named sets are kept."""
    return data_folder("data")


def path_of(variant: Variant) -> Path:
    """The file or folder that a set has in the store, there or not.

    A folder bears a piece of its archive's checksum: it is complete when it is there, and another archive is
    another folder.
    """
    if variant.about.format == "zip":
        return folder() / f"{variant.set_name}-{variant.file.checksum.partition(':')[2][:12]}"
    return folder() / variant.file_name


def part_of(variant: Variant) -> Path:
    """Where a transfer grows, and stays when it is interrupted."""
    return folder() / f"{variant.file_name}.part"


def is_here(variant: Variant) -> bool:
    """Nothing is hashed."""
    return path_of(variant).exists()


def guard(variant: Variant) -> AbstractContextManager[None]:
    """Let one process at a time fetch or import this set."""
    return hold_lock(
        folder() / f".{variant.file_name}.guard", waiting=f"{variant.name}: another process is at it; waiting"
    )


def take(variant: Variant) -> Path | None:
    """The stored file or folder, None when it is not here.

    Raises:
        DataError: the file is not what the catalogue says.
    """
    path = path_of(variant)
    if not path.exists():
        return None
    if variant.about.format == "npz":
        actual = checksum(path, variant.file.algorithm)
        if actual != variant.file.checksum:
            raise DataError(
                f"{variant.name}: {path} has {actual}, the catalogue says {variant.file.checksum}; "
                f"delete it and run 'zoo data fetch {variant.name}'",
                code="set-hash",
                name=variant.name,
                found=actual,
                expected=variant.file.checksum,
            )
    return path


def keep_archive(source: Path, variant: Variant) -> Path:
    """Extract a checked archive into the store, whole or not at all.

    Raises:
        DataError: see `zoo.store.sets._archive.extract`.
        OutputError: the store cannot be written.
    """
    target = path_of(variant)
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder(), prefix=f".{variant.set_name}.") as made:
            whole = Path(made) / "whole"
            whole.mkdir()
            extract(source, variant.about.root, whole, variant.name)
            if hasattr(os, "sync"):
                os.sync()  # once for all: a folder that is there must be complete, also after a power cut
            whole.rename(target)
    except OSError as problem:
        raise refuse_unwritable(target, problem, f"{suggest_remedy(problem)} or set ZOO_HOME") from None
    return target


def checksum(path: Path, algorithm: str) -> str:
    """'md5:…' or 'sha256:…' of a file.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            # Publishers state md5. It protects against accidents, not against an attacker.
            digest = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False))
    except OSError as problem:
        raise DataError(
            f"{path}: {(problem.strerror or str(problem)).lower()}; expected a file to read",
            code="file-unreadable",
            path=str(path),
        ) from None
    return f"{algorithm}:{digest.hexdigest()}"
