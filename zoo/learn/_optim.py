"""The optimiser, and which share of the learning rate each of its groups has."""

from __future__ import annotations

import torch
from torch import nn

from zoo.errors import TrainingError
from zoo.learn._beside import NetworkWithColumns
from zoo.spec import TrainConfig

__all__ = ["adamw", "select_parameters", "set_rate"]


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


def _shares(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """Name to the share of the learning rate, in (0, 1]; the layers are what timm's `group_matcher` says."""
    if layer_decay == 1:
        return {name: 1.0 for name, _ in model.named_parameters()}
    if isinstance(model, NetworkWithColumns):
        own = {f"network.{name}": share for name, share in _shares(model.network, layer_decay).items()}
        return {name: own.get(name, 1.0) for name, _ in model.named_parameters()}
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
