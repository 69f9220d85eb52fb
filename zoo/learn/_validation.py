"""What the validation images say of weights: the number that decides an epoch; and what weights need before that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from zoo.learn._batches import standardize, to_unit
from zoo.learn._beside import Beside, NetworkWithColumns
from zoo.learn._descent import Descent
from zoo.learn._distributed import Peers
from zoo.learn._images import Feed
from zoo.learn._mirror import mirrored
from zoo.learn._objective import Scores, score
from zoo.learn._order import Order
from zoo.learn._precision import Numerics, autocast, layout
from zoo.preprocess import channels_of
from zoo.spec import PreprocessSpec, TrainConfig

__all__ = ["STATISTICS", "Validation", "renew_statistics"]

STATISTICS = 100
"""Batches that statistics are taken of at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """The images that choose the epoch, and how they are answered.

    Attributes:
        feed: the images, exact.
        targets: (n,) or (n, K) int64, as in `ImageSet`.
        spec: from raw image to input.
        config: the recipe; its metric chooses.
        numerics: number format and layout.
        labels: K class names.
        ordered: whether they are grades.
        beside: columns of these images.
        peers: processes that each judge their share.
    """

    feed: Feed
    targets: NDArray[np.int64]
    spec: PreprocessSpec
    config: TrainConfig
    numerics: Numerics
    labels: tuple[str, ...]
    ordered: bool
    beside: Beside
    peers: Peers

    def __len__(self) -> int:
        return len(self.targets)

    def judge(self, model: nn.Module, most: int | None = None) -> Scores:
        """What the images say of `model`, which is in evaluation mode afterwards; every process calls it.

        Args:
            model: on the device of the feed; what the first process holds whole is judged, and given to the others.
            most: number of images, the first ones; None: all.
        """
        self.peers.copy_from_first(model)
        model.eval()
        network = mirrored(model) if self.config.flips else model
        own = torch.arange(len(self)) if self.feed.own is None else self.feed.own
        if most is not None:
            own = own[own < most]
        batches = torch.split(own, self.config.batch_size) if len(own) else ()  # of the first ones it may have none
        parts = [torch.empty(0, len(self.labels))]
        sharded = self.peers.sharded
        further = self.peers.most(len(batches)) - len(batches) if sharded else 0
        # Around all batches, so that weights become bf16 once; in inference mode they would for each batch. A part of a
        # network keeps none of what others hold.
        with torch.no_grad(), autocast(self.numerics, keeps=not sharded):
            for index, raw in zip(batches, self.feed.batches(batches), strict=True):
                x = standardize(to_unit(raw, self.spec), self.spec).contiguous(memory_format=layout(self.numerics))
                parts.append(network(x, *self.beside(index)).float().cpu())
            for _ in range(further):  # others need this rank's rows of the weights; nobody needs the answer
                x = torch.zeros(1, channels_of(self.spec), *self.spec.size, device=self.feed.device)
                network(x, *self.beside(slice(1)))
        return self._score(own, torch.cat(parts))

    def _score(self, own: Tensor, logits: Tensor) -> Scores:
        """Logits of the images `own` of every process, to the scores of all of them."""
        peers, found = self.peers, None
        if self.feed.own is not None:
            images, answers = peers.gather(own), peers.gather(logits)
            if images is not None and answers is not None:
                own, logits = images, torch.empty_like(answers).index_copy_(0, images, answers)
        if peers.first:
            targets = torch.from_numpy(self.targets[: len(logits)])
            found = score(logits, targets, self.config.metric, self.labels, ordered=self.ordered)
        return cast("Scores", peers.agree(found))


def renew_statistics(model: nn.Module, descent: Descent, feed: Feed, order: Order, peers: Peers) -> None:
    """Take BatchNorm statistics anew on training images as training sees them; without any it stays as it is.

    They are blanked and mixed too, because that changes the statistics that the weights learnt with.

    Each process takes them of its share, and those of the first are judged and kept.

    Statistics belong to the weights before them: of a mean of weights they are not the mean (Izmailov et al. 2018,
    "Averaging Weights Leads to Wider Optima", section 3.2).
    """
    config = descent.config
    torch.manual_seed(config.seed)  # dropout
    batches = order.batches(0)[:STATISTICS]
    with autocast(descent.numerics, keeps=not peers.sharded):
        update_bn(
            (
                descent.prepare(raw, (0, step, peers.rank))[0]
                for step, raw in enumerate(feed.batches(map(peers.share, batches)))
            ),
            _WithoutColumns(model) if isinstance(model, NetworkWithColumns) else model,
        )


class _WithoutColumns(nn.Module):
    """Columns go through no BatchNorm, so any will do."""

    def __init__(self, model: NetworkWithColumns) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images, images.new_zeros(len(images), self.model.table.width))
        return logits
