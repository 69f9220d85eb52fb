"""What TAB offers in the place of a value: names of models and sets, runs, bundles, data. Nothing is opened for it.

A shell completes paths by itself where nothing here fits.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator

__all__ = ["data", "exported", "families", "metrics", "models", "models_and_files", "runs", "sets"]

_TABLES = (".csv", ".tsv", ".parquet", ".npz")


def models(incomplete: str) -> list[str]:
    """Names of the catalogue."""
    from zoo.registry import catalogue

    return _beginning(catalogue().entries, incomplete)


def families(incomplete: str) -> list[str]:
    """Families of models."""
    from zoo.registry import catalogue

    cards = (owner.card for owners in catalogue().entries.values() for owner in owners)
    return _beginning({card.family: None for card in cards}, incomplete)


def sets(incomplete: str) -> list[str]:
    """Names of data sets."""
    from zoo.store.sets import catalogue

    return _beginning(catalogue(), incomplete)


def metrics(incomplete: str) -> list[str]:
    """Validation metrics; the class of a sensitivity is the user's to name."""
    from zoo.spec import METRIC_CHOICES

    return _beginning((name.removesuffix("CLASS") for name in METRIC_CHOICES), incomplete)


def runs(incomplete: str) -> list[str]:
    """Runs below runs/, the last one first."""
    return _beginning(_list_runs(), incomplete)


def exported(incomplete: str) -> list[str]:
    """Runs, bundles and model files of this folder."""
    here = (name for name, _ in _entries(".") if name.endswith((".onnx", ".zoo", ".zoo.zip")))
    return _beginning((*_list_runs(), *here), incomplete)


def models_and_files(incomplete: str) -> list[str]:
    """All that can be compared or shown."""
    return [*models(incomplete), *exported(incomplete)]


def data(incomplete: str) -> list[str]:
    """Names of data sets, and the folders and tables of this folder."""
    if "/" in incomplete:
        return []
    here = (name for name, folder in _entries(".") if folder or name.lower().endswith(_TABLES))
    return _beginning((*sets(""), *here), incomplete)


def _list_runs() -> list[str]:
    found = [f"runs/{name}" for name, folder in _entries("runs") if folder and os.path.isfile(f"runs/{name}/run.json")]  # noqa: PTH113
    return sorted(found, key=lambda path: (path != "runs/latest", path))


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    try:
        with os.scandir(folder) as found:
            for entry in found:
                # a shell completes and quotes other names by itself
                if not entry.name.startswith(".") and shlex.quote(entry.name) == entry.name:
                    yield entry.name, entry.is_dir()
    except OSError:
        return


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
