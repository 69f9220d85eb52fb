"""The images of a training: where they wait, and batches by index."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo._support.text import format_count
from zoo.data import (
    STEPS,
    TRAINED_ON,
    Decoded,
    HeldRows,
    Rows,
    Splits,
    add_pixels,
    carry_out,
    plan_decoding,
)
from zoo.learn._distributed import Peers
from zoo.preprocess import channels_of
from zoo.runs import RunFolder, TrainContext
from zoo.spec import PreprocessSpec, TrainConfig

__all__ = ["Feed", "decode_splits", "gather", "hold"]

AHEAD = 2
"""Batches that are read or decoded while one is trained on."""

_OWN_MEMORY = ("cuda", "xpu")
"""Kinds of GPU with memory of their own, to which they copy pinned memory while they compute."""

log = logging.getLogger("zoo")


def decode_splits(  # noqa: PLR0917 - what `fit` is given
    data: Splits, spec: PreprocessSpec, config: TrainConfig, run: RunFolder, context: TrainContext, peers: Peers
) -> tuple[Decoded, Decoded]:
    """Training and validation images, each decoded once; what was left out is recorded in the run.

    What they take and where they wait is said before. Rows to learn from are packed, those to validate on are exact.

    Raises:
        DataError: a split holds no image; or one cannot be read and `context.skip_bad` is off; or memory was asked for
            and has no room.
        OutputError: the disk was asked for and has no room.
    """
    to_train, to_validate = data.split("train"), data.split("val")
    plans = (
        plan_decoding(to_train, spec, exact=False, cache=config.cache),
        plan_decoding(to_validate, spec, cache=config.cache),
    )
    size = "{}x{} px".format(*spec.size)
    parts = [
        f"{format_count(len(plan.images), noun)} of {size}: {plan.describe()}"
        for plan, noun in zip(plans, ("training image", "validation image"), strict=True)
    ]
    if any(plan.place == "kept" for plan in plans):
        parts.append("'zoo data cache' shows and clears what is kept")
    log.info("%s", "; ".join(parts))
    train, val = (carry_out(plan, skip_bad=context.skip_bad) for plan in plans)
    if peers.first and run.file(TRAINED_ON).is_file():
        add_pixels(run.file(TRAINED_ON), train.contents, val.contents)
    bad = (*train.bad, *val.bad)
    if peers.first and bad:
        for name, reason in bad:
            log.warning("left out %s: %s", name, reason)
        run.update(skipped=tuple(dict.fromkeys((*run.record.skipped, *(name for name, _ in bad)))))
    return train, val


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Where the images of the loop come from.

    Attributes:
        rows: (n, h, w, c): a tensor where they are in memory, else what they are read or decoded by.
        channels: of a batch; where rows have one it is repeated.
        device: where batches are wanted.
    """

    rows: Tensor | Rows
    channels: int
    device: torch.device

    @classmethod
    def of(cls, decoded: Decoded, spec: PreprocessSpec, device: torch.device) -> Feed:
        """The images of a set, in the GPU's memory where they are small beside it."""
        rows: Tensor | Rows = decoded.rows
        if isinstance(decoded.rows, HeldRows):
            rows = hold(decoded.rows.array, device)
        return cls(rows, channels_of(spec), device)

    def __len__(self) -> int:
        return self.rows.shape[0]

    def batches(self, order: Iterable[Tensor]) -> Iterator[Tensor]:
        """For each (B,) of indices its images, (B, h, w, c) float32, in that order, on the device.

        The order is asked for a few batches ahead. Values are those of `zoo.preprocess.resize_image`, or within 1/256
        of a level of them where rows are packed.

        Raises:
            DataError: an image changed since it was decoded first, or what was decoded cannot be read any more.
        """
        rows = self.rows
        if isinstance(rows, Tensor) and rows.device == self.device:
            for index in order:
                yield self._unpack(rows[index.to(rows.device)])
            return
        waiting: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(1) as pool:
            try:
                for index in order:
                    waiting.append(pool.submit(self._fetch, index))
                    if len(waiting) > AHEAD:
                        yield self._unpack(_copy(waiting.popleft().result(), self.device))
                while waiting:
                    yield self._unpack(_copy(waiting.popleft().result(), self.device))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, index: Tensor) -> Tensor:
        """Rows in memory from where a GPU copies by itself, if it is one that trains."""
        rows = self.rows
        batch = rows[index] if isinstance(rows, Tensor) else torch.from_numpy(rows.take(index.numpy()))
        return _pin(batch, self.device)

    def _unpack(self, batch: Tensor) -> Tensor:
        values = batch.float() / STEPS if batch.dtype == torch.int16 else batch
        return values if values.shape[3] == self.channels else values.repeat(1, 1, 1, self.channels)


def hold(array: NDArray[Any], device: torch.device) -> Tensor:
    """The array as a tensor; in the GPU's memory where it takes at most a quarter of what is free."""
    tensor = torch.from_numpy(array)
    if device.type in _OWN_MEMORY and tensor.nbytes <= getattr(torch, device.type).mem_get_info(device)[0] // 4:
        return tensor.to(device)
    return tensor


def gather(rows: Tensor, index: Tensor, device: torch.device) -> Tensor:
    """`rows[index]` on `device`; where it has to be copied there, the copy runs beside the GPU's work."""
    batch = rows[index.to(rows.device)]
    return _copy(_pin(batch, device), device)


def _pin(batch: Tensor, device: torch.device) -> Tensor:
    return batch.pin_memory() if device.type in _OWN_MEMORY and batch.device != device else batch


def _copy(batch: Tensor, device: torch.device) -> Tensor:
    return batch.to(device, non_blocking=batch.device != device and device.type in _OWN_MEMORY)
