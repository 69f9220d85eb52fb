"""From a catalogue card to the card of one run: size, channels, intensity and budget, fitted to the data.

The returned notes name every choice made here, and run.json records it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.ranges import describe_ranges
from zoo._support.text import format_count
from zoo.errors import DataError, ImageError, UsageError
from zoo.spec import Budget, ModelCard, Percentile, PreprocessSpec, Scale, TrainConfig, Voi, to_builtins
from zoo.workflow._channels import fit_mean_and_std, fit_to_channels, fit_window
from zoo.workflow._course import adjust_course, refuse_course, settle_course
from zoo.workflow._freeze import adjust_freeze, list_unused
from zoo.workflow._inputs import fit_table
from zoo.workflow._settings import fit, settings_of, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo.data import Splits
    from zoo.plugin import ModelPlugin

__all__ = [
    "Recipe",
    "configure",
    "divide_settings",
    "find_unused",
    "recipe_fields",
    "refuse_options",
    "resolve",
    "say_again",
]

OWN_SIZE = 64
"""Images up to this many pixels a side train at their own size; larger ones at the card's."""

_PADDINGS = 8
"""Ranges of padding at most that a model leaves out: values of one image's range may be tissue in another."""

_DECAYED_LR = 0.3
"""Share of the card's learning rate for pretrained weights whose card has a layer-wise decay: transformers."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run will do: the card with its final preprocessing and configuration, and why."""

    card: ModelCard
    notes: tuple[str, ...]


def configure(card: ModelCard, budget: Budget, settings: Mapping[str, Any]) -> TrainConfig:
    """The training configuration, which is known before any image is.

    Args:
        card: from the catalogue; its values are the defaults.
        budget: what the user said.
        settings: values from `--set` and the data set: TrainConfig fields; preprocess.FIELD is ignored here.

    Raises:
        UsageError: an unknown setting, a value that does not fit, or a setting that contradicts an option.
    """
    _refuse_twice(budget)
    chosen = divide_settings(settings)[1] | recipe_fields(budget)
    fields = to_builtins(card.train) | chosen
    if fields["pretrained"] is True and card.train.layer_decay < 1 and "lr" not in chosen:
        fields["lr"] = card.train.lr * _DECAYED_LR
    if fields["pretrained"] is not True and "layer_decay" not in chosen:
        fields["layer_decay"] = 1.0  # early layers have nothing to keep
    fields, chosen = adjust_freeze(fields, chosen)
    config = fit(adjust_course(fields, chosen), TrainConfig)
    refuse_course(config, chosen)
    return config


def find_unused(plugin: ModelPlugin, card: ModelCard, budget: Budget) -> list[str]:
    """A note where the user set what makes no difference to this family."""
    asked = recipe_fields(budget).keys() | divide_settings(settings_of(budget))[1].keys()
    unused = list_unused(plugin, card.train)
    idle = [name for name in TrainConfig.__struct_fields__ if name in asked & unused]
    whole = f"{card.name} with --freeze" if card.train.freeze else card.name
    return [f"{whole} makes no use of {', '.join(idle)}"] if idle else []


def recipe_fields(budget: Budget) -> dict[str, Any]:
    """The fields of TrainConfig that the user gave by name."""
    known = TrainConfig.__struct_fields__
    given = {name: value for name, value in budget.items() if name in known and value is not None}
    if not given.pop("pretrained", False) and budget.get("weights") is None and budget.get("start_from") is None:
        return given
    return given | {"pretrained": True}


def _refuse_twice(budget: Budget) -> None:
    """Refuse a setting that says something else than the option of its name; `--weights` and `--from` say pretrained.

    Raises:
        UsageError: names both.
    """
    named, (_, trained) = recipe_fields(budget), divide_settings(settings_of(budget))
    for name in sorted(named.keys() & trained.keys()):
        said, again = (tuple(one) if isinstance(one, list) else one for one in (named[name], trained[name]))
        if said != again:
            ways = ("weights", "start_from") if name == "pretrained" and not budget.get(name) else (name,)
            flags = [_spell(way, budget) for way in ways if budget.get(way) is not None]
            raise UsageError(
                f"{flags[0]} and --set {name}={trained[name]} contradict each other; give one of them",
                code="option-conflict",
                options=[flags[0], f"--set {name}"],
            )


def refuse_options(budget: Budget, *, keep: frozenset[str] = frozenset(), why: str, **others: bool) -> None:
    """Refuse options that would be ignored.

    Args:
        budget: what the user said.
        keep: fields of the budget that are allowed.
        why: the end of the line: what takes effect instead.
        others: options beside the budget, by name, and whether they were given.

    Raises:
        UsageError: names the options.
    """
    given = {name: value for name, value in words_of(budget).items() if name not in keep}
    names = [_spell(name, budget) for name in (*given, *(n for n in others if others[n]))]
    if names:
        raise UsageError(f"{' and '.join(names)}: {why}", code="option-ignored", options=names)


def _spell(name: str, budget: Budget) -> str:
    """The option that a field of the budget, or an argument of its own, is on the command line."""
    leaks = "--keep-leaks" if budget.get("leaks") == "keep" else "--strict"
    spelled = {"settings": "--set", "start_from": "--from", "leaks": leaks}
    return spelled.get(name, f"--{name.replace('_', '-')}")


