"""What `zoo tune` varies, within which bounds, and why."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.errors import PluginError
from zoo.workflow._freeze import list_unused
from zoo.workflow._recipe import OWN_SIZE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from zoo.data import Splits
    from zoo.plugin import ModelPlugin
    from zoo.spec import ModelCard, TrainConfig

__all__ = ["Choice", "Range", "Space", "combinations", "defaults", "make_space"]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, each power of ten as likely as the next."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]


Space = dict[str, Range | Choice]
"""Setting to what it may be."""


def make_space(plugin: ModelPlugin, card: ModelCard, data: Splits, fixed: Collection[str]) -> Space:
    """Settings that are worth a search for a family on some images.

    Args:
        plugin: its unused settings are not varied.
        card: its `train` is the recipe without a search; each range holds it.
        data: images.
        fixed: settings that the user said.
    """
    config = card.train
    left_out = {*fixed, *list_unused(plugin, config)}
    space = _classical(plugin, data) if "lr" in plugin.unused_settings else _networks(config, data)
    if config.pretrained and "layer_decay" not in left_out and _knows_layers(plugin, card, len(data.labels)):
        space["layer_decay"] = Choice((0.65, 0.75, 0.9, 1.0))  # 0.65 to 0.75 in MAE and BEiT, 0.9 is the cards'
    return {name: _with(found, getattr(config, name, None)) for name, found in space.items() if name not in left_out}


def _knows_layers(plugin: ModelPlugin, card: ModelCard, classes: int) -> bool:
    """Whether the network says which layer a parameter is of, as `zoo.learn` needs it; it is built without memory."""
    import torch

    from zoo.plugin import TorchPlugin

    with contextlib.suppress(PluginError), torch.device("meta"):  # the first trial says what is wrong with it
        if isinstance(plugin, TorchPlugin):
            return hasattr(plugin._build_network(card, classes), "group_matcher")  # noqa: SLF001 - the errors of `build` are typed there
    return False


def _networks(config: TrainConfig, data: Splits) -> Space:
    space: Space = {
        # A tenth to five times: above, most networks of the catalogue diverge with AdamW; below, the time is too short.
        "lr": Range(config.lr / 10, config.lr * 5),
        # Around AdamW's 0.05 of timm's recipes (Wightman et al. 2021, arXiv 2110.00476: 0.01 to 0.05).
        "weight_decay": Range(0.005, 0.5),
        "augment": Choice(("none", "standard", "strong")),
        "erase": Choice((0.0, 0.25)),  # Zhong et al. 2020 use 0.5 on ImageNet; medical images are often cropped closely
        "mixup": Choice((0.0, 0.2, 0.4)),  # Zhang et al. 2018, section 3.1: alpha in [0.1, 0.4]
    }
    if (
        data.task == "multiclass"
    ):  # of several labels it lifts the floor of the rare ones; grades have a loss of their own
        space["label_smoothing"] = Choice((0.0, 0.05, 0.1, 0.2))
    return space


def _classical(plugin: ModelPlugin, data: Splits) -> Space:
    from zoo.plugin import SklearnPlugin

    space: Space = {}
    if isinstance(plugin, SklearnPlugin) and type(plugin).features is not SklearnPlugin.features:
        features: tuple[str, ...] = ("pixels", "hog", "lbp", "hog+lbp")
        if not data.gray:
            features += ("hog+colour", "hog+lbp+colour")
        if data.channels is None:
            space["features"] = Choice(features)
    if data.largest_side > OWN_SIZE:
        space["size"] = Choice((32, 64, 96))
    return space


def _with(found: Range | Choice, default: Any) -> Range | Choice:
    """The same with the default in it."""
    if isinstance(found, Range) or default is None or default in found.values:
        return found
    return Choice((*found.values, default))


def defaults(space: Mapping[str, Range | Choice], config: TrainConfig) -> dict[str, Any]:
    """The recipe without a search, as a point of the space."""
    found = {}
    for name, one in space.items():
        value = getattr(config, name, None)
        if value is not None and isinstance(one, Range):
            value = min(max(value, one.low), one.high)
        found[name] = one.values[0] if value is None and isinstance(one, Choice) else value
    return found


def combinations(space: Mapping[str, Range | Choice]) -> list[dict[str, Any]] | None:
    """All points of the space; None: they have no end."""
    if any(isinstance(one, Range) for one in space.values()):
        return None
    values = [one.values for one in space.values() if isinstance(one, Choice)]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]
