"""GhostNet V2 (Tang et al. 2022) of timm; the first version has nothing of its own and is one of `mobile`."""

from __future__ import annotations

from zoo_plugins.timm_any import AnyTimm

__all__ = ["GhostNet"]


class GhostNet(AnyTimm):
    """Light networks with a stride of 32 that halve their last picture once more, to attend along rows and columns."""

    minimum_size = 64
