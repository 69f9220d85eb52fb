"""`zoo monitor`: whether a site's images are still like those that the model was made for."""

from __future__ import annotations

from zoo.edge import _monitor_verb
from zoo_cli.device import command

__all__ = ["monitor"]

monitor = command(_monitor_verb.monitor)
