"""`zoo plugin list`: which installed code can be asked for a model, or for an image of a format of its own."""

from __future__ import annotations

from zoo_cli.options import Json
from zoo_cli.output import document, format_table, put

__all__ = ["list_plugins"]


def list_plugins(as_json: Json = False) -> None:
    """Show every plugin and every reader by its metadata; none is imported ('zoo doctor' tries each)."""
    from zoo.registry import PluginRow, ReaderRow, plugins, readers

    rows: list[PluginRow | ReaderRow] = [*plugins(), *readers()]
    if as_json:
        document(rows)
        return
    table = [(row.name, row.distribution, row.version, row.target, row.status) for row in rows]
    put(format_table(("plugin", "distribution", "version", "code", "status"), table))
