"""Which code a plugin is: what its distribution installed, and what is on the disk now."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zoo._support.files import sha256_bytes, sha256_file

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["contents_of", "find_changed_files", "record_of"]

_INSTALLERS_OWN = frozenset({"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})

_CODE = frozenset({".py", ".pyd", ".pyi", ".so", ".yaml", ".json", ".toml"})
"""What is executed, and the small data that decides how."""


def record_of(point: EntryPoint) -> str | None:
    """sha256 over path and sha256 of every file of the distribution that a plugin comes from, by its RECORD.

    What an installer adds (scripts, byte code, its own notes) is left out, so one wheel gives one value everywhere.

    Returns:
        Hexadecimal; None: no RECORD, or an editable installation, whose RECORD does not list the code.
    """
    if point.dist is None:
        return None
    try:
        origin = json.loads(point.dist.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            return None
        rows = sorted(
            f"{file.as_posix()},{file.hash.value}\n"
            for file in point.dist.files or ()
            if file.hash is not None and ".." not in file.parts and file.name not in _INSTALLERS_OWN
        )
    except (OSError, ValueError, AttributeError):  # a damaged installation is named by the doctor
        return None
    return sha256_bytes("".join(rows).encode()) if rows else None


def contents_of(module: str) -> str | None:
    """sha256 over path and sha256 of the code of the imported top-level package that `module` belongs to.

    Unlike `record_of` this reads the files themselves, so it changes with an edit, in an editable installation, too.

    Returns:
        Hexadecimal; None: the package is not made of files, such as one in a zip.
    """
    top = sys.modules.get(module.partition(".")[0])
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    files = [
        (path.relative_to(folder).as_posix(), path)
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in _CODE and path.is_file()
    ]
    if not folders and getattr(top, "__file__", None):
        files = [(Path(str(top.__file__)).name, Path(str(top.__file__)))]  # type: ignore[union-attr]
    try:
        rows = sorted(f"{name},{sha256_file(path)}\n" for name, path in files)
    except OSError:
        return None
    return sha256_bytes("".join(rows).encode("utf-8", "surrogateescape")) if rows else None


def find_changed_files(point: EntryPoint) -> tuple[str, ...]:
    """Files of the distribution that are gone or are not what was installed, by its RECORD; none where it has none."""
    if point.dist is None or record_of(point) is None:
        return ()
    changed = []
    for file in point.dist.files or ():
        if file.hash is None or file.hash.mode != "sha256" or ".." in file.parts or file.name in _INSTALLERS_OWN:
            continue
        try:
            actual = sha256_file(Path(str(file.locate())))
        except OSError:
            actual = ""
        recorded = base64.urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4)).hex()
        if actual != recorded:
            changed.append(file.as_posix())
    return tuple(changed)
