"""`--freeze`: what it asks of a model, and what it makes of the recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError
from zoo.spec import GRADIENT_SETTINGS

if TYPE_CHECKING:
    from zoo.plugin import ModelPlugin
    from zoo.spec import ModelCard, TrainConfig

__all__ = ["UNUSED", "adjust_freeze", "describe_freeze", "list_unused", "refuse_freeze"]

UNUSED = GRADIENT_SETTINGS - {
    "augment", "augment_flip", "flips", "focal_gamma", "label_smoothing", "teacher_temperature", "teacher_weight",
}  # fmt: skip
"""Settings of training in small steps that make no difference to a head that is fitted in one."""

_LENGTH: dict[str, Any] = {"epochs": 1, "steps": None, "budget": None, "probe": 0.0}
"""How long a fit in one step lasts, whatever was said."""


def list_unused(plugin: ModelPlugin, config: TrainConfig) -> frozenset[str]:
    """Settings that make no difference to what a plugin trains by a recipe."""
    return plugin.unused_settings | (UNUSED if config.freeze else frozenset())


def adjust_freeze(fields: dict[str, Any], chosen: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of a TrainConfig, and what the user chose of them, as `--freeze` changes them.

    Args:
        fields: values of the card, with what the user said in their place.
        chosen: what the user or the data set said.
    """
    if fields["freeze"] is not True:
        return fields, chosen
    smoothing = {} if "label_smoothing" in chosen else {"label_smoothing": 0.0}  # see decision 0075
    return fields | _LENGTH | smoothing, {name: value for name, value in chosen.items() if name not in _LENGTH}


def refuse_freeze(plugin: ModelPlugin, card: ModelCard, config: TrainConfig) -> None:
    """Refuse to train the head alone where no trained backbone is below it.

    Raises:
        UsageError: no weights are named; columns beside the image are asked for too; or the model is not a network
            that `zoo.learn` trains.
    """
    from zoo.plugin import TorchPlugin

    if not config.freeze:
        return
    if not isinstance(plugin, TorchPlugin) or type(plugin).train is not TorchPlugin.train:
        raise UsageError(
            f"--freeze: {card.name} is not a network with a head of its own; choose one such as tf_efficientnet_lite0, "
            f"or give {card.name} a network's features with --set features=frozen:CARD where it takes them",
            code="freeze-unsupported",
            model=card.name,
        )
    if config.inputs:
        raise UsageError(
            f"--freeze and --inputs: the head of {card.name} alone does not learn from columns beside the image; leave "
            "one of the two out",
            code="inputs-unsupported",
            model=card.name,
            columns=list(config.inputs),
        )
    if not config.pretrained:
        raise UsageError(
            f"--freeze: an untrained {card.name} has no features worth keeping; give --pretrained or --weights FILE",
            code="freeze-untrained",
            model=card.name,
        )


def describe_freeze(config: TrainConfig) -> tuple[str, ...]:
    """What training of the head alone learns from, where that is asked for."""
    if not config.freeze:
        return ()
    count = len(config.mirrored)
    mirrored = f" and once of its mirror image{'s' * (count > 1)}" if count else ""
    return (f"freeze: the head alone is trained; features are computed once of each image{mirrored}, not augmented",)
