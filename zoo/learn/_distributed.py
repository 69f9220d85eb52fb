"""Several processes on one training, started by torchrun; with one process everything here does nothing.

Each rank takes its places of every batch of the epoch, so the batch size in the configuration is that of the
whole group and the number of steps does not depend on the number of ranks. Gradients are averaged by
DistributedDataParallel, or by FSDP where ranks share out the network (`_sharded.py`). A rank reads the images of its
places and judges its share of the validation images. Rank 0 alone decides and writes; the others hear what it decided.

A process that ends closes its connections, so the others end at their next exchange. torchrun starts all of them again.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from zoo.errors import NotFirstRankError, TrainingError
from zoo.learn._sharded import follow_first, is_shard, shard

__all__ = ["ALONE", "Peers", "hear_first", "join", "meet", "refuse_lost", "to_the_end", "world_size"]

T = TypeVar("T")
PATIENCE = datetime.timedelta(hours=2)
"""How long ranks wait for each other before training: one may decode more, or ask a teacher about every image."""

STALL = datetime.timedelta(minutes=15)
"""How long they wait in training, where none has more to do than write a state. It bounds what a node costs that
vanishes without a word, such as by its power; a process that ends is noticed at once."""

EVALUATION = datetime.timedelta(days=7)
"""How long the others wait for the first process to export and evaluate."""

_POLL = 0.05
"""Seconds between two looks into the store."""


@dataclass(frozen=True, slots=True)
class Peers:
    """This process among those that train together.

    Attributes:
        rank: which one it is.
        size: how many there are.
        device: where it computes.
        steps: exchange of objects and of tensors on the CPU, in training; None: that of `meet`, or no exchange.
        tensors: exchange of tensors on the device.
        sharded: whether each holds a part of the network, and not all of it.
    """

    rank: int
    size: int
    device: torch.device
    steps: Any = None
    tensors: Any = None
    sharded: bool = False

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which decides and writes."""
        return self.rank == 0

    def agree(self, value: T, *, patient: bool = False) -> T:
        """Rank 0's value, on every rank; `patient`: rank 0 may have much to do first."""
        if self.size == 1:
            return value
        box: list[T] = [value]
        distributed.broadcast_object_list(box, src=0, group=None if patient else self.steps)
        return box[0]

    def collect(self, value: T) -> list[T]:
        """Each rank's value, on every rank, before training."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        return found

    def gather(self, rows: Tensor, *, patient: bool = False) -> Tensor | None:
        """The (m, …) rows of every rank, which are on the CPU, one rank after another; None on other ranks than 0."""
        if self.size == 1:
            return rows
        group = None if patient else self.steps
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        distributed.all_gather(lengths, torch.tensor([len(rows)]), group=group)
        counts = [int(one) for one in lengths]
        sent = rows.new_zeros((max(counts), *rows.shape[1:]))  # all of one length
        sent[: len(rows)] = rows
        received = [torch.empty_like(sent) for _ in range(self.size)] if self.first else None
        distributed.gather(sent, received, dst=0, group=group)
        if received is None:
            return None
        return torch.cat([one[:count] for one, count in zip(received, counts, strict=True)])

    def share(self, batch: Tensor) -> Tensor:
        """This rank's places of a batch of indices (B,), as `Order.own` has it."""
        return batch[self.rank :: self.size]

    def weight(self, batch: Tensor, counts: Tensor) -> float:
        """Factor on this rank's mean loss, making the averaged gradient that of the whole batch; 0: nothing counts.

        Args:
            batch: indices of images, (B,).
            counts: (n,) how much each image counts in its mean.
        """
        if self.size == 1:
            return 1.0
        total = float(counts[batch].sum())
        return float(counts[self.share(batch)].sum()) * self.size / total if total else 0.0

    def most(self, count: int) -> int:
        """The largest of the ranks' counts, in training."""
        if self.size == 1:
            return count
        found = torch.tensor(count)
        distributed.all_reduce(found, distributed.ReduceOp.MAX, group=self.steps)
        return int(found)

    def take(self, model: nn.Module, form: torch.memory_format) -> nn.Module:
        """What this rank trains: `model` itself, moved to its device; or its part of a copy, with rank 0's weights.

        Args:
            model: whole, on the CPU.
            form: memory format of the weights; those of a part are contiguous.

        Raises:
            TrainingError: the network cannot be shared out.
        """
        if not self.sharded:
            return model.to(self.device, memory_format=form)  # type: ignore[call-overload,no-any-return]
        self.copy_from_first(model)
        part = self.hold(copy.deepcopy(model))
        follow_first(part, self)
        return part

    def hold(self, copied: nn.Module) -> nn.Module:
        """This rank's part of a copy of the network, where the ranks share it out."""
        return shard(copied, self)

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model`, with gradients averaged over the ranks."""
        if self.size == 1 or self.sharded:  # the parts of a network average their gradients themselves
            return model
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[self.device] if self.device.type == "cuda" else None, process_group=self.tensors
        )

    def copy_from_first(self, model: nn.Module) -> None:
        """Give every rank what rank 0's `model` holds whole, on the CPU or on the rank's device."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                if not is_shard(tensor):
                    group = self.tensors if tensor.device == self.device else self.steps
                    distributed.broadcast(tensor, src=0, group=group)


ALONE = Peers(0, 1, torch.device("cpu"))
"""One process, to which everything is whole."""


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def meet(patience: datetime.timedelta = STALL) -> Iterator[None]:
    """Join the processes that torchrun started (WORLD_SIZE above 1) and leave them at the end; within, it does nothing.

    Args:
        patience: how long to wait for them.

    Raises:
        TrainingError: they did not come.
    """
    if world_size() == 1 or distributed.is_initialized():
        yield
        return
    store, rank, size = next(rendezvous("env://", timeout=patience))
    store = _shake_hands(store, rank, size, patience)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def join(device: torch.device, *, sharded: bool = False) -> Iterator[Peers]:
    """`meet`, to train on a device, each process the whole network or a part of it."""
    with meet(PATIENCE):
        if world_size() == 1:
            yield Peers(0, 1, device)
            return
        steps = tensors = distributed.new_group(backend="gloo", timeout=STALL)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            tensors = distributed.new_group(backend="nccl", timeout=STALL)
        yield Peers(distributed.get_rank(), distributed.get_world_size(), device, steps, tensors, sharded)


def _shake_hands(store: Store, rank: int, size: int, patience: datetime.timedelta) -> Store:
    """A store for the processes of this start alone.

    torchrun's own holds what the processes before a restart left, such as their addresses, and how often it started
    differs between nodes. So each process knocks with a word of its own. The first one answers every word with the
    name of this start, until all have heard it.
    """
    if rank:
        word = uuid.uuid4().hex
        store.set(f"zoo/knock/{rank}", word)
        _wait(lambda: store.check([f"zoo/open/{word}"]), patience)
        name = store.get(f"zoo/open/{word}").decode()
        store.set(f"zoo/{name}/here/{rank}", "")
        return PrefixStore(f"zoo/{name}", store)
    name, others = uuid.uuid4().hex, range(1, size)

    def answer() -> bool:
        for other in others:
            if store.check([f"zoo/knock/{other}"]):
                store.set(f"zoo/open/{store.get(f'zoo/knock/{other}').decode()}", name)
        return all(store.check([f"zoo/{name}/here/{other}"]) for other in others)

    _wait(answer, patience)
    return PrefixStore(f"zoo/{name}", store)


def _wait(done: Callable[[], bool], patience: datetime.timedelta) -> None:
    """Look again and again: a signal is heard between two looks, and a store that is gone raises at once."""
    end = time.monotonic() + patience.total_seconds()
    while not done():
        if time.monotonic() > end:
            raise TrainingError(
                f"the {world_size()} processes did not find each other within {patience}; look at what the others say, "
                "and start all of them again",
                code="peers-missing",
                processes=world_size(),
            )
        time.sleep(_POLL)


def refuse_lost(problem: RuntimeError) -> TrainingError | None:
    """The error of an exchange that broke because another process ended; None: `problem` is another one."""
    text = str(problem)
    if not isinstance(problem, distributed.DistError) and "gloo" not in text.lower():
        return None
    return TrainingError(
        "another process of this training ended, or cannot be reached; the last state in --out is kept: torchrun "
        "--max-restarts continues from it, or the same command with --resume auto",
        code="peer-lost",
        processes=world_size(),
    )


def hear_first(choose: Callable[[], T]) -> T:
    """What the first process chooses, in all that torchrun started and that have met; only the first one chooses.

    Raises:
        NotFirstRankError: the first process could not choose, and says why.
        TrainingError: a process has ended.
    """
    box: list[T | None] = [None]
    try:
        if not distributed.get_rank():
            box[0] = choose()
    finally:
        try:
            distributed.broadcast_object_list(box, src=0)
        except RuntimeError as problem:
            raise refuse_lost(problem) or problem from None
    if box[0] is None:
        raise NotFirstRankError("the first process refused to start, and says why")
    return box[0]


@contextlib.contextmanager
def to_the_end() -> Iterator[None]:
    """The other processes, where they have met, leave this block when the first one does.

    Raises:
        TrainingError: in the others, the first one ended in the block.
    """
    if not distributed.is_initialized():
        yield
        return
    group: Any = distributed.new_group(backend="gloo", timeout=EVALUATION)
    try:
        yield
    except NotFirstRankError:
        try:
            distributed.broadcast(torch.zeros(1), src=0, group=group)
        except RuntimeError as problem:
            raise refuse_lost(problem) or problem from None
        raise
    with contextlib.suppress(RuntimeError):  # whoever did not wait has nothing to hear
        distributed.broadcast(torch.zeros(1), src=0, group=group)
