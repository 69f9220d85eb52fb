"""The verb `receive` of a device: it parses nothing, calls one function and prints what it found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from zoo._support.interrupts import hold_interrupts, sigterm_as_interrupt
from zoo.edge._document import as_line
from zoo.edge._options import Argument, Json, Option, defaults_of
from zoo.edge._print import Pace, format_count, put, say, show_path
from zoo.edge._receive import Settings
from zoo.edge._receive import receive as store_objects

if TYPE_CHECKING:
    from zoo._support.interrupts import Interrupt
    from zoo.edge._receive.server import Counts

__all__ = ["receive"]

_USUAL = defaults_of(Settings)
_LOOK = 0.5
"""Seconds between two looks whether to end."""


def receive(
    folder: Annotated[Path, Argument("IN", "The folder for what comes; 'watch' answers the images in it.")],
    *,
    host: Annotated[str, Option("--host", "Address to listen on.", "H")] = _USUAL.host,
    port: Annotated[int, Option("--port", "0: any free one.", "N", least=0, most=65535)] = _USUAL.port,
    title: Annotated[str, Option("--aet", "AE title of this receiver.", "TITLE")] = _USUAL.title,
    senders: Annotated[
        list[str] | None, Option("--allow-aet", "An AE title that may send; else any on this machine.", "TITLE")
    ] = None,
    most_bytes: Annotated[int, Option("--max-object", "Largest object.", "BYTES", least=1)] = _USUAL.most_bytes,
    most_associations: Annotated[
        int, Option("--associations", "Most at a time.", "N", least=1)
    ] = _USUAL.most_associations,
    seconds: Annotated[float, Option("--timeout", "A sender may be silent for so long.", "S")] = _USUAL.seconds,
    as_json: Json = False,
) -> int:
    """Store the images that DICOM senders send (C-STORE, C-ECHO).

    An object gets Success once it is on the disk. Classes without images, and transfer syntaxes that cannot be decoded
    here, are not agreed to. Ends on SIGTERM or Ctrl-C.
    """
    settings = Settings(
        host=host,
        port=port,
        title=title,
        senders=tuple(senders or ()),
        most_bytes=most_bytes,
        most_associations=most_associations,
        seconds=seconds,
    )

    def announce(address: str, number: int) -> None:
        if as_json:
            put(as_line({"host": address, "port": number, "aet": title, "folder": str(folder)}))
        else:
            put(f"{title} at {address}:{number} stores into {show_path(folder)}; Ctrl-C stops it")

    statistics = _Statistics()
    try:
        with sigterm_as_interrupt(), hold_interrupts() as interrupt:
            store_objects(folder, settings, announce=announce, rest=lambda counts: statistics.rest(interrupt, counts))
    except KeyboardInterrupt:  # the way to end it
        statistics.say()
    return 0


class _Statistics:
    """A line after objects came, not more often than every ten seconds, and one at the end."""

    def __init__(self) -> None:
        self._counts: Counts | None = None
        self._said = (0, 0)
        self._pace = Pace()

    def rest(self, interrupt: Interrupt, counts: Counts) -> bool:
        self._counts = counts
        if (counts.stored, counts.refused) != self._said and self._pace.is_due():
            self.say()
        with interrupt.at_once():
            time.sleep(_LOOK)
        return True

    def say(self) -> None:
        stored, refused = (0, 0) if self._counts is None else (self._counts.stored, self._counts.refused)
        self._said = (stored, refused)
        say(f"{format_count(stored, 'object')} stored, {refused} refused")