def resolve(
    plugin: ModelPlugin,
    card: ModelCard,
    data: Splits,
    config: TrainConfig,
    *,
    size: int | None = None,
    settings: Mapping[str, Any],
    spec: PreprocessSpec | None = None,
) -> Recipe:
    """Fit a card to the data.

    Labels that may come together are learned without label smoothing, unless the user asked for some: it draws every
    probability towards one half, and so lifts the floor of rare labels. On such data NLL was 0.061 to 0.100 with the
    cards' 0.1 and 0.057 to 0.071 without, at equal AUROC.

    Args:
        plugin: plugin of the card; it may choose the preprocessing and name a smallest size.
        card: from the catalogue.
        data: its image sizes, pixel type and colours decide.
        config: training configuration from `configure`; the returned card holds the result.
        size: side in pixels that the user asked for, or None.
        settings: from `--set`: TrainConfig fields, or preprocess.FIELD.
        spec: preprocessing that is settled already; None: it is fitted to the images.

    Raises:
        UsageError: an unknown setting, or a value that does not fit.
        DataError: the images need a decision that only the user can take, or have other channels than the user says.
    """
    card = msgspec.structs.replace(card, train=config)  # what a plugin does with pictures may hang on it
    shown, trained = divide_settings(settings)
    notes: list[str] = []
    if spec is None:
        spec, notes = _fit_spec(plugin, card, data, size, shown)
    else:
        _refuse_voi(spec, data)
    smoothed = config.label_smoothing and "label_smoothing" not in {*trained, *plugin.unused_settings}
    if data.task == "multilabel" and smoothed:
        said = f"{config.label_smoothing:g}"
        notes.append(f"label_smoothing 0 (the card says {said}): smoothing lifts the probability of rare labels")
        config = msgspec.structs.replace(config, label_smoothing=0.0)
    table, of_inputs = fit_table(config.inputs, data)
    config, said = settle_course(config, plugin, len(data.train), spec, frozenset(trained))
    notes += [*of_inputs, *([said] if said else [])]
    return Recipe(msgspec.structs.replace(card, preprocess=spec, train=config, table=table), tuple(notes))


def _fit_spec(
    plugin: ModelPlugin, card: ModelCard, data: Splits, size: int | None, shown: dict[str, Any]
) -> tuple[PreprocessSpec, list[str]]:
    """The card's preprocessing, fitted to the images and to what the user says of it, and what was chosen.

    `shown` holds settings of the preprocessing by the names of its fields; the others are those of `resolve`.
    """
    given = frozenset(name.split(".")[0] for name in shown)
    if size is not None and "size" in given:
        raise UsageError(
            f"--size {size} and --set preprocess.size: expected one of them",
            code="option-conflict",
            options=["--size", "--set preprocess.size"],
        )
    spec, notes = _preprocess(plugin, card, data, size, given=given)
    spec, unfitted = fit_to_channels(spec, data, shown.get("channels"))
    stack = spec.channels if isinstance(spec.channels, int) else None
    if shown.get("intensity") == "fitted":
        window, note = fit_window(data.train, stack)
        shown |= {"intensity": to_builtins(window)}
        notes.append(note)
    spec = _with_settings(spec, shown)
    if isinstance(spec.intensity, Percentile) and data.paddings and not spec.intensity.padding:
        padding = _merge_paddings(data)
        spec = msgspec.structs.replace(spec, intensity=msgspec.structs.replace(spec.intensity, padding=padding))
        named = format_count(sum(data.paddings.values()), "image")
        notes.append(
            f"padding is left out of percentiles and becomes 0: {describe_ranges(padding)} "
            f"(PixelPaddingValue of {named})"
        )
    if min(spec.size) < plugin.minimum_size:
        asked = "x".join(map(str, spec.size))
        raise UsageError(
            f"size {asked}: {card.name} needs at least {plugin.minimum_size} pixels a side",
            code="size-too-small",
            model=card.name,
            found=asked,
            expected=plugin.minimum_size,
        )
    if data.kind != "uint8" and "intensity" not in given and spec.intensity == Scale(maximum=255):
        if not data.voi:
            raise DataError(_no_range(data), code="intensity-range", found=data.kind)
        spec = msgspec.structs.replace(spec, intensity=Voi())
        notes.append("intensity voi: every image brings its own VOI LUT or window, through which it is read")
    _refuse_voi(spec, data)
    if unfitted:
        spec, remarks = fit_mean_and_std(spec, data.read_for(spec).train, shown)
        notes += [f"every image is a stack: the network has {stack} input channels", *remarks]
    return spec, notes


def _refuse_voi(spec: PreprocessSpec, data: Splits) -> None:
    if isinstance(spec.intensity, Voi) and not data.voi:
        raise DataError(
            "--set preprocess.intensity=voi: not every image is a DICOM file with a VOI LUT or window; "
            "choose a window for all with --set preprocess.intensity=fitted",
            code="intensity-range",
            intensity="voi",
        )


