"""Which layers of a network learn: all of them, or what is new."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from zoo.learn._transfer import find_probed

__all__ = ["set_learning"]


def set_learning(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, head_only: bool, fresh: Sequence[str] = ()
) -> None:
    """Set `model` to training, all of it or its head; what does not learn answers as it will when it is evaluated.

    BatchNorms of a body that does not learn keep their statistics: features move under the head otherwise.

    Args:
        model: on its device, not wrapped.
        optimizer: it moves all that learns in the end.
        head_only: whether the rest is held.
        fresh: names of modules that pretrained weights left new; they learn with the head, else it would learn on what
            random kernels give.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.requires_grad_(not head_only)
    model.train(not head_only)
    for name in (*find_probed(model), *fresh) if head_only else ():
        head = model.get_submodule(name).train()
        head.requires_grad_(True)
