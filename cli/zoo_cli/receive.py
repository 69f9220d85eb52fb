"""`zoo receive IN`: store the images that DICOM senders send."""

from __future__ import annotations

from zoo.edge import _receive_verb
from zoo_cli.device import command

__all__ = ["receive"]

receive = command(_receive_verb.receive)
