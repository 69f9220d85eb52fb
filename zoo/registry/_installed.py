"""What is installed: entry points and catalogues, found by metadata alone. Nothing is imported here."""

from __future__ import annotations

import difflib
import importlib.util
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from zoo._support.entries import CATALOGUES, PLUGINS, read_declared
from zoo.registry._catalogue import Broken, Catalogue, merge, own_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zoo._support.entries import Declared, Distribution

__all__ = [
    "State",
    "catalogue",
    "is_installed",
    "no_plugin",
]

State: TypeAlias = Literal["ok", "prints", "missing", "forbidden", "slow", "broken"]
"""Of a plugin or a model: may be used, works but prints, lacks a package, not allowed by ZOO_PLUGINS, not imported in
the time that was given, or defective."""


def no_plugin(name: str, known: Iterable[str]) -> str:
    """What to say of a plugin that is not among the installed ones."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"no plugin {name!r} is installed; {hint}'zoo plugin list' shows what is"


def catalogue(declared: Declared | None = None) -> Catalogue:
    """Every installed catalogue, read and merged; packages are located, never imported.

    Args:
        declared: what is installed, where it is known already.
    """
    declared = declared or read_declared()
    broken = [Broken(one.distribution, one.error) for one in declared.unread_of(CATALOGUES, PLUGINS)]
    sources: dict[Path, Distribution] = {}  # one file once, whoever points to it a second time
    for entry in itertools.chain.from_iterable(declared.entries[CATALOGUES].values()):
        package, owner = entry.point.value, entry.distribution
        path = _registry_file(package)
        if path is None:
            reason = f"registry.yaml of {owner}: package {package!r} does not hold it; reinstall {owner.name}"
            broken.append(Broken(owner, reason))
        else:
            sources.setdefault(path, owner)
    merged = merge((owner, path) for path, owner in sources.items())
    return Catalogue(merged.entries, (*broken, *merged.broken))


def is_installed(package: str) -> bool:
    """Whether a top-level package can be found; it is not imported."""
    return _locate(package) is not None


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
