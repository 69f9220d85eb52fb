"""`zoo data import NAME FILE`: a file that was carried here becomes a named set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_cli import offers
from zoo_cli.data_fetch import report
from zoo_cli.options import Json

__all__ = ["import_set"]


def import_set(
    name: Annotated[
        str, typer.Argument(metavar="NAME[@SIZE]", autocompletion=offers.sets, help="A name from 'zoo data list'.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What its publisher gives out, carried here.")],
    as_json: Json = False,
) -> None:
    """Put a file into the store as what 'zoo data fetch' would have brought."""
    from zoo.store import sets

    variant = sets.find(name)
    report([(variant, sets.import_file(variant, file))], as_json=as_json)
