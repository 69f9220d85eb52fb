"""How large a network is and how much it computes, counted from the network itself."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Counted", "count"]


@dataclass(frozen=True, slots=True)
class Counted:
    """What a card says of a network.

    Attributes:
        parameters: trained numbers; running statistics of normalisation are not among them.
        macs: multiply-adds for one image.
    """

    parameters: int
    macs: int


def count(module: nn.Module, *, channels: int, size: tuple[int, int]) -> Counted:
    """Parameters, and the multiply-adds of one forward pass in evaluation mode.

    Counted are convolutions and matrix products (linear layers, attention), as papers do: half of what torch's own
    FlopCounterMode calls FLOPs. Normalisation, activations, pooling and sums are not; they are a few per cent of the
    arithmetic, and often more of the time. No numbers are computed where the module is on torch's "meta" device.

    Args:
        module: from (1, C, h, w) to logits; left in evaluation mode.
        channels: C.
        size: (h, w) in pixels.
    """
    there = next(itertools.chain(module.parameters(), module.buffers()), torch.empty(0)).device
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module.eval()(torch.zeros(1, channels, *size, device=there))
    return Counted(sum(one.numel() for one in module.parameters()), counter.get_total_flops() // 2)
