"""A network that does not know up from down: a cell on a slide lies as it happened to fall."""

from itertools import pairwise

import torch
from torch import nn

from zoo.plugin import TorchPlugin
from zoo.spec import ModelCard


class Acme(TorchPlugin):
    """Three strided convolutions, averaged over the eight ways a square can lie: four turns, mirrored or not.

    The mean over a group makes the answer invariant to it (Cohen and Welling 2016, 'Group equivariant convolutional
    networks', here by pooling over the transformed inputs), so nothing has to be learnt from turned copies.
    """

    api = 1
    minimum_size = 8

    def build(self, card: ModelCard, *, classes: int, channels: int) -> nn.Module:
        """(N, channels, h, w) float32 to (N, classes) logits; any h and w."""
        layers: list[nn.Module] = []
        for before, after in pairwise((channels, 16, 32, 64)):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        return nn.Sequential(
            EightWays(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())), nn.Linear(64, classes)
        )


class EightWays(nn.Module):
    """The mean of a network's features over the eight orientations of a picture."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) to (N, F)."""
        upright = [x, x.flip(2), x.flip(3), x.flip((2, 3))]
        lying = [view.transpose(2, 3) for view in upright]  # with these, every turn by 90 degrees
        return torch.stack([self.features(view) for view in (*upright, *lying)]).mean(0)
