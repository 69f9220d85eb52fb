"""Who is let in: a key in each request, or a browser that has logged in with one.

A session is a cookie that the server signed. It names the key, so it ends when the key is revoked or changed. The
secret that signs lives in this process alone, so a session ends with it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING

from zoo.edge.serve._keys import Key, find_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["COOKIE", "LIFETIME", "Gate", "Locked"]

COOKIE = "zoo_session"
LIFETIME = 8 * 3600
"""Seconds of a session: a working day."""
_INTERVAL = 6.0
"""Seconds in which one wrong token is forgotten."""
_WRONG = 10
"""Wrong tokens of one address before it must wait."""
_ADDRESSES = 10_000
"""Addresses that are remembered."""


class Locked(Exception):  # noqa: N818 - a state, which the caller answers with 429
    """Too many wrong tokens came from this address; `seconds` says when the next is looked at."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class Gate:
    """The keys of one server, the sessions made with them, and the failures.

    Attributes:
        keys: may be replaced; sessions of a key that is gone end at once.
        now: seconds of a clock that nobody sets.
    """

    def __init__(self, keys: tuple[Key, ...], now: Callable[[], float] = time.monotonic) -> None:
        self.keys = keys
        self.now = now
        self._secret = secrets.token_bytes(32)
        self._ended: dict[str, float] = {}  # signatures of sessions that were left, and when they would have ended
        self._failing: dict[str, float] = {}  # address → when all of its failures will be forgotten

    @property
    def needed(self) -> bool:
        """Whether callers must say who they are."""
        return bool(self.keys)

    def recognize(self, method: str, headers: Mapping[bytes, bytes]) -> str | None:
        """Name of the caller's key; None: it has none.

        A browser adds a cookie to what other pages ask, too. So beside a cookie a request that does something needs
        an Origin, which every browser sends then, and which was compared with this server's name before.
        """
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":  # another scheme is a proxy's own
            key = find_key(self.keys, token.strip())
            return None if key is None else key.name
        if method not in {"GET", "HEAD"} and b"origin" not in headers:
            return None
        return self._holder(_cookie(headers))

    def log_in(self, token: str, address: str) -> tuple[str, str] | None:
        """Name of the key and value of a new cookie; None: nobody has such a key.

        Raises:
            Locked: too many wrong ones came from there; this one was not looked at.
        """
        now = self.now()
        wait = self._failing.get(address, 0.0) - now - (_WRONG - 1) * _INTERVAL
        if len(self._failing) >= _ADDRESSES and address not in self._failing:
            self._failing = {one: until for one, until in self._failing.items() if until > now}
            wait = _INTERVAL if len(self._failing) >= _ADDRESSES else wait
        if wait > 0:
            raise Locked(wait)
        key = find_key(self.keys, token.encode(errors="replace"))
        if key is None:
            self._failing[address] = max(now, self._failing.get(address, 0.0)) + _INTERVAL
            return None
        said = f"{key.name}.{int(now) + LIFETIME}.{secrets.token_hex(8)}"
        return key.name, f"{said}.{self._sign(said, key)}"

    def log_out(self, headers: Mapping[bytes, bytes]) -> None:
        """End the session of a cookie, in this browser and wherever else it may be."""
        value = _cookie(headers)
        if self._holder(value) is not None:
            now = self.now()
            self._ended = {one: end for one, end in self._ended.items() if end > now}
            self._ended[value.rpartition(".")[2]] = now + LIFETIME

    def _holder(self, value: str) -> str | None:
        said, _, signature = value.rpartition(".")
        name, _, rest = said.partition(".")
        key = next((one for one in self.keys if one.name == name), None)
        if key is None or not hmac.compare_digest(self._sign(said, key), signature):
            return None
        late = int(rest.partition(".")[0]) <= self.now()  # a number, because it was signed here
        return None if late or signature in self._ended else name

    def _sign(self, said: str, key: Key) -> str:
        return hmac.new(self._secret, said.encode() + b"\0" + key.digest, hashlib.sha256).hexdigest()


def _cookie(headers: Mapping[bytes, bytes]) -> str:
    """Value of ours; empty where there is none. Only ASCII: others cannot be compared."""
    for part in headers.get(b"cookie", b"").split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == COOKIE.encode():
            return value.decode("ascii", "ignore")
    return ""
