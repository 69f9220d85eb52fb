"""A model on disk: a lone .onnx, or a bundle, NAME.zoo or NAME.zoo.zip, with its manifest, golden set and report.

This module checks everything that needs no run of the network. It checks that the files are the ones the manifest
lists, and that the ONNX file needs no other file. It checks that this tool wrote it, in a version that we understand.
The model leaves this module as bytes. So the bytes that were checked are the bytes that run, and no path can lead
elsewhere.

What this module does not know: ONNX Runtime, images, providers.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo._support.files import sha256_bytes
from zoo.edge.bundle._archive import SUFFIX, Archive
from zoo.edge.bundle._folder import Folder, read_file
from zoo.edge.bundle._signature import SIGNATURE, check_signature
from zoo.edge.vet import check
from zoo.errors import ModelError, SignatureError, TamperedError
from zoo.spec import MODEL_JSON, SCHEMA, FormatManifest, Manifest, decode

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.edge.vet import Outline

__all__ = [
    "CHECKSUM_KEY",
    "GOLDEN",
    "MANIFEST",
    "MAX_MANIFEST_BYTES",
    "METADATA_KEY",
    "MODEL",
    "Contents",
    "Signed",
    "is_archive",
    "open_model",
]

Signed = Literal["none", "not checked", "valid"]

MANIFEST = "manifest.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
METADATA_KEY = "zoo"
"""Key of the manifest in the ONNX metadata_props."""
CHECKSUM_KEY = "zoo.sha256"
"""Key of the hash of the ONNX file without this entry, in hexadecimal; files of release 0.0 have none."""

_MAX_BYTES = 2**31 - 1  # what one protobuf message can be
MAX_MANIFEST_BYTES = 16 * 2**20
_MOST_FILES = 64  # of a bundle; ours have eight
_BUNDLE_ONLY = ("files", "sizes", "golden")  # an ONNX file cannot hold its own hash, and holds no image
_MAGIC = {
    b"PK": "a zip archive",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x1f\x8b": "a gzip file",
    b"\x89P": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"-----BEGIN": "a key in PEM",
    b"{": "JSON or text",
    b"<": "HTML or XML",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}


_HEAD = 512
"""Bytes of a file that say whether it is a text."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a model on disk holds, read once.

    Attributes:
        model: the ONNX file's bytes, walked and found fit to be opened.
        manifest: manifest of the bundle; for a lone file the one in its metadata.
        files: name to bytes of the bundle's other files that were asked for.
        checked: names of all files whose hash was compared; empty for a lone file.
        nodes: number of nodes of the ONNX file.
        document: bytes of manifest.json; empty for a lone file.
        signed: valid: by the key that was given. not checked: there is a signature, and no key was given.
        signer: fingerprint of the key that the signature names.
    """

    model: bytes
    manifest: Manifest
    files: dict[str, bytes]
    checked: tuple[str, ...]
    nodes: int
    document: bytes = b""
    signed: Signed = "none"
    signer: str | None = None

    @property
    def sha256(self) -> str:
        """Hash of the ONNX file, hexadecimal; what a lone file says of its own is not believed."""
        return self.manifest.files[MODEL] if MODEL in self.checked else sha256_bytes(self.model)


def open_model(
    path: Path,
    *,
    keep: tuple[str, ...] = (),
    key: Path | None = None,
    resigning: bool = False,
) -> Contents:
    """Read and check a model, everything but the run.

    Args:
        path: a .onnx file, a bundle's folder, or a bundle in one file, NAME.zoo.zip.
        keep: names of other bundle files whose bytes are wanted.
        key: file of a public key; only what that key has signed is opened, and a lone file never is.
        resigning: leave a signature out of account, because it is about to be replaced.

    Raises:
        ModelError: not a file, not ONNX, not ours, damaged, or not fit to be opened. The line names what was
            found and what to do.
        TamperedError: files of a bundle are not the ones its manifest lists; the line lists every wrong file, with
            expected and actual hash. Or a lone file is not the one that was exported.
        SignatureError: a signature that is malformed or of another manifest; with `key`, also none, one by another
            key, or one that was not made with it.
        SigningKeyError: `key` is not a public key.
    """
    if path.is_dir():
        return _bundle(Folder(path), str(path), keep, key, resigning=resigning)
    if is_archive(path):
        with Archive(path) as archive:
            return _bundle(archive, str(path), keep, key, resigning=resigning)
    model = read_file(path, _MAX_BYTES, plain=False)
    if key is not None:
        raise SignatureError(
            f"{path}: a lone file bears no signature, expected a signed bundle NAME.zoo", code="signature-missing"
        )
    manifest, found = _read_embedded(model, str(path))
    _check_sum(model, found, str(path))
    return Contents(model, manifest, {}, (), len(found.nodes))


def is_archive(path: Path) -> bool:
    """Whether a path names a bundle in one file; a lone model never ends so."""
    return path.name.lower().endswith(SUFFIX)


def _refuse_format(held: Folder | Archive, shown: str) -> None:
    """Raise ModelError where model.json is that of 'zoo export --format'; other programs use the name, too."""
    try:
        said = decode(held.read(MODEL_JSON, MAX_MANIFEST_BYTES), FormatManifest, shown, ModelError)
    except ModelError:
        return
    raise ModelError(
        f"{shown} is a model of {said.format}, expected a .onnx file or a bundle; run it with that runtime, prove it "
        f"by 'zoo verify {shlex.quote(shown)}', or give the bundle or the ONNX file here",
        code="model-other-runtime",
        path=shown,
        format=said.format,
    )


def _bundle(
    held: Folder | Archive,
    shown: str,
    keep: tuple[str, ...],
    key: Path | None,
    *,
    resigning: bool,
) -> Contents:
    if MANIFEST not in held.names:
        if MODEL_JSON in held.names:
            _refuse_format(held, shown)
        raise ModelError(
            f"{shown}: {held.KIND} without {MANIFEST}, expected a .onnx file or a bundle; "
            "write one with 'zoo export --onnx --bundle'",
            code="bundle-manifest-missing",
        )
    document = held.read(MANIFEST, MAX_MANIFEST_BYTES)
    signature = None
    if SIGNATURE in held.names and not resigning:
        signature = held.read(SIGNATURE, MAX_MANIFEST_BYTES)
    signer = check_signature(shown, document, signature, key)  # before anything unsigned is parsed
    manifest = _manifest(document, f"{shown}/{MANIFEST}")
    problems = _names(held, manifest)
    faulty = {name for name, _ in problems}
    kept: dict[str, bytes] = {}
    for name in sorted(manifest.files):
        if name in faulty:
            continue
        data = held.read(name, _MAX_BYTES)
        if problem := _differs(name, data, manifest):
            problems.append((name, problem))
        if name == MODEL or name in keep:
            kept[name] = data
        del data  # so that only one file is in memory at a time
    if problems:
        raise TamperedError(
            f"{shown}: {'; '.join(line for _, line in problems)}; copy the bundle again from where it was made",
            code="bundle-files",
            files=sorted({name for name, _ in problems if name}),
        )
    if MODEL not in kept:
        raise ModelError(f"{shown}: {MANIFEST} lists no {MODEL}; export the bundle again", code="bundle-model-missing")
    embedded, found = _read_embedded(kept[MODEL], f"{shown}/{MODEL}")
    for field in msgspec.structs.fields(Manifest):
        if field.name not in _BUNDLE_ONLY and getattr(embedded, field.name) != getattr(manifest, field.name):
            raise TamperedError(
                f"{shown}: {MANIFEST} and the manifest inside {MODEL} differ in '{field.name}'; copy the bundle again",
                code="bundle-manifest",
                field=field.name,
            )
    if signature is not None and SIGNATURE in keep:
        kept[SIGNATURE] = signature
    signed: Signed = "none" if signer is None else "not checked" if key is None else "valid"
    files = tuple(sorted(manifest.files))
    return Contents(kept.pop(MODEL), manifest, kept, files, len(found.nodes), document, signed, signer)


def _names(held: Folder | Archive, manifest: Manifest) -> list[tuple[str, str]]:
    """(name, line) of what is wrong with the bundle's listing."""
    if len(held.names) > _MOST_FILES:
        return [("", f"{held.KIND} of {len(held.names)} files, expected at most {_MOST_FILES}")]
    own = {MANIFEST, SIGNATURE}  # nothing can hold its own hash
    listed, there = manifest.files.keys(), held.names
    problems = [(name, f"{name} is listed in {MANIFEST}, which cannot vouch for it") for name in sorted(own & listed)]
    problems += [(name, f"{name} is missing") for name in sorted(listed - there)]
    problems += [(name, f"{name!r} is not listed in {MANIFEST}") for name in sorted(there - listed - own)]
    return [*problems, *held.problems()]


