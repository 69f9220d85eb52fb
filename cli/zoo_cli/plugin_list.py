"""`zoo plugin list`: which installed code can be asked for a model."""

from __future__ import annotations

from zoo_cli.options import Json
from zoo_cli.output import columns, document, put

__all__ = ["list_plugins"]


def list_plugins(as_json: Json = False) -> None:
    """Show every plugin by its metadata; none is imported ('zoo doctor' tries each)."""
    from zoo.registry import plugins

    rows = plugins()
    if as_json:
        document(rows)
        return
    table = [(row.name, row.distribution, row.version, row.target, row.status) for row in rows]
    put(columns(("plugin", "distribution", "version", "code", "status"), table))
