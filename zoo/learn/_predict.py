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


def torch_predict(model: nn.Module, device: str | torch.device = "cpu", batch_size: int = 64) -> Predict:
    """A function from preprocessed images to logits, in fp32 and evaluation mode.

    Args:
        model: moved to `device`, made fp32 and set to evaluation; not to be trained meanwhile.
        device: where to compute.
        batch_size: images at a time; the answer does not depend on it beyond rounding.

    Returns:
        (N, C, H, W) float32 to (N, K) float32.
    """
    network = model.to(device).float().eval()

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(images, np.float32))
        with torch.inference_mode():
            parts = [network(part.to(device)).float().cpu() for part in torch.split(batch, batch_size)]
        return np.asarray(torch.cat(parts).numpy(), np.float32)

    return predict


def torch_evidence(model: EvidenceNetwork, batch_size: int = 8) -> Predict:
    """As `torch_predict`, on the CPU, to the class evidence map: (N, C, h, w) float32 to (N, K, h, w) float32."""
    return torch_predict(_Map(model), batch_size=batch_size)


class _Map(nn.Module):
    def __init__(self, network: EvidenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.evidence(images)
