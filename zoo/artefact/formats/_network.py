"""A trained torch network with what belongs around it, for converters that start from torch.

The same steps as `zoo.preprocess.normalize_batch` and the calibrated last step, as torch operations. The geometric half
of preprocessing stays with the client: these formats have one fixed shape, and none has Pillow's filters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from zoo.preprocess import channels_of, place_window
from zoo.spec import Percentile, Scale, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.spec import PreprocessSpec, Task

__all__ = ["CalibratedNetwork"]


class CalibratedNetwork(nn.Module):
    """Resized raw pixels, or the network's input, to probabilities and logits.

    Args:
        network: (1, C, h, w) float32, preprocessed, to (1, K) logits; in evaluation mode, on the CPU.
        spec: its preprocessing.
        stage: resized: the input is (1, h, w, C) float32 raw values after `zoo.preprocess.resize_image`, and intensity,
            mean and std are inside. tensor: the input is preprocessed, (1, C, h, w).
        temperature: divides the logits before the last step.
        task: that step.
        shift: (K,) what is added to the network's logits; None: nothing.
    """

    mean: Tensor
    std: Tensor
    shift: Tensor | None
    middle: Tensor
    reach: Tensor

    def __init__(
        self,
        network: nn.Module,
        spec: PreprocessSpec,
        *,
        stage: Literal["resized", "tensor"],
        temperature: float,
        task: Task,
        shift: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.stage, self.temperature, self.task = network, stage, temperature, task
        self.intensity, self.size, self.channels = spec.intensity, spec.size, channels_of(spec)
        for name, numbers in (("mean", spec.mean), ("std", spec.std)):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("shift", None if shift is None else torch.tensor([list(shift)], dtype=torch.float32))
        if isinstance(spec.intensity, Window):
            for name, placed in zip(("middle", "reach"), place_window(spec.intensity), strict=True):
                self.register_buffer(name, torch.from_numpy(np.reshape(placed, (1, -1, 1, 1)).copy()))
        self.eval()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the input."""
        height, width = self.size
        tensor = self.stage == "tensor"
        return (1, self.channels, height, width) if tensor else (1, height, width, self.channels)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(1, K) each; see `zoo.artefact.assemble` for the same in ONNX."""
        logits = self.network(image if self.stage == "tensor" else self._normalize(image.permute(0, 3, 1, 2)))
        if self.shift is not None:
            logits = logits + self.shift
        scaled = logits / self.temperature
        probabilities = torch.sigmoid(scaled) if self.task == "multilabel" else torch.softmax(scaled, dim=1)
        return {"logits": logits, "probabilities": probabilities}

    def _normalize(self, x: Tensor) -> Tensor:
        if isinstance(self.intensity, Scale):
            x = x / self.intensity.maximum
        elif isinstance(self.intensity, Window):
            x = torch.clamp((x - self.middle) / self.reach + 0.5, 0.0, 1.0)
        elif isinstance(self.intensity, Percentile):
            raise TypeError("a percentile needs sorting, which the mobile runtimes lack; the client does it")
        return (x - self.mean) / self.std
