"""`zoo plugin list`: which installed code can be asked for a model, for an image of its format, or for `--log`."""

from __future__ import annotations

from zoo_cli.options import Json
from zoo_cli.output import document, format_table, put

__all__ = ["list_plugins"]


def list_plugins(as_json: Json = False) -> None:
    """Show every plugin, reader and callback by its metadata; none is imported ('zoo doctor' tries each)."""
    from zoo.registry import callbacks, plugins, readers

    rows = [*plugins(), *readers(), *callbacks()]
    if as_json:
        document(rows)
        return
    table = [(row.name, row.distribution, row.version, row.target, row.status) for row in rows]
    put(format_table(("plugin", "distribution", "version", "code", "status"), table))
