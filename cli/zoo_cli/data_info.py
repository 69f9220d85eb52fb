"""`zoo data info NAME`: all that is known of a named set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli.options import Json
from zoo_cli.output import counted, document, fields, megabytes, put

if TYPE_CHECKING:
    from zoo.sets import Variant

__all__ = ["info"]

PATIENTS = {
    "unknown": "not known: one patient may stand in two splits",
    "kept apart": "not named, but kept apart by the publisher's splits",
    "none": "none: not images of people",
}


def info(
    name: Annotated[str, typer.Argument(metavar="NAME[@SIZE]", help="A name from 'zoo data list'.")],
    as_json: Json = False,
) -> None:
    """Show source, licence, citation, classes and checksum of a set."""
    from zoo import sets

    variant = sets.find(name)
    if as_json:
        here = sets.sizes_here(variant.about, variant.set_name)
        document({"name": variant.name, "size": variant.px, "set": variant.about, "here": variant.px in here})
    else:
        put(fields(_lines(variant)))


def _lines(variant: Variant) -> dict[str, Any]:
    from zoo import sets

    about = variant.about
    splits = ", ".join(f"{n} {split}" for split, n in about.splits.items()) or "no splits; made 70/15/15"
    here = variant.px in sets.sizes_here(about, variant.set_name)
    lines: dict[str, Any] = {
        "set": variant.name,
        "images of": about.title,
        "licence": about.licence + (" (not for commercial use)" if about.non_commercial else ""),
        "images": f"{counted(about.n, 'image')}: {splits}",
        "pixels": f"{variant.px} x {variant.px}, {'gray' if about.channels == 1 else 'colour'}; sizes "
        + " ".join(map(str, about.sizes)),
        "classes": f"{'any of ' if about.task == 'multilabel' else ''}{len(about.labels)}: {' | '.join(about.labels)}",
        "patients": PATIENTS[about.patients],
    }
    if about.train:
        lines["training"] = f"{', '.join(f'{k} {v}' for k, v in about.train.items())}: {about.because}"
    if about.remark:
        lines["remark"] = about.remark
    for number, citation in enumerate(about.citation, 1):
        lines[f"cite {number}"] = citation
    lines["page"] = about.page
    if about.format == "embedded":
        return lines | {"next": f"zoo train simple_cnn --data {variant.name}"}
    size = "" if variant.file.size is None else f", {megabytes(variant.file.size)}"
    lines |= {"file": f"{variant.file.url}{size}", "checksum": f"{variant.file.checksum} ({about.checked_against})"}
    if here:
        return lines | {"here": str(sets.path_of(variant)), "next": f"zoo train simple_cnn --data {variant.name}"}
    return lines | {"next": f"zoo data fetch {variant.name}, or zoo data import {variant.name} FILE"}
