"""Sharpness-aware minimisation: the gradient is taken where the loss is highest near the weights.

Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization", equation 2.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from zoo.learn._sharded import add_up, own_rows

__all__ = ["climb"]

_SMALLEST_NORM = 1e-12
"""Under the norm of the gradient, so that a gradient of zero moves nothing."""


@contextlib.contextmanager
def climb(model: nn.Module, radius: float) -> Iterator[None]:
    """Inside, the weights are `radius` further up the gradient that they hold; after it, they are where they were.

    They hold no gradient at first, and that which is made inside stays. BatchNorms take no statistics inside:
    they have seen the batch already.
    """
    moved = [(parameter, parameter.grad) for parameter in model.parameters() if parameter.grad is not None]
    norm = add_up(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for _, gradient in moved])))
    # To subtract again would leave a rounding error.
    before = [own_rows(parameter).detach().clone() for parameter, _ in moved]
    with torch.no_grad():
        for parameter, gradient in moved:
            own_rows(parameter).add_(own_rows(gradient) * (radius / (norm + _SMALLEST_NORM)))
            parameter.grad = None
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in zip(norms, momenta, strict=True):
            module.momentum = momentum
        with torch.no_grad():
            for (parameter, _), was in zip(moved, before, strict=True):
                own_rows(parameter).copy_(was)
