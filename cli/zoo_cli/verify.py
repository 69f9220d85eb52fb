"""`zoo verify`: a bundle's signature, its hashes, and its golden set on this machine."""

from __future__ import annotations

from zoo.edge import _verbs
from zoo_cli.device import command

__all__ = ["verify"]

verify = command(_verbs.verify)
