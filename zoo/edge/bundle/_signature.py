"""Who vouches for a bundle: an Ed25519 signature over its manifest, made and checked without a network.

signature.json lies beside the manifest and is not listed in it. It is a DSSE envelope
(https://github.com/secure-systems-lab/dsse, version 1) around an in-toto statement (version 1), whose one subject is
manifest.json with its sha256. The statement binds the manifest's bytes, and through them the hash and size of every
file; the envelope's payload type keeps a signature of anything else from being taken for one of a bundle. There is one
signature; signing again replaces it. Ed25519 is RFC 8032; it draws no random numbers, so the same key gives the same
bytes.

Bundles signed before the envelope hold a `_First` instead, over two lines of text; they still verify.

What this module does not know: whether the files are those that the manifest lists (`zoo.edge.bundle`).
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from zoo._support.files import sha256_bytes
from zoo._support.text import join_lines
from zoo.edge.bundle._keys import fingerprint, private_key, public_key
from zoo.errors import SignatureError
from zoo.spec import encode

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["SIGNATURE", "Envelope", "check_signature", "make_signature"]

SIGNATURE = "signature.json"

_MAX_BYTES = 4096
_HEX = re.compile(r"[0-9a-f]{64}")
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT = (
    '{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"manifest.json","digest":{"sha256":"%s"}}],'
    '"predicateType":"https://github.com/edgezoo/edgezoo/bundle/v1","predicate":{}}'
)
"""The payload, byte by byte; the predicate's type is a name and is never looked up."""
_FIRST_STATEMENT = "edgezoo bundle signature, version 1\nmanifest.json sha256 %s\n"


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    keyid: str
    """Fingerprint of the key, 64 hexadecimal digits. It says which key to try, and proves nothing."""
    sig: str
    """64 bytes in base64."""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """signature.json."""

    payload: str
    """The statement in base64."""
    payload_type: Literal["application/vnd.in-toto+json"] = msgspec.field(name="payloadType")
    signatures: tuple[_Entry]

    @property
    def document(self) -> bytes:
        """The file's bytes."""
        return encode(self)


class _First(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """signature.json as it was written before the envelope."""

    schema: Literal[1]
    algorithm: Literal["ed25519"]
    key: str
    manifest: str
    signature: str


class _Claim(NamedTuple):
    """What a signature says, whichever its form."""

    key: str
    manifest: str
    """sha256 of the manifest that was signed."""
    signature: bytes
    message: bytes
    """What the signature is over."""


def make_signature(manifest: bytes, key: Path) -> tuple[Envelope, str, str]:
    """Sign a manifest.

    Args:
        manifest: bytes of the bundle's manifest.json.
        key: file of the private key.

    Returns:
        The envelope, the key's fingerprint, and the manifest's sha256.

    Raises:
        SigningKeyError: no private Ed25519 key, or one whose passphrase is not given.
        ZooError: cryptography is not installed.
    """
    private = private_key(key)
    digest, who = sha256_bytes(manifest), fingerprint(private.public_key())
    payload = (_STATEMENT % digest).encode()
    entry = _Entry(keyid=who, sig=base64.b64encode(private.sign(_pre_authentication(payload))).decode())
    made = Envelope(payload=base64.b64encode(payload).decode(), payload_type=_PAYLOAD_TYPE, signatures=(entry,))
    return made, who, digest


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
        SignatureError: the code says why.
        SigningKeyError: `key` is not a public Ed25519 key.
        ZooError: a key is given and cryptography is not installed.
    """
    public = None if key is None else public_key(key)
    if document is None:
        if key is None:
            return None
        raise SignatureError(
            f"{shown}: not signed, expected a signature by the key {key}; get the signed bundle from where it was made",
            code="signature-missing",
        )
    found = _parse(shown, document)
    if public is not None:
        if found.key != fingerprint(public):
            raise SignatureError(
                f"{shown}: signed by key {found.key}, expected {fingerprint(public)} ({key}); "
                "do not use it unless you know that key",
                code="signature-key",
                found=found.key,
                expected=fingerprint(public),
            )
        if not _fits(public, found.signature, found.message):
            raise SignatureError(
                f"{shown}: the signature names key {found.key} and was not made with it; do not use this bundle",
                code="signature-invalid",
                found=found.key,
            )
    actual = sha256_bytes(manifest)
    if found.manifest != actual:
        raise SignatureError(
            f"{shown}: the signature is of a manifest with sha256 {found.manifest}, this one has {actual}; "
            "get the bundle again from where it was made, or sign it again if the change was yours",
            code="signature-manifest",
            found=found.manifest,
            expected=actual,
        )
    return found.key


def _parse(shown: str, document: bytes) -> _Claim:
    """The claim of either form; whatever is not exactly as we write it is refused."""
    if len(document) > _MAX_BYTES:
        raise SignatureError(
            f"{shown}: {SIGNATURE} has {len(document)} bytes, expected at most {_MAX_BYTES}", code="signature-malformed"
        )
    try:
        json.loads(document, object_pairs_hook=_refuse_twice)
        return _parse_first(document) if b'"schema"' in document else _parse_envelope(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as caught:
        problem = join_lines(caught)
    raise SignatureError(
        f"{shown}: {SIGNATURE} is not a signature ({problem}); get the bundle again from where it was made",
        code="signature-malformed",
    )


def _parse_envelope(document: bytes) -> _Claim:
    found = msgspec.json.decode(document, type=Envelope)
    payload, (entry,) = _plain(found.payload), found.signatures
    digest = next(iter(_HEX.findall(payload.decode("ascii"))), "")
    if payload != (_STATEMENT % digest).encode():
        raise ValueError("its payload is not a statement about the manifest of a bundle")
    return _claim(entry.keyid, digest, entry.sig, _pre_authentication(payload))


def _parse_first(document: bytes) -> _Claim:
    found = msgspec.json.decode(document, type=_First)
    return _claim(found.key, found.manifest, found.signature, (_FIRST_STATEMENT % found.manifest).encode())


def _claim(key: str, manifest: str, signature: str, message: bytes) -> _Claim:
    if not _HEX.fullmatch(key) or not _HEX.fullmatch(manifest):
        raise ValueError("key and manifest are not 64 hexadecimal digits each")
    raw = _plain(signature)
    if len(raw) != 64:
        raise ValueError("the signature is not 64 bytes in base64")
    return _Claim(key, manifest, raw, message)


def _plain(text: str) -> bytes:
    """What base64 holds, in its one canonical spelling."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("its base64 is not spelt as it is written")
    return raw


def _pre_authentication(payload: bytes) -> bytes:
    """PAE of the DSSE protocol: what is signed, so that no payload can be read as another type."""
    return b"DSSEv1 %d %b %d %b" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _refuse_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a key that is given twice: two readers could take different values."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _fits(key: Ed25519PublicKey, signature: bytes, statement: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, statement)
    except InvalidSignature:
        return False
    return True
