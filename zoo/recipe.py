"""From a catalogue card to the card of one run: size, channels, intensity and budget, fitted to the data at hand.

Every choice made here is said in the notes that it returns, and stands in run.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from zoo.errors import DataError, UsageError
from zoo.spec import ModelCard, PreprocessSpec, Scale, TrainConfig, from_builtins, to_builtins

if TYPE_CHECKING:
    from zoo.data import Splits
    from zoo.plugin import ModelPlugin

__all__ = ["SMALL", "Recipe", "parse_settings", "resolve"]

SMALL = 64
"""Images up to this many pixels a side train at their own size; larger ones at the card's."""

_FINE_TUNING_LR = 0.3
"""Share of the card's learning rate that pretrained weights are tuned with; from scratch it is 1."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run will do: the card with its final preprocessing, the configuration, and why."""

    card: ModelCard
    config: TrainConfig
    notes: tuple[str, ...]


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """['lr=0.01', 'preprocess.resize=letterbox'] to a mapping; values are read as YAML.

    Raises:
        UsageError: a pair has no '=' or a value is not YAML.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"--set {pair}: expected NAME=VALUE, such as --set weight_decay=0.01")
        try:
            settings[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"--set {pair}: the value can not be read; expected a number, a word or YAML") from None
    return settings


def resolve(
    plugin: ModelPlugin,
    card: ModelCard,
    data: Splits,
    *,
    size: int | None,
    budget: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Recipe:
    """Fit a card to the data.

    Args:
        plugin: of the card; it may have its own idea of the preprocessing and a smallest size.
        card: from the catalogue.
        data: its image sizes, pixel type and colours decide.
        size: side in pixels that the user asked for, or None.
        budget: TrainConfig fields that the user gave by name; None values are left to the card.
        settings: from `--set`: TrainConfig fields, or preprocess.FIELD.

    Raises:
        UsageError: an unknown setting, or a value that does not fit.
        DataError: the images need a decision that only the user can take.
    """
    shown, trained = _divided(settings)
    spec, notes = _preprocess(plugin, card, data, size, given=frozenset(name.split(".")[0] for name in shown))
    spec = _with_settings(spec, shown)
    if data.kind != "uint8" and spec.intensity == Scale(maximum=255):
        raise DataError(
            f"the images are {data.kind} and the card scales by 255, which would clip them; state their range with "
            "--set preprocess.intensity.maximum=4095, or --set 'preprocess.intensity={type: percentile}' for min-max"
        )
    chosen = {name: value for name, value in budget.items() if value is not None} | trained
    fields = to_builtins(card.train) | chosen
    if fields["pretrained"] and "lr" not in chosen:
        fields["lr"] = card.train.lr * _FINE_TUNING_LR
    config = from_builtins(fields, TrainConfig, "training configuration", UsageError)
    resolved = msgspec.structs.replace(card, preprocess=spec, train=config)
    return Recipe(resolved, config, tuple(notes))


def _divided(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the preprocessing, and those of the training."""
    shown = {name.removeprefix("preprocess."): v for name, v in settings.items() if name.startswith("preprocess.")}
    trained = {name.removeprefix("train."): v for name, v in settings.items() if not name.startswith("preprocess.")}
    known = TrainConfig.__struct_fields__
    for name in trained:
        if name not in known:
            raise UsageError(f"--set {name}: no such setting; expected one of {', '.join(known)} or preprocess.FIELD")
    return shown, trained


def _preprocess(
    plugin: ModelPlugin, card: ModelCard, data: Splits, size: int | None, *, given: frozenset[str]
) -> tuple[PreprocessSpec, list[str]]:
    spec = plugin.preprocess(card)
    notes = []
    smallest = plugin.minimum_size
    if size is not None:
        if size < smallest:
            raise UsageError(f"--size {size}: {card.name} needs at least {smallest} pixels a side")
        spec = msgspec.structs.replace(spec, size=(size, size))
    elif data.largest_side <= SMALL and "size" not in given:
        side = max(data.largest_side, smallest)
        spec = msgspec.structs.replace(spec, size=(side, side))
        reason = "the images' own" if side == data.largest_side else f"the least {card.name} can take"
        notes.append(f"input size {side} px: {reason} (the card says {plugin.preprocess(card).size[0]})")
    if data.gray and spec.channels == "rgb" and "channels" not in given:
        mean, std = (sum(values) / len(values) for values in (spec.mean, spec.std))
        spec = msgspec.structs.replace(spec, channels="gray", mean=(round(mean, 6),), std=(round(std, 6),))
        notes.append("every image is gray: the network has one input channel")
    return spec, notes


def _with_settings(spec: PreprocessSpec, settings: Mapping[str, Any]) -> PreprocessSpec:
    fields = to_builtins(spec)
    for name, value in settings.items():
        target, *rest = name.split(".")
        if target not in fields:
            known = ", ".join(PreprocessSpec.__struct_fields__)
            raise UsageError(f"--set preprocess.{name}: no such setting; expected one of {known}")
        if not rest:
            fields[target] = [value, value] if target == "size" and isinstance(value, int) else value
        elif len(rest) == 1 and isinstance(fields[target], dict):
            fields[target] = fields[target] | {rest[0]: value}
        else:
            raise UsageError(f"--set preprocess.{name}: {target} has no field {'.'.join(rest)}")
    return from_builtins(fields, PreprocessSpec, "--set preprocess", UsageError)
