"""Images from the network: a DICOM storage provider that puts each object into a folder, whole and flushed to the disk.

An object is answered with Success when its file is on the disk under its own name, and not before. So a kill loses
nothing that a sender believes to be stored, and what was half received is sent again. `zoo watch` answers the images
in the folder; this program has no model, and the network has no way to one.

What this module does not know: models, answers, command lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo._support.imports import needing
from zoo.edge._receive.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zoo.edge._receive.server import Counts

__all__ = ["Settings", "receive"]


def receive(
    folder: str | Path,
    settings: Settings | None = None,
    *,
    announce: Callable[[str, int], None],
    rest: Callable[[Counts], bool],
) -> Counts:
    """Store what DICOM senders send, until `rest` says to end.

    Args:
        folder: the folder; made where it is not there.
        settings: address, titles and limits.
        announce: called with address and port when the port is open.
        rest: called again and again with what was received so far, to wait a moment; false ends it.

    Returns:
        What was received.

    Raises:
        UsageError: a setting is out of range, other machines could send without restriction, or the package that
            speaks the protocol is missing.
        OutputError: the folder cannot be written, or the port is taken.
    """
    with needing("receive", "dicom-net"):
        from zoo.edge._receive.server import run
    return run(folder, settings or Settings(), announce=announce, rest=rest)
