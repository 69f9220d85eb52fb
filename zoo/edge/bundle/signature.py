"""Who vouches for a bundle: an Ed25519 signature over its manifest, made and checked without a network.

signature.json stands beside the manifest and is not listed in it. What is signed is one statement,

    edgezoo bundle signature, version 1
    manifest.json sha256 HEX

with a line feed after each line: the first line keeps a signature of anything else from being taken for one of a
bundle, the second binds the manifest's bytes as they stand, and through them the hash and size of every file. There is
one signature; signing again replaces it. Ed25519 is RFC 8032; it draws no random numbers, so the same key gives the
same bytes.

What this module does not know: whether the files are those that the manifest lists (`zoo.edge.bundle`).
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo.edge.bundle.keys import fingerprint, private_key, public_key
from zoo.errors import (
    OtherManifestError,
    SignatureInvalidError,
    SignatureMalformedError,
    SignatureMissingError,
    UnknownKeyError,
)
from zoo.files import sha256_bytes
from zoo.spec import encode

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["SIGNATURE", "Signature", "check_signature", "signed"]

SIGNATURE = "signature.json"

_MAX_BYTES = 4096
_STATEMENT = "edgezoo bundle signature, version 1\nmanifest.json sha256 {}\n"
_HEX = re.compile(r"[0-9a-f]{64}")


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """signature.json."""

    schema: Literal[1] = 1
    algorithm: Literal["ed25519"] = "ed25519"
    key: str
    """Fingerprint of the key, 64 hexadecimal digits. It says which key to try, and proves nothing."""
    manifest: str
    """sha256 of the manifest that was signed, 64 hexadecimal digits."""
    signature: str
    """64 bytes in base64."""

    @property
    def document(self) -> bytes:
        """The file's bytes."""
        return encode(self)


def signed(manifest: bytes, key: Path) -> Signature:
    """The signature of a manifest.

    Args:
        manifest: manifest.json as it stands in the bundle.
        key: file of the private key.

    Raises:
        SigningKeyError: no private Ed25519 key, or one whose passphrase is not given.
        ZooError: cryptography is not installed.
    """
    private = private_key(key)
    digest = sha256_bytes(manifest)
    return Signature(
        key=fingerprint(private.public_key()),
        manifest=digest,
        signature=base64.b64encode(private.sign(_STATEMENT.format(digest).encode())).decode(),
    )


def check_signature(shown: str, manifest: bytes, document: bytes | None, key: Path | None) -> str | None:
    """Judge a bundle's signature.

    Without a key the answer is what the signature says of itself; it is then well formed and of this manifest, and
    whoever could change the bundle could have made it.

    Args:
        shown: how errors name the bundle.
        manifest: the bytes of manifest.json.
        document: the bytes of signature.json; None: there is none.
        key: file of the public key to check with, or None.

    Returns:
        The signing key's fingerprint; None: not signed (with a key that is an error).

    Raises:
        SignatureError: the subclass says why.
        SigningKeyError: `key` is no public Ed25519 key.
        ZooError: a key is given and cryptography is not installed.
    """
    public = None if key is None else public_key(key)
    if document is None:
        if key is None:
            return None
        raise SignatureMissingError(
            f"{shown}: not signed, expected a signature by the key {key}; get the signed bundle from where it was made"
        )
    found, raw = _parsed(shown, document)
    if public is not None:
        if found.key != fingerprint(public):
            raise UnknownKeyError(
                f"{shown}: signed by key {found.key}, expected {fingerprint(public)} ({key}); "
                "do not use it unless you know that key"
            )
        if not _fits(public, raw, _STATEMENT.format(found.manifest).encode()):
            raise SignatureInvalidError(
                f"{shown}: the signature names key {found.key} and was not made with it; do not use this bundle"
            )
    actual = sha256_bytes(manifest)
    if found.manifest != actual:
        raise OtherManifestError(
            f"{shown}: the signature is of a manifest with sha256 {found.manifest}, this one has {actual}; "
            "get the bundle again from where it was made, or sign it again if the change was yours"
        )
    return found.key


def _parsed(shown: str, document: bytes) -> tuple[Signature, bytes]:
    """The document and the 64 bytes of the signature; whatever is not exactly as we write it is refused."""
    problem = None
    if len(document) > _MAX_BYTES:
        raise SignatureMalformedError(f"{shown}: {SIGNATURE} has {len(document)} bytes, expected at most {_MAX_BYTES}")
    try:
        found = msgspec.json.decode(document, type=Signature)
        raw = base64.b64decode(found.signature, validate=True)
        if len(json.loads(document, object_pairs_hook=list)) != len(Signature.__struct_fields__):
            problem = "a key is missing or stands there twice"  # two readers could take different ones
        elif len(raw) != 64 or base64.b64encode(raw).decode() != found.signature:
            problem = "the signature is not 64 bytes in base64"
        elif not _HEX.fullmatch(found.key) or not _HEX.fullmatch(found.manifest):
            problem = "key and manifest are not 64 hexadecimal digits each"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as caught:
        problem = " ".join(str(caught).split())
    if problem is not None:
        raise SignatureMalformedError(
            f"{shown}: {SIGNATURE} is no signature ({problem}); get the bundle again from where it was made"
        )
    return found, raw


def _fits(key: Ed25519PublicKey, signature: bytes, statement: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, statement)
    except InvalidSignature:
        return False
    return True
