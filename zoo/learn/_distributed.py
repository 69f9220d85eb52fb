"""Several processes on one training, started by torchrun; with one process everything here does nothing.

Each rank takes its share of every batch of the epoch, so the batch size in the configuration is that of the
whole group and the number of steps does not depend on the number of ranks. Gradients are averaged by
DistributedDataParallel. Rank 0 alone validates, decides and writes; the others hear what it decided. Every
rank decodes the images into its own memory.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

__all__ = ["Peers", "join"]

T = TypeVar("T")
PATIENCE = datetime.timedelta(hours=2)
"""How long ranks wait for rank 0 to validate and write before they give it up."""


@dataclass(frozen=True, slots=True)
class Peers:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which decides and writes."""
        return self.rank == 0

    def agree(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        box: list[T] = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def share(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch of indices (B,)."""
        return batch[self.rank :: self.size]

    def weight(self, batch: Tensor, counts: Tensor) -> float:
        """Factor on this rank's mean loss, making the averaged gradient that of the whole batch.

        Args:
            batch: indices of images, (B,).
            counts: (n,) how much each image counts in its mean.
        """
        if self.size == 1:
            return 1.0
        return float(counts[self.share(batch)].sum()) * self.size / float(counts[batch].sum())

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model`, with gradients averaged over the ranks."""
        if self.size == 1:
            return model
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[self.device] if self.device.type == "cuda" else None
        )

    def copy_from_first(self, model: nn.Module) -> None:
        """Give every rank the weights of rank 0's `model`, which is on this rank's device."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                distributed.broadcast(tensor, src=0)


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Peers]:
    """Join the processes that torchrun started (WORLD_SIZE above 1) and leave them at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Peers(0, 1, device)
        return
    ours = not distributed.is_initialized()
    if ours:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Peers(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        if ours:
            distributed.destroy_process_group()
