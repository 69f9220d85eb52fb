"""The classic small CNN: a baseline that trains in seconds and is easy to reason about."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from zoo.plugin import TorchPlugin

if TYPE_CHECKING:
    from zoo.spec import ModelCard

__all__ = ["SimpleCNN"]


class SimpleCNN(TorchPlugin):
    """conv 32 3×3 – pool – conv 64 3×3 – pool – dense 64 – dense K, ReLU between, zero padding of 1."""

    minimum_size = 4

    def build(self, card: ModelCard, *, classes: int, channels: int) -> nn.Module:
        """The network for inputs of card.preprocess.size."""
        height, width = card.preprocess.size
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 32, 3, padding=1),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(32, 64, 3, padding=1),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),  # (N, 64 · h/4 · w/4)
                dense=nn.Linear(64 * (height // 4) * (width // 4), 64),
                relu3=nn.ReLU(),
                classifier=nn.Linear(64, classes),
            )
        )
