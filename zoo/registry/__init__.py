"""Which models and plugins are installed: list, find, load.

Listing reads metadata and YAML and imports no plugin; `load` imports exactly one. Code is found by the
entry-point group zoo.plugins, catalogues by zoo.catalogues, ours by the same door as anyone's.
"""

from __future__ import annotations

from zoo.registry._checking import check_plugins, plugins
from zoo.registry._ensembles import ENSEMBLE, ENSEMBLE_PLUGIN
from zoo.registry._entry_rows import callbacks, check_callbacks, check_readers, readers
from zoo.registry._installed import State, catalogue
from zoo.registry._listing import Row, find, models
from zoo.registry._loading import LoadedPlugin, load
from zoo.registry._rows import EntryRow

__all__ = [
    "ENSEMBLE",
    "ENSEMBLE_PLUGIN",
    "EntryRow",
    "LoadedPlugin",
    "Row",
    "State",
    "callbacks",
    "catalogue",
    "check_callbacks",
    "check_plugins",
    "check_readers",
    "find",
    "load",
    "models",
    "plugins",
    "readers",
]


def __dir__() -> list[str]:
    return __all__
