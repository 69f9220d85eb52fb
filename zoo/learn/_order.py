"""Which images are in which batch of an epoch, and at which place of it.

Images are dealt once into as many lanes as a batch has places. An epoch shuffles every lane by itself, and its k-th
batch is the k-th image of each lane. So an image keeps its place for the whole training, and a process that takes some
of the places needs the images of those lanes alone. The order hangs on the seed and the epoch, never on how many
processes there are: `docs/decisions/0107-a-place-in-the-batch.md`.

What this module does not know: pixels, files, processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.learn._batches import generator

__all__ = ["Order", "count_steps"]

WINDOW = 10_000
"""Images, of all lanes together, among which the images of shards are shuffled: WebDataset's and tf.data's guides take
1 000 to 10 000."""

_DEAL, _LANE, _DECK = 0x6465616C, 0x6C616E65, 0x6465636B
"""Set the seeds of the deal, of lanes and of decks apart from those of steps, whose second number is an epoch."""


def count_steps(n: int, batch_size: int) -> int:
    """Batches of an epoch of `n` images, of two images or more; the smallest holds n divided by it, rounded down."""
    return max(1, min(math.ceil(n / batch_size), n // 2))


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """The batches of every epoch of one training.

    Attributes:
        dealt: (n,) int64, the images lane by lane, `steps` in each; the last lane may hold fewer.
        steps: batches of an epoch.
        seed: of the training.
        classes: (n,) int64 where an epoch draws each class equally often, see `_draw_balanced`; None: each image once.
        blocks: (n,) int64, the shard that each image lies in; None: any image is as near as any other.
        window: images of one lane among which those of shards are shuffled.
    """

    dealt: Tensor
    steps: int
    seed: int
    classes: NDArray[np.int64] | None = None
    blocks: Tensor | None = None
    window: int = WINDOW

    @classmethod
    def deal(
        cls,
        n: int,
        batch_size: int,
        seed: int,
        *,
        classes: NDArray[np.int64] | None = None,
        blocks: NDArray[np.int64] | None = None,
    ) -> Order:
        """Deal `n` images into batches of nearly equal size, ceil(n / batch_size) of them.

        A short last batch would give its images more say and could hold one image only, which BatchNorm cannot
        normalise; so the rest is spread over all batches instead of dropped. Batches have `batch_size` images at most,
        or one more where a batch of one would be left.

        With `blocks` a lane is a run of neighbouring shards. An epoch goes through them in another order each time, and
        shuffles within a window; so a lane needs few shards at a time.
        """
        steps = count_steps(n, batch_size)
        if blocks is None or classes is not None:
            return cls(torch.randperm(n, generator=generator(seed, _DEAL)), steps, seed, classes)
        dealt = torch.from_numpy(np.argsort(blocks, kind="stable"))
        window = max(1, WINDOW // math.ceil(n / steps))
        return cls(dealt, steps, seed, None, torch.from_numpy(blocks), window)

    @property
    def places(self) -> int:
        """Images of the largest batch."""
        return math.ceil(len(self.dealt) / self.steps)

    def own(self, rank: int, size: int) -> Tensor:
        """The images, ascending, at the places rank, rank + size, … of any batch; drawn by class, that may be all."""
        if self.classes is not None:
            return torch.arange(len(self.dealt))
        lanes = torch.split(self.dealt, self.steps)[rank::size]
        return torch.cat(lanes).sort().values if lanes else self.dealt[:0]

    def batches(self, epoch: int) -> tuple[Tensor, ...]:
        """The images of every batch, (B,) int64 by place; short batches come last, and lack the last place.

        Epochs count from 1; 0 is one more order, which no epoch of training has.
        """
        if self.classes is not None:
            drawn = torch.from_numpy(_draw_balanced(self.classes, self.seed, max(1, epoch)))  # decks begin there
            order = drawn[torch.randperm(len(drawn), generator=generator(self.seed, _LANE, epoch))]
            return torch.tensor_split(order, self.steps)
        table = torch.empty((self.steps, self.places), dtype=torch.int64)
        last = 0
        for place, lane in enumerate(torch.split(self.dealt, self.steps)):
            last = len(lane)
            table[:last, place] = self._shuffle(lane, generator(self.seed, _LANE, epoch, place))
        return (*table[:last].unbind(), *table[last:, :-1].unbind())

    def _shuffle(self, lane: Tensor, random: torch.Generator) -> Tensor:
        if self.blocks is None:
            return lane[torch.randperm(len(lane), generator=random)]
        _, counts = torch.unique_consecutive(self.blocks[lane], return_counts=True)
        shards = torch.split(lane, counts.tolist())
        images = torch.cat([shards[i] for i in torch.randperm(len(shards), generator=random).tolist()])
        # Windows begin elsewhere in each epoch, so that the same images do not always meet.
        first = int(torch.randint(self.window, (), generator=random))
        parts = (images[:first], *torch.split(images[first:], self.window))
        return torch.cat([part[torch.randperm(len(part), generator=random)] for part in parts])


def _draw_balanced(classes: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """(n,) images of one epoch, n / K of each class, one more or less.

    The images of a class are dealt in rounds, each a shuffled deck of all of them, which may last over several epochs.
    So within a class every image is seen equally often, one time more or less, and all of a frequent class take turns.
    """
    there = np.unique(classes)
    shares = np.full(len(there), len(classes) // len(there))
    # Which classes get the rest changes with the epoch.
    shares[(np.arange(len(classes) % len(there)) + epoch * (len(classes) % len(there))) % len(there)] += 1
    chosen = []
    for label, share in zip(there.tolist(), shares.tolist(), strict=True):
        images = np.flatnonzero(classes == label)
        first = (epoch - 1) * (len(classes) // len(there))  # the deals before; a rest may repeat or skip one
        rounds = range(first // len(images), (first + share - 1) // len(images) + 1)
        deck = [images[_shuffle_deck(len(images), seed, label, number)] for number in rounds]
        start = first - rounds[0] * len(images)
        chosen.append(np.concatenate(deck)[start : start + share])
    return np.concatenate(chosen)


def _shuffle_deck(n: int, seed: int, label: int, number: int) -> NDArray[np.int64]:
    return torch.randperm(n, generator=generator(seed, _DECK, label, number)).numpy()
