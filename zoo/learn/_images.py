"""The images of a training: where they wait, and batches by index."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo._support.text import format_count
from zoo.data import (
    STEPS,
    TRAINED_ON,
    Decoded,
    HeldRows,
    ImageSet,
    Rows,
    Splits,
    StreamedRows,
    add_pixels,
    carry_out,
    plan_decoding,
    refuse_bad,
)
from zoo.errors import DataError, NotFirstRankError
from zoo.learn._distributed import Peers
from zoo.learn._order import Order
from zoo.preprocess import channels_of
from zoo.runs import RunFolder, TrainContext
from zoo.spec import PreprocessSpec, TrainConfig

__all__ = ["Feed", "Part", "decode_splits", "gather", "hold"]

_EXACT = (False, True)
"""Whether rows to train on, and to validate on, are exact."""
AHEAD = 2
"""Batches that are read or decoded while one is trained on."""

_OWN_MEMORY = ("cuda", "xpu")
"""Kinds of GPU with memory of their own, to which they copy pinned memory while they compute."""

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One split of a training: what is known of all its images, and those that this process decoded.

    Attributes:
        decoded: the images of this process, ascending.
        targets: (n,) or (n, K) int64 as in `ImageSet`, of all images.
        ids: names of all images.
        columns: as in `ImageSet`, of all images.
        own: (m,) int64, ascending, which of all images are decoded here; None: all of them.
    """

    decoded: Decoded
    targets: NDArray[np.int64]
    ids: Sequence[str]
    columns: Mapping[str, Sequence[str]]
    own: Tensor | None = None

    @classmethod
    def whole(cls, decoded: Decoded) -> Part:
        """A split that one process decoded."""
        return cls(decoded, decoded.targets, decoded.ids, decoded.columns)


def decode_splits(  # noqa: PLR0917 - what `fit` is given
    data: Splits, spec: PreprocessSpec, config: TrainConfig, run: RunFolder, context: TrainContext, peers: Peers
) -> tuple[Part, Part, Order]:
    """Training and validation images, each decoded once by one of the processes, and the order to train in.

    What was left out is recorded in the run. What images take and where they wait is said before. Rows to learn from
    are packed, those to validate on are exact.

    Raises:
        DataError: a split holds no image; or one cannot be read and `context.skip_bad` is off; or memory was asked for
            and has no room.
        OutputError: the disk was asked for and has no room.
        NotFirstRankError: the first process raises the DataError.
    """
    to_train, to_validate = data.split("train"), data.split("val")
    deal = (partial(_share_training, config=config, peers=peers), partial(_share_validation, peers=peers))
    shares = tuple(share(images) for share, images in zip(deal, (to_train, to_validate), strict=True))
    plans = tuple(
        plan_decoding(_own(images, own), spec, exact=exact, cache=config.cache, among=images)
        for images, own, exact in zip((to_train, to_validate), shares, _EXACT, strict=True)
    )
    size = "{}x{} px".format(*spec.size)
    parts = [
        f"{format_count(len(plan.images), noun)} of {size}: {plan.describe()}"
        for plan, noun in zip(plans, ("training image", "validation image"), strict=True)
    ]
    if any(plan.place == "kept" for plan in plans):
        parts.append("'zoo data cache' shows and clears what is kept")
    log.info("%s%s", "in each process " if peers.size > 1 else "", "; ".join(parts))
    if peers.size == 1:
        train, val = (Part.whole(carry_out(plan, skip_bad=context.skip_bad)) for plan in plans)
        bad = (*train.decoded.bad, *val.decoded.bad)
        kept = _leave_out(to_train, {name for name, _ in train.decoded.bad})
    else:
        found = [carry_out(plan, skip_bad=context.skip_bad, refuse=False) for plan in plans]
        lost = peers.collect([one.bad for one in found])
        bad = tuple(dict.fromkeys(pair for split in (0, 1) for one in lost for pair in one[split]))
        settled = list[tuple[ImageSet, Tensor | None, Decoded]]()
        for split, images in enumerate((to_train, to_validate)):
            left = _find_left(images, {name: reason for one in lost for name, reason in one[split]}, context, peers)
            if left is None:
                settled.append((images, shares[split], found[split]))
                continue
            rest = images.subset(left)
            own = deal[split](rest)  # dealt again, so other ones may be wanted here
            again = plan_decoding(_own(rest, own), spec, exact=_EXACT[split], cache=config.cache)
            settled.append((rest, own, carry_out(again)))
        train, val = (Part(here, one.targets, one.ids, one.columns, own) for one, own, here in settled)
        kept = settled[0][0]
    contents = [peers.gather(torch.tensor(one.decoded.contents), patient=True) for one in (train, val)]
    if contents[0] is not None and contents[1] is not None and run.file(TRAINED_ON).is_file():
        add_pixels(run.file(TRAINED_ON), contents[0].numpy(), contents[1].numpy())
    if peers.first and bad:
        for name, reason in bad:
            log.warning("left out %s: %s", name, reason)
        run.update(skipped=tuple(dict.fromkeys((*run.record.skipped, *(name for name, _ in bad)))))
    return train, val, _order(kept, config)


