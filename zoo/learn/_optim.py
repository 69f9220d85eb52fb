"""The optimiser, its learning rate over time, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo.errors import TrainingError
from zoo.spec import TrainConfig

__all__ = ["adamw", "learning_rate", "moving_average", "select_parameters", "set_rate"]


def adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019): kernels and matrices decay, biases and norms do not.

    With a `layer_decay` below 1 the parameters of layer l of n learn at layer_decay ** (n - l) of the rate (Clark et
    al. 2020, ELECTRA, appendix B; Bao et al. 2022, BEiT); the head, layer n, at all of it.

    Raises:
        TrainingError: a `layer_decay` is asked for and the network does not say what its layers are.
    """
    shares = _shares(model, config.layer_decay)
    groups = [
        {"params": [p for name, p in part if shares[name] == share], "weight_decay": decay, "share": share}
        for part, decay in zip(_split(model), (config.weight_decay, 0.0), strict=True)
        for share in sorted(set(shares.values()), reverse=True)
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.lr, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def select_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """What `adamw` optimises."""
    decayed, rest = _split(model)
    return decayed + rest


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Rate of step 0 … steps - 1: a linear rise over the warm-up, then half a cosine down towards 0.

    Goyal et al. 2017 (warm-up), Loshchilov and Hutter 2017 (cosine).
    """
    warmup = round(config.warmup * steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of `model` that follows it as an exponential moving average, BatchNorm statistics included.

    The decay after t updates is min(decay, (1 + t) / (10 + t)), so that the random start is soon forgotten;
    counters (integer buffers) are copied. Decay 0 is the model itself.
    """

    def blend(averages: Any, values: Any, _: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)
            return
        t = int(average_model.n_averaged)  # a CPU tensor: reading it makes no GPU wait
        update: Callable[[Any, Any, Any], None] = get_ema_multi_avg_fn(  # type: ignore[no-untyped-call]
            min(decay, (1 + t) / (10 + t))
        )
        update(averages, values, t)

    average_model = AveragedModel(model, multi_avg_fn=blend, use_buffers=True)
    return average_model


def _shares(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """Name to the share of the learning rate, in (0, 1]; the layers are what timm's `group_matcher` says."""
    if layer_decay == 1:
        return {name: 1.0 for name, _ in model.named_parameters()}
    matcher = getattr(model, "group_matcher", None)
    if matcher is None:
        raise TrainingError(
            f"layer_decay is {layer_decay:g} and {type(model).__name__} does not say which layer a parameter is of, "
            "expected a method group_matcher as timm's networks have; train with --set layer_decay=1",
            code="layers-unknown",
            network=type(model).__name__,
        )
    from timm.models import group_parameters

    layers: dict[str, int] = group_parameters(model, matcher(coarse=False), reverse=True)
    last = max(layers.values())
    return {name: layer_decay ** (last - layer) for name, layer in layers.items()}


def _split(model: nn.Module) -> tuple[list[tuple[str, nn.Parameter]], list[tuple[str, nn.Parameter]]]:
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return (
        [(name, parameter) for name, parameter in trained if parameter.ndim > 1],
        [(name, parameter) for name, parameter in trained if parameter.ndim <= 1],
    )
