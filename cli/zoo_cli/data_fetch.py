"""`zoo data fetch NAME`: bring named sets here, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import offers
from zoo_cli.options import Json
from zoo_cli.output import document, fields, put

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.store.sets import Variant

__all__ = ["fetch", "report"]


def fetch(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME[@SIZE]…", autocompletion=offers.sets, help="Names from 'zoo data list'."),
    ],
    as_json: Json = False,
) -> None:
    """Bring sets here, checked against their publishers' checksums.

    A transfer that was interrupted resumes where it stopped.
    """
    from zoo.store import sets

    variants = [sets.find(name) for name in names]
    got = []
    for variant in variants:
        try:
            got.append((variant, sets.fetch(variant)))
        except KeyboardInterrupt:
            text = f"interrupted; what came is kept, 'zoo data fetch {variant.name}' resumes from there"
            raise KeyboardInterrupt(text) from None
    report(got, as_json=as_json)


def report(got: list[tuple[Variant, Path]], *, as_json: bool) -> None:
    """What is here now, under which licence, and what to cite."""
    if as_json:
        document([_row(variant, path) for variant, path in got])
    else:
        put("\n\n".join(fields(_lines(variant, path)) for variant, path in got))


def _row(variant: Variant, path: Path) -> dict[str, Any]:
    about = variant.about
    return {
        "name": variant.name,
        "path": str(path),
        "checksum": variant.file.checksum,
        "licence": about.licence,
        "non_commercial": about.non_commercial,
        "citation": about.citation,
        "page": about.page,
    }


def _lines(variant: Variant, path: Path) -> dict[str, str]:
    about = variant.about
    lines = {
        "set": variant.name,
        "licence": about.licence + (" (not for commercial use)" if about.non_commercial else ""),
        "path": str(path),
        "checksum": variant.file.checksum,
    }
    for number, citation in enumerate(about.citation, 1):
        lines[f"cite {number}"] = citation
    return lines | {"next": f"zoo train simple_cnn --data {variant.name}"}
