"""A torch network as a `Predict`: arrays in, logits or maps out, nothing of torch to see."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.evaluation import Predict
from zoo.learn._evidence import EvidenceNetwork

__all__ = ["torch_evidence", "torch_predict"]


def torch_predict(
    model: nn.Module, device: str | torch.device = "cpu", batch_size: int = 16, *, channels_last: bool = False
) -> Predict:
    """A function from preprocessed images to logits, in fp32 and evaluation mode.

    Args:
        model: moved to `device`, made fp32 and set to evaluation; not to be trained meanwhile.
        device: where to compute.
        batch_size: images at a time; the answer does not depend on it beyond rounding.
        channels_last: give it images in this order in memory, which a convolutional network answers faster. The weights
            stay as they are.

    Returns:
        (N, C, H, W) float32, and for `NetworkWithColumns` (N, D) float32, to (N, K) float32.
    """
    network = model.to(device).float().eval()
    form = torch.channels_last if channels_last else torch.contiguous_format

    def predict(*given: NDArray[Any]) -> NDArray[np.float32]:
        tensors = [torch.from_numpy(np.ascontiguousarray(one, np.float32)) for one in given]
        tensors[0] = tensors[0].contiguous(memory_format=form)
        batches = zip(*(torch.split(one, batch_size) for one in tensors), strict=True)
        with torch.inference_mode():
            parts = [network(*(part.to(device) for part in batch)).float().cpu() for batch in batches]
        return np.asarray(torch.cat(parts).numpy(), np.float32)

    return predict


def torch_evidence(model: EvidenceNetwork) -> Predict:
    """As `torch_predict`, on the CPU, to the class evidence map: (N, C, h, w) float32 to (N, K, h, w) float32."""
    return torch_predict(_Map(model), batch_size=8)


class _Map(nn.Module):
    def __init__(self, network: EvidenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.evidence(images)