def _differs(name: str, data: bytes, manifest: Manifest) -> str | None:
    actual = sha256_bytes(data)
    if actual != manifest.files[name]:
        return f"{name} has sha256 {actual}, expected {manifest.files[name]}"
    if manifest.sizes.get(name, len(data)) != len(data):
        return f"{name} has {len(data)} bytes, expected {manifest.sizes[name]}"
    return None


def _check_sum(model: bytes, found: Outline, shown: str) -> None:
    """Refuse a lone file whose bytes are not those that were exported; a bundle's manifest holds hashes of its own.

    Raises:
        TamperedError: they differ.
    """
    expected = found.metadata.get(CHECKSUM_KEY)
    if expected is None:
        return
    begin, end = found.entries[CHECKSUM_KEY]
    whole = memoryview(model)
    actual = sha256_bytes(whole[:begin], whole[end:])
    if actual != expected:
        raise TamperedError(
            f"{shown}: its bytes have sha256 {actual}, expected {expected[:64]} as exported; copy or export it again",
            code="model-checksum",
            found=actual,
            expected=expected[:64],
        )


def _read_embedded(model: bytes, shown: str) -> tuple[Manifest, Outline]:
    """The manifest within, and what the file says of itself."""
    if not model:
        raise ModelError(
            f"{shown}: empty file (0 bytes), expected an ONNX model; copy or export it again", code="model-empty"
        )
    what = next((what for magic, what in _MAGIC.items() if model.startswith(magic)), None)
    what = what or ("a text file" if _is_text(model[:_HEAD]) else None)
    if what is not None:
        raise ModelError(
            f"{shown}: {what}, expected an ONNX model; export one with 'zoo export --onnx'",
            code="model-format",
            found=what,
        )
    found = check(model, shown)
    metadata = found.metadata
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{shown}: no '{METADATA_KEY}' metadata, so not exported by this tool; write one with 'zoo export --onnx'",
            code="model-foreign",
        )
    manifest = _manifest(metadata[METADATA_KEY].encode(), f"{shown}: metadata '{METADATA_KEY}'")
    return manifest, found


