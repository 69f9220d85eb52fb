"""A torch network as a `Predict`: arrays in, logits out, nothing of torch to see."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zoo.evaluate import Predict

__all__ = ["torch_predict"]


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
