"""What a user calls a plugin, to the models that are to be checked: by metadata and catalogues, nothing is imported."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import registry
from zoo.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Chosen", "ChosenReader", "choose"]

_NAMED_BY_SOURCE = ("timm/", "hf-hub:", "local-dir:")
"""Prefixes of model names whose cards are in no catalogue; `zoo.registry.find` makes these cards."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One model to check.

    Attributes:
        model: its name in the catalogue.
        plugin: the entry point it names.
        distribution: who brings the card.
    """

    model: str
    plugin: str
    distribution: str


@dataclass(frozen=True, slots=True)
class ChosenReader:
    """One reader of an image format to check.

    Attributes:
        reader: its entry point.
        distribution: who brings it.
    """

    reader: str
    distribution: str


@contextmanager
def choose(target: str, scratch: Path) -> Iterator[list[Chosen | ChosenReader]]:
    """The models and readers that `target` means; while the block lasts they can be found, installed or not.

    Args:
        target: a model, a distribution, a plugin, a reader, MODULE[:CLASS], or the folder of a project that is not
            installed.
        scratch: an empty folder, for the metadata of a project that is not installed.

    Raises:
        PluginError: nothing of that name is here, or it brings no model and no reader.
    """
    found: list[Chosen | ChosenReader] = [*_readers_of(target), *_find_installed(target)]
    if found:
        yield found
        return
    folder = Path(target)
    if not (folder / "pyproject.toml").is_file():
        raise PluginError(
            f"{target!r} is not an installed model, distribution, plugin or module, and not a folder with a "
            "pyproject.toml; 'zoo plugin list' shows what is installed",
            code="plugin-target",
            target=target,
        )
    name, paths = _as_if_installed(folder, scratch)
    sys.path[:0] = paths
    importlib.invalidate_caches()
    try:
        found = [*_readers_of(name), *_of_distribution(name)]
        if not found:
            broken = [one.error for one in registry.catalogue().broken if _same(one.distribution.name, name)]
            raise PluginError(broken[0] if broken else _no_model(name), code="plugin-no-model", distribution=name)
        yield found
    finally:
        for path in paths:
            sys.path.remove(path)


def _readers_of(target: str) -> list[ChosenReader]:
    """The readers of a distribution, or the one of that name."""
    return [
        ChosenReader(row.name, row.distribution)
        for row in registry.readers()
        if target in {row.name, row.target} or _same(row.distribution, target)
    ]


def _find_installed(target: str) -> list[Chosen]:
    everything = registry.catalogue()
    if target in everything.entries or target.startswith(_NAMED_BY_SOURCE):
        card = registry.find(target)  # a clash is refused there
        owner = everything.entries[target][0].distribution.name if target in everything.entries else "edgezoo"
        return [Chosen(target, card.plugin, owner)]
    found = _of_distribution(target)
    if found:
        return found
    rows = registry.plugins()
    named = {row.name for row in rows if target in {row.name, row.target, row.target.partition(":")[0]}}
    mine = [row for row in rows if row.name in named or _same(row.distribution, target)]
    if not mine:
        return []
    found = [one for one in _all() if one.plugin in named]
    if not found:
        broken = [one.error for one in everything.broken if _same(one.distribution.name, mine[0].distribution)]
        raise PluginError(
            broken[0] if broken else _no_model(mine[0].distribution),
            code="plugin-no-model",
            distribution=mine[0].distribution,
        )
    return found


def _all() -> list[Chosen]:
    return [
        Chosen(name, entry.card.plugin, entry.distribution.name)
        for name, owners in registry.catalogue().entries.items()
        for entry in owners
    ]


def _of_distribution(name: str) -> list[Chosen]:
    return [one for one in _all() if _same(one.distribution, name)]


def _no_model(distribution: str) -> str:
    return (
        f"{distribution} brings no model; write a registry.yaml into its package and name the package in the "
        "entry-point group zoo.catalogues"
    )


def _same(one: str, other: str) -> bool:
    """Names of distributions are equal after PEP 503's normalisation."""
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()


def _as_if_installed(folder: Path, scratch: Path) -> tuple[str, list[str]]:
    """A project's name, and the folders that make its code and its entry points visible when they are on sys.path."""
    what = folder / "pyproject.toml"
    try:
        project: dict[str, Any] = tomllib.loads(what.read_text(encoding="utf-8"))["project"]
        name, version = str(project["name"]), str(project.get("version", "0"))
        groups: dict[str, dict[str, str]] = project.get("entry-points", {})
        lines = [
            line
            for group, points in groups.items()
            for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))
        ]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as problem:
        raise PluginError(
            f"{what}: {problem}; expected a table [project] with a name and entry points",
            code="plugin-project",
            path=str(what),
        ) from None
    if not {"zoo.plugins", "zoo.readers"} & set(groups):
        raise PluginError(
            f'{what}: no [project.entry-points."zoo.plugins"]; name the plugin there as NAME = "module:class"',
            code="plugin-project",
            path=str(what),
        )
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name + version):
        raise PluginError(
            f"{what}: name {name!r} and version {version!r} are none that pip takes",
            code="plugin-project",
            path=str(what),
            name=name,
            version=version,
        )
    info = scratch / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    source = folder / "src" if (folder / "src").is_dir() else folder
    return name, [str(scratch.resolve()), str(source.resolve())]
