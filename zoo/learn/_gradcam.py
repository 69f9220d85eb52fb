"""Grad-CAM: which places of a network's last map raise a logit, by its gradients.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
equations 1 and 2. Their weight of a channel is the mean of its gradients; here it is the sum, which is the same map in
units of a logit: of a network that ends with a mean over places and a linear layer, the mean of the map is the logit
less the bias. Values below 0, which the paper cuts off, are left to the picture, which does not show them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GradCam"]

_PASSING = (nn.Dropout, nn.Identity, nn.Softmax)
"""Layers whose output is another's, or how much tokens heed each other."""
_MOST_BESIDE = 8
"""Tokens before those of places at most: the class, and registers."""


class GradCam:
    """Maps of one network, always of the same layer.

    Args:
        network: from (1, C, h, w) to (1, K) logits, on the CPU, in float32 and evaluation mode.
        layer: name of the module whose output is the last map.
    """

    def __init__(self, network: nn.Module, layer: str) -> None:
        self.network, self.layer = network, layer

    @classmethod
    def of(cls, network: nn.Module, *, channels: int, size: tuple[int, int]) -> GradCam | None:
        """Find the last map of a network by running it.

        Args:
            network: from (1, C, h, w) to (1, K) logits, on the CPU, in float32 and evaluation mode.
            channels: C of its input.
            size: (h, w) of its input in pixels.

        Returns:
            None where no layer gives a map, or tokens, that the logits are made of.
        """
        image = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))
        logits, found = _run(network, image)
        beside = {output.shape[1] for _, output in found if output.ndim == 3}
        for name, output in reversed(found):
            if output.ndim == 4 and output.shape[2] in beside:  # heads of attention
                continue
            (gradient,) = torch.autograd.grad(logits.square().sum(), output, retain_graph=True, allow_unused=True)
            laid = None if gradient is None else _lay_out(gradient, size)
            if laid is not None and int((laid.abs().sum(dim=0) > 0).sum()) > 1:
                return cls(network, name)
        return None

    def map(self, image: NDArray[np.float32], label: int) -> NDArray[np.float64]:
        """Where the last map raises a label's logit, or lowers it.

        Args:
            image: (C, h, w), preprocessed.
            label: its position among the K.

        Returns:
            (h, w); see the module for its unit. Between the places of the last map it is interpolated.
        """
        size = image.shape[1], image.shape[2]
        logits, found = _run(self.network, torch.from_numpy(np.ascontiguousarray(image, np.float32))[None])
        output = next(one for name, one in reversed(found) if name == self.layer)
        (gradient,) = torch.autograd.grad(logits[0, label], output)
        activation, slope = (cast("Tensor", _lay_out(one, size)) for one in (output.detach(), gradient))
        raised = (slope.sum(dim=(1, 2), keepdim=True) * activation).sum(dim=0)
        wide = nn.functional.interpolate(raised[None, None], size, mode="bilinear", align_corners=False)
        return wide[0, 0].double().numpy()

    def shuffle(self, seed: int) -> GradCam:
        """The same of a copy whose weights have changed places, as in `zoo.edge._explain.shuffle_weights`."""
        network = copy.deepcopy(self.network)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in network.parameters():
                if weight.ndim > 1:
                    rows = weight.flatten(1) if weight.ndim > 2 else weight.reshape(1, -1)
                    order = torch.rand(rows.shape, generator=generator).argsort(dim=1)
                    weight.copy_(rows.gather(1, order).view_as(weight))
        return GradCam(network, self.layer)


def _run(network: nn.Module, image: Tensor) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """Logits, and what may be the last map: name of the module and its output, in the order they were made."""
    found: list[tuple[str, Tensor]] = []

    def note(name: str, part: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad and len(output) == 1 and output.ndim in _axes(part):
            found.append((name, output))

    hooks = [
        part.register_forward_hook(lambda part, _, output, name=name: note(name, part, output))
        for name, part in network.named_modules()
    ]
    try:
        with torch.enable_grad():
            logits = network(image.requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    return logits, found


def _axes(part: nn.Module) -> tuple[int, ...]:
    """How many axes its output may have.

    Tokens are those of a norm: the last one that the logits see the places through is the first norm of the last block,
    which is what is usual for transformers.
    """
    if isinstance(part, _PASSING):
        return ()
    return (3, 4) if "norm" in type(part).__name__.lower() else (4,)


def _lay_out(values: Tensor, size: tuple[int, int]) -> Tensor | None:
    """(D, rows, columns) of (1, D, rows, columns), (1, rows, columns, D) or (1, T, D); None: it is not a map."""
    if values.ndim == 4:
        if _fits(values.shape[2:], size):
            return values[0]
        return values[0].permute(2, 0, 1) if _fits(values.shape[1:3], size) else None
    for beside in range(_MOST_BESIDE + 1):
        count = values.shape[1] - beside
        rows = round((max(count, 1) * size[0] / size[1]) ** 0.5)
        if rows and count > 1 and count % rows == 0 and rows * size[1] == count // rows * size[0]:
            return values[0, beside:].T.reshape(-1, rows, count // rows)
    return None


def _fits(grid: torch.Size, size: tuple[int, int]) -> bool:
    """Whether a grid has the sides of the picture, but for a row or column that rounding adds or takes."""
    rows, columns = grid
    return rows * columns > 1 and abs(rows * size[1] - columns * size[0]) <= max(size)