def _own(images: ImageSet, own: Tensor | None) -> ImageSet:
    return images if own is None else images.subset(own.numpy())


def _order(images: ImageSet, config: TrainConfig) -> Order:
    drawn = images.targets if config.sampling == "balanced" else None
    return Order.deal(len(images), config.batch_size, config.seed, classes=drawn, blocks=images.blocks)


def _leave_out(images: ImageSet, lost: Set[str]) -> ImageSet:
    return images.subset(np.flatnonzero([name not in lost for name in images.ids])) if lost else images


def _share_training(images: ImageSet, config: TrainConfig, peers: Peers) -> Tensor | None:
    if peers.size == 1:
        return None
    order = _order(images, config)
    return _share(order.own(peers.rank, peers.size), len(order.dealt), order.places, peers)


def _share_validation(images: ImageSet, peers: Peers) -> Tensor | None:
    n = len(images)
    return _share(torch.arange(n)[peers.rank :: peers.size].contiguous(), n, n, peers)


def _share(own: Tensor, n: int, places: int, peers: Peers) -> Tensor | None:
    """What a process decodes; None: all `n` images, and then so in every process, because they exchange answers or not.

    That is where a process may need any image, or some would get none of the `places` to be dealt.
    """
    return None if places < peers.size or len(own) == n else own


def _find_left(
    images: ImageSet, bad: Mapping[str, str], context: TrainContext, peers: Peers
) -> NDArray[np.int64] | None:
    """Positions of the images that can be read; None: of all.

    Raises:
        DataError: as `refuse_bad`, in the first process.
        NotFirstRankError: in the others.
    """
    if not bad:
        return None
    place = {name: i for i, name in enumerate(images.ids)}
    reasons = {place[name]: bad[name] for name in sorted(bad, key=place.__getitem__)}
    try:
        refuse_bad(images, reasons, skip_bad=context.skip_bad)
    except DataError:
        if peers.first:
            raise
        raise NotFirstRankError("the first process refused the images, and says why") from None
    return np.delete(np.arange(len(images), dtype=np.int64), list(reasons))


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Where the images of the loop come from.

    Attributes:
        rows: (m, h, w, c): a tensor where they are in memory, else what they are read or decoded by.
        channels: of a batch; where rows have one it is repeated.
        device: where batches are wanted.
        count: n, all images of the split.
        own: (m,) int64, ascending, which of them the rows are; None: all.
    """

    rows: Tensor | Rows
    channels: int
    device: torch.device
    count: int
    own: Tensor | None = None

    @classmethod
    def of(cls, part: Part, spec: PreprocessSpec, device: torch.device) -> Feed:
        """The images of a split, in the GPU's memory where they are small beside it."""
        rows: Tensor | Rows = part.decoded.rows
        if isinstance(rows, HeldRows):
            rows = hold(rows.array, device)
        return cls(rows, channels_of(spec), device, len(part.ids), part.own)

    def __len__(self) -> int:
        return self.count

    def held(self, index: Tensor) -> Tensor:
        """Those of (B,) images that this process has."""
        return index if self.own is None else index[torch.isin(index, self.own)]

    def _place(self, index: Tensor) -> Tensor:
        """(B,) images as positions in the rows."""
        if self.own is None:
            return index
        place = torch.searchsorted(self.own, index.contiguous())  # a share of a batch is every k-th of it
        if not torch.equal(self.own[place.clamp(max=len(self.own) - 1)], index):
            raise RuntimeError("an image of another process is wanted here")
        return place

    def expect(self, order: Sequence[Tensor]) -> None:
        """Say which batches an epoch asks for, so that shards of a store are fetched ahead."""
        if isinstance(self.rows, StreamedRows) and order:
            self.rows.expect(self._place(torch.cat([*order])).numpy())

    def batches(self, order: Iterable[Tensor]) -> Iterator[Tensor]:
        """For each (B,) of images, which this process has, (B, h, w, c) float32 in that order, on the device.

        The order is asked for a few batches ahead. Values are those of `zoo.preprocess.resize_image`, or within 1/256
        of a level of them where rows are packed.

        Raises:
            DataError: an image changed since it was decoded first, or what was decoded cannot be read any more.
        """
        rows = self.rows
        if isinstance(rows, Tensor) and rows.device == self.device:
            for index in order:
                yield self._unpack(rows[self._place(index).to(rows.device)])
            return
        waiting: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(1) as pool:
            try:
                for index in order:
                    waiting.append(pool.submit(self._fetch, self._place(index)))
                    if len(waiting) > AHEAD:
                        yield self._unpack(_copy(waiting.popleft().result(), self.device))
                while waiting:
                    yield self._unpack(_copy(waiting.popleft().result(), self.device))
            except BaseException:  # nobody takes the rest
                if isinstance(rows, StreamedRows):
                    rows.give_up()
                raise
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
