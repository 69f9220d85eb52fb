"""Parameters shared out over the ranks of a training, and whole again: torch's FSDP2 (`fully_shard`).

Each rank holds some rows of each parameter, of its gradient, of its moments and of its average. A block of the network
is whole while it computes, and then its rows alone are kept. What is not a parameter, such as the statistics of
BatchNorm, each rank holds whole.

What this module does not know: losses, epochs, files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from zoo.errors import TrainingError
from zoo.learn._evidence import EvidenceNetwork

if TYPE_CHECKING:
    from zoo.learn._distributed import Peers

__all__ = [
    "add_up",
    "choose_blocks",
    "describe_blocks",
    "follow_first",
    "is_shard",
    "own_rows",
    "refuse_unfit",
    "shard",
    "share",
    "whole",
]

_BLOCKS = 64
"""A block holds at least one in so many of all parameters: smaller ones cost an exchange each and save little."""


def shard(network: nn.Module, peers: Peers) -> nn.Module:
    """`network`, which becomes this rank's part of it, on its device; no more than a block was whole there.

    Args:
        network: whole, on the CPU, with the same weights on every rank.
        peers: ranks that share it.

    Raises:
        TrainingError: a parameter has no rows.
    """
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for name, parameter in network.named_parameters():
        if not parameter.ndim:
            raise refuse_unfit(f"its parameter {name} is a single number without a dimension")
    network.to(memory_format=torch.contiguous_format)
    mesh = DeviceMesh.from_group(peers.tensors, peers.device.type)
    for module in choose_blocks(network):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)  # so that all are shards outside of a step
    if isinstance(network, EvidenceNetwork):  # a mirrored one is asked for these alone
        for name in ("evidence", "pool"):
            register_fsdp_forward_method(network, name)
    return network


def choose_blocks(network: nn.Module) -> dict[nn.Module, int]:
    """Modules that are whole one at a time, inner ones first, each with the count of numbers that are in no inner one.

    They are the large members of the network's own lists, or of several parts of one class side by side. The last one
    is the network itself, with all that is in none.
    """
    members = {child for part in network.modules() for child in _members(part)}
    users = Counter(one for part in network.modules() for one in part._parameters.values())  # noqa: SLF001 - torch's own
    tied = {one for one, count in users.items() if count > 1}
    blocks, taken = dict[nn.Module, int](), set[nn.Parameter]()
    least = sum(one.numel() for one in network.parameters()) / _BLOCKS
    for module in reversed(list(network.modules())):
        own = set(module.parameters())
        size = sum(one.numel() for one in own - taken)
        if module is network or (module in members and not own & tied and size >= max(1, least)):
            blocks[module] = size
            taken |= own
    return blocks


def _members(part: nn.Module) -> list[nn.Module]:
    """The children of `part` that are called one after another."""
    children, listed = list(part.children()), isinstance(part, nn.Sequential | nn.ModuleList)
    kinds = Counter(map(type, children))
    return [
        child
        for child in children
        if (listed or (kinds[type(child)] > 1 and [*child.children()])) and type(child).forward is not nn.Module.forward
    ]


def describe_blocks(network: nn.Module) -> str:
    """How many blocks there are and what the largest takes: a network of one block needs room for all of it."""
    sizes = choose_blocks(network).values()
    return f"{len(sizes)} blocks, the largest with {max(sizes) / max(1, sum(sizes)):.0%} of the weights"


def follow_first(network: nn.Module, peers: Peers) -> None:
    """Let each forward pass of `network` begin with the first rank's buffers, as DistributedDataParallel does."""

    def copy(*_: object) -> None:
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for buffer in network.buffers():
            kinds.setdefault(buffer.dtype, []).append(buffer.detach())
        for buffers in kinds.values():
            flat = torch.cat([one.flatten() for one in buffers])
            distributed.broadcast(flat, src=0, group=peers.tensors)
            for one, found in zip(buffers, torch.split(flat, [one.numel() for one in buffers]), strict=True):
                one.copy_(found.view_as(one))

    network.register_forward_pre_hook(copy)


def is_shard(tensor: Tensor) -> bool:
    """Whether `tensor` is one of which each rank holds some rows; asked without an import of what it is made by."""
    return hasattr(tensor, "to_local")


def own_rows(tensor: Tensor) -> Tensor:
    """This rank's rows of a shard, in the same memory and without a gradient; another tensor as it is."""
    found: Any = tensor
    return found.detach().to_local() if is_shard(tensor) else tensor


def add_up(norm: Tensor) -> Tensor:
    """The () norm of all rows, where `norm` was taken of shards; every rank calls it."""
    found: Any = norm
    return found.full_tensor() if is_shard(norm) else norm


def share(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor`, which is whole, as a shard where `like` is one of the same shape."""
    if not is_shard(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import DTensor

    form: Any = like
    mesh = form.device_mesh
    rows = -(-len(tensor) // mesh.size())  # as torch.chunk deals them
    own = tensor[rows * mesh.get_local_rank() :][:rows].to(form.to_local().device)
    found: Tensor = DTensor.from_local(
        own, mesh, form.placements, run_check=False, shape=tensor.shape, stride=like.stride()
    )
    return found


def whole(tensors: Mapping[str, Tensor], peers: Peers) -> dict[str, Tensor]:
    """Own, contiguous copies on the first rank's CPU, one after another; empty on the others, which send their rows."""
    found = {}
    for name, tensor in tensors.items():
        if not (peers.first or is_shard(tensor)):
            continue
        own = own_rows(tensor).detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        rows = peers.gather(own) if is_shard(tensor) else own
        if rows is not None:
            found[name] = rows
    return found


def refuse_unfit(reason: str) -> TrainingError:
    """The error of a network that cannot be shared out."""
    return TrainingError(
        f"parallel is fsdp and this network cannot be shared out: {reason}; train with --set parallel=ddp",
        code="network-unshared",
        reason=reason,
    )
