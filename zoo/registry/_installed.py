"""What is installed: entry points and catalogues, found by metadata alone. Nothing is imported here."""

from __future__ import annotations

import difflib
import importlib.util
import os
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from zoo.catalogue import Broken, Catalogue, Distribution, merge, own_file
from zoo.registry._memory import remembering

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "OWN",
    "PluginEntry",
    "allowed",
    "catalogue",
    "declared",
    "is_installed",
    "needs_remedy",
    "no_plugin",
    "plugin_entries",
]

OWN = "edgezoo"
"""Our distribution; what of ours is missing comes with its extra `train`."""

PLUGINS = "zoo.plugins"
CATALOGUES = "zoo.catalogues"

TRAIN_EXTRA = frozenset(
    (
        "matplotlib",
        "onnx",
        "onnxscript",
        "pooch",
        "safetensors",
        "segmentation_models_pytorch",
        "skl2onnx",
        "sklearn",
        "timm",
        "torch",
        "torchvision",
    )
)
"""Import names of what `pip install 'edgezoo[train]'` brings."""


Declared: TypeAlias = "dict[str, tuple[tuple[EntryPoint, Distribution], ...]]"
"""Group to its entry points, each with who declares it."""


@dataclass(frozen=True, slots=True)
class PluginEntry:
    """An entry point of the group zoo.plugins, not loaded."""

    name: str
    distribution: Distribution
    point: EntryPoint


def declared() -> Declared:
    """The entry points of both groups by name; every metadata file on sys.path is read once."""
    everything = entry_points()
    owners: dict[int, Distribution] = {}
    return {group: tuple(_owned(everything.select(group=group), owners)) for group in (PLUGINS, CATALOGUES)}


def plugin_entries(points: Declared | None = None) -> dict[str, tuple[PluginEntry, ...]]:
    """Every plugin name with everyone who claims it, sorted by name; `points` where they are known already."""
    found: dict[str, tuple[PluginEntry, ...]] = {}
    for point, owner in (points or declared())[PLUGINS]:
        found[point.name] = (*found.get(point.name, ()), PluginEntry(point.name, owner, point))
    return found


def no_plugin(name: str, known: Iterable[str]) -> str:
    """What to say of a plugin that is not among the installed ones."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"no plugin {name!r} is installed; {hint}'zoo plugin list' shows what is"


def catalogue(points: Declared | None = None) -> Catalogue:
    """Every installed catalogue, read and merged; packages are located, never imported."""
    broken = []
    sources: dict[Path, Distribution] = {}  # one file once, whoever points to it a second time
    for point, owner in (points or declared())[CATALOGUES]:
        path = _registry_file(point.value)
        if path is None:
            reason = f"registry.yaml of {owner}: package {point.value!r} does not hold it; reinstall {owner.name}"
            broken.append(Broken(owner, reason))
        else:
            sources.setdefault(path, owner)
    with remembering() as parse:
        merged = merge(((owner, path) for path, owner in sources.items()), parse)
    return Catalogue(merged.entries, (*broken, *merged.broken))


def allowed(plugin: str) -> bool:
    """Whether ZOO_PLUGINS, a comma list, lets `plugin` be loaded. Unset allows all, empty allows none."""
    listed = os.environ.get("ZOO_PLUGINS")
    return listed is None or plugin in {name.strip() for name in listed.split(",")}


def is_installed(package: str) -> bool:
    """Whether a top-level package can be found; it is not imported."""
    return _locate(package) is not None


def needs_remedy(packages: tuple[str, ...], owner: str) -> str:
    """One line that says what is missing and how to get it."""
    line = f"needs {', '.join(packages)}"
    if owner == OWN or TRAIN_EXTRA.issuperset(packages):
        return f"{line}: pip install '{OWN}[train]'"
    # The name on an index may differ from the import name; a wrong guess installs a stranger's code.
    return f"{line}: not installed; see the documentation of {owner}"


def _owned(points: Iterable[EntryPoint], owners: dict[int, Distribution]) -> Iterator[tuple[EntryPoint, Distribution]]:
    """Entry points by name, each with its distribution, whose metadata is parsed once and kept in `owners`."""
    for point in sorted(points, key=lambda point: point.name):
        if id(point.dist) not in owners:
            found = None if point.dist is None else point.dist.metadata
            # A half-removed distribution has entry points and no metadata.
            name, version = (found[key] if found is not None and key in found else None for key in ("Name", "Version"))
            owners[id(point.dist)] = Distribution(name or "an unknown distribution", version or "(no version)")
        yield point, owners[id(point.dist)]


def _registry_file(package: str) -> Path | None:
    """registry.yaml of `package`, which may be nested, found without importing any part of it."""
    top, *inner = package.split(".")
    for folder in _locate(top) or ():
        path = own_file(folder) if package == "zoo" else folder.joinpath(*inner, "registry.yaml")
        if path.is_file():
            return path.resolve()
    return None


def _locate(package: str) -> tuple[Path, ...] | None:
    """Folders of a top-level package, () for a module that is one file, None when it is not installed."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # ValueError: already in sys.modules, made by hand, without a spec
        return None
    return None if spec is None else tuple(_folders(spec.submodule_search_locations))


def _folders(locations: list[str] | None) -> Iterator[Path]:
    yield from (Path(location) for location in locations or ())
