"""`zoo watch IN OUT`: answer every image that comes into a folder."""

from __future__ import annotations

from zoo.edge import _watch_verb
from zoo_cli.device import command

__all__ = ["watch"]

watch = command(_watch_verb.watch)
