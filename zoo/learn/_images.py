"""The images of a training in memory: decoded once, then batches by index."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data import TRAINED_ON, Decoded, Splits, add_pixels, decode_all
from zoo.learn._distributed import Peers
from zoo.runs import RunFolder, TrainContext
from zoo.spec import PreprocessSpec

__all__ = ["Feed", "decode_splits", "gather", "hold"]

log = logging.getLogger("zoo")


def decode_splits(
    data: Splits, spec: PreprocessSpec, run: RunFolder, context: TrainContext, peers: Peers
) -> tuple[Decoded, Decoded]:
    """Training and validation images, decoded and resized; what was left out is recorded in the run.

    Raises:
        DataError: a split holds no image; or one cannot be read and `context.skip_bad` is off.
    """
    sets = data.split("train"), data.split("val")
    log.info("decoding %d images to %dx%d", sum(map(len, sets)), *spec.size)
    train, val = (decode_all(images, spec, skip_bad=context.skip_bad) for images in sets)
    if peers.first and run.file(TRAINED_ON).is_file():
        add_pixels(run.file(TRAINED_ON), train.contents, val.contents)
    kept = train if train.kept is not None else val
    if peers.first and kept.kept is not None:
        done = "kept in" if kept.fresh else "taken from"
        log.info("decoded images are %s %s; 'zoo data cache' shows and clears it", done, kept.kept.parent)
    bad = (*train.bad, *val.bad)
    if peers.first and bad:
        for name, reason in bad:
            log.warning("left out %s: %s", name, reason)
        run.update(skipped=tuple(dict.fromkeys((*run.record.skipped, *(name for name, _ in bad)))))
    return train, val


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Where the training images of the loop come from.

    Attributes:
        rows: (n, h, w, c), as `zoo.preprocess.resize_image` gives them.
        device: where batches are wanted.
    """

    rows: Tensor
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, order: Iterable[Tensor]) -> Iterator[Tensor]:
        """For each (B,) of indices its images, (B, h, w, c), in that order, on the device."""
        for index in order:
            yield gather(self.rows, index, self.device)


def hold(array: NDArray[Any], device: torch.device) -> Tensor:
    """The array as a tensor; in the GPU's memory where it takes at most a quarter of what is free."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda" and tensor.nbytes <= torch.cuda.mem_get_info(device)[0] // 4:
        return tensor.to(device)
    return tensor


def gather(rows: Tensor, index: Tensor, device: torch.device) -> Tensor:
    """`rows[index]` on `device`; where it has to be copied there, the copy runs beside the GPU's work."""
    batch = rows[index.to(rows.device)]
    if batch.device != device:
        batch = batch.pin_memory()
    return batch.to(device, non_blocking=True)
