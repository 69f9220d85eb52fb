"""Vision GNN (Han, Wang, Guo, Tang and Wu 2022): patches are nodes, and each learns from those that look like it.

"Vision GNN: An Image is Worth Graph of Nodes", NeurIPS 2022; equations are quoted by its numbers. Plain tensor
operations (MatMul, TopK, Gather), so that the network exports with a dynamic batch.

One thing differs from the paper, on purpose. Being among the k nearest is a jump: where two nodes are equally far,
rounding decides, and a runtime that adds in another order gives another graph and other logits. Here a neighbour
counts the less the nearer its distance is to that of the first node left out, so that the two that change places both
count nothing. It fades over the whole way from the nearest one: over the last tenth alone, rounding grew tenfold in a
few blocks, and a trained vig_ti was refused by the parity gate. For the same reason the dilation picks candidates by
place and not by every d-th rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import CatalogueError
from zoo.plugin import TorchPlugin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.spec import ModelCard

__all__ = ["ViG"]

_LEAST_FADE = 1e-3
"""Squared distance between unit vectors over which neighbours fade at least: a thousand times float32's rounding."""
_FAR = 8.0
"""Added to the squared distance of a key that is not a candidate; the others are 5 at most, places included."""

SMALL = 64
"""Longest side in pixels up to which the stem keeps more of the detail."""
_KEYS = 14
"""Nodes a side among which neighbours are looked for; finer grids are averaged down to it (paper, table 2: r)."""
_HEADS = 4
"""h of eq. (5)."""


@dataclass(frozen=True, slots=True)
class Design:
    """An architecture, such as those in tables 1 and 2 of the paper."""

    channels: tuple[int, ...]
    """Width of each stage; one stage is the isotropic form."""
    blocks: tuple[int, ...]
    stem: tuple[tuple[float, int], ...]
    """Share of the first stage's width and stride of each 3×3 convolution."""
    small_stem: tuple[int, ...]
    """The strides for small pictures instead."""
    neighbours: tuple[int, int]
    """k of the first and of the last block; it rises linearly between them."""
    hidden: int
    """Width of the layer before the logits."""
    places: bool
    """Whether places count in the distance, too: e_i · e_j is taken from it (paper, section 3.2)."""


_DEEP = ((1 / 8, 2), (1 / 4, 2), (1 / 2, 2), (1, 2), (1, 1))
_FLAT = ((1 / 2, 2), (1, 2), (1, 1))
_DESIGNS = {
    "vig_ti": Design((192,), (12,), _DEEP, (2, 2, 1, 1, 1), (9, 18), 1024, places=False),
    "vig_s": Design((320,), (16,), _DEEP, (2, 2, 1, 1, 1), (9, 18), 1024, places=False),
    "pvig_ti": Design((48, 96, 240, 384), (2, 2, 6, 2), _FLAT, (2, 1, 1), (9, 18), 1024, places=True),
    "vig_mini": Design((64, 128), (2, 4), _FLAT, (2, 2, 1), (9, 9), 256, places=True),
}


class ViG(TorchPlugin):
    """The isotropic and the pyramid form; inputs of 64 px and less lose less to the stem."""

    minimum_size = 16

    def build(self, card: ModelCard, *, classes: int, channels: int) -> nn.Module:
        """The network for inputs of card.preprocess.size."""
        if card.arch not in _DESIGNS:
            raise CatalogueError(
                f"plugin vig has no architecture '{card.arch}'; expected one of {', '.join(_DESIGNS)}",
                code="model-unknown",
                arch=card.arch,
            )
        return _VisionGNN(_DESIGNS[card.arch], card.preprocess.size, classes=classes, channels=channels)


class _VisionGNN(nn.Module):
    """(N, C, h, w) to (N, K) logits."""

    def __init__(self, design: Design, size: tuple[int, int], *, classes: int, channels: int) -> None:
        super().__init__()
        strides = design.small_stem if max(size) <= SMALL else [stride for _, stride in design.stem]
        layers: list[nn.Module] = []
        for (share, _), stride in zip(design.stem, strides, strict=True):
            width = int(design.channels[0] * share)
            layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.BatchNorm2d(width), nn.GELU()]
            channels = width
            size = _reduce_size(size, stride)
        self.stem = nn.Sequential(*layers[:-1])
        self.positions = nn.Parameter(torch.zeros(1, channels, *size))  # eq. (8)
        total = sum(design.blocks)
        nearest = np.linspace(*design.neighbours, total).astype(int).tolist()
        body: list[nn.Module] = []
        for stage, (width, depth) in enumerate(zip(design.channels, design.blocks, strict=True)):
            if stage:
                body.append(nn.Sequential(nn.Conv2d(channels, width, 3, 2, padding=1), nn.BatchNorm2d(width)))
                channels, size = width, _reduce_size(size, 2)
            for _ in range(depth):
                index = sum(isinstance(module, _Grapher) for module in body)
                body += [
                    _Grapher(width, size, nearest[index], index // 4 + 1, places=design.places),
                    _FeedForward(width),
                ]
        self.body = nn.Sequential(*body)
        self.head = nn.Sequential(nn.Linear(channels, design.hidden), nn.BatchNorm1d(design.hidden), nn.GELU())
        self.classifier = nn.Linear(design.hidden, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x) + self.positions)  # (N, C, rows, columns)
        logits: Tensor = self.classifier(self.head(x.mean(dim=(2, 3))))
        return logits


