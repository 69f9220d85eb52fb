"""The connection of uvicorn, with the limits it lacks: on their number, and on how long a request's head may take.

uvicorn's own time-out covers the pause between two requests and ends with the next byte, so a client that sends one
byte a second holds a connection for ever, and so does one that never reads its answers; and its limit on connections
refuses the newcomer, so a thousand idle ones lock everybody out. Here a head has a deadline that no byte moves, an
answer that is not read has one too, and where connections run out the one that has waited longest for its client makes
room.

h11 rather than httptools: it is what uvicorn always brings, it refuses malformed lengths and chunks, and
beside a network's milliseconds its parsing costs nothing.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from zoo.edge.serve.shapes import problem

if TYPE_CHECKING:
    import asyncio

    from zoo.edge.serve.metrics import Metrics
    from zoo.edge.serve.settings import Settings

__all__ = ["SECURITY_HEADERS", "bounded"]

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

LINGER = 2.0
"""Seconds for a client to read a refusal while it still sends; closing at once would destroy the answer on its way."""

Phase = Literal["head", "body", "answer", "unread", "rest", "left"]


def bounded(settings: Settings, metrics: Metrics) -> type[H11Protocol]:
    """The protocol class of one server."""
    waiting: dict[_Bounded, None] = {}  # connections that wait for their client, the longest first

    class Connection(_Bounded):
        pass

    Connection.settings, Connection.metrics, Connection.waiting = settings, metrics, waiting
    return Connection


class _Bounded(H11Protocol):
    """One connection.

    It waits for a head or for a body, its request is at work, its client does not read, or what is left is thrown away.
    """

    settings: Settings
    metrics: Metrics
    waiting: dict[_Bounded, None]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._phase: Phase = "answer"
        self._deadline: asyncio.TimerHandle | None = None
        self._surplus = 0  # bytes of a body that came after its answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or make room for it, or refuse it."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.connections:
            self.metrics.refused.labels("connections").inc()
            if not self.waiting:
                self._refuse(503)
                return
            next(iter(self.waiting)).make_room()
        self._enter("head")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._enter("left")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, unless nothing that comes is wanted any more."""
        if self._phase == "left":
            return
        if self._phase == "rest":
            self._surplus += len(data)
            if self._surplus > self.settings.max_body:
                self.transport.abort()
                return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Start the clock of the next request."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """It read most of what there was."""
        super().resume_writing()
        self._watch()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text; ours is JSON
        """Answer what is no HTTP."""
        problem = sys.exception()  # uvicorn calls this while it handles h11's error, which knows a better status
        status = getattr(problem, "error_status_hint", 400)
        self.metrics.refused.labels("malformed").inc()
        self._refuse(status if status in {400, 431, 501} else 400)

    def timeout_keep_alive_handler(self) -> None:
        """Close, and do not wait for a client that never reads its answer."""
        super().timeout_keep_alive_handler()
        self._enter("left")
        self.loop.call_later(LINGER, self.transport.abort)

    def shutdown(self) -> None:
        """End when the answer is out."""
        if self._phase == "left":
            self.transport.abort()
        else:
            super().shutdown()

    def _watch(self) -> None:
        """Find out what is waited for now."""
        if self._phase == "left":
            return
        theirs, ours = self.conn.their_state, self.conn.our_state
        if self.flow.write_paused or self.transport.is_closing():
            phase: Phase = "unread"
        elif theirs is h11.SEND_BODY:
            phase = "rest" if ours is h11.DONE else "body"
        elif theirs is h11.IDLE:
            phase = "head"
        else:
            phase = "answer"
        # Between requests uvicorn's clock runs; with the first byte ours takes over.
        if phase == "head" and self.conn.trailing_data[0]:
            self._unset_keepalive_if_required()
        begun = phase == "head" and self.timeout_keep_alive_task is None
        if phase != self._phase or (begun and self._deadline is None):
            self._enter(phase)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if phase in {"head", "body", "unread"}:
            self.waiting[self] = None
        if phase == "head" and self.timeout_keep_alive_task is None:
            self._deadline = self.loop.call_later(self.settings.head_seconds, self._head_late)
        elif phase == "unread":
            self._deadline = self.loop.call_later(self.settings.body_seconds, self._unread)
        elif phase == "rest":
            self._surplus = 0
            self._deadline = self.loop.call_later(LINGER, self.transport.abort)

    def _head_late(self) -> None:
        self.metrics.refused.labels("head time").inc()
        if self.conn.trailing_data[0]:
            self._refuse(408)
        else:  # nothing was asked; browsers open connections in advance
            self._enter("left")
            self.transport.close()

    def _unread(self) -> None:
        self.metrics.refused.labels("answer unread").inc()
        self.transport.abort()

    def make_room(self) -> None:
        """Give this place to a newcomer; whoever sends an image is told so."""
        if self._phase == "body":
            self._refuse(503)
        else:
            self._enter("left")
            self.transport.abort()

    def _refuse(self, status: int) -> None:
        """Answer without the application, then close; what the client still sends is thrown away for a while."""
        self._unset_keepalive_if_required()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._enter("left")
        self._deadline = self.loop.call_later(LINGER, self.transport.abort)
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
        if self.transport.can_write_eof():
            self.transport.write_eof()
        with contextlib.suppress(RuntimeError):
            self.transport.resume_reading()
