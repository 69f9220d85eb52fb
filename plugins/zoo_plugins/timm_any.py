"""Any architecture of timm by its name; the families with something of their own subclass it."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import timm
from timm.models import EfficientNet, MobileNetV3

from zoo.errors import CatalogueError, WeightsError
from zoo.plugin import TorchPlugin
from zoo.spec import ModelCard, PreprocessSpec, from_builtins, to_builtins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

__all__ = ["AnyTimm"]

_MODES = {"bilinear": "bilinear", "bicubic": "bicubic"}


class AnyTimm(TorchPlugin):
    """timm.create_model(card.arch) with a head for K classes; nearly all of timm has a stride of 32."""

    minimum_size = 32

    def build(self, card: ModelCard, *, classes: int, channels: int) -> nn.Module:
        """An untrained timm model."""
        _check_known(card.arch)
        options = self.options(card)
        if card.train.drop_path:
            options["drop_path_rate"] = card.train.drop_path
        module: nn.Module = timm.create_model(
            card.arch, pretrained=False, num_classes=classes, in_chans=channels, **options
        )
        if isinstance(module, EfficientNet | MobileNetV3):
            # timm draws these heads from ±1/√K, which suits a thousand classes: with few of them logits start so large
            # that the first epochs go into unlearning them.
            module.get_classifier().reset_parameters()
        return module

    def options(self, card: ModelCard) -> dict[str, Any]:
        """What timm.create_model is told besides; a network with learnt positions is built for one size of picture."""
        cfg = timm.get_pretrained_cfg(card.arch)
        return {"img_size": card.preprocess.size} if cfg is not None and cfg.fixed_input_size else {}

    def adapt(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
        """As timm itself loads them: positions and patches resampled to the picture, old names renamed."""
        convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
        if convert is None:
            return tensors, ()
        converted = _convert(convert, module, tensors)
        changed: dict[tuple[str, tuple[int, ...], tuple[int, ...]], int] = {}
        for name in converted.keys() & tensors.keys():
            shapes = tuple(tensors[name].shape), tuple(converted[name].shape)
            if shapes[0] != shapes[1]:
                key = name.rpartition("blocks.")[2].lstrip("0123456789."), *shapes
                changed[key] = changed.get(key, 0) + 1
        return converted, tuple(
            f"{name} resampled from {before} to {after}" + (f" in {count} layers" if count > 1 else "")
            for (name, before, after), count in sorted(changed.items())
        )

    def preprocess(self, card: ModelCard) -> PreprocessSpec:
        """For `timm/NAME`, what timm says the weights were trained with; other cards speak for themselves."""
        _check_known(card.arch)
        if not card.name.startswith("timm/"):
            return card.preprocess
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


def _convert(
    convert: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]],
    module: nn.Module,
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """What timm makes of the file; it looks up what it expects and fails on a stranger's file in many ways."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of torch, on the strides in timm's interpolation
            return convert(dict(tensors), module)
    except (AttributeError, AssertionError, KeyError, RuntimeError, TypeError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise WeightsError(
            f"weights do not fit this network: timm cannot convert them for {type(module).__name__} "
            f"({type(problem).__name__}: {reason}); bring weights of the same network",
            code="weights-names",
            network=type(module).__name__,
        ) from None


def _check_known(arch: str) -> None:
    if timm.is_model(arch):
        return
    close = timm.list_models(f"*{arch.split('.', maxsplit=1)[0][:6]}*")[:3]
    hint = f"; close to it: {', '.join(close)}" if close else ""
    raise CatalogueError(f"timm {timm.__version__} has no architecture '{arch}'{hint}", code="model-unknown", arch=arch)
