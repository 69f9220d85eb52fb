"""`zoo list`: the catalogue. No plugin, array library or framework is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import zoo
from zoo.errors import CatalogueError
from zoo_cli import offers, options
from zoo_cli.output import document, format_count, format_table, put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.registry import Row

__all__ = ["list_models"]


def list_models(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEXT]", autocompletion=offers.models, help="Only models that have this in their name or family."
        ),
    ] = None,
    *,
    family: Annotated[
        str | None, typer.Option("--family", metavar="F", autocompletion=offers.families, help="Only this family.")
    ] = None,
    licence: options.Licence = None,
    as_json: options.Json = False,
) -> None:
    """Show every model that can be trained here."""
    rows: Sequence[Row] = zoo.models(family, licence=options.read_licences(licence))
    if text is not None:
        rows = _having(text, rows)
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
            _say_pretrained(row),
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


def _say_pretrained(row: Row) -> str:
    """Whether it has pretrained weights, and their licence where it is not that of the code."""
    if not row.pretrained:
        return "no"
    return "yes" if row.weights_licence == row.licence else f"yes, {row.weights_licence}"


def _having(text: str, rows: Sequence[Row]) -> list[Row]:
    """The models that have `text` in their name or family, in any case.

    Raises:
        CatalogueError: none has.
    """
    key = text.lower()
    found = [row for row in rows if key in row.name.lower() or key in row.family.lower()]
    if not found:
        known = list(dict.fromkeys(row.family for row in rows))
        raise CatalogueError(
            f"no model has {text!r} in its name or family; families are {', '.join(known)}; 'timm/NAME' takes any of "
            "timm's",
            code="model-unknown",
            model=text,
        )
    return found
