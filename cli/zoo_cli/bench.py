"""`zoo bench`: what one answer costs on this machine."""

from __future__ import annotations

from zoo.edge import _verbs
from zoo_cli.device import command

__all__ = ["bench"]

bench = command(_verbs.bench)
