"""`zoo data info PATH|NAME`: what data of one's own was taken for, or all that is known of a named set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli.options import Json
from zoo_cli.output import document, fields, format_count, megabytes, put

if TYPE_CHECKING:
    from zoo.store.sets import Variant

__all__ = ["info"]

PATIENTS = {
    "unknown": "not known: one patient may be in two splits",
    "kept apart": "not named, but kept apart by the publisher's splits",
    "none": "none: not images of people",
}


def info(
    name: Annotated[
        str, typer.Argument(metavar="PATH|NAME[@SIZE]", help="A folder, a table, an .npz file, or a named set.")
    ],
    as_json: Json = False,
) -> None:
    """Show the classes, splits and notes of data, or source, licence, citation and checksum of a named set.

    No pixel is decoded: every header is read and every file hashed. 'zoo data check' looks at the pixels.
    """
    from zoo.data import find_named
    from zoo.store import sets

    if Path(name).exists() and find_named(name) is None:
        found = _describe(name)
        if as_json:
            document(found)
        else:
            put(_text(found))
        return
    variant = sets.find(name)
    if as_json:
        here = sets.sizes_here(variant.about, variant.set_name)
        document({"name": variant.name, "size": variant.px, "set": variant.about, "here": variant.px in here})
    else:
        put(fields(_lines(variant)))


def _describe(path: str) -> dict[str, Any]:
    """What data was taken for, before splits are made."""
    import numpy as np

    from zoo.data._named import index

    pool = index(path, skip_bad=True, as_is=True)
    several = pool.targets.ndim == 2
    counts = pool.targets.sum(axis=0) if several else np.bincount(pool.targets, minlength=len(pool.labels))
    return {
        "name": pool.name,
        "n": len(pool.ids),
        "kind": pool.kind,
        "classes": dict(zip(pool.labels, map(int, counts), strict=True)),
        "groups": None if pool.groups is None else len(np.unique(pool.groups)),
        "splits": {split: len(rows) for split, rows in pool.rows.items()},
        "skipped": len(pool.skipped),
        "notes": list(pool.notes),
    }


def _text(found: dict[str, Any]) -> str:
    splits = ", ".join(f"{n} {split}" for split, n in found["splits"].items()) or "no splits; training makes them"
    groups = "not known" if found["groups"] is None else format_count(found["groups"], "group")
    lines = {
        "data": found["name"],
        "images": f"{format_count(found['n'], 'image')} of {found['kind']}: {splits}",
        "classes": " | ".join(f"{label} {n}" for label, n in found["classes"].items()),
        "patients": groups,
    }
    return "\n".join((fields(lines), *(f"note: {note}" for note in found["notes"])))


def _lines(variant: Variant) -> dict[str, Any]:
    from zoo.store import sets

    about = variant.about
    splits = ", ".join(f"{n} {split}" for split, n in about.splits.items()) or "no splits; made 70/15/15"
    here = variant.px in sets.sizes_here(about, variant.set_name)
    lines: dict[str, Any] = {
        "set": variant.name,
        "images of": about.title,
        "licence": about.licence + (" (not for commercial use)" if about.non_commercial else ""),
        "images": f"{format_count(about.n, 'image')}: {splits}",
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
