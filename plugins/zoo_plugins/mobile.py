"""Light convolutional networks that people deploy: EfficientNet(-Lite), MobileNet, GhostNet and others."""

from __future__ import annotations

from zoo_plugins.timm_any import AnyTimm

__all__ = ["Mobile"]


class Mobile(AnyTimm):
    """Light timm networks; a stride of 32 in all."""
