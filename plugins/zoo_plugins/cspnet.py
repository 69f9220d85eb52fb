"""Cross-stage-partial networks (Wang et al. 2020) of timm."""

from __future__ import annotations

from zoo_plugins.timm_any import AnyTimm

__all__ = ["CSPNet"]


class CSPNet(AnyTimm):
    """CSPResNet, CSPResNeXt and CSPDarknet; a stride of 32 in all."""
