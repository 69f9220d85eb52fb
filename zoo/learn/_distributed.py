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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from zoo.errors import NotFirstRankError

__all__ = ["Peers", "hear_first", "join", "world_size"]

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


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Peers]:
    """Join the processes that torchrun started (WORLD_SIZE above 1) and leave them at the end."""
    size = world_size()
    if size == 1:
        yield Peers(0, 1, device)
        return
    ours = not distributed.is_initialized()
    if ours:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        store, rank, size = _meet()
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Peers(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        if ours:
            distributed.destroy_process_group()


def _meet() -> tuple[Store, int, int]:
    """Where the processes find each other, this process' rank, and how many there are.

    The names in the store are those of this start: after `torchrun --max-restarts` it still holds the addresses of
    processes that have ended.
    """
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    return PrefixStore(f"zoo/start{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store), rank, size


def hear_first(choose: Callable[[], str]) -> str:
    """What the first process chooses, in all that torchrun started, before they train; only the first one chooses.

    The word goes through the store in which the processes find each other: a group that is made, left and made again
    meets the addresses of the first.

    Raises:
        NotFirstRankError: the first process could not choose, and says why.
    """
    store, rank, size = _meet()
    if rank:
        heard: str = store.get("first").decode()
        store.set(f"heard/{rank}", "")
        if not heard:
            raise NotFirstRankError("the first process refused to start, and says why")
        return heard
    chosen = ""
    try:
        chosen = choose()
    finally:
        store.set("first", chosen)
        store.wait([f"heard/{other}" for other in range(1, size)])  # it may be this process that keeps the store
    return chosen
