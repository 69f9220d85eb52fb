"""Who vouches for a bundle: an Ed25519 signature over its manifest, made and checked without a network.

signature.json stands beside the manifest and is not listed in it. What is signed is one statement,

    edgezoo bundle signature, version 1
    manifest.json sha256 HEX

with a line feed after each line: the first line keeps a signature of anything else from being taken for one of a
bundle, the second binds the manifest's bytes as they stand, and through them the hash and size of every file. There is
one signature; signing again replaces it. Ed25519 is RFC 8032; it draws no random numbers, so the same key gives the
same bytes. Keys are PEM, as OpenSSL writes them, and a key's fingerprint is the sha256 of its public half in DER:
`openssl pkey -pubin -in PATH.pub -outform DER | sha256sum`.

What this module does not know: whether the files are those that the manifest lists (`zoo.edge.bundle`).
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from zoo.errors import (
    OtherManifestError,
    OutputError,
    SignatureInvalidError,
    SignatureMalformedError,
    SignatureMissingError,
    SigningKeyError,
    UnknownKeyError,
    ZooError,
)
from zoo.files import sha256_bytes
from zoo.spec import encode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["PASSPHRASE", "SIGNATURE", "Signature", "check_signature", "new_key", "public_key", "signed"]

SIGNATURE = "signature.json"
PASSPHRASE = "ZOO_KEY_PASSPHRASE"  # noqa: S105 - its name, not the thing
"""Environment variable that locks a new private key and opens a locked one; an argument could be seen by others."""

_MAX_BYTES = 4096
_STATEMENT = "edgezoo bundle signature, version 1\nmanifest.json sha256 {}\n"
_HEX = re.compile(r"[0-9a-f]{64}")
_MAX_KEY_BYTES = 16 * 1024

log = logging.getLogger("zoo")


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


def new_key(path: Path) -> str:
    """Make a key: the private half at `path`, readable by its owner only, and the public half at `path`.pub.

    Returns:
        The fingerprint.

    Raises:
        SigningKeyError: one of the two files is there already; a key is never replaced.
        OutputError: they can not be written.
        ZooError: cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    public_path = path.with_name(f"{path.name}.pub")
    for there in (path, public_path):
        if os.path.lexists(there):
            raise SigningKeyError(f"{there} exists, and a key is never replaced; choose another name")
    key = ed25519.Ed25519PrivateKey.generate()
    secret = os.environ.get(PASSPHRASE, "").encode()
    lock = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    _create(path, private, 0o600)
    try:
        _create(public_path, key.public_key().public_bytes(serialization.Encoding.PEM, form), 0o644)
    except ZooError:
        path.unlink()
        raise
    return _fingerprint(key.public_key())


def signed(manifest: bytes, key: Path) -> Signature:
    """The signature of a manifest.

    Args:
        manifest: manifest.json as it stands in the bundle.
        key: file of the private key.

    Raises:
        SigningKeyError: no private Ed25519 key, or one whose passphrase is not given.
        ZooError: cryptography is not installed.
    """
    private = _private(key)
    digest = sha256_bytes(manifest)
    return Signature(
        key=_fingerprint(private.public_key()),
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
        if found.key != _fingerprint(public):
            raise UnknownKeyError(
                f"{shown}: signed by key {found.key}, expected {_fingerprint(public)} ({key}); "
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


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        SigningKeyError: not a public Ed25519 key in PEM.
        ZooError: cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    data = _key_bytes(path)
    if b"PRIVATE KEY" in data:
        raise SigningKeyError(f"{path}: a private key, expected the public one to check with; give {path}.pub")
    try:
        key = serialization.load_pem_public_key(data)
    except Exception as problem:  # cryptography raises many kinds for bytes that are no key
        raise _no_key(path, "public", problem) from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SigningKeyError(f"{path}: a {type(key).__name__}, expected an Ed25519 key; make one with --new-key")
    return cast("Ed25519PublicKey", key)


def _private(path: Path) -> Ed25519PrivateKey:
    serialization, ed25519 = _cryptography()
    data = _key_bytes(path)
    if b"PUBLIC KEY" in data:
        raise SigningKeyError(f"{path}: a public key, expected the private one to sign with; leave out '.pub'")
    secret = os.environ.get(PASSPHRASE, "").encode() or None
    locked = b"ENCRYPTED" in data
    if locked and secret is None:
        raise SigningKeyError(f"{path}: locked by a passphrase; give it in the environment variable {PASSPHRASE}")
    try:
        key = serialization.load_pem_private_key(data, secret if locked else None)
    except Exception as problem:  # as above; a wrong passphrase, too
        raise _no_key(path, "private", problem) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SigningKeyError(f"{path}: a {type(key).__name__}, expected an Ed25519 key; make one with --new-key")
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("%s can be read by other users of this machine; 'chmod 600 %s' keeps them out", path, path)
    return cast("Ed25519PrivateKey", key)


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


def _fingerprint(key: Ed25519PublicKey) -> str:
    serialization, _ = _cryptography()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256_bytes(key.public_bytes(serialization.Encoding.DER, form))


def _key_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_KEY_BYTES + 1)
    except (OSError, ValueError) as problem:
        reason = (getattr(problem, "strerror", None) or str(problem)).lower()
        raise SigningKeyError(
            f"{path}: can not be read ({reason}); expected a key made by 'zoo sign --new-key'"
        ) from None
    if len(data) > _MAX_KEY_BYTES:
        raise SigningKeyError(f"{path}: over {_MAX_KEY_BYTES} bytes, expected a key made by 'zoo sign --new-key'")
    return data


def _no_key(path: Path, which: str, problem: Exception) -> SigningKeyError:
    reason = " ".join(str(problem).split())[:120] or type(problem).__name__
    return SigningKeyError(f"{path}: no {which} key in PEM, or a wrong passphrase ({reason}); see 'zoo sign --help'")


def _create(path: Path, data: bytes, mode: int) -> None:
    """Write a new file with these rights from its first byte on."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        with open(handle, "wb") as stream:  # noqa: PTH123 - a handle, not a path
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise SigningKeyError(f"{path} exists, and a key is never replaced; choose another name") from None
    except OSError as problem:
        path.unlink(missing_ok=True)
        reason = (problem.strerror or str(problem)).lower()
        raise OutputError(f"cannot write {path}: {reason}; choose another place") from None


def _cryptography() -> tuple[Any, Any]:
    """Its modules serialization and ed25519."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ZooError("signatures need cryptography, which is not installed: pip install 'edgezoo[sign]'") from None
    return serialization, ed25519
