"""Models and keys read again while requests are answered.

The new file is opened and proven beside the old one, in a thread of its own. It takes its place in one step, so a
request has the one or the other, and none waits. Both are in memory meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from zoo._support.text import format_count
from zoo.edge.serve._guard import where
from zoo.edge.serve._keys import read_keys
from zoo.edge.serve._models import open_served
from zoo.errors import ZooError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from zoo.edge.serve._application import Service
    from zoo.edge.serve._settings import Settings
    from zoo.edge.serve._sources import ServedPath

__all__ = ["Reload"]

log = logging.getLogger("zoo")


class Reload:
    """What one server was started from.

    Args:
        service: whose models and keys are replaced.
        sources: where its models are.
        settings: how they are opened, and where the keys are.
        wanted: set it, and the next `begin` reads all again.
    """

    def __init__(
        self, service: Service, sources: Sequence[ServedPath], settings: Settings, wanted: threading.Event
    ) -> None:
        self._wanted = wanted
        self._service = service
        self._sources = sources
        self._settings = settings
        self._work: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Read again where that is wanted and not under way; to be called from the event loop, and returns at once."""
        if not self._wanted.is_set() or (self._work is not None and not self._work.done()):
            return
        self._wanted.clear()
        self._work = asyncio.ensure_future(asyncio.to_thread(self._run))

    def _run(self) -> None:
        if self._settings.token_file is not None:
            self._try(self._settings.token_file, self._reload_keys)
        for at, source in enumerate(self._sources):
            self._try(source.path, lambda at=at, source=source: self._reload(at, source))  # type: ignore[misc]

    def _try(self, path: Path, change: Callable[[], bool]) -> None:
        """Count and say what came of it; nothing here may end the server."""
        refused = None
        try:
            outcome = "changed" if change() else "same"
        except ZooError as problem:
            refused = f"{problem.code}: {problem}"
        except Exception as defect:
            refused = where(defect)
        if refused is not None:
            outcome = "refused"
            _say(logging.ERROR, f"{path} is refused, and what was there stays; {refused}")
        self._service.metrics.reloads.labels(outcome).inc()

    def _reload_keys(self) -> bool:
        gate, keys = self._service.gate, read_keys(self._settings.token_file)
        if keys == gate.keys:
            return False
        gone = sorted({key.name for key in gate.keys} - {key.name for key in keys})
        gate.keys = keys
        lost = f"; gone: {', '.join(gone)}" if gone else ""
        _say(logging.INFO, f"{format_count(len(keys), 'key')} from {self._settings.token_file}{lost}")
        return True

    def _reload(self, at: int, source: ServedPath) -> bool:
        models = self._service.models
        old = models.all[at]
        new = open_served(source, self._settings, old)
        if new is old:
            _say(logging.INFO, f"{source.path} is the same as before: {old.name} {old.version}")
            return False
        models.replace(at, new)
        _say(logging.INFO, f"{new.name} {new.version} answers in the place of {old.name} {old.version}")
        return True


def _say(level: int, text: str) -> None:
    """Each time, with the time in UTC: this may be true again next year."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    log.log(level, "%s %s", now, text, extra={"again_after": 0.0})
