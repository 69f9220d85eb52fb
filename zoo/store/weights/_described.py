"""Weights that describe themselves: config.json and model.safetensors in timm's format, on the hub or in a folder.

`hf-hub:ORG/NAME` and `local-dir:PATH` are timm's own words for the two places (timm/models/_hub.py). config.json
comes from a stranger: it names an architecture and says how pictures were prepared, and nothing else of it is
used; no code is fetched, and what it asks for beyond that is refused. What was read once is pinned in the lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from zoo._support.text import join_lines
from zoo.errors import WeightsError
from zoo.spec import Licence, PreprocessSpec
from zoo.store.weights import _hub
from zoo.store.weights._store import config_of, keep_config, pins, take_config

__all__ = ["HUB", "LOCAL", "Described", "describe", "is_source", "place_of"]

log = logging.getLogger("zoo")

HUB, LOCAL = "hf-hub:", "local-dir:"
CONFIG, TENSORS, README = "config.json", "model.safetensors", "README.md"

MAX_CONFIG = 8_000_000
"""Bytes. timm's largest, with the names and descriptions of 21 841 classes, has about 3 MB."""
MAX_README = 1_000_000

_HUB_NAME = re.compile(r"hf-hub:[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ARCHITECTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_README_LICENCE = re.compile(r"^(license|license_name):[ \t]*[\"']?([A-Za-z0-9.+-]+)[\"']?[ \t]*\r?$", re.MULTILINE)
_HARMLESS = {"drop_path_rate", "drop_rate", "global_pool", "img_size", "in_chans", "num_classes", "pretrained"}
"""model_args that every saved model has or that the data decides; tensors that they would change are checked anyway."""
_RESIZE = {"center": "crop", "squash": "stretch", "border": "letterbox"}


@dataclass(frozen=True, slots=True)
class Described:
    """What config.json says."""

    name: str
    """hf-hub:ORG/NAME or local-dir:FOLDER, the last without the path to it."""
    source: str
    """The key in the lock; of a folder it tells two of one name apart."""
    arch: str
    """A name for timm; whether it is known there is for the plugin to say."""
    preprocess: PreprocessSpec
    licence: Licence
    classes: int | None


class _Pretrained(msgspec.Struct):
    """What is read of `pretrained_cfg`; timm writes more."""

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_mode: str = "center"
    num_classes: int | None = None
    license: str | None = None


def is_source(name: str) -> bool:
    """Whether `name` says where weights are, instead of being a model of the catalogue or a file."""
    return name.startswith((HUB, LOCAL))


def describe(name: str, *, place: Path | None = None, force: bool = False) -> Described:
    """What the config.json at `name` says; the hub is asked once, a folder is compared with the lock each time.

    Args:
        name: hf-hub:ORG/NAME or local-dir:PATH.
        place: a folder to take for what the hub would give.
        force: accept that config.json differs from the lock.

    Raises:
        WeightsError: no such place, out of reach (with the ways out), another config.json than the lock says, or one
            that is not timm's.
        OutputError: the store cannot be written.
    """
    if name.startswith(LOCAL):
        found = _of_folder(name, force)
    elif _HUB_NAME.fullmatch(name) and ".." not in name:
        found = _of_hub(name, place, force)
    else:
        raise WeightsError(
            f"'{name}' names nothing on the hub; expected hf-hub:ORGANISATION/NAME", code="weights-source", name=name
        )
    if found.licence == "unknown":
        log.warning(
            "%s: licence unknown, no %s or %s that could be read states one; ask its author before you ship, or run "
            "'zoo weights fetch %s --force' to look again",
            name, CONFIG, README, shlex.quote(name),
        )  # fmt: skip
    return found


def place_of(source: str) -> Path | None:
    """The folder that the lock has for a source of `describe`, None for the hub's."""
    pin = pins().get(config_of(source))
    return None if pin is None or pin.place is None else Path(pin.place)


def _of_hub(name: str, place: Path | None, force: bool) -> Described:
    remedy = f"zoo weights fetch {name} --force"
    if place is None and not force and (kept := take_config(name, what=name, remedy=remedy)):
        return _describe(name, name, kept[0], kept[1])
    data = _hub.document(name, CONFIG, most=MAX_CONFIG) if place is None else _read_needed(place, name)
    found = _describe(name, name, data, None)
    if found.licence == "unknown":
        found = _add_licence(found, _hub_readme(name) if place is None else _read(place / README, MAX_README, name))
    keep_config(name, data, found.licence, None, what=name, remedy=remedy, force=force)
    return found


def _hub_readme(name: str) -> bytes | None:
    """The hub's README; None when we cannot get it, because an unknown licence is reported and stops nothing."""
    try:
        return _hub.document(name, README, most=MAX_README)
    except WeightsError:
        return None


def _of_folder(name: str, force: bool) -> Described:
    folder = Path(os.path.expanduser(name.removeprefix(LOCAL)))  # noqa: PTH111  # pathlib's raises for an unknown user
    if not name.removeprefix(LOCAL) or not folder.is_dir():
        raise WeightsError(
            f"{name}: no such folder; expected one with {CONFIG} and {TENSORS}", code="weights-file-missing", model=name
        )
    folder = folder.resolve()
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip(".-")[:64] or "folder"
    source = f"{LOCAL}{short}#{hashlib.sha256(bytes(folder)).hexdigest()[:12]}"
    data = _read_needed(folder, name)
    found = _describe(f"{LOCAL}{short}", source, data, None)
    if found.licence == "unknown":
        found = _add_licence(found, _read(folder / README, MAX_README, name))
    remedy = f"zoo weights fetch {shlex.quote(name)} --force"
    keep_config(source, data, found.licence, str(folder), what=name, remedy=remedy, force=force)
    return found


def _read_needed(folder: Path, what: str) -> bytes:
    data = _read(folder / CONFIG, MAX_CONFIG, what)
    if data is None:
        raise WeightsError(
            f"{what}: {CONFIG} is not there; expected it and {TENSORS} side by side, as timm saves them",
            code="weights-file-missing",
            file=CONFIG,
        )
    return data


def _read(path: Path, most: int, what: str) -> bytes | None:
    """A small file of a folder, None when it is not there."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as problem:
        raise WeightsError(
            f"{what}: {path.name}: {(problem.strerror or str(problem)).lower()}", code="file-unreadable", path=str(path)
        ) from None
    if len(data) > most:
        raise WeightsError(
            f"{what}: {path.name} has more than {most:,} bytes, so it is another file",
            code="weights-too-large",
            path=str(path),
            limit=most,
        )
    return data


def _describe(name: str, source: str, data: bytes, licence: str | None) -> Described:
    """Judge config.json; `licence`: what the lock says of it."""
    document = _parse(name, data)
    arch = document.get("architecture")
    if not isinstance(arch, str) or not _ARCHITECTURE.fullmatch(arch):
        raise _wrong(name, f"architecture is {_show(arch)}, expected a name of timm such as resnet18")
    if strange := _strange(document.get("model_args")):
        raise _wrong(name, f"model_args {strange} makes another network than {arch}; expected none of that kind")
    inner = document.get("pretrained_cfg", document)  # timm before 0.9 wrote all of it side by side
    try:
        said = msgspec.convert(inner, _Pretrained)
    except msgspec.ValidationError as problem:
        raise _wrong(name, f"{problem}; expected timm's pretrained_cfg") from None
    colours, *sides = said.input_size
    if colours != 3:
        raise _wrong(name, f"input_size has {colours} channels, expected 3")
    if said.interpolation not in {"bicubic", "bilinear"}:
        raise _wrong(name, f"interpolation is {_show(said.interpolation)}, expected bicubic or bilinear")
    if said.crop_mode not in _RESIZE:
        raise _wrong(name, f"crop_mode is {_show(said.crop_mode)}, expected one of {', '.join(_RESIZE)}")
    if not all(math.isfinite(value) and abs(value) <= 1_000 for value in (*said.mean, *said.std)):
        raise _wrong(name, "mean or std holds a number beyond 1000, expected those of pictures in [0, 1]")
    fields = {
        "size": sides,
        "mean": said.mean,
        "std": said.std,
        "interpolation": said.interpolation,
        "resize": _RESIZE[said.crop_mode],
    }
    try:
        spec = msgspec.convert(fields, PreprocessSpec)
    except msgspec.ValidationError as problem:
        raise _wrong(name, str(problem)) from None
    classes = document.get("num_classes", said.num_classes)
    stated = licence or said.license or document.get("license")
    return Described(
        name=name,
        source=source,
        arch=arch,
        preprocess=spec,
        licence=_plain(stated),
        classes=classes if isinstance(classes, int) and not isinstance(classes, bool) else None,
    )


def _strange(arguments: Any) -> str:
    """What of model_args would give a network that `arch` alone does not; "" for nothing."""
    if not isinstance(arguments, dict):
        return "" if arguments is None else _show(arguments)
    keys = [key for key in arguments if key not in _HARMLESS or (key == "in_chans" and arguments[key] != 3)]
    return ", ".join(key if key.isidentifier() else _show(key) for key in sorted(keys)[:5])


def _parse(name: str, data: bytes) -> dict[str, Any]:
    """A JSON object without repeated keys, NaN or infinity."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key, value in pairs:  # each is looked at once: a stranger may send a million
            if key in table:
                raise ValueError(f"key {_show(key)} appears twice")
            table[key] = value
        return table

    def no_number(text: str) -> NoReturn:
        raise ValueError(f"{text} is not a number")

    try:
        document = json.loads(data, object_pairs_hook=once, parse_constant=no_number)
    except (ValueError, RecursionError) as problem:  # UnicodeDecodeError is a ValueError
        raise _wrong(name, f"not valid JSON ({join_lines(problem, 120)})") from None
    if not isinstance(document, dict):
        raise _wrong(name, "not a JSON object; expected architecture and pretrained_cfg")
    return document


def _add_licence(found: Described, readme: bytes | None) -> Described:
    """`found` with the licence that the front matter of a README states."""
    text = (readme or b"").decode("utf-8", "replace").lstrip("\ufeff")
    begin, _, rest = text.partition("\n")
    if begin.strip() != "---":
        return found
    front = re.split(r"^---[ \t]*\r?$", rest, maxsplit=1, flags=re.MULTILINE)[0]
    stated = dict(_README_LICENCE.findall(front))
    licence = stated.get("license", "")
    if licence == "other":  # the hub's word for one that it has no word for
        licence = stated.get("license_name", licence)
    return Described(found.name, found.source, found.arch, found.preprocess, _plain(licence), found.classes)


def _plain(licence: Any) -> Licence:
    return licence.lower() if isinstance(licence, str) and _LICENCE.fullmatch(licence) else "unknown"


def _wrong(name: str, reason: str) -> WeightsError:
    return WeightsError(f"{name}: {CONFIG}: {reason}; bring a model that timm saved", code="weights-config", model=name)


def _show(value: Any) -> str:
    """A stranger's value on one line, and not too much of it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
