"""What is installed: entry points and catalogues, found by metadata alone. Nothing is imported here."""

from __future__ import annotations

import difflib
import importlib.util
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from zoo._support.entries import is_allowed
from zoo.registry._catalogue import Broken, Catalogue, Distribution, merge, own_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib import metadata

__all__ = [
    "OWN",
    "PluginEntry",
    "State",
    "catalogue",
    "is_allowed",
    "is_installed",
    "needs_remedy",
    "no_plugin",
    "plugin_entries",
    "read_declared",
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
        "requests",
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


State: TypeAlias = Literal["ok", "prints", "missing", "forbidden", "slow", "broken"]
"""Of a plugin or a model: may be used, works but prints, lacks a package, not allowed by ZOO_PLUGINS, not imported in
the time that was given, or defective."""

Declared: TypeAlias = "dict[str, tuple[tuple[EntryPoint, Distribution], ...]]"
"""Group to its entry points, each with who declares it."""


class PluginEntry(msgspec.Struct, frozen=True):
    """An entry point of the group zoo.plugins, not loaded."""

    name: str
    distribution: Distribution
    point: EntryPoint


def read_declared() -> Declared:
    """The entry points of both groups, sorted by name.

    `importlib.metadata.entry_points` parses what every installed distribution declares, of which a zoo has hundreds;
    here only those are parsed that mention one of our groups, in a third of the time.
    """
    found: dict[str, list[tuple[EntryPoint, Distribution]]] = {group: [] for group in (PLUGINS, CATALOGUES)}
    for installed in distributions():
        text = installed.read_text("entry_points.txt")
        if text is None or not any(f"[{group}]" in text for group in found):
            continue
        told = installed.metadata
        # A half-removed distribution has entry points and no metadata.
        name, version = (told[key] if told is not None and key in told else None for key in ("Name", "Version"))
        if name is not None and _place(next(iter(distributions(name=name)), installed)) != _place(installed):
            continue  # it is hidden by another of its name, earlier on sys.path
        owner = Distribution(name or "an unknown distribution", version or "(no version)")
        for point in installed.entry_points:
            if point.group in found:
                found[point.group].append((point, owner))
    return {group: tuple(sorted(points, key=lambda one: one[0].name)) for group, points in found.items()}


def plugin_entries(points: Declared | None = None) -> dict[str, tuple[PluginEntry, ...]]:
    """Every plugin name with everyone who claims it, sorted by name; `points` where they are known already."""
    found: dict[str, tuple[PluginEntry, ...]] = {}
    for point, owner in (points or read_declared())[PLUGINS]:
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
    for point, owner in (points or read_declared())[CATALOGUES]:
        path = _registry_file(point.value)
        if path is None:
            reason = f"registry.yaml of {owner}: package {point.value!r} does not hold it; reinstall {owner.name}"
            broken.append(Broken(owner, reason))
        else:
            sources.setdefault(path, owner)
    merged = merge((owner, path) for path, owner in sources.items())
    return Catalogue(merged.entries, (*broken, *merged.broken))


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


def _place(installed: metadata.Distribution) -> tuple[str, str | None]:
    """What tells two distributions of one name apart, without parsing their metadata."""
    return str(installed.locate_file("")), installed.read_text("entry_points.txt")


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
