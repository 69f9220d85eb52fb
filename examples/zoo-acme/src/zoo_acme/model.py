from itertools import pairwise

from torch import nn

from zoo.plugin import TorchPlugin


class Acme(TorchPlugin):
    """Convolutions only (Springenberg et al. 2015, 'Striving for simplicity'): strides instead of pooling."""

    def build(self, card, *, classes, channels):
        widths = (channels, 24, 48, 96)
        layers = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, classes))
