"""`zoo plugin`: installed model families, and the door for new ones; each verb in a file of its own."""

from __future__ import annotations

import typer

from zoo_cli.options import Verbs
from zoo_cli.plugin_check import check
from zoo_cli.plugin_list import list_plugins
from zoo_cli.plugin_new import new

__all__ = ["app"]

app = typer.Typer(cls=Verbs, help="Installed model families.", rich_markup_mode=None)


@app.callback()
def plugin() -> None:
    """Installed model families, and the door for new ones."""


app.command("list", epilog="Example: zoo plugin list")(list_plugins)
app.command("new", epilog="Example: zoo plugin new zoo-acme --framework torch")(new)
app.command("check", epilog="Example: zoo plugin check zoo-acme")(check)
