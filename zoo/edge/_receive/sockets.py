"""Connections of senders that are kept within limits, below the package that speaks the protocol.

pynetdicom reads a part of a message (PDU) of any announced length into memory, and waits for its bytes without end.
Here each part has a largest length and a time.
"""

from __future__ import annotations

import socket
import time
from socketserver import BaseServer
from typing import Any

from pynetdicom.transport import ThreadedAssociationServer

__all__ = ["Server"]

_HEAD = 6
"""Bytes of a PDU's head: type, a reserved byte, four of its length (PS3.8 section 9.3.1)."""
_LONGEST = 2**20
"""Bytes of a PDU at most; we announce 16 KiB, and some senders do not keep to that."""
_CONNECTIONS = 4
"""Connections for each association that is allowed; those that never ask for one are among them."""


class Server(ThreadedAssociationServer):  # type: ignore[misc]  # Any to mypy
    """A server whose connections have limits.

    Args:
        seconds: time that a PDU may take.
        **how: arguments of pynetdicom's server.
    """

    def __init__(self, *given: Any, seconds: float, **how: Any) -> None:
        self._seconds = seconds
        super().__init__(*given, **how)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next connection, with limits."""
        plain, address = super().get_request()
        return _Limited(plain, self._seconds), address

    def stop(self) -> None:
        """Take no more connections, and cut off those that are open: what is not stored is sent again."""
        for association in self.active_associations:
            association.abort()
        BaseServer.shutdown(self)
        self.server_close()

    def verify_request(self, *_: object) -> bool:
        """Whether a connection is taken; one too many is closed unread."""
        return bool(len(self.active_associations) < _CONNECTIONS * self.ae.maximum_associations)


class _Limited(socket.socket):
    """A connection that follows where PDUs begin."""

    def __init__(self, plain: socket.socket, seconds: float) -> None:
        super().__init__(fileno=plain.detach())
        self.settimeout(seconds)
        self._seconds = seconds
        self._head = b""
        self._left = 0
        self._until = 0.0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As `socket.socket.recv`.

        Raises:
            OSError: a PDU that is too long, or takes too long.
        """
        data = super().recv(size, flags)
        if data:
            self._follow(data)
        return data

    def _follow(self, data: bytes) -> None:
        if not self._head:
            self._until = time.monotonic() + self._seconds
        elif time.monotonic() > self._until:
            raise TimeoutError("a part of a message took too long")
        while data:
            if len(self._head) < _HEAD:
                self._head, data = self._head + data[: _HEAD - len(self._head)], data[_HEAD - len(self._head) :]
                if len(self._head) < _HEAD:
                    return
                self._left = int.from_bytes(self._head[2:], "big")
                if self._left > _LONGEST:
                    raise OSError(f"a part of a message of {self._left} bytes")
            taken = min(self._left, len(data))
            self._left, data = self._left - taken, data[taken:]
            if not self._left:
                self._head = b""
