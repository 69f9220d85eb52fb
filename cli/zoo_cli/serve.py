"""`zoo serve MODEL`: an HTTP server for one model, and a page for people."""

from __future__ import annotations

from zoo.edge.serve import _verb
from zoo_cli.device import command

__all__ = ["serve"]

serve = command(_verb.serve)
