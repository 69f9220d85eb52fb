"""Networks that answer by a picture and its mirror image, as one module: trained as it was, judged and exported so.

Krizhevsky et al. 2012, section 4.1, average predictions over mirrored crops; here it is the logits, so that the softmax
behind them and its temperature stay what they are.
"""

from __future__ import annotations

import logging
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from zoo.edge._session import open_session
from zoo.learn._beside import NetworkWithColumns
from zoo.learn._core import module_to_onnx
from zoo.learn._evidence import EvidenceNetwork
from zoo.spec import COLUMNS

if TYPE_CHECKING:
    import onnx

__all__ = ["mirrored", "price_mirror"]

log = logging.getLogger("zoo")

_TIMED = 20
"""Answers of either graph that are timed, in turns."""


def mirrored(network: nn.Module) -> nn.Module:
    """`network` with the mean of its logits for an image and its mirror image (left to right); the weights are shared.

    Of an `EvidenceNetwork` it is the mean of the evidence, mirrored back, of which its logits are pooled as ever. Of a
    `NetworkWithColumns` it is the mean of what is said of the image: its logits are linear in that.
    """
    if isinstance(network, NetworkWithColumns):
        return network.seeing(mirrored(network.network))
    return _MirroredEvidence(network) if isinstance(network, EvidenceNetwork) else _Mirrored(network)


def price_mirror(network: nn.Module, core: onnx.ModelProto, *, channels: int, size: tuple[int, int]) -> str:
    """A note on what the second answer costs: one image through either core, in ONNX Runtime on this machine's CPU.

    Args:
        network: without its mirror image, on the CPU.
        core: that of `mirrored(network)`.
        channels: C of the input.
        size: height and width of the input.
    """
    graphs = (module_to_onnx(network, channels=channels, size=size), core)
    sessions = [open_session(graph.SerializeToString(), "mirrored", provider="cpu", threads=None) for graph in graphs]
    given = {"input": np.zeros((1, channels, *size), np.float32)}
    if isinstance(network, NetworkWithColumns):
        given[COLUMNS] = np.zeros((1, network.table.width), np.float32)
    times: list[list[float]] = [[], []]
    for _ in range(_TIMED + 1):
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(["logits"], given)
            taken.append(1000 * (time.perf_counter() - start))
    plain, both = (statistics.median(taken[1:]) for taken in times)  # the first one warms up
    note = (
        f"flips: the file answers by an image and its mirror image; the network takes {both:.1f} ms instead of "
        f"{plain:.1f} ms an image on this machine"
    )
    log.info("%s", note)
    return note


class _Mirrored(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        own, other = self.network(images), self.network(images.flip(3))
        mean: Tensor = (own + other) / 2
        return mean


class _MirroredEvidence(EvidenceNetwork):
    def __init__(self, network: EvidenceNetwork) -> None:
        super().__init__()
        self.network = network

    def evidence(self, images: Tensor) -> Tensor:
        return (self.network.evidence(images) + self.network.evidence(images.flip(3)).flip(3)) / 2

    def pool(self, evidence: Tensor) -> Tensor:
        logits: Tensor = self.network.pool(evidence)
        return logits
