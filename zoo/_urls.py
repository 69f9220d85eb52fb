"""Addresses as text: what is one, and how it is shown without what opens it.

It lies below the errors, because no error says a secret. What this module does not know: stores and their clients.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

__all__ = [
    "HERE",
    "hide_secrets",
    "is_url",
    "restore_secrets",
    "show_place",
    "show_url",
    "without_queries",
    "without_user",
]

HERE = ("file://", "local://")
"""How addresses of files of this machine begin."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C:// is a drive
_SECRETS = re.compile(r"(?<=://)[^/\s'\"]*@|\?[^\s'\"]*")
"""User and password, to the last @ before a path; whatever follows a question mark, such as a signature."""
_SECRET = re.compile(
    r"(^|[-_])(sig|key)($|[-_])|(access|api|account).?key|signature|token|secret|credential|passw|passphrase|pwd|"
    r"auth(?!or)|jwt|hmac|hdn|^(code|sas|pass|pw)$",
    re.IGNORECASE,
)
"""In the name of a parameter, that it opens an address."""
_SIGNED = re.compile(
    r"x-(amz|goog)-.*|expires|policy|googleaccessid|s[veprt]|spr|sip|srt|ss|skoid|sktid|sk[tesv]", re.IGNORECASE
)
"""Parameters that go with a signature: when it ends, what it allows."""
_LOGIN = re.compile(r"(?<=:/)(/?)[^/]*@")
_LOGIN_IN_TEXT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+://?)[^\s/]*@")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^\s'\"]*[^\s'\":;,.)\]]")
"""An address in a sentence, or what a path makes of one, which loses a slash."""
_SHORT = 12
"""Characters of a value that no key or signature has so few of."""
_QUERY = re.compile(r"\?[^\s'\"]+")


def is_url(source: object) -> bool:
    """Whether a place is an address, such as s3://bucket/images."""
    return isinstance(source, str) and _SCHEME.match(source) is not None


def show_url(url: str) -> str:
    """An address without user, password and query, as it may be recorded."""
    return _SECRETS.sub("", url)


def without_user(url: str) -> str:
    """An address without user and password; a signature stays."""
    return re.sub(r"(?<=://)[^/]*@", "", url, count=1)


def show_place(where: str) -> str:
    """`where` without what may open it, as the name of an image: a query that tells images apart stays.

    User and password go, and of a query the parameters that bear a key or a signature, with what goes with those. So
    they do where an address was taken for a path below a folder.
    """
    if is_url(where):
        return _show(where)
    return _IN_TEXT.sub(lambda found: _show(found[0]), where) if ":/" in where else where


def hide_secrets(told: Any) -> Any:
    """A text or a path, or what holds some, with each address in it as `show_place` shows it.

    Of a query long values go, too, whatever they are called.
    """
    if isinstance(told, str):
        if ":/" not in told:
            return told
        return _IN_TEXT.sub(lambda found: _show(found[0], most=_SHORT), _LOGIN_IN_TEXT.sub(r"\1", told))
    if isinstance(told, os.PathLike):
        return hide_secrets(os.fspath(told))
    if isinstance(told, dict):
        return {hide_secrets(name): hide_secrets(value) for name, value in told.items()}
    if isinstance(told, list | tuple) and type(told) in {list, tuple}:
        return type(told)(map(hide_secrets, told))
    return told


def without_queries(told: str) -> str:
    """What a client of a store says, which may name an address by its path alone, without anything that opens it."""
    return _QUERY.sub("", str(hide_secrets(told)))


def restore_secrets(shown: str, given: str) -> str:
    """An address that `show_place` shows, of what lies at or below an address that a user gave, with its secrets.

    Args:
        shown: such an address, or a path.
        given: the address of the user, with what opens it, or a path.
    """
    if not (is_url(shown) and is_url(given)):
        return shown
    if shown == show_place(given):
        return given
    user, at, host = urlsplit(given).netloc.rpartition("@")
    said = urlsplit(shown)
    return urlunsplit(said._replace(netloc=user + at + host)) if at and said.netloc == host else shown


def _show(address: str, most: int | None = None) -> str:
    """An address without what opens it, and without values of more than `most` characters."""
    head, mark, rest = address.partition("?")
    head = _LOGIN.sub(r"\1", head, count=1)
    query, hash_, fragment = rest.partition("#")
    given = [one for one in re.split("[&;]", query) if one]
    secret = {one for one in given if any(map(_SECRET.search, re.findall(r"(?:^|[?&;])([^?&;=]*)", unquote(one))))}
    if secret:
        secret |= {one for one in given if _SIGNED.fullmatch(one.partition("=")[0])}
    if most is not None:
        secret |= {one for one in given if len(one.partition("=")[2]) > most}
    query = "&".join(one for one in given if one not in secret)
    return head + (mark if query else "") + query + hash_ + fragment
