"""`zoo predict`: label images with an exported file. Needs no training framework."""

from __future__ import annotations

from zoo.edge import _verbs
from zoo_cli.device import command

__all__ = ["predict"]

predict = command(_verbs.predict)
