"""One line of JSON for each answer, refusals included, without a word of what was sent.

A line says when, which method, which of this server's own paths, which status, how long, how much and how many images.
It holds no name of a file, no query, no header, no address and no path that a client made up: each may be a patient's.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

import msgspec

from zoo._support.files import refuse_unwritable

__all__ = ["OTHER", "STANDARD_ERROR", "AccessLog"]

OTHER = "other"
"""In the place of a path or a method that is none of ours."""
STANDARD_ERROR = Path("-")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"})

log = logging.getLogger("zoo")


class _Line(msgspec.Struct, frozen=True):
    time: str
    """UTC, when the answer was out."""
    method: str
    route: str
    status: int
    milliseconds: float
    received: int
    """Bytes of the request's body that were read."""
    sent: int
    """Bytes of the answer's body."""
    images: int
    model: str
    """The name by which it is served; empty: the request reached none."""
    version: str
    """First digits of the sha256 of the model's file, as `GET /models` gives them; empty as `model` is."""
    key: str
    """Name of the caller's key; empty: none was asked for, or given."""


class AccessLog:
    """Where the lines go.

    Args:
        target: a file, which is appended to and opened anew when a rotation moved it; `STANDARD_ERROR`; None: nowhere.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, target: Path | None) -> None:
        self._handler: logging.Handler | None = None
        self._failed = False
        if target == STANDARD_ERROR:
            self._handler = logging.StreamHandler(sys.stderr)
        elif target is not None:
            try:
                self._handler = WatchedFileHandler(target, encoding="ascii")
            except OSError as problem:
                raise refuse_unwritable(target, problem) from None
        if self._handler is not None:
            self._handler.handleError = self._say_failure  # type: ignore[method-assign]

    def write(
        self,
        method: str,
        route: str,
        status: int,
        seconds: float,
        *,
        received: int = 0,
        sent: int = 0,
        images: int = 0,
        model: str = "",
        version: str = "",
        key: str = "",
    ) -> None:
        """One line; a disk that is full costs lines and no answer."""
        if self._handler is None:
            return
        line = _Line(
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            method if method in _METHODS else OTHER,
            route,
            status,
            round(seconds * 1000, 1),
            received,
            sent,
            images,
            model,
            version,
            key,
        )
        record = logging.makeLogRecord({"msg": msgspec.json.encode(line).decode()})
        try:
            self._handler.handle(record)
        except OSError:  # a file that was moved away and cannot be opened anew
            self._say_failure(record)

    def close(self) -> None:
        """Let the file go."""
        if self._handler is not None:
            self._handler.close()

    def _say_failure(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - as logging calls it
        if not self._failed:
            self._failed = True
            log.error(
                "the access log cannot be written (%s); answers come without it from now on",
                type(sys.exception()).__name__,
            )
