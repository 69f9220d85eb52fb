"""`zoo sign`: make a key, or sign a bundle with one. Needs no network."""

from __future__ import annotations

from zoo.edge import _verbs
from zoo_cli.device import command

__all__ = ["sign"]

sign = command(_verbs.sign)
