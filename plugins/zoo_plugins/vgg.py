"""VGG networks (Simonyan and Zisserman 2015) of timm."""

from __future__ import annotations

from zoo_plugins.timm_any import AnyTimm

__all__ = ["VGG"]


class VGG(AnyTimm):
    """VGG 11 to 19, with and without batch normalisation; five poolings need at least 32 px."""
