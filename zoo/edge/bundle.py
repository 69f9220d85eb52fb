"""A model on disk: a lone .onnx, or a folder NAME.zoo that also holds its manifest, golden set and report.

Everything that can be said without running the network is said here: that the files are the ones the manifest
lists, that the ONNX file stands alone, that it was written by this tool and by a version we understand. The
model leaves this module as bytes, so that what was checked is what gets run and no path can lead elsewhere.

What this module does not know: ONNX Runtime, images, providers.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from zoo.edge.wire import Outline, outline
from zoo.errors import ModelError
from zoo.files import sha256_bytes
from zoo.spec import SCHEMA, Manifest, decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["GOLDEN", "MANIFEST", "METADATA_KEY", "MODEL", "Contents", "open_model"]

MANIFEST = "manifest.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
METADATA_KEY = "zoo"
"""Key of the manifest in the ONNX metadata_props."""

_MAX_BYTES = 2**31 - 1  # what one protobuf message can be
_MAX_MANIFEST_BYTES = 16 * 2**20
_OPSETS = range(13, 29)  # ai.onnx: from the first with per-channel QuantizeLinear to the newest of onnx 1.23
_DOMAINS = {"", "ai.onnx.ml"}
_BUNDLE_ONLY = ("files", "sizes")  # an ONNX file can not hold its own hash
_MAGIC = {
    b"PK": "a zip archive",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x1f\x8b": "a gzip file",
    b"\x89P": "a PNG image",
    b"{": "JSON or text",
    b"<": "HTML or XML",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}


@dataclass(frozen=True, slots=True)
class Contents:
    """What a model on disk holds, read once.

    Attributes:
        model: the ONNX file's bytes, walked and found fit to be opened.
        manifest: of the bundle; for a lone file the one in its metadata.
        files: name to bytes of the bundle's other files that were asked for.
        checked: names of all files whose hash was compared; empty for a lone file.
    """

    model: bytes
    manifest: Manifest
    files: dict[str, bytes]
    checked: tuple[str, ...]


def open_model(
    path: Path, *, keep: tuple[str, ...] = (), mismatch: Callable[[str], Exception] = ModelError
) -> Contents:
    """Read and check a model, everything but the run.

    Args:
        path: a .onnx file, or a bundle's folder.
        keep: names of other bundle files whose bytes are wanted.
        mismatch: makes the error of files that are not the ones the manifest lists.

    Raises:
        ModelError: not a file, not ONNX, not ours, damaged, or not fit to be opened. The line names what was
            found and what to do; for a bundle it lists every wrong file, with expected and actual hash.
    """
    if path.is_dir():
        return _bundle(path, keep, mismatch)
    model = _read(path, str(path), _MAX_BYTES, plain=False)
    return Contents(model, _embedded(model, str(path)), {}, ())


def _bundle(folder: Path, keep: tuple[str, ...], mismatch: Callable[[str], Exception]) -> Contents:
    if not (folder / MANIFEST).exists():
        raise ModelError(
            f"{folder}: a folder without {MANIFEST}, expected a .onnx file or a bundle; "
            "write one with 'zoo export --onnx --bundle'"
        )
    document = _read(folder / MANIFEST, str(folder / MANIFEST), _MAX_MANIFEST_BYTES, plain=True)
    manifest = _manifest(document, str(folder / MANIFEST))
    problems = _names(folder, manifest)
    held: dict[str, bytes] = {}
    for name in sorted(manifest.files):
        if any(problem.startswith(f"{name} ") for problem in problems):
            continue
        data = _read(folder / name, str(folder / name), _MAX_BYTES, plain=True)
        if problem := _differs(name, data, manifest):
            problems.append(problem)
        if name == MODEL or name in keep:
            held[name] = data
    if problems:
        raise mismatch(f"{folder}: {'; '.join(problems)}; copy the bundle again from where it was made")
    if MODEL not in held:
        raise ModelError(f"{folder}: {MANIFEST} lists no {MODEL}; export the bundle again")
    embedded = _embedded(held[MODEL], str(folder / MODEL))
    for field in msgspec.structs.fields(Manifest):
        if field.name not in _BUNDLE_ONLY and getattr(embedded, field.name) != getattr(manifest, field.name):
            raise mismatch(
                f"{folder}: {MANIFEST} and the manifest inside {MODEL} differ in '{field.name}'; copy the bundle again"
            )
    return Contents(held.pop(MODEL), manifest, held, tuple(sorted(manifest.files)))


def _names(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the folder's listing; each line begins with the name of the entry."""
    try:
        entries = {entry.name: entry for entry in os.scandir(folder)}
    except OSError as problem:
        raise ModelError(f"{folder}: can not be read ({_reason(problem)})") from None
    problems = [f"{name} is missing" for name in sorted(manifest.files.keys() - entries.keys())]
    folded: dict[str, str] = {}
    for name in sorted(entries):
        if name != MANIFEST and name not in manifest.files:
            problems.append(f"{name!r} is not listed in {MANIFEST}")
        elif entries[name].is_symlink():
            problems.append(f"{name} is a symbolic link, expected a regular file")
        elif not entries[name].is_file():
            problems.append(f"{name} is not a regular file")
        elif (folder / name).lstat().st_nlink > 1:
            problems.append(f"{name} has a second name elsewhere (hard link), expected a file of its own")
        key = unicodedata.normalize("NFC", name).casefold()
        if key in folded:
            problems.append(f"{name!r} and {folded[key]!r} are one name on other systems")
        folded[key] = name
    return problems


