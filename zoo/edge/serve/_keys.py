"""The keys of those who may ask: a file of names and tokens. Light: the command line imports it."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["TOKEN_VARIABLE", "Key", "find_key", "make_key", "read_keys"]

TOKEN_VARIABLE = "ZOO_SERVE_TOKEN"  # noqa: S105 - the variable's name
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
"""RFC 6750, section 2.1; short ones can be guessed."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LONE = "token"
"""Name of a key that was given without one."""
_MOST = 1_000_000  # bytes of a file of keys


@dataclass(frozen=True, slots=True)
class Key:
    """One caller's.

    Attributes:
        name: whose it is, in the log and for the one who revokes it.
        digest: SHA-256 of the token, which itself is not kept.
    """

    name: str
    digest: bytes = field(repr=False)


def make_key(token: str, name: str = _LONE) -> Key:
    """The key of a token.

    Raises:
        UsageError: name or token cannot be one; the token is not repeated.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a key, expected up to 64 letters, digits, _ and -", code="token-name", name=name
        )
    if not _TOKEN.fullmatch(token):
        raise UsageError(
            f"the token of {name} is not 16 to 512 letters, digits or -._~+/; make one with 'openssl rand -hex 32'",
            code="token-malformed",
            name=name,
        )
    return Key(name, hashlib.sha256(token.encode()).digest())


def read_keys(file: Path | None) -> tuple[Key, ...]:
    """The keys in `file`, or the one of the environment's ZOO_SERVE_TOKEN; none where there is neither.

    Args:
        file: a key a line, NAME TOKEN, or one token alone; '#' begins a comment.

    Raises:
        UsageError: the file cannot be read, is empty, is not text, or holds a line that is not a key or is there twice.
    """
    if file is None:
        lone = os.environ.get(TOKEN_VARIABLE)
        return (make_key(lone),) if lone else ()
    try:
        with file.open("rb") as stream:
            text = stream.read(_MOST).decode("ascii")
    except (OSError, ValueError) as problem:  # ValueError: not ASCII
        reason = getattr(problem, "strerror", None) or "not ASCII text"
        raise UsageError(f"{file}: token cannot be read ({reason.lower()})", code="token-malformed") from None
    lines = {
        number: words for number, line in enumerate(text.splitlines(), 1) if (words := line.partition("#")[0].split())
    }
    if not lines:
        raise UsageError(
            f"{file}: holds no token; make one with 'openssl rand -hex 32 > {file}'", code="token-malformed"
        )
    is_lone = len(lines) == 1 and all(len(words) == 1 for words in lines.values())
    for number, words in lines.items():
        if len(words) != 2 and not is_lone:
            raise UsageError(
                f"{file}: line {number} is not NAME TOKEN, and only a lone token needs no name",
                code="token-line",
                line=number,
            )
    keys = {number: make_key(words[-1], words[0] if len(words) == 2 else _LONE) for number, words in lines.items()}
    for what, part in (("name", "name"), ("token", "digest")):
        first: dict[str | bytes, int] = {}
        for number, key in keys.items():
            before = first.setdefault(getattr(key, part), number)
            if before != number:
                raise UsageError(
                    f"{file}: line {number} has the {what} of line {before}; each caller needs its own",
                    code="token-twice",
                    line=number,
                    first=before,
                )
    return tuple(keys.values())


def find_key(keys: Iterable[Key], token: bytes) -> Key | None:
    """The key of a token; each is compared, in a time that does not depend on what differs."""
    digest = hashlib.sha256(token).digest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found
