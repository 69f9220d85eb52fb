"""`zoo data`: sets of images, each verb in a file of its own."""

from __future__ import annotations

import typer

from zoo_cli.data_cache import cache
from zoo_cli.data_check import check
from zoo_cli.data_fetch import fetch
from zoo_cli.data_import import import_set
from zoo_cli.data_info import info
from zoo_cli.data_list import list_sets
from zoo_cli.data_shard import shard
from zoo_cli.data_split import split
from zoo_cli.options import Verbs

__all__ = ["app"]

app = typer.Typer(cls=Verbs, help="Sets of images.", rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Sets of images."""


app.command("list", epilog="Example: zoo data list")(list_sets)
app.command("info", epilog="Example: zoo data info images/, or zoo data info dermamnist")(info)
app.command("fetch", epilog="Example: zoo data fetch breastmnist organamnist@64")(fetch)
app.command("import", epilog="Example: zoo data import breastmnist breastmnist.npz")(import_set)
app.command("cache", epilog="Example: zoo data cache --clear")(cache)
app.command("check", epilog="Example: zoo data check images/ --group 'patient(\\d+)' --html audit.html")(check)
app.command("split", epilog="Example: zoo data split images/ --group 'patient([0-9]+)' --out splits.csv")(split)
app.command("shard", epilog="Example: zoo data shard images/ --out s3://bucket/set")(shard)
