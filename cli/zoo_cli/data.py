"""`zoo data list`: the sets that go by a name."""

from __future__ import annotations

from typing import Any

import typer

from zoo.errors import DataError
from zoo_cli.options import Json
from zoo_cli.output import columns, document, put

__all__ = ["app"]

app = typer.Typer(help="Sets of images.", rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Sets of images."""


@app.command("list", epilog="Example: zoo data list")
def list_sets(as_json: Json = False) -> None:
    """Show the named sets that --data takes without a path."""
    from zoo.data import NAMED

    rows = [_row(name) for name in NAMED]
    if as_json:
        document(rows)
        return
    table = [
        (
            row["name"],
            _text(row["n"]),
            _text(row["classes"]),
            _text(row["largest_side"]),
            _divided(row),
            row["status"],
        )
        for row in rows
    ]
    put(columns(("set", "images", "classes", "px", "train/val/test", "status"), table, right=(1, 2, 3)))


def _row(name: str) -> dict[str, Any]:
    from zoo.data import open_data

    try:
        found = open_data(name)
    except DataError as problem:
        unknown: dict[str, Any] = dict.fromkeys(("n", "classes", "splits", "kind", "largest_side"))
        return {"name": name, **unknown, "status": str(problem)}
    mark = found.fingerprint
    return {
        "name": name,
        "n": mark.n,
        "classes": len(found.labels),
        "splits": mark.splits,
        "kind": found.kind,
        "largest_side": found.largest_side,
        "status": "ok",
    }


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)


def _divided(row: dict[str, Any]) -> str:
    return "/".join(str(count) for count in row["splits"].values()) if row["splits"] else "-"
