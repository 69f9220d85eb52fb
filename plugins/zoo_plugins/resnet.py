"""Residual networks (He et al. 2016) of timm, with a stem that leaves small images their detail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from zoo_plugins.timm_any import AnyTimm

if TYPE_CHECKING:
    from zoo.spec import ModelCard

__all__ = ["ResNet"]

SMALL = 64
"""Longest side in pixels up to which the small-image stem is taken."""


class ResNet(AnyTimm):
    """ResNet, ResNeXt and SE-ResNet; those with the usual 7×7 stem change it for small inputs.

    Inputs of 64 px and less get the stem that He et al. used for CIFAR (section 4.2): 3×3, stride 1, no
    pooling; the usual 7×7 stride-2 stem and pooling would leave a 28 px image 7 px wide before the first
    block.
    """

    minimum_size = 4

    def build(self, card: ModelCard, *, classes: int, channels: int) -> nn.Module:
        """A timm ResNet, its stem changed for small inputs."""
        module = super().build(card, classes=classes, channels=channels)
        if max(card.preprocess.size) <= SMALL and isinstance(module.conv1, nn.Conv2d):
            width = module.conv1.out_channels
            module.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(module.conv1.weight, mode="fan_out", nonlinearity="relu")
            module.maxpool = nn.Identity()
        return module
