"""`zoo data list`: the sets that go by a name, and which of them are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo_cli.options import Json
from zoo_cli.output import document, format_table, put

if TYPE_CHECKING:
    from zoo.store.sets import NamedSet

__all__ = ["list_sets"]


def list_sets(as_json: Json = False) -> None:
    """Show the named sets that --data takes without a path."""
    from zoo.store.sets import catalogue, folder

    found = catalogue()
    if as_json:
        document([_row(name, about) for name, about in found.items()])
        return
    header = ("set", "images of", "classes", "images", "px", "licence", "here")
    put(format_table(header, [_cells(name, about) for name, about in found.items()], right=(2, 3)))
    put(f"\nNAME is the first size, NAME@PX another; sets are kept in {folder()}")


def _row(name: str, about: NamedSet) -> dict[str, Any]:
    from zoo.store.sets import sizes_here

    here = sizes_here(about, name)
    return {
        "name": name,
        "title": about.title,
        "task": about.task,
        "classes": len(about.labels),
        "labels": about.labels,
        "n": about.n,
        "splits": about.splits,
        "channels": about.channels,
        "sizes": about.sizes,
        "here": here,
        "status": "built in" if about.format == "embedded" else "here" if here else "not fetched",
        "licence": about.licence,
        "non_commercial": about.non_commercial,
        "patients": about.patients,
        "citation": about.citation,
        "page": about.page,
        "files": about.files,
        "checked_against": about.checked_against,
    }


def _cells(name: str, about: NamedSet) -> tuple[str, ...]:
    from zoo.store.sets import sizes_here

    there = sizes_here(about, name)
    here = "all" if there == about.sizes else " ".join(map(str, there)) or "-"
    classes = f"any of {len(about.labels)}" if about.task == "multilabel" else str(len(about.labels))
    images = f"{about.n:,}".replace(",", " ")
    return name, about.title, classes, images, " ".join(map(str, about.sizes)), about.licence, here