def divide_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the preprocessing, and those of the training."""
    shown = {name.removeprefix("preprocess."): v for name, v in settings.items() if name.startswith("preprocess.")}
    trained = {name: v for name, v in settings.items() if not name.startswith("preprocess.")}
    known = TrainConfig.__struct_fields__
    for name in trained:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)} or preprocess.FIELD"
            raise UsageError(f"--set {name}: no such setting; {hint}", code="setting-unknown", name=name)
    return shown, trained


def _preprocess(
    plugin: ModelPlugin, card: ModelCard, data: Splits, size: int | None, *, given: frozenset[str]
) -> tuple[PreprocessSpec, list[str]]:
    spec = plugin.preprocess(card)
    notes = []
    smallest = plugin.minimum_size
    if size is not None:
        spec = _set_size(spec, size)
    elif data.largest_side <= OWN_SIZE and "size" not in given:
        side = max(data.largest_side, smallest)
        spec = _set_size(spec, side)
        reason = "the images' own" if side == data.largest_side else f"the least {card.name} can take"
        notes.append(f"input size {side} px: {reason} (the card says {plugin.preprocess(card).size[0]})")
    if data.gray and spec.channels == "rgb" and "channels" not in given:
        spec = _gray(spec)
        notes.append("every image is gray: the network has one input channel")
    return spec, notes


def _merge_paddings(data: Splits) -> tuple[tuple[float, float], ...]:
    """The ranges of padding that images name, those that overlap as one.

    Raises:
        DataError: too many.
    """
    merged: list[tuple[float, float]] = []
    for low, high in sorted(data.paddings):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    if len(merged) > _PADDINGS:
        raise DataError(
            f"--set preprocess.intensity=percentile: the images name {len(merged)} values of padding "
            f"(PixelPaddingValue), expected at most {_PADDINGS}; choose a window for all with "
            "--set preprocess.intensity=fitted, which leaves out each image's own",
            code="intensity-range",
            intensity="percentile",
            found=len(merged),
            most=_PADDINGS,
        )
    return tuple(merged)


def _no_range(data: Splits) -> str:
    """Why training cannot begin, with the range that one image has and all the ways out."""
    try:
        pixels = data.train.read(0).unpadded
        seen = f" (one holds {float(pixels.min()):g} to {float(pixels.max()):g})"
    except (ImageError, IndexError, ValueError):  # no image can be read, or it holds nothing but padding
        seen = ""
    return (
        f"the images are {data.kind}{seen} and the card scales by 255, which would clip them; say what is black and "
        "white with --set preprocess.intensity.maximum=4095 (their largest possible value), "
        "--set 'preprocess.intensity={type: window, center: 40, width: 400}' (soft tissue in Hounsfield units), "
        "--set preprocess.intensity=fitted (from the training images) or =percentile (min to max of each image); "
        "voi is for DICOM files that all bring their own window"
    )


def say_again(spec: PreprocessSpec, budget: Budget) -> PreprocessSpec:
    """The preprocessing of a run, with what the user says of it now; a window that was fitted stays."""
    shown, _ = divide_settings(settings_of(budget))
    if shown.get("intensity") == "fitted":
        del shown["intensity"]
    spec = _with_settings(spec, shown)
    return _set_size(spec, size) if (size := budget.get("size")) else spec


def _set_size(spec: PreprocessSpec, side: int) -> PreprocessSpec:
    fields = to_builtins(spec) | {"size": [side, side]}
    return fit(fields, PreprocessSpec)


def _gray(spec: PreprocessSpec) -> PreprocessSpec:
    """One channel, with the mean of the three means and of the three stds."""
    mean, std = (sum(values) / len(values) for values in (spec.mean, spec.std))
    return msgspec.structs.replace(spec, channels="gray", mean=(round(mean, 6),), std=(round(std, 6),))


def _with_settings(spec: PreprocessSpec, settings: Mapping[str, Any]) -> PreprocessSpec:
    if settings.get("channels") == "gray" and spec.channels == "rgb" and not {"mean", "std"} & settings.keys():
        spec = _gray(spec)
    fields = to_builtins(spec)
    for name, value in settings.items():
        target, *rest = name.split(".")
        if target not in fields:
            known = ", ".join(PreprocessSpec.__struct_fields__)
            reason = f"no such setting; expected one of {known}"
            raise UsageError(f"--set preprocess.{name}: {reason}", code="setting-unknown", name=f"preprocess.{name}")
        if not rest:
            if target == "size" and isinstance(value, int):
                value = [value, value]  # noqa: PLW2901 - the short way to say it, spelt out
            elif target in {"intensity", "denoise"} and isinstance(value, str):
                value = {"type": value}  # noqa: PLW2901 - as above
            fields[target] = value
        elif len(rest) == 1 and isinstance(fields[target], dict):
            fields[target] = fields[target] | {rest[0]: value}
        else:
            reason = f"{target} has no field {'.'.join(rest)}"
            raise UsageError(f"--set preprocess.{name}: {reason}", code="setting-unknown", name=f"preprocess.{name}")
    return fit(fields, PreprocessSpec, "preprocess.")
