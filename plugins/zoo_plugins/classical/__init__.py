"""What the classical families share: features of a picture, and the nodes of their decisions."""

from __future__ import annotations

from zoo_plugins.classical.family import Classical

__all__ = ["Classical"]
