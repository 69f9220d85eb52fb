"""GhostNet and GhostNet V2 (Han et al. 2020, Tang et al. 2022) of timm."""

from __future__ import annotations

from zoo_plugins.timm_any import AnyTimm

__all__ = ["GhostNet"]


class GhostNet(AnyTimm):
    """Networks with a stride of 32 whose second version halves its last picture once more, to look along it."""

    minimum_size = 64