def _differs(name: str, data: bytes, manifest: Manifest) -> str | None:
    actual = sha256_bytes(data)
    if actual != manifest.files[name]:
        return f"{name} has sha256 {actual}, expected {manifest.files[name]}"
    if manifest.sizes.get(name, len(data)) != len(data):
        return f"{name} has {len(data)} bytes, expected {manifest.sizes[name]}"
    return None


def _read(path: Path, shown: str, limit: int, *, plain: bool) -> bytes:
    """The bytes of a regular file; `plain` refuses links, on the open file so that no swap slips in."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags | (getattr(os, "O_NOFOLLOW", 0) if plain else 0))
        with open(handle, "rb") as stream:  # noqa: PTH123 - a handle, not a path
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or (plain and status.st_nlink > 1):
                raise ModelError(f"{shown}: not a regular file of its own; copy it to one")
            if status.st_size > limit:
                raise ModelError(f"{shown}: {status.st_size} bytes, expected at most {limit}")
            return stream.read()
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        raise ModelError(
            f"{shown}: can not be opened ({_reason(problem)}); expected a .onnx file or a bundle's folder"
        ) from None


def _embedded(model: bytes, shown: str) -> Manifest:
    if not model:
        raise ModelError(f"{shown}: empty file (0 bytes), expected an ONNX model; copy or export it again")
    for magic, what in _MAGIC.items():
        if model.startswith(magic):
            raise ModelError(f"{shown}: {what}, expected an ONNX model; export one with 'zoo export --onnx'")
    found = outline(model, shown)
    _vet(found, shown)
    if METADATA_KEY not in found.metadata:
        raise ModelError(
            f"{shown}: no '{METADATA_KEY}' metadata, so not exported by this tool; write one with 'zoo export --onnx'"
        )
    return _manifest(found.metadata[METADATA_KEY].encode(), f"{shown}: metadata '{METADATA_KEY}'")


def _vet(found: Outline, shown: str) -> None:
    version = found.opsets.get("")
    if version not in _OPSETS:
        raise ModelError(
            f"{shown}: opset {version if version is not None else 'missing'}, "
            f"expected {_OPSETS.start} to {_OPSETS.stop - 1}; export the model again"
        )
    foreign = sorted(f"{domain}:{operator}" for domain, operator in found.operators if domain not in _DOMAINS)
    if foreign:
        raise ModelError(
            f"{shown}: operator {foreign[0][:80]!r} is not standard ONNX, expected ai.onnx or ai.onnx.ml only"
        )
    if found.functions:
        raise ModelError(f"{shown}: {found.functions} local functions, expected none; inline them before export")
    if ("", "Loop") in found.operators:
        raise ModelError(f"{shown}: operator 'Loop' may never end, expected a network without it")


def _manifest(document: bytes, shown: str) -> Manifest:
    if len(document) > _MAX_MANIFEST_BYTES:
        raise ModelError(f"{shown}: {len(document)} bytes, expected at most {_MAX_MANIFEST_BYTES}")
    manifest = decode(document, Manifest, shown, ModelError)
    wrong = None
    if manifest.schema != SCHEMA:
        wrong = f"schema {manifest.schema}, expected {SCHEMA}; export the model again, or update this tool"
    elif not manifest.labels or len(set(manifest.labels)) != len(manifest.labels):
        wrong = f"{len(manifest.labels)} labels, {len(set(manifest.labels))} different; expected one name a class"
    elif {"probabilities", "logits"} - set(manifest.outputs):
        wrong = f"outputs {', '.join(manifest.outputs) or 'none'}; expected probabilities and logits"
    if wrong:
        raise ModelError(f"{shown}: {wrong}")
    return manifest


def _reason(problem: Exception) -> str:
    return (getattr(problem, "strerror", None) or str(problem)).lower()
