"""The connection of uvicorn, with what it lacks and a reverse proxy cannot give it.

uvicorn's own time-out covers the pause between two requests and ends with the next byte, so a client that sends one
byte a second would hold a connection for ever. Here a head has one deadline that no byte moves, and so has the rest of
a body that is not wanted any more. Their number has a cap, and a newcomer beyond it takes the place of the slowest
sender, so that requests which never come do not keep out those that do. What is malformed is refused as JSON, like
every refusal.

Slow readers, floods of connections and TLS are a proxy's work; see docs/deploy.md.

h11 rather than httptools: it is what uvicorn always brings, it refuses malformed lengths and chunks, and what is here
is made on its states. Its parsing costs 0.16 ms a request more (docs/decisions/0103). What is overridden here is not
uvicorn's public interface, so pyproject.toml gives uvicorn an upper bound.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from zoo.edge.serve._access import OTHER
from zoo.edge.serve._shapes import problem

if TYPE_CHECKING:
    import asyncio

    from zoo.edge.serve._access import AccessLog
    from zoo.edge.serve._metrics import Metrics
    from zoo.edge.serve._settings import Settings

__all__ = ["REFUSED", "SECURITY_HEADERS", "limit_connections"]

REFUSED = "zoo.refused"
"""Key of a request's scope: the status that the connection answered in the application's place."""

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
            b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""On every answer. The page shows images it was handed (blob:, data:) and talks to this server alone."""

_IN_ADVANCE = 16_384  # bytes; so that a newcomer is not the slowest before its first bytes are here
LINGER = 1.0
"""Seconds for a client to read a refusal while it still sends; closing at once would destroy the answer on its way."""


def limit_connections(settings: Settings, metrics: Metrics, access: AccessLog) -> type[H11Protocol]:
    """The protocol class of one server."""

    class Connection(_Limited):
        pass

    Connection.settings, Connection.metrics, Connection.access = settings, metrics, access
    return Connection


class _Limited(H11Protocol):
    """One connection."""

    settings: Settings
    metrics: Metrics
    access: AccessLog

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._refused = False
        self._surplus = 0  # bytes of a body that came after its answer
        self._came = 0  # bytes since the connection began, or since the last answer
        self._since = 0.0  # when that was

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it where there are too many."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > self.settings.connections and not self._take_place():
            self.metrics.refused.labels("connections").inc()
            self._refuse(503)
        else:
            self._watch()

    def _take_place(self) -> bool:
        """Close the connection whose client has sent least for its time; False: all others are being answered."""
        others = (one for one in self.connections if isinstance(one, _Limited) and one is not self)
        waiting = [one for one in others if one.conn.their_state in {h11.IDLE, h11.SEND_BODY}]
        if not waiting:
            return False
        now = self.loop.time()
        self.metrics.refused.labels("too slow").inc()
        min(waiting, key=lambda one: one.rate(now)).cut_off()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, unless nothing that comes is wanted any more."""
        if self._refused:
            return
        self._came += len(data)
        self._surplus = self._surplus + len(data) if self._in_rest else 0
        if self._surplus > self.settings.max_body:
            self.transport.abort()
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Start the clock of the next request, where its head has begun to come."""
        super().on_response_complete()
        self._came, self._since = 0, self.loop.time()
        self._watch()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text; ours is JSON
        """Answer bytes that are not HTTP."""
        problem = sys.exception()  # uvicorn calls this while it handles h11's error, which knows a better status
        status = getattr(problem, "error_status_hint", 400)
        self.metrics.refused.labels("malformed").inc()
        self._refuse(status if status in {400, 431, 501} else 400)

    def _watch(self) -> None:
        """Let the clock run while a head is wanted or a body that nobody wants still comes, and only then."""
        theirs = self.conn.their_state
        if theirs is h11.IDLE and self.conn.trailing_data[0]:
            self._unset_keepalive_if_required()  # between two requests uvicorn's clock runs, until the first byte
        head = theirs is h11.IDLE and self.timeout_keep_alive_task is None
        if self._refused or not (head or self._in_rest):
            self._stop_clock()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.settings.head_seconds, self._late)

    @property
    def _in_rest(self) -> bool:
        """Whether a body still comes that was answered already."""
        return self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self.metrics.refused.labels("head time").inc()
        self.cut_off()

    def rate(self, now: float) -> float:
        """Bytes a second that its client has sent; a new connection is given some in advance."""
        return (_IN_ADVANCE + self._came) / max(now - self._since, 1e-3)

    def cut_off(self) -> None:
        """End a connection that waits for its client: with a 408 where a request has begun and has no answer."""
        head = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        body = self.conn.their_state is h11.SEND_BODY and not self._in_rest
        if head or body:
            self._refuse(408)
        else:  # nothing was asked (browsers open connections in advance), or it is answered
            self.connections.discard(self)
            self.transport.abort()

    def _refuse(self, status: int) -> None:
        """Answer without the application, then close; what the client still sends is thrown away."""
        self._refused = True
        self._stop_clock()
        self._unset_keepalive_if_required()
        self.connections.discard(self)  # its place is free
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.loop.call_later(LINGER, self.transport.abort)
        body = problem(status)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"cache-control", b"no-store"),
            *SECURITY_HEADERS,
            *([(b"retry-after", b"1")] if status == 503 else []),
        ]
        try:
            head = self.conn.send(h11.Response(status_code=status, headers=headers))
            self.transport.write((head or b"") + (self.conn.send(h11.Data(data=body)) or b""))
        except h11.LocalProtocolError:  # an answer is under way or out; nothing can follow it
            self.transport.close()
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.scope[REFUSED] = status  # type: ignore[literal-required]  # its line is written there
        else:
            seconds = self.loop.time() - self._since
            self.access.write(OTHER, OTHER, status, seconds, received=self._came, sent=len(body))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        with contextlib.suppress(RuntimeError):
            self.transport.resume_reading()
