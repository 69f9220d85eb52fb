"""How large a network is, how much it computes and of what kind, counted from the network itself."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

__all__ = ["Arithmetic", "Counted", "count", "count_kinds"]


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


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Of what the arithmetic for one image is made.

    Attributes:
        convolved: multiply-adds of convolutions in which an output sees many channels.
        multiplied: multiply-adds of matrix products: linear layers, attention.
        depthwise: values that convolutions over a single channel give. Such a convolution does a few multiply-adds for
            each value that it reads and writes, so that memory and not arithmetic is what it takes.
    """

    convolved: int
    multiplied: int
    depthwise: int


def count_kinds(module: nn.Module, *, channels: int, size: tuple[int, int]) -> Arithmetic:
    """What one forward pass in evaluation mode computes; `module` itself, and random numbers, are left as they are.

    Args:
        module: from (1, C, h, w) to logits, on the CPU.
        channels: C.
        size: (h, w) in pixels.
    """
    trial = copy.deepcopy(module).eval()
    # With gradients, because without them torch takes a transformer layer for one operation, as training never does.
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), _Kinds() as kinds:  # type: ignore[no-untyped-call]
        trial(torch.zeros(1, channels, *size))
    return Arithmetic(kinds.convolved, kinds.multiplied, kinds.depthwise)


_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - torch's registry lacks it


class _Kinds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is computed while it is active. FlopCounterMode takes five times as long over small operations."""

    convolved = multiplied = depthwise = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        out = operation(*args, **kwargs)
        packet = operation.overloadpacket
        if packet is torch.ops.aten.convolution:
            x, weight, transposed, groups = args[0], args[1], args[6], args[8]
            if groups > 1 and weight.shape[1] == 1:  # (out, in / groups, height, width)
                self.depthwise += out.numel()
            else:
                self.convolved += (x if transposed else out).numel() * weight[0].numel()
        elif packet is _ATTENTION:
            query, key = args[0], args[1]  # (N, heads, tokens, width)
            self.multiplied += 2 * query.numel() * key.shape[-2]
        elif packet in flop_registry:
            self.multiplied += flop_registry[packet](*args, **kwargs, out_val=out) // 2
        return out
