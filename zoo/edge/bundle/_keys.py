"""Ed25519 keys in files: PEM as OpenSSL writes it, the private half readable by its owner only.

A key's fingerprint is the sha256 of its public half in DER:
`openssl pkey -pubin -in PATH.pub -outform DER | sha256sum`.

What this module does not know: what is signed with them.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from typing import TYPE_CHECKING, Any, cast

from zoo._support.files import refuse_unwritable, sha256_bytes
from zoo._support.text import join_lines, quote_path
from zoo.errors import SigningKeyError, ZooError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["PASSPHRASE", "fingerprint", "new_key", "private_key", "public_key"]

PASSPHRASE = "ZOO_KEY_PASSPHRASE"  # noqa: S105 - its name, not the thing
"""Environment variable that locks a new private key and opens a locked one; an argument could be seen by others."""

_MAX_BYTES = 16 * 1024
_PRIME = 2**255 - 19
_EIGHTH = int("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", 16)
_SMALL = {0, 1, _PRIME - 1, _EIGHTH, _PRIME - _EIGHTH}
"""y of the eight points of edwards25519 whose order divides 8 (RFC 8032, section 5.1): -x² + y² = 1 + d x² y² with
the double of the eighth points at y = 0, so that 2 y² = 1 - d y⁴."""

log = logging.getLogger("zoo")


def new_key(path: Path) -> str:
    """Make a key: the private half at `path`, readable by its owner only, and the public half at `path`.pub.

    Returns:
        The fingerprint.

    Raises:
        SigningKeyError: one of the two files is there already; a key is never replaced.
        OutputError: they cannot be written.
        ZooError: cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    public_path = path.with_name(f"{path.name}.pub")
    for there in (path, public_path):
        if os.path.lexists(there):
            raise SigningKeyError(
                f"{there} exists, and a key is never replaced; choose another name",
                code="out-occupied",
                path=str(there),
            )
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
    return fingerprint(key.public_key())


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        SigningKeyError: not a public Ed25519 key in PEM, or one of so small an order that signatures by it are found
            without its private half.
        ZooError: cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    data = _key_bytes(path)
    if b"PRIVATE KEY" in data:
        raise SigningKeyError(
            f"{path}: a private key, expected the public one to check with; give {path}.pub", code="key-other-half"
        )
    try:
        key = serialization.load_pem_public_key(data)
    except Exception as problem:  # cryptography raises many kinds for bytes that are not a key
        raise _no_key(path, "public", problem) from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SigningKeyError(
            f"{path}: a {type(key).__name__}, expected an Ed25519 key; make one with --new-key",
            code="key-malformed",
            found=type(key).__name__,
        )
    form = serialization.PublicFormat.Raw
    y = int.from_bytes(key.public_bytes(serialization.Encoding.Raw, form), "little") % 2**255  # without the sign of x
    if y in _SMALL or y >= _PRIME:
        raise SigningKeyError(
            f"{path}: a key that anybody can sign for; get the signer's key from the signer", code="key-weak"
        )
    return cast("Ed25519PublicKey", key)


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key, opened by the passphrase in `PASSPHRASE` where it is locked.

    Raises:
        SigningKeyError: not a private Ed25519 key in PEM, or one whose passphrase is missing or wrong.
        ZooError: cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    data = _key_bytes(path)
    if b"PUBLIC KEY" in data:
        raise SigningKeyError(
            f"{path}: a public key, expected the private one to sign with; leave out '.pub'", code="key-other-half"
        )
    secret = os.environ.get(PASSPHRASE, "").encode() or None
    locked = b"ENCRYPTED" in data
    if locked and secret is None:
        raise SigningKeyError(
            f"{path}: locked by a passphrase; give it in the environment variable {PASSPHRASE}", code="key-locked"
        )
    try:
        key = serialization.load_pem_private_key(data, secret if locked else None)
    except Exception as problem:  # as above; a wrong passphrase, too
        if locked:
            raise SigningKeyError(
                f"{path}: {PASSPHRASE} does not open it; give the passphrase it was made with", code="key-passphrase"
            ) from None
        raise _no_key(path, "private", problem) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SigningKeyError(
            f"{path}: a {type(key).__name__}, expected an Ed25519 key; make one with --new-key",
            code="key-malformed",
            found=type(key).__name__,
        )
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        said = "%s can be read by other users of this machine; 'chmod 600 %s' keeps them out"
        log.warning(said, path, quote_path(path))
    return cast("Ed25519PrivateKey", key)


def fingerprint(key: Ed25519PublicKey) -> str:
    """64 hexadecimal digits."""
    serialization, _ = _cryptography()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256_bytes(key.public_bytes(serialization.Encoding.DER, form))


def _key_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise FileNotFoundError(errno.ENOENT, "no such regular file")
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as problem:
        reason = (getattr(problem, "strerror", None) or str(problem)).lower()
        raise SigningKeyError(
            f"{path}: cannot be read ({reason}); expected a key made by 'zoo sign --new-key'",
            code="file-unreadable",
            cause=reason,
        ) from None
    if len(data) > _MAX_BYTES:
        raise SigningKeyError(
            f"{path}: over {_MAX_BYTES} bytes, expected a key made by 'zoo sign --new-key'", code="key-malformed"
        )
    return data


def _no_key(path: Path, which: str, problem: Exception) -> SigningKeyError:
    reason = join_lines(problem).partition(". ")[0] or type(problem).__name__
    return SigningKeyError(
        f"{path}: no {which} key in PEM ({reason}); give one made by 'zoo sign --new-key'",
        code="key-malformed",
        expected=which,
    )


def _create(path: Path, data: bytes, mode: int) -> None:
    """Write a new file with these rights from its first byte on."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        with open(handle, "wb") as stream:  # noqa: PTH123 - a handle, not a path
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise SigningKeyError(
            f"{path} exists, and a key is never replaced; choose another name", code="out-occupied", path=str(path)
        ) from None
    except OSError as problem:
        path.unlink(missing_ok=True)
        raise refuse_unwritable(path, problem, "choose another place") from None


def _cryptography() -> tuple[Any, Any]:
    """Its modules serialization and ed25519."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ZooError(
            "signatures need cryptography, which is not installed: pip install 'edgezoo[sign]'",
            code="package-missing",
            package="cryptography",
            extra="sign",
        ) from None
    return serialization, ed25519
