"""`zoo list`: the catalogue. No plugin, array library or framework is imported."""

from __future__ import annotations

from typing import Annotated

import typer

import zoo
from zoo_cli.options import Json
from zoo_cli.output import document, format_count, format_table, put

__all__ = ["list_models"]


def list_models(
    family: Annotated[str | None, typer.Option("--family", metavar="F", help="Only this family.")] = None,
    as_json: Json = False,
) -> None:
    """Show every model that can be trained here."""
    rows = zoo.models(family)
    if as_json:
        document(rows)
        return
    notes: dict[str, int] = {}
    for row in rows:
        if row.state != "ok":
            notes.setdefault(row.status, len(notes) + 1)
    table = [
        (
            row.name,
            row.family,
            f"{row.parameters / 1e6:.1f} M" if row.parameters else "-",
            "x".join(map(str, row.size)) if row.size else "-",
            "yes" if row.pretrained else "no",
            row.licence,
            row.distribution,
            "ok" if row.state == "ok" else f"no ({notes[row.status]})",
        )
        for row in rows
    ]
    header = ("model", "family", "weights", "input", "pretrained", "licence", "from", "ready")
    put(format_table(header, table, right=(2, 3)))
    for status, number in notes.items():
        put(f"({number}) {status}")
    put(f"\n{format_count(len(rows), 'model')}; 'zoo info MODEL' tells more, 'timm/NAME' takes any model of timm")
