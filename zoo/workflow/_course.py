"""How long a training lasts, and how it learns: what hangs on the number of images, and the line that says it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.text import format_count
from zoo.errors import UsageError
from zoo.spec import count_epochs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo.plugin import ModelPlugin
    from zoo.spec import PreprocessSpec, TrainConfig

__all__ = ["adjust_course", "refuse_course", "settle_course"]


def adjust_course(fields: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a TrainConfig as one wish of the user changes another's default.

    Args:
        fields: values of the card, with what the user said in their place.
        chosen: what the user or the data set said.
    """
    if chosen.get("steps") is not None or chosen.get("budget") is not None:
        fields["epochs"] = chosen.get("epochs", "auto")
    if fields["pretrained"] is not True and "probe" not in chosen:
        fields["probe"] = 0.0
    return fields


def refuse_course(config: TrainConfig, chosen: Mapping[str, Any]) -> None:
    """Refuse wishes that do not go together.

    Args:
        config: result of `adjust_course`.
        chosen: what the user or the data set said.

    Raises:
        UsageError: two ways to say how long at once (code option-conflict), a head that is to learn first over a
            network that knows nothing (code probe-scratch), or answers by mirror images where sides matter (code
            flips-unwanted).
    """
    for name, spelled in (("steps", "--set steps"), ("budget", "--budget")):
        if chosen.get(name) is not None and config.epochs != "auto":
            raise UsageError(
                f"--epochs {config.epochs} and {spelled} {chosen[name]}: both say how long; give one of them",
                code="option-conflict",
                options=["--epochs", spelled],
            )
    if config.flips and config.augment_flip == "none":
        raise UsageError(
            "flips=true: the model would answer by mirror images, and sides matter here (augment_flip none); give "
            "--set flips=false, or --set augment_flip=horizontal where sides do not matter",
            code="flips-unwanted",
        )
    if config.probe and not config.pretrained:
        raise UsageError(
            f"--set probe={config.probe:g}: a head that learns first needs a network that knows something; give "
            "--pretrained or --weights, or leave the setting out",
            code="probe-scratch",
            probe=config.probe,
        )


def settle_course(
    config: TrainConfig, plugin: ModelPlugin, images: int, spec: PreprocessSpec, given: frozenset[str]
) -> tuple[TrainConfig, str]:
    """The number of epochs for these images, and the line "recipe: …" that says what was chosen, and why.

    Args:
        config: what card, data set and user said.
        plugin: its unused settings are not said.
        images: number of training images.
        spec: final preprocessing.
        given: fields of TrainConfig that the user or the data set named.
    """
    if config.freeze or "epochs" in plugin.unused_settings:
        return msgspec.structs.replace(config, epochs=1 if config.epochs == "auto" else config.epochs), ""
    epochs = count_epochs(config, images)
    said = (
        _say_length(config, epochs, images),
        _say_rate(config),
        _say_weights(config),
        _say_pictures(config, spec, given),
    )
    return msgspec.structs.replace(config, epochs=epochs), f"recipe: {'; '.join(part for part in said if part)}"


def _say_length(config: TrainConfig, epochs: int, images: int) -> str:
    steps = epochs * math.ceil(images / config.batch_size)
    start = "pretrained weights" if config.pretrained else "random weights"
    shown = f"{format_count(images, 'image')} in batches of {config.batch_size}"
    counted = f"{format_count(epochs, 'epoch')} of {shown}, {steps} steps from {start}"
    if config.budget is not None:
        return f"at most {counted}, as far as {config.budget} allow"
    return f"{counted} (auto)" if config.epochs == "auto" else counted


def _say_rate(config: TrainConfig) -> str:
    said = f"learning rate {config.lr:g}"
    if config.layer_decay < 1:
        said += f", {config.layer_decay:g} of it for each layer further from the head"
    if config.probe:
        said += f"; the head alone in the first {config.probe:.0%}"
    return said + (f"; sharpness-aware, radius {config.sam:g}" if config.sam else "")


def _say_weights(config: TrainConfig) -> str:
    kept = {"ema": f"moving average of weights {config.ema:g}", "soup": "mean of the best three epochs", "none": ""}
    if config.average == "ema" and not config.ema:
        return ""
    return kept[config.average]


def _say_pictures(config: TrainConfig, spec: PreprocessSpec, given: frozenset[str]) -> str:
    """What is done to training images, and what of it on account of the data."""
    parts = [f"augmentation {config.augment}"] if config.augment != "none" else []
    if config.augment != "none":
        mirrored = {
            "auto": "mirrored left to right",
            "horizontal": "mirrored left to right",
            "both": "mirrored both ways",
        }
        parts.append(mirrored.get(config.augment_flip, "never mirrored, as sides matter"))
        if config.colour == "diagnostic":
            parts.append("colour left as it is, being part of the diagnosis")
        elif config.augment == "strong" and spec.channels == "gray":
            parts.append("no change of colour in gray images")
    parts += [f"{name} {getattr(config, name):g}" for name in ("erase", "mixup", "cutmix") if getattr(config, name)]
    if config.drop_path:
        parts.append(f"drop path {config.drop_path:g}")
    if config.flips:
        parts.append("the file answers by an image and its mirror image")
    if not parts and "augment" in given:
        return "images as they are, as was asked for"
    return ", ".join(parts) or "images as they are"