def _is_text(head: bytes) -> bool:
    """Whether a file begins as a text does: the first byte of a model is a control character."""
    text = head.decode("utf-8", "ignore")
    return text.isprintable() or all(one.isprintable() or one.isspace() for one in text)


def _manifest(document: bytes, shown: str) -> Manifest:
    if len(document) > MAX_MANIFEST_BYTES:
        raise ModelError(
            f"{shown}: {len(document)} bytes, expected at most {MAX_MANIFEST_BYTES}",
            code="manifest-malformed",
            bytes=len(document),
        )
    manifest = decode(document, Manifest, shown, ModelError)
    wrong = None
    if manifest.schema != SCHEMA:
        wrong = f"schema {manifest.schema}, expected {SCHEMA}; export the model again, or update this tool"
    elif not manifest.labels or len(set(manifest.labels)) != len(manifest.labels):
        wrong = f"{len(manifest.labels)} labels, {len(set(manifest.labels))} different; expected one name a class"
    elif len(manifest.files) > _MOST_FILES:
        wrong = f"{len(manifest.files)} files listed, expected at most {_MOST_FILES}"
    elif {"probabilities", "logits"} - set(manifest.outputs):
        wrong = f"outputs {', '.join(manifest.outputs) or 'none'}; expected probabilities and logits"
    if wrong:
        raise ModelError(f"{shown}: {wrong}", code="manifest-malformed")
    return manifest
