"""`--set NAME=VALUE`: read by the strict rules of a catalogue, and refused in words where a value does not fit."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


__all__ = ["choices_of", "fit", "read_settings", "settings_of", "spell_setting", "words_of"]

T = TypeVar("T")

_WORDS = {
    "float": "a number", "int": "a whole number", "str": "a word", "bool": "true or false", "null": "null",
    "array": "a list", "object": "a table",
}  # fmt: skip
"""What msgspec calls a type, and what a user would."""


def read_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """['lr=1e-3', 'preprocess.resize=letterbox'] to a mapping.

    A value is one clear YAML value: a number, a word, true, false, null, a list or a table.

    Raises:
        UsageError: a pair has no '=' (code setting-form), or a value is empty or not clear, such as 010, 1:30 or no
            (code setting-value; fields name and value).
    """
    from zoo.registry._strict_yaml import UnclearError, read

    settings: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = (part.strip() for part in pair.partition("="))
        if not sign or not name:
            reason = "expected NAME=VALUE, such as --set weight_decay=0.01"
            raise UsageError(f"--set {pair}: {reason}", code="setting-form", pair=pair)
        reason = "the value is empty; write one" if not value else ""
        if name in settings:
            raise _refuse_twice(name, value)
        if value.startswith("#"):
            reason = f"{value!r} is a comment, expected a value; put quotes around a word that begins with #"
        try:
            settings[name] = read(value)
        except UnclearError as problem:
            choices = choices_of(name)
            reason = f"{value!r} found, expected {_either(choices)}" if choices else str(problem)
        if reason:
            raise UsageError(f"--set {name}: {reason}", code="setting-value", name=name, value=value)
    return settings


def spell_setting(name: str, value: Any) -> str:
    """NAME=VALUE, from which `read_settings` reads the same value: a word as it is, else JSON, which is YAML too."""
    if isinstance(value, str):
        with contextlib.suppress(UsageError):  # a word such as no, which wants quotes
            if read_settings([f"{name}={value}"]) == {name: value}:
                return f"{name}={value}"
    return f"{name}={json.dumps(value, ensure_ascii=False)}"


def words_of(budget: Mapping[str, Any]) -> dict[str, Any]:
    """What a user said: a switch that is off is nothing, but `keep_na`, which may be said either way."""
    return {
        name: value
        for name, value in budget.items()
        if value not in (None, {}) and (value is not False or name == "keep_na")
    }


def settings_of(budget: Mapping[str, Any]) -> dict[str, Any]:
    """What `--set` said, by names of fields: `train.` before the name of one of TrainConfig's says nothing more.

    Raises:
        UsageError: one field is named twice, with `train.` and without.
    """
    settings: dict[str, Any] = {}
    for spelled, value in (budget.get("settings") or {}).items():
        name = spelled.removeprefix("train.")
        if name in settings:
            raise _refuse_twice(name, value)
        settings[name] = value
    return settings


def _refuse_twice(name: str, value: Any) -> UsageError:
    return UsageError(f"--set {name}: given twice; give it once", code="setting-value", name=name, value=value)


def fit(fields: Mapping[str, Any], kind: type[T], prefix: str = "") -> T:
    """`fields` as a value of `kind`.

    Args:
        fields: name to value.
        kind: a struct.
        prefix: first part of a setting's name, before the field's name, such as "preprocess.".

    Raises:
        UsageError: a value does not fit (code setting-value; fields name and value).
    """
    try:
        return msgspec.convert(fields, type=kind)
    except msgspec.ValidationError as problem:
        reason, _, place = str(problem).partition(" - at `$")
    steps = re.findall(r"[^.\[\]`]+", place)
    value: Any = fields
    for step in steps:
        value = value[int(step) if isinstance(value, list | tuple) else step]
    name = prefix + ".".join(steps)
    own = re.match(r"(\w+) (is|has|holds) ", reason)  # a check of the struct itself begins with a name
    if not steps and own:
        name, value = f"{prefix}{own[1]}", fields.get(own[1])
        said = f"{prefix}{reason}"
    else:
        said = _explain_value(reason, name, value, kind, steps)
    raise UsageError(said, code="setting-value", name=name, value=value)


def _explain_value(reason: str, name: str, value: Any, kind: Any, steps: list[str]) -> str:
    """What msgspec says of a value, in the words of a user."""
    shown = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    if reason.startswith(("Expected", "Invalid")) and (choices := _choices(kind, steps, numbers=True)):
        return f"{name} is {shown}, expected {_either(choices)}"
    if found := re.fullmatch(r"Expected `([^`]+)`, got `.*", reason):
        expected = " or ".join(_WORDS.get(word, word) for word in found[1].split(" | "))
        return f"{name} is {shown}, expected {expected}"
    if found := re.fullmatch(r"Expected `array` of length (\d+), got .*", reason):
        return f"{name} is {shown}, expected a list of {found[1]}"
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", reason):
        return f"{name} has no field {found[1]!r}; leave it out"
    if found := re.fullmatch(r"Object missing required field `(.*)`", reason):
        return f"{name} is {shown}, expected a field {found[1]!r} too"
    return f"{name}: {reason[:1].lower()}{reason[1:]}"


def _either(choices: list[str]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}"


def choices_of(name: str) -> list[str]:
    """As `_choices`, of a name as the user gives it; empty: the setting is unknown, or it takes any value."""
    from zoo.spec import PreprocessSpec, TrainConfig

    first, *rest = name.split(".")
    kind: Any = PreprocessSpec if first == "preprocess" else TrainConfig
    return _choices(kind, rest if first in {"preprocess", "train"} else [first, *rest])


def _choices(kind: Any, steps: list[str], *, numbers: bool = False) -> list[str]:
    """All that a field which takes some words or numbers only may be; of a table, its kinds; empty: it takes others."""
    for step in steps:
        if step == "type":
            break
        owner = next((one for one in get_args(kind) or (kind,) if step in getattr(one, "__struct_fields__", ())), None)
        if owner is None:
            return []
        kind = get_type_hints(owner, include_extras=True)[step]
    parts = (kind, *get_args(kind))
    found: list[Any] = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    found += [example for part in parts if isinstance(part, msgspec.Meta) for example in part.examples or ()]
    configs = [part.__struct_config__ for part in parts if hasattr(part, "__struct_config__")]
    found += [config.tag for config in configs if config.tag]
    if numbers and found and int in parts:  # one of some words, or any number
        found.append("a whole number")
    if found and "intensity" in steps:
        found.append("fitted")
    if found and type(None) in parts and steps[-1] != "type":
        found.append("null")
    return [str(choice) for choice in found]
