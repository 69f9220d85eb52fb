"""Putting a signature on a bundle that is whole, so that a crash leaves the bundle as it was or signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo._support.files import atomic_path, atomic_write
from zoo.edge.bundle._archive import Archive, write_archive
from zoo.edge.bundle._opening import MANIFEST, is_archive, open_model
from zoo.edge.bundle._signature import SIGNATURE, make_signature
from zoo.errors import ModelError
from zoo.spec import Display

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Signing", "sign"]

_MAX_BYTES = 2**31 - 1  # a member was held to less when the bundle was opened


class Signing(Display, msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that is signed."""

    path: str
    name: str
    """Name of the model."""
    key: str
    """Fingerprint of the key."""
    manifest: str
    """sha256 of the manifest that was signed."""

    def headline(self) -> str:
        """What was signed, and by which key."""
        return f"{self.name} in {self.path}, by key {self.key}"


def sign(path: Path | str, key: Path | str) -> Signing:
    """Sign a bundle, after every file in it was found to be the one its manifest lists.

    Args:
        path: a bundle NAME.zoo or NAME.zoo.zip; a signature that it bears is replaced, whosever it was.
        key: file of the private key.

    Raises:
        TamperedError: files are not the ones the manifest lists; such a bundle is not signed.
        ModelError: no bundle, or one that cannot be opened.
        SigningKeyError: no private Ed25519 key, or one whose passphrase is not given.
        OutputError: it cannot be written; the bundle is as it was.
    """
    path = Path(path)
    if path.is_file() and not is_archive(path):
        raise ModelError(
            f"{path}: a lone file has no manifest to sign; make a bundle, 'zoo export --onnx --bundle'",
            code="bundle-expected",
        )
    contents = open_model(path, resigning=True)
    document, name = contents.document, contents.manifest.name
    del contents  # the model need not be held twice
    made, who, digest = make_signature(document, Path(key))
    if is_archive(path):
        with atomic_path(path) as fresh, Archive(path) as archive:  # closed before it is replaced
            write_archive(fresh, _members(archive, made.document))
    else:
        atomic_write(path / SIGNATURE, made.document)
    return Signing(path=str(path), name=name, key=who, manifest=digest)


def _members(archive: Archive, signature: bytes) -> Iterator[tuple[str, bytes]]:
    """Every file of the bundle in the order of `zoo.artefact._bundle`, read when it is its turn."""
    yield MANIFEST, archive.read(MANIFEST, _MAX_BYTES)
    yield SIGNATURE, signature
    for name in sorted(archive.names - {MANIFEST, SIGNATURE}):
        yield name, archive.read(name, _MAX_BYTES)