class _Grapher(nn.Module):
    """Y = σ(GraphConv(X W_in)) W_out + X, eq. (6), with the max-relative convolution of eq. (3) to (5)."""

    bias: Tensor

    def __init__(self, width: int, size: tuple[int, int], k: int, dilation: int, *, places: bool) -> None:
        super().__init__()
        self.reduction = max(1, min(size) // _KEYS)
        keys = (size[0] // self.reduction, size[1] // self.reduction)
        self.k = min(k, keys[0] * keys[1])
        bias = np.where(_candidates(size, keys, self.k, dilation), 0.0, _FAR)  # (nodes, keys)
        if places:
            bias -= _nearness(size, keys, width)
        self.register_buffer("bias", torch.tensor(bias, dtype=torch.float32), persistent=False)
        self.enter = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))
        self.update = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 1, groups=_HEADS), nn.BatchNorm2d(2 * width), nn.GELU()
        )
        self.leave = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.enter(x)
        n, channels, rows, columns = inner.shape
        keys = functional.avg_pool2d(inner, self.reduction) if self.reduction > 1 else inner
        nodes, others = (values.flatten(2).transpose(1, 2) for values in (inner, keys))  # (N, nodes | keys, C)
        relative = self._max_relative(nodes, others).transpose(1, 2).reshape(n, channels, rows, columns)
        both = torch.stack((inner, relative), dim=2).flatten(1, 2)  # [x_i, max(x_j - x_i)] channel by channel
        grown: Tensor = self.leave(self.update(both)) + x
        return grown

    def _max_relative(self, nodes: Tensor, keys: Tensor) -> Tensor:
        """The largest x_j - x_i over neighbours j, eq. (3), the node itself (0) among them; (N, nodes, C)."""
        index, share = _neighbours(nodes.detach(), keys.detach(), self.bias, self.k)
        n, m, channels = keys.shape
        first = torch.arange(n, device=index.device).view(-1, 1, 1) * m
        found = torch.index_select(keys.reshape(-1, channels), 0, (index + first).flatten())
        difference = found.view(*index.shape, channels) - nodes.unsqueeze(2)  # (N, nodes, k, C)
        return (difference * share.to(difference.dtype).unsqueeze(3)).max(dim=2).values.relu()


class _FeedForward(nn.Module):
    """Z = σ(Y W_1) W_2 + Y, eq. (7), four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(width, 4 * width, 1), nn.BatchNorm2d(4 * width), nn.GELU())
        self.leave = nn.Sequential(nn.Conv2d(4 * width, width, 1), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        grown: Tensor = self.leave(self.enter(x)) + x
        return grown


def _neighbours(nodes: Tensor, keys: Tensor, bias: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest keys of every node, and how much each counts.

    Args:
        nodes: (N, n, C) features.
        keys: (N, m, C) features.
        bias: (n, m), added to the squared distances of the features scaled to unit length.
        k: at most m.

    Returns:
        (N, n, k) int64 into the keys, and (N, n, k) float32 in [0, 1]: 0 at the distance of the first that is left out.
    """
    with torch.autocast("cuda" if nodes.is_cuda else "cpu", enabled=False):  # bfloat16 would tie most distances
        unit, others = (functional.normalize(values.float(), dim=2) for values in (nodes, keys))
        distance = 2 - 2 * unit @ others.transpose(1, 2) + bias  # (N, n, m)
    if k == keys.shape[1]:
        index = torch.arange(k, device=keys.device).expand(len(nodes), nodes.shape[1], k)
        return index, torch.ones_like(distance)
    ascending, index = torch.topk(distance, k + 1, dim=2, largest=False)
    edge = ascending[:, :, k:]
    way = edge - ascending[:, :, :1] + _LEAST_FADE
    return index[:, :, :k], (edge - ascending[:, :, :k]) / way


def _candidates(size: tuple[int, int], keys: tuple[int, int], k: int, dilation: int) -> NDArray[np.bool_]:
    """(nodes, keys): every d-th key along either axis, so that the k nearest reach d times as far.

    d is lowered until more than k are left.
    """
    # The place of a node is the key that it is averaged into.
    rows, columns = (np.arange(side) * few // side for side, few in zip(size, keys, strict=True))
    node = np.add.outer(rows, columns).reshape(-1, 1)
    key = np.add.outer(np.arange(keys[0]), np.arange(keys[1])).reshape(1, -1)
    for d in range(dilation, 1, -1):
        chosen: NDArray[np.bool_] = (key - node) % d == 0
        if chosen.sum(axis=1).min() > k:
            return chosen
    return np.ones((node.size, key.size), np.bool_)


def _nearness(size: tuple[int, int], keys: tuple[int, int], width: int) -> NDArray[np.float64]:
    """2/D e_i · e_j of sine and cosine embeddings e of D numbers: (nodes, keys), 1 where a node meets itself.

    The sines fall out of the product: sin a sin b + cos a cos b = cos(a - b).
    """
    frequency = 10_000.0 ** -(np.arange(width // 4) * 4 / width)  # Vaswani et al. 2017, section 3.5
    axes = []
    for side, few in zip(size, keys, strict=True):
        middle = (np.arange(few) + 0.5) * (side // few) - 0.5  # a key is in the middle of its nodes
        axes.append(np.cos(np.subtract.outer(np.arange(side), middle)[..., None] * frequency).mean(axis=2))
    near: NDArray[np.float64] = (axes[0][:, None, :, None] + axes[1][None, :, None, :]) / 2
    return near.reshape(size[0] * size[1], -1)


def _reduce_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """What a 3×3 convolution with a border of one leaves."""
    height, width = (-(-side // stride) for side in size)
    return height, width
