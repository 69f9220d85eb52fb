"""Any architecture of timm by its name; the families with something of their own subclass it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm

from zoo.errors import CatalogueError
from zoo.plugin import TorchPlugin
from zoo.spec import ModelCard, PreprocessSpec, from_builtins, to_builtins

if TYPE_CHECKING:
    from torch import nn

__all__ = ["AnyTimm"]

_MODES = {"bilinear": "bilinear", "bicubic": "bicubic"}


class AnyTimm(TorchPlugin):
    """timm.create_model(card.arch) with a head for K classes; nearly all of timm has a stride of 32."""

    minimum_size = 32

    def build(self, card: ModelCard, *, classes: int, channels: int) -> nn.Module:
        """An untrained timm model."""
        _check_known(card.arch)
        cfg = timm.get_pretrained_cfg(card.arch)
        # A transformer with learnt positions is built for one size of picture.
        fixed: dict[str, Any] = {"img_size": card.preprocess.size} if cfg is not None and cfg.fixed_input_size else {}
        module: nn.Module = timm.create_model(
            card.arch, pretrained=False, num_classes=classes, in_chans=channels, **fixed
        )
        return module

    def preprocess(self, card: ModelCard) -> PreprocessSpec:
        """For `timm/NAME`, what timm says the weights were trained with; a curated card speaks for itself."""
        if not card.name.startswith("timm/"):
            return card.preprocess
        _check_known(card.arch)
        cfg = timm.get_pretrained_cfg(card.arch)
        if cfg is None:
            return card.preprocess
        fields = to_builtins(card.preprocess) | {
            "size": list(cfg.input_size[1:]),
            "interpolation": _MODES.get(cfg.interpolation, "bicubic"),
            "mean": list(cfg.mean),
            "std": list(cfg.std),
        }
        return from_builtins(fields, PreprocessSpec, f"timm's configuration of {card.arch}", CatalogueError)


def _check_known(arch: str) -> None:
    if timm.is_model(arch):
        return
    close = timm.list_models(f"*{arch.split('.', maxsplit=1)[0][:6]}*")[:3]
    hint = f"; close to it: {', '.join(close)}" if close else ""
    raise CatalogueError(f"timm {timm.__version__} has no architecture '{arch}'{hint}")
