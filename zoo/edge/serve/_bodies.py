"""The bodies of requests: read within a size, a time and a memory, which goes to those who send."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zoo.edge.serve._settings import Settings

__all__ = ["Bodies", "Refused"]

BUFFERED = 256_000_000
"""Bytes of bodies held at a time, over all requests. What would exceed it takes the room of bodies that come more
slowly, which are answered 408; where there is none it is answered 503 itself."""


class Refused(Exception):  # noqa: N818 - a state, which the caller answers
    """A request that is turned away: why, for the metrics, with which status, and in which words; None: the usual."""

    def __init__(self, reason: str, status: int, message: str | None = None) -> None:
        super().__init__()
        self.reason, self.status, self.message = reason, status, message


@dataclass(eq=False, slots=True)
class _Body:
    """One that is on its way."""

    began: float
    limit: asyncio.Timeout
    data: bytearray = field(default_factory=bytearray)
    dropped: bool = False
    """Whether its room was given to another."""

    def rate(self, now: float) -> float:
        """Bytes a second."""
        return len(self.data) / max(now - self.began, 1e-3)


class Bodies:
    """All bodies of one server.

    Attributes:
        buffered: bytes held now.
    """

    def __init__(self, settings: Settings) -> None:
        self.buffered = 0
        self._settings = settings
        self._coming: set[_Body] = set()

    @contextlib.asynccontextmanager
    async def hold(self, stream: AsyncIterator[bytes], most: int | None = None) -> AsyncIterator[bytes]:
        """Read one whole; it takes its room until the block ends.

        Args:
            stream: its pieces.
            most: largest, in bytes; None: as the settings say.

        Raises:
            Refused: it is too large, too late, or too slow while others want its room.
            ClientDisconnect: by the stream.
        """
        limit = asyncio.timeout(self._settings.body_seconds)
        body = _Body(asyncio.get_running_loop().time(), limit)
        self._coming.add(body)
        try:
            try:
                async with limit:
                    await self._read(body, stream, most or self._settings.max_body)
            except TimeoutError:
                raise Refused("too slow" if body.dropped else "body time", 408) from None
            self._coming.discard(body)  # whole: a slower one cannot take its room any more
            if body.dropped:
                raise Refused("too slow", 408)
            yield bytes(body.data)
        finally:
            self._coming.discard(body)
            self.buffered -= len(body.data)

    async def _read(self, body: _Body, stream: AsyncIterator[bytes], most: int) -> None:
        async for chunk in stream:
            if body.dropped:
                return
            body.data += chunk
            self.buffered += len(chunk)
            if len(body.data) > most:
                raise Refused("body size", 413)
            if not self._make_room(body):
                raise Refused("memory", 503)

    def _make_room(self, body: _Body) -> bool:
        """Drop bodies that come more slowly than this one until all fit; False: this one is the slowest."""
        now = asyncio.get_running_loop().time()
        while self.buffered > max(BUFFERED, self._settings.max_body):
            slowest = min((one for one in self._coming if one.data), key=lambda one: one.rate(now))
            if slowest is body:
                return False
            slowest.dropped = True
            self._coming.discard(slowest)
            self.buffered -= len(slowest.data)
            slowest.data.clear()
            if not slowest.limit.expired():
                slowest.limit.reschedule(now)
        return True
